"""Delete all jobs that started before a time, in steps: the one way that the API, the admin and the command use.

Each batch is a transaction of its own, so memory stays small, other writers get their turn in between, and an
interruption loses nothing. One entry of the history keeps the state of a deletion, in the batch's own transaction.
"""

import math
import time
from collections.abc import Callable
from typing import Any, Literal

import msgspec
from django.contrib.admin.models import DELETION, LogEntry
from django.db import transaction
from django.db.models import Exists, OuterRef

from archive.processes import uninterrupted
from jobs import history
from jobs.deletion.services import delete_next
from jobs.exceptions import JobNotFoundError
from jobs.history import Actor
from jobs.models import Job, JobTag
from jobs.querysets import JobQuerySet
from jobs.text import check_time, utc_time

STEP = 1.0
"""Seconds that one step works."""

_LONGEST_PAUSE = 0.5  # seconds

AUTOMATIC_TYPES = ("app", "jobClass")
"""The types of the tags that cc-backend's taggers set; people choose all others."""

OmitTagged = bool | Literal["user"]


class Plan(msgspec.Struct, frozen=True):
    """The jobs to delete: those that started before `start_time` (epoch seconds); `total` of them, if counted.

    `omit_tagged`: jobs with a tag stay; with "user" only those with a tag of a type not in AUTOMATIC_TYPES.
    """

    start_time: int
    cluster: str = ""
    omit_tagged: OmitTagged = False
    total: int | None = None

    def __str__(self) -> str:
        """Return it in words."""
        where = f" of cluster {self.cluster}" if self.cluster else ""
        kept = {True: ", but tagged ones", "user": ", but those that people tagged"}.get(self.omit_tagged, "")
        return f"jobs{where} that started before {utc_time(self.start_time)}{kept}"

    def __post_init__(self) -> None:
        """Refuse a time after the year 3000: such a deletion would delete everything, running jobs included."""
        check_time("start_time", self.start_time)

    @property
    def jobs(self) -> JobQuerySet:
        """Return the jobs of the plan that are there now."""
        jobs = Job.objects.filter(start_time__lt=self.start_time)
        if self.cluster:
            jobs = jobs.filter(cluster=self.cluster)
        if self.omit_tagged:
            links = JobTag.objects.filter(job_id=OuterRef("pk"))
            if self.omit_tagged == "user":
                links = links.exclude(tag__type__in=AUTOMATIC_TYPES)
            jobs = jobs.filter(~Exists(links))
        return jobs


class Progress(msgspec.Struct, frozen=True):
    """The state of a deletion: its plan, the jobs deleted so far, and the start time that it has reached."""

    plan: Plan
    deleted: int = 0
    reached: int = 0
    is_finished: bool = False

    def __str__(self) -> str:
        """Return it in one sentence."""
        of_all = "" if self.plan.total is None else f" of {self.plan.total:,}"
        return f"Deleted {self.deleted:,}{of_all} {self.plan}{'.' if self.is_finished else '; not finished.'}"


def begin(*, plan: Plan, actor: Actor) -> int:
    """Write the entry of the history and return its id; nothing is deleted yet."""
    return history.record_bulk(actor, str(plan), _message(Progress(plan), through=actor.through), flag=DELETION)


def go_on(
    *, entry: int, seconds: float | None = None, progress: Callable[[int], Any] = lambda number: None
) -> Progress:
    """Delete batches for some seconds, STEP if none are given, and tell `progress` the size of each.

    Between two batches it pauses for as long as one took: half of the database's time is left to others. Raises
    JobNotFoundError if the history has no such entry.
    """
    until = time.monotonic() + (STEP if seconds is None else seconds)
    while True:
        begun = time.monotonic()
        with uninterrupted():
            number, state = _delete_batch(entry)
            progress(number)
        ended = time.monotonic()
        if state.is_finished or ended >= until:
            return state
        if until < math.inf:
            time.sleep(min(ended - begun, _LONGEST_PAUSE))


def delete_jobs_before(*, plan: Plan, actor: Actor, progress: Callable[[int], Any] = lambda number: None) -> int:
    """Delete all jobs of a plan, oldest first and without pauses; return how many.

    `progress` is told the size of each batch.
    """
    return go_on(entry=begin(plan=plan, actor=actor), seconds=math.inf, progress=progress).deleted


def progress_of(entry: int) -> Progress:
    """Return how far a deletion is, without going on. Raises JobNotFoundError."""
    return _read(LogEntry.objects.filter(pk=entry).first())[0]


def _delete_batch(entry: int) -> tuple[int, Progress]:
    """Delete one batch; return its size and the state after it."""
    with transaction.atomic():
        state, through = _read(LogEntry.objects.select_for_update().filter(pk=entry).first())
        batch = delete_next(state.plan.jobs, since=state.reached)
        state = Progress(state.plan, state.deleted + batch.deleted, batch.reached, batch.is_last)
        message = history.encode(_message(state, through=through))
        LogEntry.objects.filter(pk=entry).update(change_message=message)
    return batch.deleted, state


def _message(state: Progress, *, through: str) -> history.Message:
    return history.Message(str(state), through=through, state=msgspec.Raw(msgspec.json.encode(state)))


def _read(entry: LogEntry | None) -> tuple[Progress, str]:
    """Return the state of a deletion that an entry keeps, and the token or shell that it came through."""
    message = history.decode(entry.change_message) if entry else None
    if message is None or not message.state:
        raise JobNotFoundError("the log has no such deletion; begin anew")
    return msgspec.json.decode(message.state, type=Progress), message.through
