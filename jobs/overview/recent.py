"""Figures that are kept for a minute, since to count them anew at each view would take long."""

import hashlib
from collections.abc import Callable
from typing import TypeVar

from django.core.cache import cache

from accounts.models import User
from jobs.querysets import seen_by

MOST_AGE = 60
"""Seconds for which figures are kept."""

Figures = TypeVar("Figures")


def recent(name: str, user: User, count: Callable[[], Figures], *, now: int) -> tuple[Figures, int]:
    """Return the figures of a name, not older than MOST_AGE, and when they were counted (epoch seconds).

    They are those of the jobs that a user may see. The cache pickles them.
    """
    # Of what the user may see, so that users who see different jobs never share figures.
    key = hashlib.sha256(repr((name, seen_by(user))).encode()).hexdigest()
    known: tuple[Figures, int] | None = cache.get(key)
    if known is not None and 0 <= now - known[1] < MOST_AGE:
        return known
    found = count(), now
    cache.set(key, found, MOST_AGE)
    return found
