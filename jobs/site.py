"""The admin site as a whole: its title, its first page, and the pages that belong to no model."""

import time
from typing import Any

from django.contrib.admin import AdminSite
from django.http import HttpRequest
from django.template.response import TemplateResponse

from accounts.models import User
from jobs import dashboard


class JobControlSite(AdminSite):
    """Django's admin site with a first page for a computing centre."""

    site_header = site_title = "Job control"
    index_title = "Overview"
    enable_nav_sidebar = False  # the header has the sections; the lists need the width

    def index(self, request: HttpRequest, extra_context: dict[str, Any] | None = None) -> TemplateResponse:
        """Show what happens on the clusters, as far as the person sees their jobs."""
        assert isinstance(request.user, User)
        overview = dashboard.overview(request.user, now=int(time.time()))
        return super().index(request, {"overview": overview, **(extra_context or {})})
