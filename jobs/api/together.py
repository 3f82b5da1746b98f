"""Starts and stops that arrive at the same time, carried out in one statement each.

A statement for four starts costs the database little more than one for a single start. Only what succeeds is answered
here: any other call is then made by itself, which carries it out or says why not.
"""

from collections.abc import Sequence

from django.conf import settings

from jobs.api import calls
from jobs.api.decoding import decode
from jobs.api.direct import Call, allowed
from jobs.api.limits import check_body
from jobs.exceptions import JobError
from jobs.intake.services import Stop, started_row
from jobs.intake.sql import FEW, insert_runs, stop_runs
from jobs.messages import StartJob
from jobs.rows.columns import Row


def carry_out(given: Sequence[Call]) -> None:
    """Carry out some calls, and answer those that succeed.

    Raises what the database raises, WouldWait too: calls that are answered by then were carried out, all others not.
    """
    assert len(given) <= FEW  # then each step below is one statement, which is carried out or not
    starts: dict[int, tuple[Call, Row]] = {}
    stops: dict[int, tuple[Call, Stop]] = {}
    for call in given:
        try:
            what = _what(call)
        except JobError:
            continue
        if what is None or what.job_id in starts or what.job_id in stops:  # calls about one job keep their order
            continue
        if isinstance(what, Row):
            starts[what.job_id] = call, what
        else:
            stops[what.job_id] = call, what
    if starts:
        _start(list(starts.values()))
    alike: dict[tuple[bool, bool], list[tuple[Call, Stop]]] = {}
    for call, stop in stops.values():
        alike.setdefault((bool(stop.cluster), stop.start_time is None), []).append((call, stop))
    for together in alike.values():
        _stop(together)


def _what(call: Call) -> Row | Stop | None:
    """Return what a call wants if it may have it; None if it needs more than one statement, or a closer look."""
    credential = allowed(call)
    if credential is None:
        return None
    if credential.clusters:
        check_body(credential.clusters, None, call.body)
    if call.action == "stop_job":
        stop = calls.named_stop_of(call.body)
        return stop if stop.own_word is None else None
    job = decode(call.body, StartJob)
    return None if job.tags else started_row(job)


def _start(starts: Sequence[tuple[Call, Row]]) -> None:
    row_ids = insert_runs([row for _, row in starts], window=settings.DUPLICATE_START_WINDOW)
    for (call, _), row_id in zip(starts, row_ids, strict=True):
        if row_id is not None:
            call.status, call.answer = 201, calls.started(row_id)


def _stop(stops: Sequence[tuple[Call, Stop]]) -> None:
    for (call, _), row in zip(stops, stop_runs([stop.arguments for _, stop in stops]), strict=True):
        if row is not None:
            call.status, call.answer = 200, calls.stopped(row)
