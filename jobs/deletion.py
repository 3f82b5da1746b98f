"""Deleting everything before a time in steps: each is short, the next goes on, and one entry of the log keeps count."""

import re
import time
from dataclasses import dataclass, replace
from datetime import UTC, datetime

from django.contrib.admin.models import DELETION, LogEntry
from django.contrib.contenttypes.models import ContentType
from django.db import transaction

from jobs import services
from jobs.exceptions import JobNotFoundError
from jobs.history import Actor
from jobs.models import Job

STEP = 1.0
"""Seconds that one step works."""

_COUNT = re.compile(r"Deleted ([\d,]+) of ")


@dataclass(frozen=True, slots=True)
class Plan:
    """Which jobs go (those that started before an epoch second) and how many there were when they were counted."""

    start_time: int
    cluster: str
    omit_tagged: bool
    total: int

    def __str__(self) -> str:
        """Return it in words."""
        when = f"{datetime.fromtimestamp(self.start_time, UTC):%Y-%m-%d %H:%M:%S} UTC"
        where = f" of cluster {self.cluster}" if self.cluster else ""
        return f"jobs{where} that started before {when}{', but tagged ones' if self.omit_tagged else ''}"


@dataclass(frozen=True, slots=True)
class Run:
    """A deletion under way: its plan, its entry in the log, and the start time that it has reached."""

    plan: Plan
    entry: int
    reached: int = 0


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
        change_message=_message(plan, 0, is_finished=False),
    )
    return Run(plan, entry.pk)


def go_on(*, run: Run, seconds: float | None = None) -> Progress:
    """Delete batches for some seconds, STEP where none are given; the entry of the log follows in each transaction.

    Raises JobNotFoundError where the entry is gone.
    """
    until = time.monotonic() + (STEP if seconds is None else seconds)
    while True:
        progress = _delete_next(run)
        run = progress.run
        if progress.is_finished or time.monotonic() >= until:
            return progress


def progress_of(run: Run) -> Progress:
    """Return how far a run is, without going on."""
    return _read(run, LogEntry.objects.filter(pk=run.entry).first())


def _delete_next(run: Run) -> Progress:
    plan = run.plan
    with transaction.atomic():
        before = _read(run, LogEntry.objects.select_for_update().filter(pk=run.entry).first())
        batch = services.delete_next_before(
            start_time=plan.start_time,
            since=run.reached,
            omit_tagged=plan.omit_tagged,
            cluster=plan.cluster or None,
        )
        deleted = before.deleted + batch.deleted
        text = _message(plan, deleted, is_finished=batch.is_last)
        LogEntry.objects.filter(pk=run.entry).update(change_message=text)
    return Progress(replace(run, reached=batch.reached), deleted, batch.is_last)


def _read(run: Run, entry: LogEntry | None) -> Progress:
    found = _COUNT.match(entry.change_message) if entry else None
    if entry is None or found is None:
        raise JobNotFoundError("the log has no such deletion; begin anew")
    return Progress(run, int(found[1].replace(",", "")), not entry.change_message.endswith(_UNFINISHED))


_UNFINISHED = "; not finished."


def _message(plan: Plan, deleted: int, *, is_finished: bool) -> str:
    return f"Deleted {deleted:,} of {plan.total:,} {plan}{'.' if is_finished else _UNFINISHED}"
