"""Not waiting for the database, on either engine."""

import contextlib
from collections.abc import Iterator
from typing import Any

from django.db import connections

MUST_NOT_WORK = 30
"""Milliseconds that a page may take on a connection that must not wait; most take less than one."""


class WouldWait(BaseException):
    """A connection that must not wait would have to, or work for long; nothing is done yet.

    It is no Exception, so no handler catches it.
    """


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
