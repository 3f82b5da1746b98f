"""The job list, the job page, and what staff do there: tag, archive again, delete."""

from typing import TYPE_CHECKING, Any

from django.contrib import admin, messages
from django.contrib.admin.models import CHANGE, DELETION, LogEntry
from django.contrib.admin.options import ShowFacets
from django.contrib.admin.views.main import ERROR_FLAG, ChangeList
from django.core.exceptions import PermissionDenied
from django.db.models import Count, Prefetch, QuerySet
from django.http import HttpRequest, HttpResponse, HttpResponseBase, HttpResponseRedirect
from django.shortcuts import redirect
from django.template.response import TemplateResponse
from django.urls import URLPattern, path, reverse
from django.utils.html import format_html
from django.utils.safestring import SafeString
from django.views.decorators.http import require_POST

from jobs import services, tasks
from jobs.admin import display, plots
from jobs.admin.filters import FILTERS, MOST_COUNTED, SEARCH_HELP, CappedPaginator, search
from jobs.admin.forms import AddTagForm, RemoveTagForm
from jobs.exceptions import JobError
from jobs.models import ArchiveTask, Job, Tag
from jobs.querysets import JobQuerySet
from jobs.states import JobState, MonitoringStatus

if TYPE_CHECKING:
    JobModelAdmin = admin.ModelAdmin[Job]
else:
    JobModelAdmin = admin.ModelAdmin

# Columns that may be large; the list never reads them.
_BIG = ("resources", "statistics", "meta_data")


class JobChangeList(ChangeList):
    """The list: the same number of queries whatever it shows."""

    def get_queryset(self, request: HttpRequest, exclude_parameters: Any = None) -> QuerySet[Job]:
        """Leave the large columns out and load all tags of a page at once."""
        jobs = super().get_queryset(request, exclude_parameters)
        return jobs.defer(*_BIG).prefetch_related(Prefetch("tags", Tag.objects.order_by("type", "name")))


@admin.register(Job)
class JobAdmin(JobModelAdmin):
    """Jobs are facts of the scheduler: shown, tagged and deleted here, never edited."""

    list_display = (
        "job",
        "state",
        "cluster_name",
        "whose",
        "nodes",
        "started",
        "ran",
        "archive",
        "tag_chips",
    )
    list_display_links = ("job",)
    list_filter = FILTERS
    list_per_page = 50
    sortable_by = ("started",)
    search_fields = ("job_id",)  # shows the search box; what it finds is written in `filters.search`
    search_help_text = SEARCH_HELP
    show_full_result_count = False
    show_facets = ShowFacets.NEVER
    paginator = CappedPaginator
    actions = ("add_tag", "remove_tag", "archive_again", "delete_jobs")
    fields = ()
    change_form_template = "admin/jobs/job/change_form.html"

    # --- who may what; which jobs somebody sees is decided by visible_to alone ---

    def get_queryset(self, request: HttpRequest) -> JobQuerySet:
        """Limit list, page, actions and autocompletes to what the user may see."""
        return Job.objects.visible_to(request.user)

    def has_add_permission(self, request: HttpRequest) -> bool:
        """Jobs come from the scheduler."""
        return False

    def has_change_permission(self, request: HttpRequest, obj: Job | None = None) -> bool:
        """Scheduler facts are not edited."""
        return False

    def has_tag_permission(self, request: HttpRequest) -> bool:
        """Tell who may put tags on the jobs it sees."""
        return request.user.has_perm("jobs.tag_job")

    def has_archive_permission(self, request: HttpRequest) -> bool:
        """Tell who may let failed archiving start again."""
        return request.user.has_perm("jobs.change_job")

    def lookup_allowed(self, lookup: str, value: str, request: HttpRequest) -> bool:
        """Allow the filters' own parameters only: any other column would be searched without an index."""
        return lookup in {entry.parameter_name for entry in FILTERS}

    def get_actions(self, request: HttpRequest) -> dict[str, Any]:
        """Leave out Django's deletion, which would load every row that hangs on the jobs."""
        return {name: action for name, action in super().get_actions(request).items() if name != "delete_selected"}

    # --- the list ---

    def get_changelist(self, request: HttpRequest, **kwargs: Any) -> type[ChangeList]:
        """Return the list that loads little."""
        return JobChangeList

    def changelist_view(self, request: HttpRequest, extra_context: dict[str, Any] | None = None) -> Any:
        """Show the list under its own title; say it where Django has dropped filters that mean nothing here."""
        if ERROR_FLAG in request.GET and request.method == "GET":
            text = "The address named a filter or a page that does not exist here; all jobs are listed."
            self.message_user(request, text, messages.WARNING)
        return super().changelist_view(request, {"title": "Jobs", **(extra_context or {})})

    def get_search_results(
        self, request: HttpRequest, queryset: QuerySet[Job], search_term: str
    ) -> tuple[QuerySet[Job], bool]:
        """Search by job id, user and project; say what was not understood."""
        assert isinstance(queryset, JobQuerySet)
        jobs, unknown = search(queryset, search_term)
        if unknown and request.method == "GET":
            words = ", ".join(repr(word) for word in unknown)
            self.message_user(request, f"The search does not understand {words}. {SEARCH_HELP}", messages.WARNING)
        return jobs, False

    @admin.display(description="Job id")
    def job(self, job: Job) -> str:
        """Show the scheduler's id."""
        return str(job.job_id)

    @admin.display(description="State")
    def state(self, job: Job) -> SafeString:
        """Show the state as a coloured word."""
        return display.state(job)

    @admin.display(description="Cluster")
    def cluster_name(self, job: Job) -> SafeString:
        """Show cluster, subcluster and partition, the latter small."""
        rest = " · ".join(part for part in (job.sub_cluster, job.partition) if part)
        return format_html('{}<div class="quiet small">{}</div>', job.cluster, rest)

    @admin.display(description="User, project")
    def whose(self, job: Job) -> SafeString:
        """Show the user, and the project small."""
        return format_html('{}<div class="quiet small">{}</div>', job.user, job.project)

    @admin.display(description="Nodes")
    def nodes(self, job: Job) -> SafeString:
        """Show the number of nodes, aligned."""
        return format_html('<span class="number">{}</span>', job.num_nodes)

    @admin.display(description="Start", ordering="start_time")
    def started(self, job: Job) -> SafeString | str:
        """Show the start as a time."""
        return display.moment(job.start_time)

    @admin.display(description="Duration")
    def ran(self, job: Job) -> SafeString:
        """Show how long it ran, or has been running."""
        return format_html('<span class="number">{}</span>', display.duration(job.elapsed))

    @admin.display(description="Archiving")
    def archive(self, job: Job) -> SafeString | str:
        """Show where it stands on its way into the archive."""
        return display.archiving(job)

    @admin.display(description="Tags")
    def tag_chips(self, job: Job) -> SafeString | str:
        """Show the tags."""
        return display.chips(job.tags.all())

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
        """Add what the job page shows."""
        assert obj is not None
        may_tag = self.has_tag_permission(request)
        name = display.job_name(obj)
        context |= {
            "title": f"Job {obj.job_id} on {obj.cluster}",
            "subtitle": name or None,
            "groups": display.groups(obj),
            "tags": obj.tags.order_by("type", "name"),
            "may_tag": may_tag,
            "tag_form": AddTagForm(auto_id="tag_%s") if may_tag else None,
            "known_tags": Tag.objects.order_by("type").values_list("type", flat=True).distinct()[:100]
            if may_tag
            else (),
            "nodes": display.nodes(obj),
            "statistics": display.statistics(obj),
            "texts": display.texts(obj),
            "archive_task": ArchiveTask.objects.filter(pk=obj.pk).first(),
            "archiving_word": display.archiving_word(obj),
            "may_archive_again": self.has_archive_permission(request)
            and obj.monitoring_status == MonitoringStatus.FAILED,
            "links": display.links(obj),
        }
        return super().render_change_form(request, context, add, change, form_url, obj)

    def get_urls(self) -> list[URLPattern]:
        """Add what the buttons of the job page and the small forms send to."""
        view = self.admin_site.admin_view
        return [
            path("selection/tag/", view(require_POST(self.tag_view)), name="jobs_job_tag"),
            path("selection/untag/", view(require_POST(self.untag_view)), name="jobs_job_untag"),
            path("selection/archive/", view(require_POST(self.archive_view)), name="jobs_job_archive"),
            path("selection/delete/", view(require_POST(self.delete_jobs_view)), name="jobs_job_delete_selection"),
            *plots.urls(self),
            *super().get_urls(),
        ]

    def delete_view(self, request: HttpRequest, object_id: str, extra_context: Any = None) -> HttpResponse:
        """Ask before deleting one job, on the page that asks for many."""
        obj = self.get_object(request, object_id)
        if obj is None or not self.has_delete_permission(request, obj):
            raise PermissionDenied
        return self._ask_to_delete(request, [obj.pk])

    # --- actions on a selection: the first page asks, a view of its own does it ---

    @admin.action(description="Add a tag to selected jobs", permissions=["tag"])
    def add_tag(self, request: HttpRequest, queryset: QuerySet[Job]) -> HttpResponseBase | None:
        """Ask which tag."""
        row_ids = self._few_enough(request, queryset)
        return self._ask_tag(request, row_ids, AddTagForm()) if row_ids else None

    @admin.action(description="Remove a tag from selected jobs", permissions=["tag"])
    def remove_tag(self, request: HttpRequest, queryset: QuerySet[Job]) -> HttpResponseBase | None:
        """Ask which of the jobs' tags."""
        row_ids = self._few_enough(request, queryset)
        if not row_ids:
            return None
        form = RemoveTagForm(row_ids=row_ids)
        if not form.fields["tag"].queryset.exists():  # type: ignore[attr-defined]
            self.message_user(request, "None of the selected jobs has a tag.", messages.WARNING)
            return None
        return self._ask_tag(request, row_ids, form)

    @admin.action(description="Archive again, where archiving failed", permissions=["archive"])
    def archive_again(self, request: HttpRequest, queryset: QuerySet[Job]) -> None:
        """Let the failed ones of the selection wait for the archive worker again."""
        row_ids = self._few_enough(request, queryset)
        if row_ids:
            self._archive_again(request, row_ids)

    @admin.action(description="Delete selected jobs", permissions=["delete"])
    def delete_jobs(self, request: HttpRequest, queryset: QuerySet[Job]) -> HttpResponseBase | None:
        """Show what would go, and ask."""
        row_ids = self._few_enough(request, queryset)
        return self._ask_to_delete(request, row_ids) if row_ids else None

    def tag_view(self, request: HttpRequest) -> HttpResponseBase:
        """Put a tag on jobs."""
        row_ids = self._posted(request, allowed=self.has_tag_permission(request))
        form = AddTagForm(request.POST)
        if not form.is_valid():
            return self._ask_tag(request, row_ids, form)
        tag = form.tag
        try:
            if len(row_ids) == 1:
                services.tag_job(row_id=row_ids[0], tags=[tag])
            else:
                services.tag_jobs(row_ids=row_ids, tags=[tag])
        except JobError as error:
            return self._refused(request, error)
        self._log(request, row_ids, CHANGE, f"Added tag {tag.type}:{tag.name}.")
        return self._done(request, f"{_counted(len(row_ids))} tagged {tag.type}:{tag.name}.")

    def untag_view(self, request: HttpRequest) -> HttpResponseBase:
        """Take a tag from jobs."""
        row_ids = self._posted(request, allowed=self.has_tag_permission(request))
        form = RemoveTagForm(request.POST, row_ids=row_ids)
        if not form.is_valid():
            return self._ask_tag(request, row_ids, form)
        tag: Tag = form.cleaned_data["tag"]
        with_tag = list(Job.objects.filter(pk__in=row_ids, tag_links__tag=tag).values_list("pk", flat=True))
        removed = services.untag_jobs(row_ids=with_tag, tag=tag)
        self._log(request, with_tag, CHANGE, f"Removed tag {tag}.")
        return self._done(request, f"Tag {tag} taken from {_counted(removed)}.")

    def archive_view(self, request: HttpRequest) -> HttpResponseBase:
        """Let jobs whose archiving failed wait for the archive worker again."""
        row_ids = self._posted(request, allowed=self.has_archive_permission(request))
        self._archive_again(request, row_ids)
        return HttpResponseRedirect(_back(request))

    def delete_jobs_view(self, request: HttpRequest) -> HttpResponseBase:
        """Delete jobs from the database after the question was answered."""
        row_ids = self._posted(request, allowed=self.has_delete_permission(request))
        self._log(request, row_ids, DELETION, "Deleted from the database; the archive keeps its files.")
        deleted = services.delete_jobs(row_ids=row_ids)
        self.message_user(request, f"{_counted(deleted)} deleted. The archive keeps the files.", messages.SUCCESS)
        return redirect("admin:jobs_job_changelist")

    # --- what they share ---

    def _few_enough(self, request: HttpRequest, queryset: QuerySet[Job]) -> list[int]:
        """Return the row ids of a selection; none, with a message, where there are too many for one go."""
        row_ids = list(queryset.order_by("pk").values_list("pk", flat=True)[: MOST_COUNTED + 1])
        if len(row_ids) > MOST_COUNTED:
            text = f"More than {MOST_COUNTED:,} jobs are selected; nothing was done. Narrow the filters."
            self.message_user(request, text, messages.ERROR)
            return []
        return row_ids

    def _posted(self, request: HttpRequest, *, allowed: bool) -> list[int]:
        """Return the row ids that a form names, without those that the user does not see."""
        words = request.POST.get("jobs", "").split(",")
        if not allowed or len(words) > MOST_COUNTED or not all(_is_row_id(word) for word in words):
            raise PermissionDenied
        jobs = self.get_queryset(request).filter(pk__in=[int(word) for word in words])
        row_ids = list(jobs.order_by("pk").values_list("pk", flat=True))
        if not row_ids:
            raise PermissionDenied
        return row_ids

    def _ask_tag(self, request: HttpRequest, row_ids: list[int], form: AddTagForm | RemoveTagForm) -> TemplateResponse:
        adding = isinstance(form, AddTagForm)
        context = {
            "title": "Add a tag" if adding else "Remove a tag",
            "form": form,
            "known_tags": Tag.objects.order_by("type").values_list("type", flat=True).distinct()[:100],
            "action_url": reverse("admin:jobs_job_tag" if adding else "admin:jobs_job_untag"),
            "button": "Add tag" if adding else "Remove tag",
        }
        return self._page(request, "admin/jobs/job/tag_selection.html", row_ids, context)

    def _ask_to_delete(self, request: HttpRequest, row_ids: list[int]) -> TemplateResponse:
        jobs = self.get_queryset(request).filter(pk__in=row_ids)
        counts = list(jobs.order_by("cluster", "job_state").values("cluster", "job_state").annotate(count=Count("pk")))
        context = {
            "title": "Delete jobs",
            "counts": counts,
            "running": sum(row["count"] for row in counts if row["job_state"] == JobState.RUNNING),
            "waiting": jobs.awaiting_archive().count(),
            "only": jobs.defer(*_BIG).first() if len(row_ids) == 1 else None,
            "action_url": reverse("admin:jobs_job_delete_selection"),
        }
        return self._page(request, "admin/jobs/job/delete_selection.html", row_ids, context)

    def _page(
        self, request: HttpRequest, template: str, row_ids: list[int], context: dict[str, Any]
    ) -> TemplateResponse:
        shared = {
            **self.admin_site.each_context(request),
            "opts": self.opts,
            "row_ids": ",".join(str(row_id) for row_id in row_ids),
            "total": len(row_ids),
            "back": _back(request),
        }
        return TemplateResponse(request, template, shared | context)

    def _archive_again(self, request: HttpRequest, row_ids: list[int]) -> None:
        failed = Job.objects.filter(pk__in=row_ids, monitoring_status=MonitoringStatus.FAILED)
        failed_ids = list(failed.values_list("pk", flat=True))
        count = tasks.retry_failed(only=failed_ids)
        self._log(request, failed_ids, CHANGE, "Archiving asked for again.")
        level = messages.SUCCESS if count else messages.WARNING
        self.message_user(request, f"{_counted(count)} will be archived again.", level)

    def _log(self, request: HttpRequest, row_ids: list[int], flag: int, message: str) -> None:
        """Write the admin's history of the jobs."""
        jobs = Job.objects.filter(pk__in=row_ids).only("cluster", "job_id")
        LogEntry.objects.log_actions(request.user.pk, jobs, flag, change_message=message)  # type: ignore[arg-type]

    def _done(self, request: HttpRequest, message: str) -> HttpResponse:
        self.message_user(request, message, messages.SUCCESS)
        return HttpResponseRedirect(_back(request))

    def _refused(self, request: HttpRequest, error: JobError) -> HttpResponse:
        self.message_user(request, str(error), messages.ERROR)
        return HttpResponseRedirect(_back(request))


def _counted(count: int) -> str:
    return f"{count:,} job" if count == 1 else f"{count:,} jobs"


def _is_row_id(word: str) -> bool:
    return word.isascii() and word.isdecimal() and len(word) < 19


def _back(request: HttpRequest) -> str:
    """Return the page of the jobs that a form was opened from: a job's, or the list with its filters."""
    listed = reverse("admin:jobs_job_changelist")
    wanted = request.POST.get("back", "") or request.get_full_path()
    if wanted.startswith(f"{listed}selection/") or not wanted.startswith(listed):
        return listed
    return wanted.removesuffix("delete/") + "change/" if wanted.endswith("/delete/") else wanted
