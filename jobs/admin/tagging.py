"""Tag and untag one or many jobs."""

from django.contrib import admin, messages
from django.db.models import QuerySet
from django.http import HttpRequest, HttpResponseBase
from django.template.response import TemplateResponse
from django.urls import URLPattern, path, reverse
from django.views.decorators.http import require_POST

from jobs.admin.comparison import JobComparison
from jobs.admin.curation import JobCuration
from jobs.admin.deletion import JobDeletion
from jobs.admin.forms import AddTagForm, RemoveTagForm, known_types
from jobs.admin.ghosts import JobGhosts
from jobs.admin.selection import actor_of, counted
from jobs.exceptions import JobError
from jobs.models import Job, Tag
from jobs.states import BulkKind
from jobs.tags.services import tag_job, tag_jobs, untag_jobs


class JobActions(JobComparison, JobCuration, JobDeletion, JobGhosts):
    """What JobAdmin does with jobs: tags here, comparison, curation, deletion and ghosts in the base classes."""

    actions = (
        "compare",
        "correct_jobs",
        "add_tag",
        "remove_tag",
        "annotate",
        "stop_jobs",
        "archive_again",
        "delete_jobs",
    )

    def has_tag_permission(self, request: HttpRequest) -> bool:
        """Return whether the user may tag jobs."""
        return request.user.has_perm("jobs.tag_job")

    def get_urls(self) -> list[URLPattern]:
        """Add the views of the forms."""
        view = self.admin_site.admin_view
        return [
            path("selection/tag/", view(require_POST(self.tag_view)), name="jobs_job_tag"),
            path("selection/untag/", view(require_POST(self.untag_view)), name="jobs_job_untag"),
            *super().get_urls(),
        ]

    @admin.action(description="Add a tag to selected jobs", permissions=["tag"])
    def add_tag(self, request: HttpRequest, queryset: QuerySet[Job]) -> HttpResponseBase | None:
        """Ask for the tag to add."""
        if self.is_large(request):
            return self.in_steps(request, queryset, BulkKind.TAG)
        row_ids = self.few_enough(request, queryset)
        return self._ask_tag(request, row_ids, AddTagForm()) if row_ids else None

    @admin.action(description="Remove a tag from selected jobs", permissions=["tag"])
    def remove_tag(self, request: HttpRequest, queryset: QuerySet[Job]) -> HttpResponseBase | None:
        """Ask for the tag to remove."""
        if self.is_large(request):
            return self.in_steps(request, queryset, BulkKind.UNTAG)
        row_ids = self.few_enough(request, queryset)
        if not row_ids:
            return None
        form = RemoveTagForm(row_ids=row_ids)
        if not form.fields["tag"].queryset.exists():  # type: ignore[attr-defined]
            self.message_user(request, "None of the selected jobs has a tag.", messages.WARNING)
            return None
        return self._ask_tag(request, row_ids, form)

    def tag_view(self, request: HttpRequest) -> HttpResponseBase:
        """Add a tag to jobs."""
        row_ids = self.posted(request, allowed=self.has_tag_permission(request))
        form = AddTagForm(request.POST)
        if not form.is_valid():
            return self._ask_tag(request, row_ids, form)
        tag, actor = form.tag, actor_of(request)
        try:
            if len(row_ids) == 1:
                tag_job(row_id=row_ids[0], tags=[tag], actor=actor)
            else:
                tag_jobs(row_ids=row_ids, tags=[tag], actor=actor)
        except JobError as error:
            return self.refuse(request, str(error))
        return self.done(request, f"{counted(len(row_ids))} tagged {tag.type}:{tag.name}.")

    def untag_view(self, request: HttpRequest) -> HttpResponseBase:
        """Remove a tag from jobs."""
        row_ids = self.posted(request, allowed=self.has_tag_permission(request))
        form = RemoveTagForm(request.POST, row_ids=row_ids)
        if not form.is_valid():
            return self._ask_tag(request, row_ids, form)
        tag: Tag = form.cleaned_data["tag"]
        removed = untag_jobs(row_ids=row_ids, tag=tag, actor=actor_of(request))
        return self.done(request, f"Tag {tag} removed from {counted(removed)}.")

    def _ask_tag(self, request: HttpRequest, row_ids: list[int], form: AddTagForm | RemoveTagForm) -> TemplateResponse:
        adding = isinstance(form, AddTagForm)
        context = {
            "title": "Add a tag" if adding else "Remove a tag",
            "form": form,
            "known_tags": known_types(),
            "action_url": reverse("admin:jobs_job_tag" if adding else "admin:jobs_job_untag"),
            "button": "Add tag" if adding else "Remove tag",
        }
        return self.page(request, "admin/jobs/job/tag_selection.html", row_ids, context)
