"""Connections to SQLite whose writers wait for each other in small steps, and fail after a bounded time."""

import contextlib
import fcntl
import math
import os
import random
import sqlite3
import tempfile
import time
from collections.abc import Iterator, Sequence
from functools import lru_cache
from pathlib import Path
from typing import Any

from django.conf import settings
from django.core.exceptions import ImproperlyConfigured
from django.db import OperationalError
from django.db.backends.sqlite3 import base

from archive.storage.files import NO_LOCKS
from ccbackend.waiting import MUST_NOT_WORK, WouldWait

# SQLite's own busy handler sleeps 1, 2, 5, 10 .. 100 ms between attempts, far longer than a write here takes (0.1 ms),
# so that newer starts overtook a waiting one again and again. These steps are short and random (seconds).
_FIRST_STEPS, _FIRST_STEP, _LATER_STEP = 20, 0.0003, 0.002
_MUST_NOT_WAIT = 0.02  # seconds: longer than the writes of the API, too short to notice
_STEPS = 50_000  # of SQLite's machine between two looks at the clock: about a millisecond


@lru_cache(maxsize=512)
def _with_question_marks(query: str) -> str:
    """Return a query with SQLite's own placeholders; cached, since it takes 20 µs for a query of the API."""
    return base.FORMAT_QMARK_REGEX.sub("?", query).replace("%%", "%")


def _beyond(value: Any) -> Any:
    """Return a value; for an integer of more than 64 bits, which SQLite does not take, a float as far out."""
    too_large = isinstance(value, int) and not -(1 << 63) <= value < 1 << 63
    return math.copysign(1e300, value) if too_large else value


@lru_cache
def _require_locks(folder: Path) -> None:
    """Raise ImproperlyConfigured if files in a folder cannot be locked, on which all that use SQLite rely."""
    try:
        with tempfile.TemporaryFile(dir=folder) as file:
            fcntl.lockf(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError as error:
        if error.errno in NO_LOCKS:
            raise ImproperlyConfigured(
                f"DATABASE_URL: the file system of {folder} has no locks ({error.strerror}), which SQLite needs: "
                "put the database on a local disk, or use PostgreSQL"
            ) from None


class CursorWrapper(base.SQLiteCursorWrapper):
    """Django's cursor, which waits for a locked database and caches translated queries."""

    owner: "DatabaseWrapper"

    def execute(self, query: str, params: Any = None) -> Any:
        """Execute a query; outside a transaction, where nothing is done yet, wait for a lock and try again."""
        steps, deadline = 0, 0.0
        while True:
            try:
                return super().execute(query, params)
            except sqlite3.OperationalError as error:
                busy = error.sqlite_errorcode & 0xFF in (sqlite3.SQLITE_BUSY, sqlite3.SQLITE_LOCKED)
                if not busy or self.connection.in_transaction:
                    raise
                deadline = deadline or time.monotonic() + self.owner.patience
                if time.monotonic() >= deadline:
                    if self.owner.must_not_wait:
                        raise WouldWait from None
                    raise
            except OverflowError:
                if not query.startswith("SELECT"):
                    raise
                # Compare with a number that no column can have, as PostgreSQL does.
                params = [_beyond(value) for value in params]
                continue
            steps += 1
            time.sleep(random.random() * 2 * (_FIRST_STEP if steps < _FIRST_STEPS else _LATER_STEP))  # noqa: S311

    def convert_query(self, query: str, *, param_names: Any = None) -> str:
        """Translate the placeholders of a query."""
        if param_names is None:
            return _with_question_marks(query)
        return super().convert_query(query, param_names=param_names)


class DatabaseWrapper(base.DatabaseWrapper):
    """Django's connection, with that cursor.

    A statement waits for a lock for up to DATABASE_WAIT seconds. With `must_not_wait` it raises WouldWait after some
    milliseconds, and ccbackend.fastpath.worker lets a thread wait instead. With `gives_up_at_once` it fails as if it
    had waited that long.
    """

    must_not_wait = False
    gives_up_at_once = False

    @property
    def patience(self) -> float:
        """Return how long a statement waits now, in seconds."""
        if self.must_not_wait:
            return _MUST_NOT_WAIT
        return 0 if self.gives_up_at_once else settings.DATABASE_WAIT

    def share_of_connections(self, processes: int) -> None:
        """Return None: there is no limit for connections."""

    def run(self, *statements: tuple[str, Sequence[Any]], briefly: bool = False) -> list[tuple[Any, ...]]:
        """Run statements and return the rows of the last one, as the engine of PostgreSQL does in one round trip."""
        with self._brief() if briefly and self.must_not_wait else contextlib.nullcontext(), self.cursor() as cursor:
            for statement in statements:
                cursor.execute(*statement)
            return cursor.fetchall() if cursor.description else []

    @contextlib.contextmanager
    def _brief(self) -> Iterator[None]:
        """Let statements in this block raise WouldWait if they work for long.

        All others need not look at the clock, for which a thread needs the interpreter.
        """
        self.ensure_connection()
        deadline = time.monotonic() + MUST_NOT_WORK / 1000
        self.connection.set_progress_handler(lambda: time.monotonic() > deadline, _STEPS)
        try:
            yield
        except OperationalError as error:
            if getattr(error.__cause__, "sqlite_errorcode", None) == sqlite3.SQLITE_INTERRUPT:
                raise WouldWait from None
            raise
        finally:
            self.connection.set_progress_handler(None, 0)

    def short_waits(self) -> contextlib.AbstractContextManager[None]:
        """Return a context without effect: `patience` is asked for at each statement."""
        return contextlib.nullcontext()

    def refuse(self) -> None:
        """Raise ImproperlyConfigured if the file system has no locks; do not create the database."""
        self._require_locks(self.get_connection_params())

    def _require_locks(self, conn_params: dict[str, Any]) -> None:
        if conn_params["database"] != ":memory:":
            _require_locks(Path(conn_params["database"]).parent)

    def get_new_connection(self, conn_params: dict[str, Any]) -> Any:
        """Connect; raise ImproperlyConfigured if the file system has no locks.

        A database that is missing is created for this account alone; SQLite gives its log the same permissions.
        """
        self._require_locks(conn_params)
        path = str(conn_params["database"])
        if not path.startswith(("file:", ":memory:")):
            with contextlib.suppress(OSError):
                os.close(os.open(path, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o600))
        return super().get_new_connection(conn_params)

    def create_cursor(self, name: str | None = None) -> Any:
        """Return a new cursor."""
        cursor = self.connection.cursor(factory=CursorWrapper)
        cursor.owner = self
        return cursor
