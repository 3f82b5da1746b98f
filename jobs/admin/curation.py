"""Curation in the admin: correct a job, note something, stop by hand, archive again, read the history."""

from collections.abc import Iterable
from typing import Any

from django.contrib import admin, messages
from django.contrib.admin.models import LogEntry
from django.core.exceptions import PermissionDenied
from django.core.paginator import Paginator
from django.db.models import Count, QuerySet
from django.http import HttpRequest, HttpResponse, HttpResponseBase, HttpResponseRedirect
from django.shortcuts import redirect
from django.template.response import TemplateResponse
from django.urls import URLPattern, path, reverse
from django.utils.safestring import SafeString
from django.views.decorators.http import require_http_methods, require_POST

from jobs import curation, history
from jobs.admin import display
from jobs.admin.bulk import JobBulk
from jobs.admin.correction import Correction
from jobs.admin.forms import NoteForm, StopForm
from jobs.admin.selection import actor_of, back, counted
from jobs.exceptions import EditConflictError, JobError
from jobs.models import ArchiveTask, Job
from jobs.states import BulkKind

MOST_STOPPED = 1000
"""Jobs that are stopped by hand in one go."""

_ON_THE_PAGE = 10  # entries of the history
_PER_PAGE = 100


class JobCuration(JobBulk):
    """The part of JobAdmin that corrects jobs."""

    def has_archive_permission(self, request: HttpRequest) -> bool:
        """Return whether the user may let archiving start again."""
        return self.has_curate_permission(request)

    def has_curate_permission(self, request: HttpRequest) -> bool:
        """Return whether the user may correct jobs and stop them by hand."""
        return request.user.has_perm("jobs.change_job")

    def has_annotate_permission(self, request: HttpRequest) -> bool:
        """Return whether the user may put notes on jobs."""
        return request.user.has_perm("jobs.annotate_job")

    def get_urls(self) -> list[URLPattern]:
        """Add the pages and the addresses of their forms."""
        view, shown = self.admin_site.admin_view, require_http_methods(["GET", "HEAD", "POST"])
        return [
            path("selection/note/", view(require_POST(self.annotate_view)), name="jobs_job_annotate"),
            path("selection/stop/", view(require_POST(self.stop_view)), name="jobs_job_stop"),
            path("selection/archive/", view(require_POST(self.archive_view)), name="jobs_job_archive"),
            path("<path:object_id>/correct/", view(shown(self.correct_view)), name="jobs_job_correct"),
            path("<path:object_id>/stop/", view(self.ask_stop_view), name="jobs_job_ask_stop"),
            path("<path:object_id>/archive/", view(self.ask_archive_view), name="jobs_job_ask_archive"),
            *super().get_urls(),
        ]

    # --- correct ---

    def correct_view(self, request: HttpRequest, object_id: str) -> HttpResponse:
        """Show the fields of a job that can be corrected, and correct them."""
        job = self.named(request, object_id, allowed=self.has_curate_permission(request))
        form = Correction(job, request.POST if request.method == "POST" else None)
        if request.method == "POST" and form.is_valid():
            try:
                changed = curation.correct_job(row_id=job.pk, edits=form.edits, note=form.note, actor=actor_of(request))
            except EditConflictError as error:
                job.refresh_from_db()
                form = form.after(error.conflicts, job)
            except JobError as error:
                form.facts.add_error(None, str(error))
            else:
                self._tell_corrected(request, job, changed)
                return redirect("admin:jobs_job_change", job.pk)
        context = {"title": f"Correct job {job.job_id} on {job.cluster}", "job": job, "form": form}
        return self.page(request, "admin/jobs/job/correct.html", [job.pk], context)

    def _tell_corrected(self, request: HttpRequest, job: Job, changed: list[str]) -> None:
        if not changed:
            self.message_user(request, "Nothing was changed.", messages.INFO)
            return
        self.message_user(request, f"Corrected: {', '.join(map(history.shown, changed))}.", messages.SUCCESS)
        if ArchiveTask.objects.edited().filter(pk=job.pk).exists():
            text = "The file meta.json could not be written yet; the archive worker will do it."
            self.message_user(request, text, messages.WARNING)

    # --- note ---

    @admin.action(description="Add a note to selected jobs", permissions=["annotate"])
    def annotate(self, request: HttpRequest, queryset: QuerySet[Job]) -> HttpResponseBase | None:
        """Ask for the note."""
        row_ids = self.few_enough(request, queryset)
        return self._ask_note(request, row_ids, NoteForm()) if row_ids else None

    def annotate_view(self, request: HttpRequest) -> HttpResponseBase:
        """Put a note into the history of jobs."""
        row_ids = self.posted(request, allowed=self.has_annotate_permission(request))
        form = NoteForm(request.POST)
        if not form.is_valid():
            return self._ask_note(request, row_ids, form)
        curation.annotate_jobs(row_ids=row_ids, note=form.cleaned_data["note"], actor=actor_of(request))
        return self.done(request, f"Note added to {counted(len(row_ids))}.")

    def _ask_note(self, request: HttpRequest, row_ids: list[int], form: NoteForm) -> TemplateResponse:
        context = {
            "title": "Add a note",
            "question": f"Add a note to {_named(row_ids)}.",
            "form": form,
            "action_url": reverse("admin:jobs_job_annotate"),
            "button": "Add note",
        }
        return self.page(request, "admin/jobs/job/ask.html", row_ids, context)

    # --- stop by hand ---

    @admin.action(description="Stop selected jobs by hand", permissions=["curate"])
    def stop_jobs(self, request: HttpRequest, queryset: QuerySet[Job]) -> HttpResponseBase | None:
        """Ask for state and end of the running jobs of a selection."""
        row_ids = self.few_enough(request, queryset)
        running = list(Job.objects.running().filter(pk__in=row_ids).order_by("pk").values_list("pk", flat=True))
        if row_ids and not running:
            self.message_user(request, "None of the selected jobs is running.", messages.WARNING)
        if len(running) > MOST_STOPPED:
            text = f"{counted(len(running))} are running; at most {MOST_STOPPED:,} are stopped in one go."
            self.message_user(request, text, messages.ERROR)
            return None
        return self._ask_stop(request, running, StopForm(), others=len(row_ids) - len(running)) if running else None

    def ask_stop_view(self, request: HttpRequest, object_id: str) -> HttpResponseBase:
        """Ask for state and end of one job."""
        job = self.named(request, object_id, allowed=self.has_curate_permission(request))
        if not job.is_running:
            self.message_user(request, f"Job {job.job_id} has ended already.", messages.WARNING)
            return HttpResponseRedirect(back(request))
        return self._ask_stop(request, [job.pk], StopForm())

    def stop_view(self, request: HttpRequest) -> HttpResponseBase:
        """Stop jobs whose end the scheduler never reported."""
        row_ids = self.posted(request, allowed=self.has_curate_permission(request))
        if len(row_ids) > MOST_STOPPED:
            raise PermissionDenied
        form = StopForm(request.POST)
        if form.is_valid():
            try:
                outcome = curation.stop_jobs(
                    row_ids=row_ids,
                    job_state=form.cleaned_data["state"],
                    stop_time=form.stop_time,
                    note=form.cleaned_data["note"],
                    actor=actor_of(request),
                )
            except JobError as error:
                form.add_error("ended", str(error))
            else:
                self.tell_refused(request, outcome.refused)
                level = messages.SUCCESS if outcome.done else messages.WARNING
                self.message_user(request, f"{counted(len(outcome.done))} stopped by hand.", level)
                return HttpResponseRedirect(back(request))
        return self._ask_stop(request, row_ids, form)

    def _ask_stop(
        self, request: HttpRequest, row_ids: list[int], form: StopForm, *, others: int = 0
    ) -> TemplateResponse:
        jobs = Job.objects.filter(pk__in=row_ids)
        newest = jobs.order_by("-start_time").values_list("start_time", flat=True).first()
        context = {
            "title": "Stop by hand",
            "question": f"Stop {_named(row_ids)} that the scheduler did not report as ended?",
            "remarks": ["Then it is as if the scheduler had reported the end: the archive worker writes the files."],
            "newest": display.moment(newest),
            "warnings": [f"{counted(others)} of the selection had ended already and stay as they are."]
            if others
            else [],
            "counts": list(jobs.order_by("cluster").values("cluster").annotate(count=Count("pk"))),
            "form": form,
            "action_url": reverse("admin:jobs_job_stop"),
            "button": f"Stop {counted(len(row_ids))}",
        }
        return self.page(request, "admin/jobs/job/ask.html", row_ids, context)

    # --- archive again ---

    @admin.action(description="Archive selected jobs again", permissions=["archive"])
    def archive_again(self, request: HttpRequest, queryset: QuerySet[Job]) -> HttpResponseBase | None:
        """Let given-up jobs wait for the archive worker again at once; ask first if archived ones are among them."""
        if self.is_large(request):
            return self.in_steps(request, queryset, BulkKind.ARCHIVE)
        row_ids = self.few_enough(request, queryset)
        if Job.objects.archived().filter(pk__in=row_ids).exists():
            return self._ask_archive(request, row_ids)
        if row_ids:
            self._archive_again(request, row_ids)
        return None

    def ask_archive_view(self, request: HttpRequest, object_id: str) -> HttpResponseBase:
        """Ask before the samples of one job are fetched anew."""
        job = self.named(request, object_id, allowed=self.has_archive_permission(request))
        return self._ask_archive(request, [job.pk])

    def archive_view(self, request: HttpRequest) -> HttpResponseBase:
        """Let jobs wait for the archive worker again."""
        row_ids = self.posted(request, allowed=self.has_archive_permission(request))
        self._archive_again(request, row_ids)
        return HttpResponseRedirect(back(request))

    def _ask_archive(self, request: HttpRequest, row_ids: list[int]) -> TemplateResponse:
        jobs = Job.objects.archived().filter(pk__in=row_ids)
        counts = list(jobs.order_by("cluster").values("cluster").annotate(count=Count("pk")))
        reasons = {row["cluster"]: curation.why_no_samples(row["cluster"]) for row in counts}
        failed = Job.objects.given_up().filter(pk__in=row_ids).count()
        archived = sum(row["count"] for row in counts)
        possible = failed + sum(row["count"] for row in counts if not reasons[row["cluster"]])
        context = {
            "title": "Archive again",
            "question": f"Fetch the samples of {counted(archived) if len(row_ids) > 1 else _named(row_ids)} anew?",
            "remarks": [
                "The files in the archive stay until new ones replace them; samples come from the source meanwhile.",
                "Where the load fails, or brings fewer samples than the archive has, the files stay for good.",
            ],
            "warnings": [f"{reason}." for reason in reasons.values() if reason],
            "counts": counts,
            "action_url": reverse("admin:jobs_job_archive"),
            "button": f"Archive {counted(possible)} again" if possible else "",
        }
        return self.page(request, "admin/jobs/job/ask.html", row_ids, context)

    def _archive_again(self, request: HttpRequest, row_ids: list[int]) -> None:
        outcome = curation.archive_again(row_ids=row_ids, actor=actor_of(request))
        self.tell_refused(request, outcome.refused)
        level = messages.SUCCESS if outcome.done else messages.WARNING
        self.message_user(request, f"{counted(len(outcome.done))} will be archived again.", level)

    # --- history ---

    def history_view(
        self, request: HttpRequest, object_id: str, extra_context: dict[str, Any] | None = None
    ) -> HttpResponse:
        """Show all changes of a job with their authors, newest first."""
        job = self.get_object(request, object_id)
        if job is None:
            self.message_user(request, f"There is no job {object_id!r}.", messages.WARNING)
            return redirect("admin:index")
        entries = Paginator(history.of_job(job.pk), _PER_PAGE).get_page(request.GET.get("p", 1))
        context = {
            "title": f"History of job {job.job_id} on {job.cluster}",
            "job": job,
            "page": entries,
            "entries": _rows(entries.object_list),
        }
        return self.page(request, "admin/jobs/job/object_history.html", [job.pk], context | (extra_context or {}))

    def curation_context(self, request: HttpRequest, job: Job) -> dict[str, Any]:
        """Return the context of these parts of the job page."""
        may_annotate = self.has_annotate_permission(request)
        entries = _rows(history.of_job(job.pk)[: _ON_THE_PAGE + 1])
        return {
            "may_curate": self.has_curate_permission(request),
            "note_form": NoteForm(auto_id="note_%s") if may_annotate else None,
            "history": entries[:_ON_THE_PAGE],
            "last_note": _last_note(job),
            "has_more_history": len(entries) > _ON_THE_PAGE,
        }


def _last_note(job: Job) -> dict[str, Any] | None:
    """Return text, user and time of a job's newest note."""
    found = history.last_note(job.pk)
    if found is None:
        return None
    entry, text = found
    return {"text": text, "user": str(entry.user), "at": display.moment(int(entry.action_time.timestamp()))}


def _named(row_ids: list[int]) -> str:
    """Return one job by its name, or how many there are."""
    if len(row_ids) > 1:
        return counted(len(row_ids))
    job = Job.objects.only("cluster", "job_id", "user").get(pk=row_ids[0])
    return f"job {job.job_id} of {job.user} on {job.cluster}"


def _rows(entries: Iterable[LogEntry]) -> list[tuple[SafeString | str, str, str]]:
    """Return time, user and text of entries of the history."""
    return [
        (
            display.moment(int(entry.action_time.timestamp())),
            str(entry.user),
            history.text_of(entry) or entry.get_action_flag_display(),
        )
        for entry in entries
    ]
