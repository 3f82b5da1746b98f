"""The requests that a server has answered, by operation and status, and how long they took."""

import atexit
import os
import threading
from bisect import bisect_left
from collections import deque
from dataclasses import dataclass
from http import HTTPStatus
from time import monotonic, perf_counter, time

from django.http import HttpRequest
from django.urls import ResolverMatch

from accounts.models import User
from ccbackend.fastpath.shared import VALUES, requests
from jobs.health import counting

EVERY = 1.0
"""Seconds between two counts of recent requests."""

LIMITS = (0.0005, 0.001, 0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1, 2, 5, 20)
"""The upper limits of the histogram of times (seconds); a last interval has none."""

shared = requests

_INTERVALS = len(LIMITS) + 1
assert _INTERVALS < VALUES


@dataclass(frozen=True, slots=True)
class Answered:
    """The requests of one operation with one status: how many took how long (see LIMITS), and the sum of seconds."""

    operation: str
    status: str
    intervals: list[int]
    seconds: float


recent: deque[tuple[ResolverMatch | None, str | None, int, float, float, str | None]] = deque(maxlen=1_000_000)
"""Requests that this process has answered and not counted yet.

A request only leaves its view, method, status, begin, end (perf_counter) and caller here; counting it at once would
take longer, and a thread of each process counts many at once.
"""

counts_by_itself = True
"""Whether a thread counts and stores; tests do that themselves."""

stopping = threading.Event()
"""Ends the thread; for tests."""

_threads: list[threading.Thread] = []
os.register_at_fork(after_in_child=_threads.clear)


def note(request: HttpRequest, status: int, begin: float, end: float) -> None:
    """Remember a request that was answered with this status, and when (perf_counter)."""
    token = getattr(request, "auth", None)
    source = token and token.source
    if token is None and isinstance(user := authenticated(request), User):
        source = f"user {user.username}"
    note_call(request.resolver_match, request.method, status, begin, end, source)


def note_call(
    match: ResolverMatch | None, method: str | None, status: int, begin: float, end: float, source: str | None
) -> None:
    """Remember a call by its view; `source` is what it is counted by, see accounts.credentials."""
    if not _threads and counts_by_itself:
        _keep_counting()
    recent.append((match, method, status, begin, end, source))


def tally() -> None:
    """Count the recent requests: by operation, status and time for all processes, and by caller for the database."""
    clock = time() - perf_counter()
    while recent:
        try:
            match, method, status, begin, end, source = recent.popleft()
        except IndexError:  # another thread counts too
            return
        operation = operation_of(match, method)
        shared.add(f"{status} {operation}", bisect_left(LIMITS, end - begin), end - begin)
        if source is not None and status < HTTPStatus.BAD_REQUEST:
            counting.answered(source, operation, clock + end)


def authenticated(request: HttpRequest) -> object:
    """Return the user that the API has authenticated; a session that it never looked at costs no query."""
    return getattr(request, "user", None) if hasattr(request, "auth") else None


def _keep_counting() -> None:
    """Count what this process answers, from now on, in a thread."""
    _threads.append(threading.Thread(target=_count_again_and_again, name="counts", daemon=True))
    _threads[0].start()
    atexit.register(_count_and_store)


def _count_again_and_again() -> None:
    stores_at = monotonic() + counting.EVERY
    while not stopping.wait(EVERY):
        tally()
        if monotonic() >= stores_at:
            counting.store_and_close()
            stores_at = monotonic() + counting.EVERY


def _count_and_store() -> None:
    tally()
    counting.store_and_close()


def answered() -> list[Answered]:
    """Return the requests that all processes of the server have answered, but for others' of the last second."""
    tally()
    found = []
    for key, values in sorted(shared.totals().items()):
        status, _, operation = key.partition(" ")
        intervals = [int(number) for number in values[:_INTERVALS]]
        found.append(Answered(operation or "other", status, intervals, values[-1]))
    return found


def operation_of(match: ResolverMatch | None, method: str | None) -> str:
    """Return the name of the view's action, or that of the URL pattern: clients cannot add to their number.

    It is empty for a path without a view.
    """
    if match is None:
        return ""
    actions: dict[str, str] = getattr(match.func, "actions", {})
    return actions.get((method or "").lower()) or match.view_name or ""
