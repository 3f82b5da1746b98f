"""Numbers of requests that this process has answered, by operation and status."""

from collections import Counter
from threading import Lock

from django.http import HttpRequest

requests: Counter[tuple[str, int]] = Counter()
"""Requests by operation ("start_job"; for pages the name of the URL, "" if it has none) and HTTP status."""

_lock = Lock()


def count(request: HttpRequest, status: int) -> None:
    """Count a request that was answered with this status."""
    with _lock:
        requests[_operation(request), status] += 1


def _operation(request: HttpRequest) -> str:
    """Return the name of the view's action, or that of the URL pattern: clients cannot add to their number."""
    match = request.resolver_match
    if match is None:
        return ""
    actions: dict[str, str] = getattr(match.func, "actions", {})
    return actions.get((request.method or "").lower()) or match.view_name or ""
