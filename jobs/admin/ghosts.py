"""The page "Ghost jobs": running jobs that the scheduler probably does not run, each with the end that it would get."""

import time

from django import forms
from django.contrib import messages
from django.core.exceptions import PermissionDenied
from django.http import HttpRequest, HttpResponse
from django.shortcuts import redirect
from django.urls import URLPattern, path
from django.views.decorators.http import require_http_methods

from accounts.models import Role, User
from jobs import curation
from jobs.admin.forms import NoteField
from jobs.admin.selection import JobSelection, actor_of, counted
from jobs.curation import End
from jobs.exceptions import JobError
from jobs.health import ghosts
from jobs.health.ghosts import Basis
from jobs.states import JobState
from jobs.text import is_whole

MOST_SHOWN = 1000
"""Ghosts on the page, and stopped in one go."""


class GhostForm(forms.Form):
    """The state of the ghosts, and why they are stopped."""

    state = forms.ChoiceField(
        choices=[(state.value, state.label.lower()) for state in JobState if state != JobState.RUNNING],
        initial=JobState.FAILED,
    )
    note = NoteField("Visible to everybody who sees the job.")


class JobGhosts(JobSelection):
    """The part of JobAdmin that finds ghosts and stops them."""

    def get_urls(self) -> list[URLPattern]:
        """Add the page."""
        view = self.admin_site.admin_view(require_http_methods(["GET", "HEAD", "POST"])(self.ghosts_view))
        return [path("ghosts/", view, name="jobs_job_ghosts"), *super().get_urls()]

    def ghosts_view(self, request: HttpRequest) -> HttpResponse:
        """Show the ghosts with their proposed ends, and stop a selection at these."""
        assert isinstance(request.user, User)
        if not request.user.has_role(Role.ADMIN, Role.SUPPORT):
            raise PermissionDenied
        may_stop = request.user.has_perm("jobs.change_job")
        form = GhostForm(request.POST or None, initial={"note": "The scheduler does not run the job any more."})
        if request.method == "POST":
            if not may_stop:
                raise PermissionDenied
            if form.is_valid() and self._stop(request, form):
                return redirect("admin:jobs_job_ghosts")
        found = ghosts.find(int(time.time()))
        context = {
            "title": "Ghost jobs",
            "ghosts": found[:MOST_SHOWN],
            "count": len(found),
            "form": form,
            "may_stop": may_stop,
        }
        return self.page(request, "admin/jobs/job/ghosts.html", [], context)

    def _stop(self, request: HttpRequest, form: GhostForm) -> bool:
        """Stop the chosen jobs, each at the end that the page showed; return whether that was tried."""
        ends = [_end(word, form.cleaned_data["state"]) for word in request.POST.getlist("ghost")[:MOST_SHOWN]]
        if not ends:
            form.add_error(None, "Choose the jobs to stop.")
            return False
        try:
            outcome = curation.stop_each(
                ends=ends, how="as a ghost", note=form.cleaned_data["note"], actor=actor_of(request)
            )
        except JobError as error:
            form.add_error(None, str(error))
            return False
        self.tell_refused(request, outcome.refused)
        level = messages.SUCCESS if outcome.done else messages.WARNING
        self.message_user(request, f"{counted(len(outcome.done))} stopped at the proposed ends.", level)
        return True


def _end(word: str, state: str) -> End:
    """Return the end in the value of a box: database id, epoch seconds, and what the end rests on."""
    parts = word.split(":")
    if len(parts) != 3 or not all(map(is_whole, parts[:2])) or parts[2] not in Basis.values:
        raise PermissionDenied
    return End(int(parts[0]), state, int(parts[1]), str(Basis(parts[2]).label))
