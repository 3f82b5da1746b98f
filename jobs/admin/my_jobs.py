"""My jobs: what runs, what ended badly and why, and the usage of the month, of a user's own and managed jobs."""

import time
from collections.abc import Mapping
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from typing import Any

from django.contrib import admin
from django.db.models import F
from django.http import HttpRequest, HttpResponse
from django.template.response import TemplateResponse
from django.urls import reverse
from django.views.decorators.http import require_safe

from accounts.models import User
from jobs.admin.changelist import BIG
from jobs.ledger.slots import slots
from jobs.models import Job
from jobs.overview.health_page import may_see
from jobs.overview.usage import Days, Question, usage_by, usage_per_day, with_shares
from jobs.querysets import own
from jobs.samples.ending import ending
from jobs.samples.footprint_rules import sentences
from jobs.search.criteria import Criteria, any_criterion, by_state
from jobs.search.expressions import JobName, SchedulerState
from jobs.search.find import BUDGET, Search
from jobs.states import JobState

MOST_LISTED = 50
_BAD = (JobState.FAILED, JobState.TIMEOUT, JobState.OUT_OF_MEMORY, JobState.PREEMPTED)
_DAYS, _DAY = 7, 86_400
_NEARLY_OVER = 0.9  # of the requested time


@dataclass(frozen=True)
class Listed:
    """A job of the page, with the share of the requested time that it used (None without one) and sentences on it."""

    job: Job
    used: float | None
    sentences: tuple[str, ...] = ()

    @property
    def nearly_over(self) -> bool:
        """Return whether the job has used most of its time."""
        return self.used is not None and self.used >= _NEARLY_OVER


@require_safe
def my_jobs(request: HttpRequest) -> HttpResponse:
    """Show the page."""
    user = request.user
    assert isinstance(user, User)
    now = int(time.time())
    since = now - _DAYS * _DAY
    running, more_running, _ = _newest(user, JobState.RUNNING)
    bad, more_bad, tested_since = _newest(user, *_BAD, since=since)
    known = slots()
    today = datetime.fromtimestamp(now, UTC).date()
    days = Days(now // _DAY - today.day + 1, now // _DAY + 1)
    by = "user" if len(own(user)) > 1 else "project"
    # Those who see the usage of all get here that of their own jobs.
    limits = {"user": user.username} if may_see(user) else {}  # in the lists of those who see all jobs
    question = Question(days, by, limits)
    lines = usage_by(user, question)
    context = {
        "title": "My jobs",
        "running": sorted((_listed(job) for job in running), key=lambda each: -(each.used or 0)),
        "more_running": more_running,
        "bad": [_listed(job, _sentences(job, known)) for job in bad],
        "more_bad": more_bad,
        "tested_since": tested_since,
        "days": _DAYS,
        "running_url": _list_of(limits, "state:running"),
        "bad_url": _list_of(limits, f"state:{','.join(_BAD)} start:{_DAYS}d"),
        "managed": [project for column, project in own(user) if column == "project"],
        "by": by,
        "lines": with_shares(lines)[:MOST_LISTED],
        "month": f"{today:%Y-%m}",
        "node_hours": sum(line.node_hours for line in lines),
        "node_hours_before": sum(usage_per_day(user, replace(question, days=days.before))),
        "usage_url": reverse("admin:usage", query={"by": by, "month": f"{today:%Y-%m}", **limits}),
    }
    return TemplateResponse(request, "admin/jobs/my_jobs.html", {**admin.site.each_context(request), **context})


def _list_of(limits: Mapping[str, str], words: str) -> str:
    """Return the address of the list of the jobs that the page shows, by a search."""
    own_words = [f"{name}:{value}" for name, value in limits.items()]
    return reverse("admin:jobs_job_changelist", query={"q": " ".join((*own_words, words))})


def _newest(user: User, *states: JobState, since: int | None = None) -> tuple[list[Job], bool, int | None]:
    """Return the newest jobs in some states, whether there are more, and since when all were tested (None: all)."""
    criteria = Criteria()
    criteria.add(any_criterion([by_state(state) for state in states]))
    criteria.between(since)
    found = Search(seen=own(user), criteria=criteria).newest(MOST_LISTED + 1, seconds=BUDGET)
    texts = {"name": JobName(F("meta_data")), "scheduler_state": SchedulerState(F("meta_data"))}
    ids = found.ids[:MOST_LISTED]
    jobs = Job.objects.filter(pk__in=ids).order_by().defer(*BIG).select_related("footprint").annotate(**texts)
    in_order = sorted(jobs, key=lambda job: ids.index(job.pk))
    return in_order, len(found.ids) > MOST_LISTED, found.since


def _listed(job: Job, found: tuple[str, ...] = ()) -> Listed:
    return Listed(job, job.elapsed / job.walltime if job.walltime else None, found)


def _sentences(job: Any, known: dict[str, int]) -> tuple[str, ...]:
    """Return how a job ended and, once that is written down, why."""
    footprint = getattr(job, "footprint", None)
    return (ending(job, job.scheduler_state or ""), *(sentences(job, footprint, known) if footprint else ()))
