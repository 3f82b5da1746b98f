"""Connections to PostgreSQL, direct or through a pooler, that wait a bounded time for locks and can store any text.

A pooler in transaction mode hands each transaction to another of its connections, so nothing is set per session: the
bound is a default of the role in this database, which PostgreSQL itself gives to each new connection.
"""

import contextlib
import select
from collections.abc import Iterator, Sequence
from functools import cached_property
from typing import Any

from django.conf import settings
from django.core.exceptions import ImproperlyConfigured
from django.db import DatabaseError, transaction
from django.db.backends.postgresql import base
from django.db.utils import DatabaseErrorWrapper
from psycopg.errors import LockNotAvailable, QueryCanceled
from psycopg.sql import quote

from ccbackend.postgresql.statements import Statements
from ccbackend.waiting import MUST_NOT_WORK, WouldWait

# Milliseconds; the second is what the session began with. The text is for glibc's malloc, which PostgreSQL uses: when a
# large piece is returned (M_MMAP_THRESHOLD in mallopt(3)) it keeps twice that much memory from then on, instead of
# handing it back to the kernel after each page of jobs, which cost 90 page faults and a third of the page's time.
_VALUES = """
    SELECT setting::int, reset_val::int, pg_backend_pid() FROM pg_settings
    WHERE name = 'lock_timeout' AND octet_length(repeat(' ', 1000000)) > 0
"""

_PREPARE_AFTER = 5  # uses of a statement on one connection

_LONGEST: int = settings.DATABASE_WAIT  # seconds

# Whether connections of this role to this database begin with a bound, though an older one of a pooler may not.
_HAS_DEFAULT = """
    SELECT count(*) > 0 FROM pg_db_role_setting, unnest(setconfig) AS config
    WHERE setdatabase IN (0, (SELECT oid FROM pg_database WHERE datname = current_database()))
    AND setrole IN (0, (SELECT oid FROM pg_roles WHERE rolname = session_user))
    AND config LIKE 'lock_timeout=%' AND config <> 'lock_timeout=0'
"""


# Those that PostgreSQL keeps for superusers are not for this server.
_CONNECTIONS = """
    SELECT (SELECT count(*) FROM pg_stat_activity WHERE backend_type = 'client backend')::int,
    sum(CASE name WHEN 'max_connections' THEN setting::int ELSE -setting::int END)::int FROM pg_settings
    WHERE name IN ('max_connections', 'superuser_reserved_connections', 'reserved_connections')
"""
_FOR_OTHERS = 12  # archive_worker, commands, a backup

# Longer than the writes of the API hold a lock, too short to notice; longer than short calls take.
_NOT_WAITING = "SELECT set_config('lock_timeout', '20ms', true)"
_BRIEFLY = f"{_NOT_WAITING}, set_config('statement_timeout', '{MUST_NOT_WORK}ms', true)"


class _ErrorWrapper(DatabaseErrorWrapper):
    """Raises Django's exceptions, but WouldWait for a lock, or work, that a connection must not wait for."""

    wrapper: Any

    def __exit__(self, exc_type: Any, exc_value: Any, traceback: Any) -> None:
        no_wait = self.wrapper.must_not_wait and not self.wrapper.gives_up_at_once
        if no_wait and isinstance(exc_value, LockNotAvailable | QueryCanceled):
            raise WouldWait from None
        super().__exit__(exc_type, exc_value, traceback)


class DatabaseWrapper(base.DatabaseWrapper):
    """Django's connection; refuses a database that is not in UTF-8, and sees that its role has the bound.

    Planning takes PostgreSQL longer than a start or a stop itself, so what `run` sends often is prepared, unless a
    pooler is in between, which may not keep it; `prepare_threshold` in DATABASE_URL decides otherwise. Nothing else
    is: one plan for all values can be the wrong one for a page of the admin site.

    With `must_not_wait` the statements of `run`, and what follows in their transaction, raise WouldWait after some
    milliseconds instead of waiting for a lock, and ccbackend.fastpath.worker lets a thread wait instead.
    """

    must_not_wait = False
    gives_up_at_once = False
    _statements: Statements | None = None
    prepare_threshold: int | None = None

    @cached_property
    def wrap_database_errors(self) -> _ErrorWrapper:
        """Return the context that all errors of the database pass."""
        return _ErrorWrapper(self)

    def is_usable(self) -> bool:
        """Return whether the server has not ended the connection, without a query if nothing has come from it."""
        if self.connection is None:
            return False
        poll = select.poll()
        try:
            poll.register(self.connection.pgconn.socket, select.POLLIN)
        except self.Database.Error:
            return False
        # A notice, a last word, or the end: a query tells which.
        return bool(super().is_usable()) if poll.poll(0) else True

    def connections(self) -> tuple[int, int]:
        """Return how many connections to the server of the database are open, and how many may be."""
        with self.cursor() as cursor:
            cursor.execute(_CONNECTIONS)
            used, most = cursor.fetchone()
        return used, most

    def share_of_connections(self, processes: int) -> int | None:
        """Return `share_of` the connections that the server of the database has; None if it is away."""
        try:
            _, most = self.connections()
        except DatabaseError:  # it is away; the server starts all the same
            return None
        return self.share_of(most, processes)

    def share_of(self, most: int, processes: int) -> int:
        """Return how many of `most` connections each of some processes may open, with some left for others."""
        return max(0, most - _FOR_OTHERS) // processes

    def run(self, *statements: tuple[str, Sequence[Any]], briefly: bool = False) -> list[tuple[Any, ...]]:
        """Run statements together, in a transaction of their own if none is open; return the rows of the last one.

        Outside a transaction that is one round trip; see `Statements.run`. With `must_not_wait` those that are to be
        run `briefly` are given up when they work for long, too.
        """
        if self.must_not_wait:
            statements = ((_BRIEFLY if briefly else _NOT_WAITING, ()), *statements)
        if self.in_atomic_block or self.queries_logged or self.execute_wrappers:
            with transaction.atomic(self.alias, savepoint=False), self.cursor() as cursor:
                for statement in statements:
                    cursor.execute(*statement)
                return cursor.fetchall() if cursor.description else []
        self.close_if_health_check_failed()
        self.ensure_connection()
        with self.wrap_database_errors:
            if self._statements is None or self._statements.pgconn is not self.connection.pgconn:
                self._statements = Statements(self.connection.pgconn, self.prepare_threshold)
            return self._statements.run(statements)

    def with_values(self, sql: str, parameters: Sequence[Any]) -> str:
        """Return a query with the values in its text, as Django's compose_sql does, which opens two cursors for it."""
        self.ensure_connection()
        with self.wrap_database_errors:
            return sql % tuple(
                value if type(value) is int and value >= 0 else quote(value, self.connection) for value in parameters
            )

    @contextlib.contextmanager
    def short_waits(self) -> Iterator[None]:
        """Let the statements in this block, one transaction, wait some milliseconds for a lock and then fail."""
        with transaction.atomic(self.alias), self.cursor() as cursor:
            cursor.execute(_NOT_WAITING)
            yield

    def get_connection_params(self) -> dict[str, Any]:
        """Return psycopg's parameters: it prepares nothing by itself."""
        return super().get_connection_params() | {"prepare_threshold": None}

    def get_new_connection(self, conn_params: dict[str, Any]) -> Any:
        """Connect; raise ImproperlyConfigured if the database cannot store all names and job scripts."""
        connection = super().get_new_connection(conn_params)
        encoding = connection.info.parameter_status("server_encoding")
        if encoding != "UTF8":
            connection.close()
            name = conn_params.get("dbname")
            raise ImproperlyConfigured(
                f"DATABASE_URL: the database {name} has the encoding {encoding}, in which not all names can be stored: "
                f"create one with CREATE DATABASE {name} ENCODING 'UTF8' TEMPLATE template0"
            )
        return connection

    def init_connection_state(self) -> None:
        """Set the bound for locks as the role's default in this database, if this connection has not got it."""
        super().init_connection_state()
        now, _, pid = self._values()
        is_direct = pid == self.connection.info.backend_pid  # a pooler would have told us another number
        self.prepare_threshold = self.settings_dict["OPTIONS"].get(
            "prepare_threshold", _PREPARE_AFTER if is_direct else None
        )
        if not _is_bounded(now):
            bound = f"SET lock_timeout = '{_LONGEST}s'"
            with self.connection.cursor() as cursor:
                (name,) = cursor.execute("SELECT current_database()").fetchone()
                # It fails where nothing can be written, or while another process does just that.
                with contextlib.suppress(self.Database.Error):
                    cursor.execute(f"ALTER ROLE SESSION_USER IN DATABASE {self.ops.quote_name(name)} {bound}")
                cursor.execute(bound)  # for this connection of a pooler, which is older

    def refuse(self) -> str | None:
        """Connect; return why locks may be waited for without end, else None. Raise ImproperlyConfigured."""
        with self.wrap_database_errors:
            self.connect()
        with self.connection.cursor() as cursor:
            (has_default,) = cursor.execute(_HAS_DEFAULT).fetchone()
        bounded = has_default or _is_bounded(self._values()[1])
        self.close()
        return None if bounded else "Locks may be waited for without end: the role has no default of lock_timeout."

    def _values(self) -> tuple[int, int, int]:
        """Return lock_timeout (ms), what it was when the session began, and the id of the process that serves us."""
        with self.connection.cursor() as cursor:
            values: tuple[int, int, int] = cursor.execute(_VALUES).fetchone()
        return values


def _is_bounded(lock_timeout: int) -> bool:
    return 0 < lock_timeout <= _LONGEST * 1000
