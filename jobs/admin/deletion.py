"""Deletion in the admin: one job, a selection, or everything that started before a time."""

import time
from typing import Any

import msgspec
from django.contrib import admin, messages
from django.core import signing
from django.core.exceptions import PermissionDenied
from django.db.models import QuerySet
from django.http import HttpRequest, HttpResponse, HttpResponseBase
from django.shortcuts import redirect
from django.template.response import TemplateResponse
from django.urls import URLPattern, path, reverse
from django.views.decorators.http import require_http_methods, require_POST

from jobs.admin import display
from jobs.admin.bulk import JobBulk
from jobs.admin.changelist import BIG
from jobs.admin.forms import DeleteBeforeForm
from jobs.admin.selection import actor_of, counted
from jobs.deletion.services import delete_jobs, survey
from jobs.deletion.steps import Plan, Progress, begin, go_on, progress_of
from jobs.exceptions import JobError
from jobs.models import Job
from jobs.states import BulkKind

_PLAN, _ENTRY = "jobs.delete-before.plan", "jobs.delete-before.entry"  # salts of the signatures
_VALID_FOR = 7 * 86_400  # seconds that a stopped deletion can be continued


class JobDeletion(JobBulk):
    """The part of JobAdmin that deletes jobs."""

    def get_actions(self, request: HttpRequest) -> dict[str, Any]:
        """Leave out Django's deletion, which would load every row that hangs on the jobs."""
        return {name: action for name, action in super().get_actions(request).items() if name != "delete_selected"}

    def get_urls(self) -> list[URLPattern]:
        """Add the pages and the addresses of their forms."""
        view, shown = self.admin_site.admin_view, require_http_methods(["GET", "HEAD", "POST"])
        return [
            path("selection/delete/", view(require_POST(self.delete_jobs_view)), name="jobs_job_delete_selection"),
            path("delete-before/", view(shown(self.delete_before_view)), name="jobs_job_delete_before"),
            *super().get_urls(),
        ]

    # --- one job, or a selection ---

    def delete_view(self, request: HttpRequest, object_id: str, extra_context: Any = None) -> HttpResponse:
        """Ask before deleting one job, on the page that asks for many."""
        job = self.named(request, object_id, allowed=self.has_delete_permission(request))
        return self._ask_to_delete(request, [job.pk])

    @admin.action(description="Delete selected jobs", permissions=["delete"])
    def delete_jobs(self, request: HttpRequest, queryset: QuerySet[Job]) -> HttpResponseBase | None:
        """Show the jobs that would go, and ask."""
        if self.is_large(request):
            return self.in_steps(request, queryset, BulkKind.DELETE)
        row_ids = self.few_enough(request, queryset)
        return self._ask_to_delete(request, row_ids) if row_ids else None

    def delete_jobs_view(self, request: HttpRequest) -> HttpResponseBase:
        """Delete jobs from the database after the question was answered."""
        row_ids = self.posted(request, allowed=self.has_delete_permission(request))
        deleted = delete_jobs(row_ids=row_ids, actor=actor_of(request))
        self.message_user(request, f"{counted(deleted)} deleted. The archive keeps the files.", messages.SUCCESS)
        return redirect("admin:jobs_job_changelist")

    def _ask_to_delete(self, request: HttpRequest, row_ids: list[int]) -> TemplateResponse:
        jobs = Job.objects.visible_to(request.user).filter(pk__in=row_ids)
        context = {
            "title": "Delete jobs",
            "survey": survey(jobs),
            "only": jobs.defer(*BIG).first() if len(row_ids) == 1 else None,
            "action_url": reverse("admin:jobs_job_delete_selection"),
        }
        return self.page(request, "admin/jobs/job/delete_selection.html", row_ids, context)

    # --- everything before a time ---

    def delete_before_view(self, request: HttpRequest) -> HttpResponse:
        """Ask for a time, show the jobs that would go, and delete them in steps of about a second.

        The forms carry, signed, the plan to be confirmed, and then the id of the entry that keeps the state.
        """
        if not self.has_delete_permission(request):
            raise PermissionDenied
        try:
            if request.method == "POST":
                return self._delete_step(request)
            if "run" in request.GET:
                entry = _signed(request, request.GET["run"], _ENTRY)
                progress = progress_of(entry)
                return self._show_progress(request, entry, progress, is_stopped=not progress.is_finished)
        except JobError as error:
            self.message_user(request, str(error), messages.ERROR)
            return redirect("admin:jobs_job_delete_before")
        form = DeleteBeforeForm(request.GET if "before" in request.GET else None)
        if form.is_bound and form.is_valid():
            return self._preview(request, form)
        return self._show_before(request, {"form": form})

    def _preview(self, request: HttpRequest, form: DeleteBeforeForm) -> TemplateResponse:
        choice = form.cleaned_data
        plan = Plan(int(choice["before"].timestamp()), choice["cluster"], choice["keep_tagged"])
        begun = time.monotonic()
        counts = survey(plan.jobs)
        plan = msgspec.structs.replace(plan, total=counts.total)
        seconds = f"{time.monotonic() - begun:.1f}"
        return self._show_plan(request, plan, {"survey": counts, "form": form, "seconds": seconds})

    def _show_plan(self, request: HttpRequest, plan: Plan, context: dict[str, Any]) -> TemplateResponse:
        signed = _sign(request, msgspec.structs.asdict(plan), _PLAN)
        when = display.moment(plan.start_time)
        return self._show_before(request, {"plan": plan, "when": when, "signed_plan": signed} | context)

    def _delete_step(self, request: HttpRequest) -> TemplateResponse:
        """Begin the confirmed deletion, or go on with it, for about a second."""
        if "run" in request.POST:
            entry: int = _signed(request, request.POST["run"], _ENTRY)
        else:
            plan = Plan(**_signed(request, request.POST.get("plan", ""), _PLAN))
            typed = request.POST.get("confirm", "").strip().replace(",", "")
            if typed != str(plan.total) or not plan.total:
                error = f"Nothing was deleted: type {plan.total:,} to confirm."
                return self._show_plan(request, plan, {"form": None, "confirm_error": error})
            entry = begin(plan=plan, actor=actor_of(request))
        return self._show_progress(request, entry, go_on(entry=entry))

    def _show_progress(
        self, request: HttpRequest, entry: int, progress: Progress, *, is_stopped: bool = False
    ) -> TemplateResponse:
        context = {
            "progress": progress,
            "total": max(progress.plan.total or 0, progress.deleted),
            "signed_run": _sign(request, entry, _ENTRY),
            "is_stopped": is_stopped,
        }
        return self._show_before(request, context)

    def _show_before(self, request: HttpRequest, context: dict[str, Any]) -> TemplateResponse:
        shared = {"title": "Delete everything before a time"}
        return self.page(request, "admin/jobs/job/delete_before.html", [], shared | context)


def _sign(request: HttpRequest, value: Any, salt: str) -> str:
    return signing.dumps([request.user.pk, value], salt=salt)


def _signed(request: HttpRequest, text: str, salt: str) -> Any:
    """Return the value that `_sign` signed for the same user; refuse everything else."""
    try:
        user, value = signing.loads(text, salt=salt, max_age=_VALID_FOR)
    except signing.BadSignature:
        raise PermissionDenied from None
    if user != request.user.pk:
        raise PermissionDenied
    return value
