"""Calls of the API and refused log-ins, counted by source, operation, outcome and hour.

They are added up in memory. A thread of each process adds that to the database every EVERY seconds, so a call neither
waits for it nor fails because of it; a killed process loses the counts of its last seconds. Clients choose some
of the words, so their number is bounded, in memory and in the database: what is beyond is counted under OTHERS.
"""

import logging
import re
import threading
import time
from dataclasses import dataclass
from typing import NamedTuple

from django.core.exceptions import ImproperlyConfigured
from django.db import InterfaceError, OperationalError, connection, transaction
from django.db.models import Count, Q

from jobs.models import CallCount
from jobs.states import CallOutcome

logger = logging.getLogger(__name__)

EVERY = 10.0
"""Seconds after which a process stores what it has counted."""

KEPT = 24
"""Hours."""

OTHERS = "others"

LOG_IN = "log-in"
"""The operation that refused log-ins of the admin site are counted as."""

_MOST_KNOWN, _MOST_UNKNOWN = 1000, 200  # in memory, from sources that were authenticated or not
_MOST_ROWS_KNOWN, _MOST_ROWS_UNKNOWN = 4000, 1000
_LONGEST = 200  # characters
_VARIABLE = re.compile(r"""'[^']*'|"[^"]*"|\S*\d\S*""")  # quoted words, and those with digits

# In SQL, because Django cannot add to a row or else insert it in one statement.
_ADD = """
    INSERT INTO "jobs_callcount" ("hour", "source", "is_known", "operation", "outcome", "reason", "calls", "first_at",
        "last_at", "address", "message") VALUES (%s, %s, %s, %s, %s, %s, %s, %s, %s, %s, %s)
    ON CONFLICT ("hour", "source", "operation", "outcome", "reason") DO UPDATE SET
        "calls" = "jobs_callcount"."calls" + excluded."calls", "last_at" = excluded."last_at",
        "address" = excluded."address", "message" = excluded."message"
"""


class Key(NamedTuple):
    """What is counted together; see CallCount."""

    hour: int
    source: str
    is_known: bool
    operation: str
    outcome: str
    reason: str


@dataclass(slots=True)
class Tally:
    """How many calls, when the first and the last of them came (epoch seconds), and the last one's words."""

    calls: int
    first_at: int
    last_at: int
    address: str
    message: str

    def add(self, other: "Tally") -> None:
        """Add other calls."""
        self.calls += other.calls
        self.first_at = min(self.first_at, other.first_at)
        if other.last_at >= self.last_at:
            self.last_at, self.address, self.message = other.last_at, other.address, other.message


class _Memory:
    """The calls of this process that are not stored yet."""

    def __init__(self) -> None:
        self.lock = threading.Lock()
        self.found: dict[Key, Tally] = {}
        self.unknown = 0
        self.answered: dict[tuple[str, str], list[float]] = {}  # how many, the first, the last

    def add_answered(self, source: str, operation: str, now: float) -> None:
        with self.lock:
            numbers = self.answered.get((source, operation))
            if numbers is None:
                self.answered[source, operation] = [1, now, now]
            else:
                numbers[0] += 1
                numbers[2] = now

    def add(self, key: Key, tally: Tally) -> None:
        with self.lock:
            self._add(key, tally)

    def take(self) -> dict[Key, Tally]:
        with self.lock:
            answered, self.answered = self.answered, {}
            for (source, operation), numbers in answered.items():
                calls, first, last = map(int, numbers)
                key = Key(last // 3600, source, True, operation, CallOutcome.OK, "")  # noqa: FBT003
                self._add(key, Tally(calls, first, last, "", ""))
            found, self.found, self.unknown = self.found, {}, 0
            return found

    def _add(self, key: Key, tally: Tally) -> None:
        if key not in self.found:
            known = len(self.found) - self.unknown >= _MOST_KNOWN
            key = _bounded(key, known=known, unknown=self.unknown >= _MOST_UNKNOWN)
        if key in self.found:
            self.found[key].add(tally)
        else:
            self.found[key] = tally
            self.unknown += not key.is_known


_memory = _Memory()


def answered(source: str, operation: str, at: float) -> None:
    """Count a call of an authenticated source that was carried out at a time (epoch seconds)."""
    _memory.add_answered(source, operation, at)


def refused(
    source: str, operation: str, outcome: CallOutcome, message: str, *, address: str, status: int, is_known: bool
) -> None:
    """Count a call that was not carried out, with the reason that the caller was told."""
    now = int(time.time())
    message = _storable(message)
    reason = f"{status} {_VARIABLE.sub('…', message)}"
    key = Key(now // 3600, _storable(source), is_known, _storable(operation), outcome, reason[:_LONGEST])
    _memory.add(key, Tally(1, now, now, _storable(address), message))


def store() -> None:
    """Add what was counted to the database; if that fails, keep it for the next time."""
    found = _memory.take()
    if not found:
        return
    try:
        with transaction.atomic():
            _store(found)
    except (OperationalError, InterfaceError, ImproperlyConfigured):  # those that need the database say so in the log
        for key, tally in found.items():
            _memory.add(key, tally)


def forget() -> None:
    """Forget what was counted and not stored."""
    _memory.take()


def _store(found: dict[Key, Tally]) -> None:
    """Write counts, within the bounds for rows, and delete those of yesterday."""
    CallCount.objects.filter(hour__lt=int(time.time()) // 3600 - KEPT).delete()
    rows = CallCount.objects.aggregate(known=Count("pk", filter=Q(is_known=True)), all=Count("pk"))
    known, unknown = rows["known"] >= _MOST_ROWS_KNOWN, rows["all"] - rows["known"] >= _MOST_ROWS_UNKNOWN
    bounded: dict[Key, Tally] = {}
    for key, tally in found.items():
        key = _bounded(key, known=known, unknown=unknown)
        if key in bounded:
            bounded[key].add(tally)
        else:
            bounded[key] = tally
    with connection.cursor() as cursor:
        for key, tally in sorted(bounded.items()):  # two processes that wait for each other's rows would never end
            values = (tally.calls, tally.first_at, tally.last_at, tally.address, tally.message)
            cursor.execute(_ADD, [*key, *values])


def _bounded(key: Key, *, known: bool, unknown: bool) -> Key:
    """Return where to count if there are too many keys of sources that were authenticated, or that were not."""
    if key.is_known:
        return key._replace(reason="") if known else key
    return key._replace(source=OTHERS, reason="") if unknown else key


def store_and_close() -> None:
    """Store, in a thread that does nothing else with the database; never fail."""
    try:
        store()
        connection.close()  # it is of use for a moment only
    except Exception:
        logger.exception("counts of calls could not be stored")


def _storable(text: str) -> str:
    """Return a text that a row can have; clients chose it."""
    return text[:_LONGEST].encode(errors="replace").decode().replace("\0", "\ufffd")
