"""Changes of many jobs in steps: the page of one, from the selection to its undoing, and the list of them."""

import copy
from typing import Any

from django.contrib import admin, messages
from django.contrib.admin.options import IncorrectLookupParameters
from django.core.exceptions import PermissionDenied
from django.db.models import QuerySet
from django.http import Http404, HttpRequest, HttpResponse, HttpResponseBase, QueryDict
from django.shortcuts import redirect
from django.template.response import TemplateResponse
from django.urls import URLPattern, path, reverse
from django.views.decorators.http import require_GET, require_http_methods

from accounts.models import User
from jobs.admin import display
from jobs.admin.changelist import JobChangeList
from jobs.admin.forms import AddTagForm, BulkCorrectForm, CountForm, known_types
from jobs.admin.saved_filters import lasting
from jobs.admin.selection import JobSelection, actor_of, counted
from jobs.bulk import changing
from jobs.bulk.selecting import begin_selection, forget, losses, select_all, select_more
from jobs.exceptions import InvalidJobError, JobError
from jobs.models import Job
from jobs.querysets import seen_by
from jobs.records import BulkChange, BulkCounts
from jobs.search.find import Search
from jobs.states import BulkKind, BulkState

_MOST_LISTED = 100

_PERMISSIONS = {
    BulkKind.CORRECT: "jobs.change_job",
    BulkKind.TAG: "jobs.tag_job",
    BulkKind.UNTAG: "jobs.tag_job",
    BulkKind.ARCHIVE: "jobs.change_job",
    BulkKind.DELETE: "jobs.delete_job",
}
_TITLES = {
    BulkKind.CORRECT: "Correct jobs",
    BulkKind.TAG: "Add a tag",
    BulkKind.UNTAG: "Remove a tag",
    BulkKind.ARCHIVE: "Archive again",
    BulkKind.DELETE: "Delete jobs",
}
_BUTTONS = {
    BulkKind.CORRECT: "Correct {}",
    BulkKind.TAG: "Tag {}",
    BulkKind.UNTAG: "Remove tag from {}",
    BulkKind.ARCHIVE: "Archive {} again",
    BulkKind.DELETE: "Delete {}",
}
_REMARKS = {
    BulkKind.TAG: "The tag is created if it is new.",
    BulkKind.ARCHIVE: "The samples of archived jobs are fetched anew; their files stay until new ones replace them.",
    BulkKind.DELETE: "The jobs are deleted from the database, with their links to tags. The archive keeps the files."
    " This cannot be undone.",
}


_UNDOING = {
    BulkKind.CORRECT: "Gives the jobs their old values back, but for those that were changed again meanwhile.",
    BulkKind.TAG: "Takes the tag from the jobs that got it here; those that had it before keep it.",
    BulkKind.UNTAG: "Gives the tag back to the jobs from which it was removed here.",
}


class JobBulk(JobSelection):
    """The part of JobAdmin that changes selections of any size."""

    def get_urls(self) -> list[URLPattern]:
        """Add the pages."""
        view, shown = self.admin_site.admin_view, require_http_methods(["GET", "HEAD", "POST"])
        return [
            path("bulk/", view(require_GET(self.bulk_list_view)), name="jobs_job_bulk_list"),
            path("bulk/<int:change_id>/", view(shown(self.bulk_view)), name="jobs_job_bulk"),
            *super().get_urls(),
        ]

    # --- the selection ---

    @admin.action(description="Correct project or partition of selected jobs", permissions=["curate"])
    def correct_jobs(self, request: HttpRequest, queryset: QuerySet[Job]) -> HttpResponseBase | None:
        """Select the jobs, and lead to the page that asks for the new values."""
        return self.in_steps(request, queryset, BulkKind.CORRECT)

    def is_large(self, request: HttpRequest) -> bool:
        """Return whether an action is for all jobs of a list that has more than are worked on at once."""
        return request.POST.get("select_across") == "1" and not self._changelist(request).can_sort

    def in_steps(self, request: HttpRequest, queryset: QuerySet[Job], kind: BulkKind) -> HttpResponseBase | None:
        """Begin to select the jobs of an action, and lead to the page of the change."""
        query = lasting(request.META.get("QUERY_STRING", ""))
        changelist = self._changelist(request)
        is_across = request.POST.get("select_across") == "1"
        conditions = changelist.conditions if is_across else "chosen one by one"
        change = begin_selection(kind=kind, actor=actor_of(request), query=query, conditions=conditions)
        if changelist.can_sort or not is_across:
            change = select_all(change, queryset)  # type: ignore[arg-type]  # a JobQuerySet, see get_queryset
            if not change.selected:
                forget(change)
                self.message_user(request, "None of the selected jobs is there any more.", messages.WARNING)
                return None
        return redirect("admin:jobs_job_bulk", change.pk)

    def _changelist(self, request: HttpRequest) -> JobChangeList:
        changelist = self.get_changelist_instance(request)
        assert isinstance(changelist, JobChangeList)
        return changelist

    def _search(self, request: HttpRequest, change: BulkChange) -> Search:
        """Return the search of the list from which a change was begun, as the user sees it now."""
        listed = copy.copy(request)
        listed.GET = QueryDict(change.query)
        listed.method = "POST"  # so that the list tells nobody of problems
        return self._changelist(listed).search

    # --- the page of a change ---

    def bulk_view(self, request: HttpRequest, change_id: int) -> HttpResponse:
        """Show how far a change is; select, begin, go on and undo by the buttons of the page."""
        change = self._allowed(request, change_id)
        if request.method == "POST":
            try:
                return self._step(request, change)
            except JobError as error:
                self.message_user(request, f"Not done: {error}.", messages.ERROR)
            except IncorrectLookupParameters:
                text = "The list from which the jobs were selected has a filter that is gone; begin anew."
                self.message_user(request, text, messages.ERROR)
            return redirect("admin:jobs_job_bulk", change.pk)
        return self._show(request, change, goes_on=change.state == BulkState.SELECTING)

    def _kinds(self, request: HttpRequest) -> list[BulkKind]:
        """Return the kinds of changes that the user may make."""
        return [kind for kind, permission in _PERMISSIONS.items() if request.user.has_perm(permission)]

    def _allowed(self, request: HttpRequest, change_id: int) -> BulkChange:
        """Return a change that the user made or, seeing all jobs, may make; else raise PermissionDenied, or Http404."""
        kinds = self._kinds(request)
        change = BulkChange.objects.select_related("user").filter(pk=change_id).first()
        if kinds and change is None:
            raise Http404(f"no bulk change {change_id}: a selection that is cancelled, or left for a day, is forgotten")
        if change is None or change.kind not in kinds:
            raise PermissionDenied
        if change.user_id != request.user.pk and seen_by(request.user) is not None:
            raise PermissionDenied
        return change

    def _step(self, request: HttpRequest, change: BulkChange) -> HttpResponse:
        """Do what the pressed button says; that of work in steps has no name."""
        assert isinstance(request.user, User)
        is_begun = change.state not in (BulkState.SELECTING, BulkState.SELECTED)
        if is_begun and ("forget" in request.POST or "begin" in request.POST):
            raise InvalidJobError("this change was begun already, on another page or by somebody else; see below")
        if "forget" in request.POST:
            address = f"{reverse('admin:jobs_job_changelist')}?{change.query}"
            forget(change)
            return redirect(address)
        if change.state == BulkState.SELECTING:
            return self._show(request, select_more(change, self._search(request, change)), goes_on=True)
        if "undo" in request.POST:
            change = changing.undo(change=change, actor=actor_of(request))
        elif "begin" in request.POST:
            form = self._form(change, request.POST)
            if not form.is_valid():
                return self._show(request, change, form=form)
            note = form.cleaned_data.get("note")
            try:
                change = changing.confirm(change=change, wanted=form.wanted, note=note, actor=actor_of(request))
            except JobError as error:
                form.add_error(None, f"{error}.")
                return self._show(request, change, form=form)
        return self._show(request, changing.go_on(change_id=change.pk, user=request.user), goes_on=True)

    def _form(self, change: BulkChange, data: QueryDict | None = None) -> Any:
        if change.kind == BulkKind.CORRECT:
            return BulkCorrectForm(data)
        if change.kind in (BulkKind.TAG, BulkKind.UNTAG):
            return AddTagForm(data, initial=change.new_values)
        return CountForm(data, number=change.selected if change.kind == BulkKind.DELETE else None)

    def _show(
        self, request: HttpRequest, change: BulkChange, *, form: Any = None, goes_on: bool = False
    ) -> TemplateResponse:
        kind, counts = BulkKind(change.kind), change.outcome
        goes_on = goes_on and change.goes_on
        is_undo = change.state in (BulkState.UNDOING, BulkState.UNDONE)
        shown = sum(number for _, _, number in change.old_values)
        context = {
            "title": _TITLES[kind],
            "change": change,
            "form": (form or self._form(change)) if change.state == BulkState.SELECTED else None,
            "known_tags": known_types(),
            "remark": _REMARKS.get(kind, ""),
            "survey": losses(change) if kind == BulkKind.DELETE and change.state == BulkState.SELECTED else None,
            "button": _BUTTONS[kind].format(counted(change.selected)),
            "others": change.selected - shown,
            "reached": counts.restored + counts.kept if is_undo else _reached(counts),
            "total": counts.changed if is_undo else change.selected,
            "lines": _lines(counts),
            "counts": counts,
            "wanted": changing.in_words(change.new_values),
            "begun": display.moment(change.begun_at),
            "headline": _headline(change, goes_on=goes_on),
            "goes_on": goes_on,
            "can_undo": changing.can_undo(change),
            "undoing": _UNDOING.get(kind, ""),
            "list_url": f"{reverse('admin:jobs_job_changelist')}?{change.query}",
        }
        return self.page(request, "admin/jobs/job/bulk.html", [], context)

    # --- all changes ---

    def bulk_list_view(self, request: HttpRequest) -> HttpResponse:
        """List the latest changes that the user may continue or undo."""
        kinds = self._kinds(request)
        if not kinds:
            raise PermissionDenied
        changes = BulkChange.objects.filter(kind__in=kinds).select_related("user").order_by("-pk")
        changes = changes.exclude(state=BulkState.SELECTED, selected=0)
        if seen_by(request.user) is not None:
            changes = changes.filter(user=request.user.pk)
        rows = [
            {
                "change": change,
                "title": _TITLES[BulkKind(change.kind)],
                "at": display.moment(change.begun_at or change.created_at),
                "wanted": changing.in_words(change.new_values),
                "changed": change.outcome.changed,
                "can_undo": changing.can_undo(change),
            }
            for change in changes[:_MOST_LISTED]
        ]
        context = {"title": "Bulk changes", "rows": rows, "most": _MOST_LISTED}
        return self.page(request, "admin/jobs/job/bulk_list.html", [], context)


def _headline(change: BulkChange, *, goes_on: bool) -> str:
    counts, of_all = change.outcome, f"of {counted(change.selected)}"
    done = f"{counts.changed:,} {of_all} {'deleted' if change.kind == BulkKind.DELETE else 'changed'}"
    if change.state in (BulkState.UNDOING, BulkState.UNDONE):
        done = f"{counts.restored:,} of {counted(counts.changed)} restored"
    if not change.goes_on:
        return f"{done}. Done."
    return f"{done} so far." if goes_on else f"{done}. Stopped, unless another page goes on with it."


def _reached(counts: BulkCounts) -> int:
    return counts.changed + counts.same + counts.others + counts.gone + counts.refused


def _lines(counts: BulkCounts) -> list[str]:
    """Return what became of the jobs that were not changed, or not restored."""
    sentences = {
        "{} had nothing to change.": counts.same,
        "{} somebody else had changed after the selection: left as they are.": counts.others,
        "{} had been deleted, or cannot be seen any more.": counts.gone,
        "{} could not be changed.": counts.refused,
        "{} could not be restored: changed again meanwhile, or deleted.": counts.kept,
    }
    return [sentence.format(counted(number)) for sentence, number in sentences.items() if number]
