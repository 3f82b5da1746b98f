"""Deletion in the admin: one job, a selection, or everything that started before a time."""

import dataclasses
import time
from typing import Any

from django.contrib import admin, messages
from django.core import signing
from django.core.exceptions import PermissionDenied
from django.db.models import Count, Q, QuerySet
from django.http import HttpRequest, HttpResponse, HttpResponseBase
from django.shortcuts import redirect
from django.template.response import TemplateResponse
from django.urls import URLPattern, path, reverse
from django.views.decorators.http import require_http_methods, require_POST

from jobs.admin import display
from jobs.admin.changelist import BIG
from jobs.admin.forms import DeleteBeforeForm
from jobs.admin.selection import JobSelection, actor_of, counted
from jobs.deletion.services import delete_jobs, jobs_before
from jobs.deletion.steps import Plan, Progress, Run, begin, go_on, progress_of
from jobs.exceptions import JobError
from jobs.models import Job
from jobs.querysets import JobQuerySet
from jobs.states import JobState, MonitoringStatus

_PLAN, _RUN = "jobs.delete-before.plan", "jobs.delete-before.run"  # what is signed
_VALID_FOR = 7 * 86_400  # seconds that a stopped deletion can be continued


class JobDeletion(JobSelection):
    """The part of JobAdmin that deletes jobs."""

    def get_actions(self, request: HttpRequest) -> dict[str, Any]:
        """Leave out Django's deletion, which would load every row that hangs on the jobs."""
        return {name: action for name, action in super().get_actions(request).items() if name != "delete_selected"}

    def get_urls(self) -> list[URLPattern]:
        """Add the pages and what their forms send to."""
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
        """Show what would go, and ask."""
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
        context = _counts(jobs) | {
            "title": "Delete jobs",
            "only": jobs.defer(*BIG).first() if len(row_ids) == 1 else None,
            "action_url": reverse("admin:jobs_job_delete_selection"),
        }
        return self.page(request, "admin/jobs/job/delete_selection.html", row_ids, context)

    # --- everything before a time ---

    def delete_before_view(self, request: HttpRequest) -> HttpResponse:
        """Ask for a time, show what would go, and delete it in steps of about a second.

        The plan that was confirmed and how far it is travel in the forms, signed.
        """
        if not self.has_delete_permission(request):
            raise PermissionDenied
        try:
            if request.method == "POST":
                return self._delete_step(request)
            if "run" in request.GET:
                progress = progress_of(_run(request, request.GET["run"]))
                return self._show_progress(request, progress, is_stopped=not progress.is_finished)
        except JobError as error:
            self.message_user(request, str(error), messages.ERROR)
            return redirect("admin:jobs_job_delete_before")
        form = DeleteBeforeForm(request.GET if "before" in request.GET else None)
        if form.is_bound and form.is_valid():
            return self._preview(request, form)
        return self._show_before(request, {"form": form})

    def _preview(self, request: HttpRequest, form: DeleteBeforeForm) -> TemplateResponse:
        which = form.cleaned_data
        plan = Plan(int(which["before"].timestamp()), which["cluster"], which["keep_tagged"])
        begun = time.monotonic()
        counts = _counts(
            jobs_before(start_time=plan.start_time, omit_tagged=plan.omit_tagged, cluster=plan.cluster or None)
        )
        plan = dataclasses.replace(plan, total=sum(row["count"] for row in counts["counts"]))
        context = counts | {"form": form, "seconds": f"{time.monotonic() - begun:.1f}"}
        return self._show_plan(request, plan, context)

    def _show_plan(self, request: HttpRequest, plan: Plan, context: dict[str, Any]) -> TemplateResponse:
        signed = _sign(request, dataclasses.asdict(plan), _PLAN)
        when = display.moment(plan.start_time)
        return self._show_before(request, {"plan": plan, "when": when, "signed_plan": signed} | context)

    def _delete_step(self, request: HttpRequest) -> TemplateResponse:
        """Begin what was confirmed, or go on, for about a second."""
        if "run" in request.POST:
            run = _run(request, request.POST["run"])
        else:
            plan = Plan(**_signed(request, request.POST.get("plan", ""), _PLAN))
            typed = request.POST.get("confirm", "").strip().replace(",", "")
            if typed != str(plan.total) or not plan.total:
                error = f"Nothing was deleted: type {plan.total:,} to confirm."
                return self._show_plan(request, plan, {"form": None, "confirm_error": error})
            run = begin(plan=plan, actor=actor_of(request))
        return self._show_progress(request, go_on(run=run))

    def _show_progress(self, request: HttpRequest, progress: Progress, *, is_stopped: bool = False) -> TemplateResponse:
        total = max(progress.run.plan.total or 0, progress.deleted)
        context = {
            "progress": progress,
            "total": total,
            "signed_run": _sign(request, dataclasses.asdict(progress.run), _RUN),
            "is_stopped": is_stopped,
        }
        return self._show_before(request, context)

    def _show_before(self, request: HttpRequest, context: dict[str, Any]) -> TemplateResponse:
        shared = {"title": "Delete everything before a time"}
        return self.page(request, "admin/jobs/job/delete_before.html", [], shared | context)


def _counts(jobs: JobQuerySet) -> dict[str, Any]:
    """Return counts by cluster and state, and how many run or wait for the archive, in one look at these jobs."""
    never_archived = Q(monitoring_status=MonitoringStatus.ARCHIVING, statistics=None) & ~Q(job_state=JobState.RUNNING)
    found = jobs.order_by().values("cluster", "job_state")
    rows = list(found.annotate(count=Count("pk"), waiting=Count("pk", filter=never_archived)))
    return {
        "counts": sorted(rows, key=lambda row: (row["cluster"], row["job_state"])),
        "running": sum(row["count"] for row in rows if row["job_state"] == JobState.RUNNING),
        "waiting": sum(row["waiting"] for row in rows),
    }


def _sign(request: HttpRequest, value: dict[str, Any], kind: str) -> str:
    return signing.dumps([request.user.pk, value], salt=kind)


def _signed(request: HttpRequest, text: str, kind: str) -> dict[str, Any]:
    """Return what `_sign` made for the same user; refuse everything else."""
    try:
        user, value = signing.loads(text, salt=kind, max_age=_VALID_FOR)
    except signing.BadSignature:
        raise PermissionDenied from None
    if user != request.user.pk:
        raise PermissionDenied
    found: dict[str, Any] = value
    return found


def _run(request: HttpRequest, text: str) -> Run:
    value = _signed(request, text, _RUN)
    return Run(Plan(**value["plan"]), value["entry"], value["reached"])
