"""Not waiting for locks of the database, on either engine."""

import contextlib
from collections.abc import Iterator
from typing import Any

from django.db import connections


class WouldWait(BaseException):
    """A connection that must not wait would have to; nothing is done yet. No Exception, so no handler catches it."""


@contextlib.contextmanager
def without_waiting() -> Iterator[None]:
    """Let statements in this block raise OperationalError if a lock is held; see DATABASE_WAIT."""
    wrapper: Any = connections["default"]
    wrapper.gives_up_at_once = True
    try:
        with wrapper.short_waits():
            yield
    finally:
        wrapper.gives_up_at_once = False
