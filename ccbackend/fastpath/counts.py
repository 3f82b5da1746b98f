"""The requests that a server has answered, by operation and status, and how long they took."""

from bisect import bisect_left
from dataclasses import dataclass

from django.http import HttpRequest

from ccbackend.fastpath.shared import VALUES, SharedCounts

LIMITS = (0.0005, 0.001, 0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1, 2, 5, 20)
"""The upper limits of the histogram of times (seconds); a last interval has none."""

shared = SharedCounts()

_INTERVALS = len(LIMITS) + 1
assert _INTERVALS < VALUES


@dataclass(frozen=True, slots=True)
class Answered:
    """The requests of one operation with one status: how many took how long (see LIMITS), and the sum of seconds."""

    operation: str
    status: str
    intervals: list[int]
    seconds: float


def count(operation: str, status: int, seconds: float) -> None:
    """Count a request that was answered with this status, after some time in the application."""
    shared.add(f"{status} {operation}", bisect_left(LIMITS, seconds), seconds)


def answered() -> list[Answered]:
    """Return the requests that all processes of the server have answered."""
    found = []
    for key, values in sorted(shared.totals().items()):
        status, _, operation = key.partition(" ")
        intervals = [int(number) for number in values[:_INTERVALS]]
        found.append(Answered(operation or "other", status, intervals, values[-1]))
    return found


def operation_of(request: HttpRequest) -> str:
    """Return the name of the view's action, or that of the URL pattern: clients cannot add to their number.

    It is empty for a path without a view.
    """
    match = request.resolver_match
    if match is None:
        return ""
    actions: dict[str, str] = getattr(match.func, "actions", {})
    return actions.get((request.method or "").lower()) or match.view_name or ""
