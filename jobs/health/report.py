"""What a check of health says, and the bounds of time within which it has to say it."""

import contextlib
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from enum import IntEnum
from typing import Any, TypeVar

from django.db import connection, transaction

T = TypeVar("T")

LIMIT = 2.0
"""Seconds that a look at the file system or a query may take; then the check says that it got no answer."""

_STEPS = 10_000  # of SQLite's machine, a millisecond or less, between two looks at the clock


class State(IntEnum):
    """How something is; the worse, the larger."""

    OK = 0
    WARNING = 1
    ERROR = 2

    @property
    def word(self) -> str:
        """Return the state as pages and programs read it."""
        return self.name.lower()


@dataclass(frozen=True, slots=True)
class Finding:
    """What a check found: its name, a state, a sentence, and for a bad one what to do.

    `since` is when it began (epoch seconds), if that is known.
    """

    name: str
    state: State
    sentence: str
    cure: str = ""
    since: int | None = None

    def as_dict(self) -> dict[str, Any]:
        """Return the finding as programs read it."""
        return {
            "check": self.name,
            "state": self.state.word,
            "sentence": self.sentence,
            "since": self.since,
            "cure": self.cure,
        }


class NoAnswerError(Exception):
    """A file system or a database did not answer within LIMIT seconds."""


_hanging: dict[str, tuple[threading.Thread, float]] = {}


def within_limit(subject: str, look: Callable[[], T]) -> T:
    """Return the result of a function that may hang, such as a look at a network file system, or raise its exception.

    It runs in a thread of its own. Raise NoAnswerError after LIMIT seconds, and at once while an earlier look at the
    same subject still hangs, so that the threads do not pile up.
    """
    if subject in _hanging:
        thread, begun = _hanging[subject]
        if thread.is_alive():
            raise NoAnswerError(f"no answer for {span(int(time.monotonic() - begun))}")
        del _hanging[subject]
    results: list[T] = []
    errors: list[Exception] = []

    def work() -> None:
        try:
            results.append(look())
        except Exception as error:
            errors.append(error)

    thread = threading.Thread(target=work, name=f"health of {subject}", daemon=True)
    begun = time.monotonic()
    thread.start()
    thread.join(LIMIT)
    if results:
        return results[0]
    if errors:
        raise errors[0]
    _hanging[subject] = (thread, begun)
    raise NoAnswerError(f"no answer within {LIMIT:.0f} s")


@contextlib.contextmanager
def queries_within_limit() -> Iterator[None]:
    """Let each query in this block, which only reads, fail with django.db.OperationalError after LIMIT seconds."""
    if connection.vendor == "postgresql":
        with transaction.atomic(), connection.cursor() as cursor:
            cursor.execute("SELECT set_config('statement_timeout', %s, true)", [str(int(LIMIT * 1000))])
            yield
        return
    connection.ensure_connection()
    own: Any = connection.connection
    deadline = time.monotonic() + LIMIT
    own.set_progress_handler(lambda: time.monotonic() > deadline, _STEPS)
    try:
        yield
    finally:
        own.set_progress_handler(None, 0)


def span(seconds: int) -> str:
    """Return a span of time in words, such as '3 h 5 min'."""
    minutes, rest = divmod(max(0, seconds), 60)
    hours, minutes = divmod(minutes, 60)
    days, hours = divmod(hours, 24)
    if days:
        return f"{days} d {hours} h" if hours else f"{days} d"
    if hours:
        return f"{hours} h {minutes} min" if minutes else f"{hours} h"
    return f"{minutes} min" if minutes else f"{rest} s"


def size(count: int) -> str:
    """Return a number of bytes in words, such as '3.4 GB'."""
    value: float = count
    for unit in ("B", "kB", "MB", "GB"):
        if value < 1000:
            return f"{value:.0f} {unit}" if unit == "B" else f"{value:.1f} {unit}"
        value /= 1000
    return f"{value:.1f} TB"
