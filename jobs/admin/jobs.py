"""The job list and the job page."""

from typing import Any

from django.contrib import admin, messages
from django.contrib.admin.options import IncorrectLookupParameters, ShowFacets
from django.contrib.admin.views.main import ERROR_FLAG, ChangeList
from django.core.exceptions import BadRequest, PermissionDenied
from django.db.models import QuerySet
from django.http import Http404, HttpRequest, HttpResponse, HttpResponseBase
from django.shortcuts import redirect
from django.template.response import TemplateResponse
from django.urls import URLPattern, path, reverse
from django.views.decorators.http import require_GET, require_POST

from accounts.models import User
from jobs.admin import columns, display, export, job_page, list_statistics, plots, saved_filters
from jobs.admin.changelist import LONGER, JobChangeList, JobConditions, JobPages
from jobs.admin.filters import FILTERS, PARAMETERS
from jobs.admin.forms import AddTagForm, known_types
from jobs.admin.tagging import JobActions
from jobs.models import Job
from jobs.querysets import JobQuerySet
from jobs.samples.ending import ending
from jobs.search.box import HELP
from jobs.tag_rules.applying import rules_of
from jobs.text import is_whole

_WITHOUT_ROWS = ("jobs_job_export", "jobs_job_statistics")


@admin.register(Job)
class JobAdmin(JobActions):
    """Show, tag, correct and delete jobs; what the scheduler reported is read-only."""

    list_display = columns.USUAL_COLUMNS
    list_display_links = columns.USUAL_COLUMNS[:1]
    list_filter = FILTERS
    list_per_page = 50
    sortable_by = ()  # the list has an order of its own, see changelist.py
    search_fields = ("job_id",)  # to show the search box; jobs.search.box implements it
    search_help_text = HELP
    show_full_result_count = False
    show_facets = ShowFacets.NEVER
    paginator = JobPages
    fields = ()
    change_form_template = "admin/jobs/job/change_form.html"

    # --- permissions ---

    def get_queryset(self, request: HttpRequest) -> JobQuerySet:
        """Limit the list, pages, actions and autocompletion to the jobs that the user may see."""
        return Job.objects.visible_to(request.user)

    def has_add_permission(self, request: HttpRequest) -> bool:
        """Refuse: jobs come from the scheduler."""
        return False

    def has_change_permission(self, request: HttpRequest, obj: Job | None = None) -> bool:
        """Refuse Django's form; corrections have their own page."""
        return False

    def lookup_allowed(self, lookup: str, value: str, request: HttpRequest) -> bool:
        """Allow only the parameters of the filters: other columns have no index."""
        return lookup in PARAMETERS

    # --- the list ---

    def get_changelist(self, request: HttpRequest, **kwargs: Any) -> type[ChangeList]:
        """Return the change list for large tables; a part of it for pages that show no rows."""
        match = request.resolver_match
        return JobConditions if match is not None and match.url_name in _WITHOUT_ROWS else JobChangeList

    def changelist_view(self, request: HttpRequest, extra_context: dict[str, Any] | None = None) -> Any:
        """Set the title; warn if Django has dropped invalid filters."""
        if ERROR_FLAG in request.GET and request.method == "GET":
            text = "The address had an invalid filter or page; the list shows all jobs."
            self.message_user(request, text, messages.WARNING)
        answer: Any = super().changelist_view(request, {"title": "Jobs", **(extra_context or {})})
        if isinstance(answer, TemplateResponse) and answer.context_data and "cl" in answer.context_data:
            answer.context_data["searched_since"] = display.moment(answer.context_data["cl"].found.since)
            answer.context_data["export_kinds"] = export.kinds()
            answer.context_data["saved_filters"] = saved_filters.saved_by(request)
            only = answer.context_data["cl"].only_job
            if only is not None and request.method == "GET":
                return redirect("admin:jobs_job_change", only)
        return answer

    def columns_view(self, request: HttpRequest) -> HttpResponse:
        """Keep a choice of columns, and return to the list."""
        assert isinstance(request.user, User)
        if not self.has_view_permission(request):
            raise PermissionDenied
        columns.keep(request.user, () if "usual" in request.POST else request.POST.getlist("column"))
        query = request.POST.get("query", "").lstrip("?")
        return redirect(f"{reverse('admin:jobs_job_changelist')}?{query}")

    def get_urls(self) -> list[URLPattern]:
        """Add the views for exports, statistics, saved filters and plots."""
        view = self.admin_site.admin_view
        return [
            path("export/<str:kind>/", view(require_GET(self.export_view)), name="jobs_job_export"),
            path("statistics/", view(require_GET(self.statistics_view)), name="jobs_job_statistics"),
            path("columns/", view(require_POST(self.columns_view)), name="jobs_job_columns"),
            path("saved/", view(require_POST(saved_filters.save)), name="jobs_job_save_filter"),
            path("saved/<int:filter_id>/", view(require_POST(saved_filters.remove)), name="jobs_job_remove_filter"),
            *plots.urls(self),
            *super().get_urls(),
        ]

    def export_view(self, request: HttpRequest, kind: str) -> HttpResponseBase:
        """Export all jobs of the list as a file."""
        if kind not in export.kinds():
            raise Http404(f"expected one of {', '.join(export.kinds())}, got {kind[:40]!r}")
        closing = request.GET.get(export.CLOSING, "")
        if closing not in ("", "0", "1"):
            raise BadRequest(f"{export.CLOSING}: expected 0 or 1, got {closing[:40]!r}")
        filters = request.GET.copy()
        filters.pop(export.CLOSING, None)
        request.GET = filters  # type: ignore[assignment]
        conditions = self._conditions(request)
        if isinstance(conditions, HttpResponse):
            return conditions
        return export.response(conditions, kind, closing=closing == "1")

    def statistics_view(self, request: HttpRequest) -> HttpResponseBase:
        """Show the statistics of the list."""
        conditions = self._conditions(request)
        if isinstance(conditions, HttpResponse):
            return conditions
        context = {**self.admin_site.each_context(request), "opts": self.opts, "cl": conditions}
        context |= list_statistics.context(conditions, longer=LONGER in request.GET)
        return TemplateResponse(request, "admin/jobs/job/statistics.html", context)

    def _conditions(self, request: HttpRequest) -> JobChangeList | HttpResponse:
        """Return the conditions of a list, or the answer to an address that means nothing."""
        if not self.has_view_permission(request):
            raise PermissionDenied
        try:
            changelist = self.get_changelist_instance(request)
        except IncorrectLookupParameters:
            return redirect(f"{reverse('admin:jobs_job_changelist')}?{ERROR_FLAG}=1")
        assert isinstance(changelist, JobChangeList)
        return changelist

    def get_search_results(
        self, request: HttpRequest, queryset: QuerySet[Job], search_term: str
    ) -> tuple[QuerySet[Job], bool]:
        """Search by job id for Django's autocompletion; the list has its own search."""
        term = search_term.strip()
        return (queryset.filter(job_id=int(term)) if is_whole(term) else queryset), False

    # --- the job page ---

    def render_change_form(
        self,
        request: HttpRequest,
        context: Any,
        add: bool = False,  # noqa: FBT001, FBT002  Django's signature
        change: bool = False,  # noqa: FBT001, FBT002
        form_url: str = "",
        obj: Job | None = None,
    ) -> Any:
        """Add the content of the job page."""
        assert obj is not None
        may_tag = self.has_tag_permission(request)
        name = job_page.job_name(obj)
        context |= {
            "title": f"Job {obj.job_id} on {obj.cluster}",
            "subtitle": name or None,
            "ending": ending(obj),
            "state_word": display.state(obj),
            "started_at": display.moment(obj.start_time),
            "ended_at": "" if obj.is_running else display.moment(obj.stop_time),
            "facts": job_page.facts(obj),
            "groups": job_page.groups(obj),
            "tags": obj.tags.order_by("type", "name"),
            "tag_rules": rules_of(obj.pk) if request.user.has_perm("jobs.view_tagrule") else (),
            "may_tag": may_tag,
            "tag_form": AddTagForm(auto_id="tag_%s") if may_tag else None,
            "known_tags": known_types() if may_tag else (),
            "nodes": job_page.nodes(obj),
            "statistics": job_page.statistics(obj),
            "texts": job_page.texts(obj),
            "archive_task": getattr(obj, "archive_task", None),
            "archiving_word": display.archiving_word(obj),
            "may_archive_again": self.has_archive_permission(request) and obj.is_given_up,
            "links": [*job_page.links(obj), *job_page.outside(obj)],
        } | self.curation_context(request, obj)
        return super().render_change_form(request, context, add, change, form_url, obj)
