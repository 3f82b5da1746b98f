"""Calls that are refused: kept when they are answered, and replayed through the same services as those of the API."""

import math
import time
from collections.abc import Callable
from dataclasses import dataclass

import msgspec
from django.db import transaction
from rest_framework.request import Request
from rest_framework.response import Response

from accounts.addresses import client_address
from accounts.api.authentication import caller
from accounts.api.base import ApiViewSet
from jobs import history
from jobs.api.events import LINE, attempt
from jobs.exceptions import InvalidJobError, JobError
from jobs.history import Actor
from jobs.intake.refused import Caller, Refusal, is_to_be_kept, keep, kind_of
from jobs.models import RefusedCall
from jobs.querysets import RefusedCallQuerySet
from jobs.states import RefusalState

_OPERATIONS = {
    "start_job": "start_job",
    "stop_job": "stop_job",
    "stop_job_by_id": "stop_job",
    "tag_job": "tag_job",
    "nodestate": "nodestate",
    "events": LINE,
}
"""The actions whose refused calls are kept, each with its operation."""


class IntakeViewSet(ApiViewSet):
    """An API view that keeps what it refuses; a call that is carried out never comes by here."""

    action: str

    def handle_exception(self, exc: Exception) -> Response:
        """Keep a refused call before it is answered."""
        operation = _OPERATIONS.get(self.action)
        if operation and isinstance(exc, JobError) and is_to_be_kept(exc):
            # Of many calls in one that cannot be read at all, the reason says everything.
            body = b"" if operation == LINE else self.request._request.body
            refusal = Refusal(operation, str(self.kwargs.get("id", "")), body, exc)
            keep(sender(self.request), [refusal])
        return super().handle_exception(exc)


def sender(request: Request) -> Caller:
    """Return who sent a request that was authorised."""
    label = str(request.auth) if request.auth else ""
    return Caller(label, caller(request).username, client_address(request._request))


_AT_ONCE = 100  # calls that are read at a time


class _Named(msgspec.Struct):
    """The answer to a start, a stop or tags, decoded only to the database id."""

    id: int | None = None


_NAMED = msgspec.json.Decoder(_Named)


@dataclass
class Counts:
    """How many calls were carried out, were known already, and are still refused."""

    done: int = 0
    known: int = 0
    refused: int = 0


def replay(call: RefusedCall, *, actor: Actor, by: str, body: str | None = None) -> JobError | None:
    """Carry out a call that was refused, if given with another body; return why it is refused again.

    The call says by whom, and what came of it. What a database raises that is locked or away is raised.
    """
    if body is None and call.is_cut:
        return InvalidJobError("only the beginning of the body is kept: complete it, or let the client send it again")
    sent = call.body if body is None else body
    outcome = attempt(call.operation, call.row_id, sent.encode(), actor=actor)
    error = outcome.error
    if error is not None and not isinstance(error, JobError):
        raise error
    call.handled_by, call.handled_at = by[:255], int(time.time())
    if error is None or error.is_known:
        call.state = RefusalState.KNOWN if error else RefusalState.REPLAYED
        call.corrected = "" if sent == call.body else sent
    else:
        call.reason, call.kind, call.status = str(error), kind_of(str(error)), error.status_code
    with transaction.atomic():
        if error is None and call.operation != "nodestate":
            call.job_row = _NAMED.decode(outcome.body).id
            corrected = ", corrected" if call.corrected else ""
            rows = [] if call.job_row is None else [call.job_row]
            history.record(actor, rows, f"Call of {outcome.operation} that was refused replayed{corrected}.")
        call.save()
    return error


def replay_all(
    calls: RefusedCallQuerySet,
    *,
    actor: Actor,
    by: str,
    after: int = 0,
    until: float = math.inf,
    told: Callable[[RefusedCall, JobError | None], None] = lambda call, error: None,
) -> tuple[Counts, int | None]:
    """Replay open calls, the oldest first, up to a time (monotonic seconds), those with ids above `after`.

    Return the counts, and the id to go on after: None if none is left. `told` gets each call and why it is still
    refused.
    """
    counts = Counts()
    while chunk := list(calls.open().filter(pk__gt=after).order_by("pk")[:_AT_ONCE]):
        for call in chunk:
            error = replay(call, actor=actor, by=by)
            counts.done += call.state == RefusalState.REPLAYED
            counts.known += call.state == RefusalState.KNOWN
            counts.refused += call.is_open
            told(call, error if call.is_open else None)
            after = call.pk
            if time.monotonic() >= until:
                return counts, after
    return counts, None
