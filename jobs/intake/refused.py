"""The log of refused calls: keep what was sent, so that nothing is lost from sight."""

import logging
import re
import time
from collections.abc import Sequence
from dataclasses import dataclass

from django.db import Error, transaction

from accounts.formatting import quantity
from jobs.exceptions import JobError
from jobs.models import RefusedCall
from jobs.querysets import DROPPED_AT_ONCE
from jobs.text import clean_text

logger = logging.getLogger(__name__)

MOST_BYTES = 64 * 1024
"""Bytes of a body that are kept."""

_KEPT = (400, 404, 422)
_DROP_EVERY = DROPPED_AT_ONCE // 2  # rows: twice as many may go at a time as come
_LONGEST_TOKEN, _LONGEST_ADDRESS, _LONGEST_ID = 100, 64, 40
_LONGEST_KIND, _LONGEST_REASON = 200, 4000


@dataclass(frozen=True, slots=True)
class Caller:
    """Who calls, and from where: the token's label, empty for a session, and the user's name."""

    token: str
    user: str
    address: str


@dataclass(frozen=True, slots=True)
class Refusal:
    """A refused call as it came: operation, the database id in its path or none, body, and why it was refused."""

    operation: str
    row_id: str
    body: bytes
    error: JobError


def is_to_be_kept(error: Exception) -> bool:
    """Return whether something may be lost because of an error: a call that was carried out before loses nothing."""
    return isinstance(error, JobError) and error.status_code in _KEPT and not error.is_known


def keep(caller: Caller, refusals: Sequence[Refusal]) -> None:
    """Store refused calls that are to be kept; a database that fails is logged and changes no answer."""
    rows = [_row(caller, refusal) for refusal in refusals]
    if not rows:
        return
    try:
        with transaction.atomic():  # a lock that has to be waited for is met before anything is done
            last = RefusedCall.objects.bulk_create(rows)[-1].pk
            if last // _DROP_EVERY != (last - len(rows)) // _DROP_EVERY:
                RefusedCall.objects.drop_old()
    except Error as error:
        logger.error("%s of %s not kept: %s", quantity(len(rows), "refused call"), caller.user, error)


def kind_of(reason: str) -> str:
    """Return a reason without what differs from call to call: numbers, also in names, and the value that was sent."""
    general = re.sub(r", got .*", ", got …", reason, flags=re.DOTALL)
    return re.sub(r"\d+", "…", general)[:_LONGEST_KIND]


def kept_body(body: bytes) -> tuple[str, bool]:
    """Return a body as it is kept, and whether it is cut. Decoding a call does the same to what is no text."""
    return clean_text(body[:MOST_BYTES].decode("utf-8", "replace")), len(body) > MOST_BYTES


def _row(caller: Caller, refusal: Refusal) -> RefusedCall:
    reason = clean_text(str(refusal.error))[:_LONGEST_REASON]
    body, is_cut = kept_body(refusal.body)
    return RefusedCall(
        received_at=int(time.time()),
        token=clean_text(caller.token)[:_LONGEST_TOKEN],
        user=caller.user,
        address=clean_text(caller.address)[:_LONGEST_ADDRESS],
        operation=refusal.operation,
        row_id=clean_text(refusal.row_id)[:_LONGEST_ID],
        status=refusal.error.status_code,
        kind=kind_of(reason),
        reason=reason,
        body=body,
        is_cut=is_cut,
    )
