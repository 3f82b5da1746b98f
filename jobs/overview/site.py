"""The admin site: title, first page, and pages without a model."""

import time
from functools import wraps
from typing import Any

from django.conf import settings
from django.contrib.admin import AdminSite
from django.contrib.admin.helpers import ACTION_CHECKBOX_NAME
from django.http import HttpRequest, HttpResponse, HttpResponseRedirect
from django.shortcuts import redirect
from django.template.response import TemplateResponse
from django.urls import path, reverse

from accounts.models import Role, User
from jobs.health.checks import bad_now
from jobs.overview import cluster_pages, dashboard, health_page, node_page, usage_page
from jobs.overview.activity import MOST_READ
from jobs.overview.log_in import LogInForm
from jobs.text import is_whole

_SECTIONS = ("MyJobs", "Job", "Usage", "Cluster", "Tag", "User", "ApiToken", "Health")


def has_own_jobs(user: User) -> bool:
    """Return whether a user has a role for own jobs."""
    return user.has_role(Role.USER, Role.MANAGER)


class JobControlSite(AdminSite):
    """Django's admin site with a first page for a computing centre."""

    site_header = site_title = "Job control"
    index_title = "Overview"
    login_form = LogInForm
    enable_nav_sidebar = False  # the header has the sections, and lists need the width

    def admin_view(self, view: Any, cacheable: bool = False) -> Any:  # noqa: FBT001, FBT002  Django's signature
        """Wrap a view of the site; a selection in a list reaches it without words that are no row ids."""

        @wraps(view)
        def with_row_ids(request: HttpRequest, *args: Any, **kwargs: Any) -> Any:
            words = request.POST.getlist(ACTION_CHECKBOX_NAME)
            if not all(map(is_whole, words)):
                form = request.POST.copy()
                form.setlist(ACTION_CHECKBOX_NAME, [word for word in words if is_whole(word)])
                request.POST = form  # type: ignore[assignment]
            return view(request, *args, **kwargs)

        return super().admin_view(with_row_ids, cacheable)

    def get_urls(self) -> list[Any]:
        """Add the pages of clusters and of health."""
        pages = [
            path("usage/", self.admin_view(usage_page.usage), name="usage"),
            path("health/", self.admin_view(health_page.health), name="health"),
            path("clusters/", self.admin_view(cluster_pages.cluster_list), name="clusters"),
            path("clusters/<str:name>/", self.admin_view(cluster_pages.cluster_page), name="cluster"),
            path("clusters/<str:name>/<str:host>/", self.admin_view(node_page.node_page), name="node"),
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
        if isinstance(request.user, User) and has_own_jobs(request.user):
            models["MyJobs"] = ("My jobs", reverse("my_jobs"))
        models["Usage"] = ("Usage", reverse("admin:usage"))
        models["Cluster"] = ("Clusters", reverse("admin:clusters"))
        if isinstance(request.user, User) and health_page.may_see(request.user):
            models["Health"] = ("Health", reverse("admin:health"))
        context["version"] = settings.VERSION
        context["oidc_name"] = settings.OIDC.get("name", "")
        context["site_sections"] = [models[name] for name in _SECTIONS if name in models]
        return context

    def login(self, request: HttpRequest, extra_context: dict[str, Any] | None = None) -> HttpResponse:
        """Log in; who has come for no other page, and does not look after all jobs, begins with the own ones."""
        answer = super().login(request, extra_context)
        user = request.user
        is_first = isinstance(answer, HttpResponseRedirect) and answer.url == reverse("admin:index")
        if is_first and isinstance(user, User) and has_own_jobs(user) and not health_page.may_see(user):
            return redirect("my_jobs")
        return answer

    def index(self, request: HttpRequest, extra_context: dict[str, Any] | None = None) -> TemplateResponse:
        """Show the overview."""
        assert isinstance(request.user, User)
        text = request.GET.get("days", "")
        days = next((days for days in dashboard.RANGES if text == str(days)), dashboard.RANGES[0])
        overview = dashboard.overview(request.user, days, now=int(time.time()))
        context = {
            "overview": overview,
            "ranges": dashboard.RANGES,
            "most_read": MOST_READ,
            "findings": bad_now() if overview.oversees else None,
        }
        return super().index(request, {**context, **(extra_context or {})})
