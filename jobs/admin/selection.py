"""The base of all changes of one or many jobs: the selected jobs, and the page that asks for confirmation.

An action of the list shows a confirmation page, and a separate view makes the change. The form carries the row ids, so
the view checks permissions again.
"""

from typing import TYPE_CHECKING, Any

from django.contrib import admin, messages
from django.core.exceptions import PermissionDenied
from django.db.models import QuerySet
from django.http import HttpRequest, HttpResponse, HttpResponseRedirect
from django.template.response import TemplateResponse
from django.urls import reverse

from accounts.formatting import quantity
from accounts.models import User
from jobs.admin.changelist import MOST_COUNTED
from jobs.history import Actor
from jobs.models import Job
from jobs.text import is_whole

if TYPE_CHECKING:
    JobModelAdmin = admin.ModelAdmin[Job]
else:
    JobModelAdmin = admin.ModelAdmin

_GONE = "No such job is there any more, or none that you may see."
_MOST_REASONS = 20  # that are shown, one per refused job


class JobSelection(JobModelAdmin):
    """The base of the parts of JobAdmin that change jobs."""

    def few_enough(self, request: HttpRequest, queryset: QuerySet[Job]) -> list[int]:
        """Return the row ids of a selection; if there are too many, show an error and return none."""
        row_ids = list(queryset.order_by("pk").values_list("pk", flat=True)[: MOST_COUNTED + 1])
        if len(row_ids) > MOST_COUNTED:
            text = f"More than {MOST_COUNTED:,} jobs are selected; nothing was done. Narrow the filters."
            self.message_user(request, text, messages.ERROR)
            return []
        return row_ids

    def posted(self, request: HttpRequest, *, allowed: bool) -> list[int]:
        """Return the row ids in a form, without jobs that the user may not see."""
        words = request.POST.get("jobs", "").split(",")
        if not allowed or len(words) > MOST_COUNTED or not all(map(_is_row_id, words)):
            raise PermissionDenied
        jobs = self.get_queryset(request).filter(pk__in=[int(word) for word in words])
        row_ids = list(jobs.order_by("pk").values_list("pk", flat=True))
        if not row_ids:
            raise PermissionDenied(_GONE)
        return row_ids

    def named(self, request: HttpRequest, object_id: str, *, allowed: bool) -> Job:
        """Return the job of a URL; raise PermissionDenied unless `allowed` and the user may see it."""
        if not allowed:
            raise PermissionDenied
        job = self.get_object(request, object_id)
        if job is None:
            raise PermissionDenied(_GONE)
        return job

    def page(
        self, request: HttpRequest, template: str, row_ids: list[int], context: dict[str, Any]
    ) -> TemplateResponse:
        """Return a page about the selected jobs."""
        shared = {
            **self.admin_site.each_context(request),
            "opts": self.opts,
            "row_ids": ",".join(map(str, row_ids)),
            "total": len(row_ids),
            "back": back(request),
        }
        return TemplateResponse(request, template, shared | context)

    def done(self, request: HttpRequest, message: str) -> HttpResponse:
        """Show a success message and return to the original page."""
        self.message_user(request, message, messages.SUCCESS)
        return HttpResponseRedirect(back(request))

    def refuse(self, request: HttpRequest, reason: str) -> HttpResponse:
        """Show an error message and return to the original page."""
        self.message_user(request, reason, messages.ERROR)
        return HttpResponseRedirect(back(request))

    def tell_refused(self, request: HttpRequest, reasons: list[str]) -> None:
        """Show the first reasons why jobs were refused."""
        for reason in reasons[:_MOST_REASONS]:
            self.message_user(request, f"Not done: {reason}.", messages.WARNING)
        if len(reasons) > _MOST_REASONS:
            self.message_user(request, f"Not done for {len(reasons) - _MOST_REASONS:,} more.", messages.WARNING)


def actor_of(request: HttpRequest) -> Actor:
    """Return the user, for the history."""
    assert isinstance(request.user, User)
    return Actor(request.user.pk)


def counted(count: int) -> str:
    """Return '1 job' or '1,234 jobs'."""
    return quantity(count, "job")


def _is_row_id(word: str) -> bool:
    return word.isascii() and word.isdecimal() and is_whole(word)


def back(request: HttpRequest) -> str:
    """Return the address from which a form was opened: a job page, or the list with its filters."""
    listed = reverse("admin:jobs_job_changelist")
    wanted = request.POST.get("back", "") or request.get_full_path()
    if wanted.startswith(f"{listed}selection/") or not wanted.startswith(listed):
        return listed
    for page in ("delete", "correct", "stop", "archive"):
        if wanted.endswith(f"/{page}/"):
            return f"{wanted.removesuffix(f'{page}/')}change/"
    return wanted
