"""The health of the database: it answers, is migrated, and has connections left."""

import functools
from collections.abc import Iterator
from typing import Any

from django.conf import settings
from django.core.exceptions import ImproperlyConfigured
from django.db import DatabaseError, connection
from django.db.migrations.loader import MigrationLoader

from jobs.health.look import Look
from jobs.health.report import Finding, NoAnswerError, State, within_limit

NAME = "database"

MANY_CONNECTIONS, NEARLY_ALL_CONNECTIONS = 0.8, 0.95
"""Shares of PostgreSQL's connections in use from which on that is a warning, and an error."""

FEW_CONNECTIONS = 5
"""Connections that a process of the server needs: for its main loop, its counts, and a thread of each kind."""

_AWAY = (
    "Start the database, or correct DATABASE_URL. Starts and stops are answered with 503 until then, and schedulers' "
    "hooks have to send them again."
)


@functools.cache
def known_migrations() -> frozenset[tuple[str, str]]:
    """Return the migrations that this release has, as app and name; they are read once per process."""
    return frozenset(MigrationLoader(None, ignore_no_migrations=True).disk_migrations)


def trouble() -> Finding | None:
    """Return what keeps the database from being used, asked over a connection of its own; None if nothing does."""
    try:
        missing = within_limit("the database", _missing_migrations)
    except (DatabaseError, NoAnswerError) as error:
        reason = " ".join(str(error).split())
        return Finding(NAME, State.ERROR, f"The database cannot be reached: {reason}.", _AWAY)
    except ImproperlyConfigured as error:
        return Finding(NAME, State.ERROR, f"The database cannot be used: {error}.", "Do what the sentence says.")
    if missing:
        names = ", ".join(f"{app}.{name}" for app, name in missing[:3])
        sentence = f"The database is not migrated: {names}{' and others are' if len(missing) > 3 else ''} missing."
        return Finding(NAME, State.ERROR, sentence, "Run `manage.py migrate`, then restart the server and the worker.")
    return None


def check(look: Look) -> Iterator[Finding]:
    """Yield how the database is; call it if there is no `trouble`."""
    if connection.vendor != "postgresql":
        yield Finding(NAME, State.OK, "The database answers and is migrated.")
        return
    engine: Any = connection
    used, most = engine.connections()
    processes = settings.SERVER_PROCESSES
    each = min(engine.share_of(most, processes), settings.CONNECTIONS_PER_PROCESS)
    if each < FEW_CONNECTIONS:
        sentence = (
            f"PostgreSQL's {most} connections are too few for {processes} processes of the server: "
            f"{each} for each, and {FEW_CONNECTIONS} are needed."
        )
        cure = f"Raise max_connections to {processes * FEW_CONNECTIONS + 20} or more, or lower WEB_CONCURRENCY."
        yield Finding(NAME, State.WARNING, sentence, cure)
    share = used / most
    state = State.ERROR if share >= NEARLY_ALL_CONNECTIONS else State.WARNING
    if share < MANY_CONNECTIONS:
        may = f"the server may open {processes * each}"
        sentence = f"The database answers and is migrated; {used} of {most} connections are in use, {may}."
        yield Finding(NAME, State.OK, sentence)
        return
    yield Finding(
        NAME,
        state,
        f"{used} of PostgreSQL's {most} connections are in use.",
        "Raise max_connections, lower WEB_CONCURRENCY, or see in pg_stat_activity what else connects.",
    )


def _missing_migrations() -> list[tuple[str, str]]:
    """Return the migrations that have not been applied, over a new connection: one in use might hang for long."""
    own: Any = connection.copy()
    if own.vendor == "postgresql":
        own.settings_dict["OPTIONS"]["connect_timeout"] = 2  # seconds; the least that libpq takes
    try:
        with own.cursor() as cursor:
            if "django_migrations" not in own.introspection.table_names(cursor):
                return sorted(known_migrations())
            cursor.execute('SELECT "app", "name" FROM "django_migrations"')
            return sorted(known_migrations() - set(cursor.fetchall()))
    finally:
        own.close()
