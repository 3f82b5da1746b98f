"""The admin site: title, first page, and pages without a model."""

import time
from typing import Any

from django.conf import settings
from django.contrib.admin import AdminSite
from django.http import HttpRequest
from django.template.response import TemplateResponse
from django.urls import path, reverse

from accounts.models import User
from jobs.overview import cluster_pages, dashboard

_SECTIONS = ("Job", "Cluster", "Tag", "User", "ApiToken")


class JobControlSite(AdminSite):
    """Django's admin site with a first page for a computing centre."""

    site_header = site_title = "Job control"
    index_title = "Overview"
    enable_nav_sidebar = False  # the header has the sections, and lists need the width

    def get_urls(self) -> list[Any]:
        """Add the cluster pages."""
        pages = [
            path("clusters/", self.admin_view(cluster_pages.cluster_list), name="clusters"),
            path("clusters/<str:name>/", self.admin_view(cluster_pages.cluster_page), name="cluster"),
        ]
        return [*pages, *super().get_urls()]

    def each_context(self, request: HttpRequest) -> dict[str, Any]:
        """Add the sections for the header: those that the user may open, the most used first."""
        context = super().each_context(request)
        models = {
            model["object_name"]: (model["name"], model["admin_url"])
            for app in context["available_apps"]
            for model in app["models"]
            if model.get("admin_url")
        }
        models["Cluster"] = ("Clusters", reverse("admin:clusters"))
        context["version"] = settings.VERSION
        context["site_sections"] = [models[name] for name in _SECTIONS if name in models]
        return context

    def index(self, request: HttpRequest, extra_context: dict[str, Any] | None = None) -> TemplateResponse:
        """Show the overview."""
        assert isinstance(request.user, User)
        overview = dashboard.overview(request.user, now=int(time.time()))
        return super().index(request, {"overview": overview, **(extra_context or {})})
