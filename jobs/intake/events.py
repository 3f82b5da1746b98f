"""Carry out many calls in one transaction, each as if it had come alone."""

import contextlib
from collections.abc import Callable, Hashable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from django.db import InterfaceError, OperationalError, transaction

from jobs.exceptions import JobError
from jobs.intake.services import Stop, start_jobs, stop_jobs
from jobs.rows.columns import Row

MOST = 500
"""Calls per transaction: few enough that other writers hardly wait for them."""


@dataclass(slots=True)
class Call:
    """A valid call and, once carried out, its result: what its service returns, or the exception.

    `what` is the row of a job that starts without tags, the end of a job, or a function that does anything else.
    Calls with different keys may be carried out in any order; None is the key of one that no other may pass.
    """

    key: Hashable
    what: Row | Stop | Callable[[], Any]
    result: Any = None


def carry_out(calls: Sequence[Call]) -> None:
    """Carry out calls in one transaction, and set their results.

    If anything but a JobError is raised, the transaction is rolled back and each call gets one of its own, so that it
    alone fails. If the database is locked or away by then, all that follow have the same result, untried.
    """
    with contextlib.suppress(Exception):  # it comes again below, and is kept as the result of the call that raises it
        with transaction.atomic():
            _carry_out_together(calls)
        return
    away: Exception | None = None
    for call in calls:
        call.result = away
        if away is None:
            try:
                with transaction.atomic():
                    _carry_out_together([call])
            except Exception as error:
                call.result = error
                away = error if is_away(error) else None


def is_away(result: Any) -> bool:
    """Return whether a result is that the database was locked or could not be reached."""
    return isinstance(result, OperationalError | InterfaceError)


def _carry_out_together(calls: Sequence[Call]) -> None:
    for wave in _waves(calls):
        starts = [(call, call.what) for call in wave if isinstance(call.what, Row)]
        for (call, _), started in zip(starts, start_jobs([row for _, row in starts]), strict=True):
            call.result = started
        stops = [(call, call.what) for call in wave if isinstance(call.what, Stop)]
        for (call, _), stopped in zip(stops, stop_jobs([stop for _, stop in stops]), strict=True):
            call.result = stopped
        for call in wave:
            if not isinstance(call.what, Row | Stop):
                call.result = _result_of(call.what)


def _result_of(what: Callable[[], Any]) -> Any:
    try:
        return what()
    except JobError as error:
        return error


def _waves(calls: Sequence[Call]) -> Iterator[list[Call]]:
    """Yield the calls in groups without two of the same key; those of one key are in as many groups, in order."""
    waves: list[list[Call]] = []
    seen: dict[Hashable, int] = {}
    for call in calls:
        if call.key is None:
            yield from waves
            yield [call]
            waves, seen = [], {}
            continue
        place = seen.get(call.key, 0)
        seen[call.key] = place + 1
        if place == len(waves):
            waves.append([])
        waves[place].append(call)
    yield from waves
