"""Deleting everything before a time in steps: each is short, the next goes on, and one entry of the log keeps count."""

import math
import re
import time
from dataclasses import dataclass, replace
from datetime import UTC, datetime

from django.contrib.admin.models import DELETION, LogEntry
from django.contrib.contenttypes.models import ContentType
from django.db import transaction

from jobs import history
from jobs.deletion.services import delete_next_before
from jobs.exceptions import JobNotFoundError
from jobs.history import Actor
from jobs.models import Job

STEP = 1.0
"""Seconds that one step works."""

_LONGEST_PAUSE = 0.5  # seconds

_COUNT = re.compile(r"Deleted ([\d,]+) ")


@dataclass(frozen=True, slots=True)
class Plan:
    """Which jobs go (those that started before an epoch second) and how many there were, where they were counted."""

    start_time: int
    cluster: str = ""
    omit_tagged: bool = False
    total: int | None = None

    def __str__(self) -> str:
        """Return it in words."""
        try:
            when = f"{datetime.fromtimestamp(self.start_time, UTC):%Y-%m-%d %H:%M:%S} UTC"
        except (OverflowError, ValueError, OSError):  # any number of 64 bit may come through the API
            when = str(self.start_time)
        where = f" of cluster {self.cluster}" if self.cluster else ""
        return f"jobs{where} that started before {when}{', but tagged ones' if self.omit_tagged else ''}"


@dataclass(frozen=True, slots=True)
class Run:
    """A deletion under way: its plan, its entry in the log, the start time that it has reached, and its token."""

    plan: Plan
    entry: int
    reached: int = 0
    through: str = ""


@dataclass(frozen=True, slots=True)
class Progress:
    """How far a run is."""

    run: Run
    deleted: int
    is_finished: bool


def begin(*, plan: Plan, actor: Actor) -> Run:
    """Write the one entry of the log and return the run; nothing is deleted yet."""
    entry = LogEntry.objects.create(
        user_id=actor.user_id,
        content_type=ContentType.objects.get_for_model(Job),
        object_repr=str(plan)[:200],
        action_flag=DELETION,
        change_message=_message(plan, 0, is_finished=False, through=actor.through),
    )
    return Run(plan, entry.pk, through=actor.through)


def go_on(*, run: Run, seconds: float | None = None) -> Progress:
    """Delete batches for some seconds, STEP where none are given; the entry of the log follows in each transaction.

    Between two batches it pauses for as long as one took: half of the database's time is left to others.
    Raises JobNotFoundError where the entry is gone.
    """
    until = time.monotonic() + (STEP if seconds is None else seconds)
    while True:
        begun = time.monotonic()
        progress = _delete_next(run)
        run = progress.run
        ended = time.monotonic()
        if progress.is_finished or ended >= until:
            return progress
        if until < math.inf:
            time.sleep(min(ended - begun, _LONGEST_PAUSE))


def delete_all(*, plan: Plan, actor: Actor) -> int:
    """Delete all of a plan in one go and without pauses; return how many there were."""
    return go_on(run=begin(plan=plan, actor=actor), seconds=math.inf).deleted


def progress_of(run: Run) -> Progress:
    """Return how far a run is, without going on."""
    return _read(run, LogEntry.objects.filter(pk=run.entry).first())


def _delete_next(run: Run) -> Progress:
    plan = run.plan
    with transaction.atomic():
        before = _read(run, LogEntry.objects.select_for_update().filter(pk=run.entry).first())
        batch = delete_next_before(
            start_time=plan.start_time,
            since=run.reached,
            omit_tagged=plan.omit_tagged,
            cluster=plan.cluster or None,
        )
        deleted = before.deleted + batch.deleted
        text = _message(plan, deleted, is_finished=batch.is_last, through=run.through)
        LogEntry.objects.filter(pk=run.entry).update(change_message=text)
    return Progress(replace(run, reached=batch.reached), deleted, batch.is_last)


def _read(run: Run, entry: LogEntry | None) -> Progress:
    found = _COUNT.match(entry.change_message) if entry else None
    if entry is None or found is None:
        raise JobNotFoundError("the log has no such deletion; begin anew")
    return Progress(run, int(found[1].replace(",", "")), _UNFINISHED not in entry.change_message)


_UNFINISHED = "; not finished."


def _message(plan: Plan, deleted: int, *, is_finished: bool, through: str) -> str:
    of_all = "" if plan.total is None else f" of {plan.total:,}"
    text = f"Deleted {deleted:,}{of_all} {plan}{'.' if is_finished else _UNFINISHED}"
    return history.message(text, through=through)
