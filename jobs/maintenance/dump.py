"""A copy of the whole database in a file, and back: SQLite's backup API, or pg_dump and pg_restore."""

import contextlib
import os
import shutil
import sqlite3
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from django.db import connection, transaction

from archive.format.layout import JobKey
from jobs.models import Job

NAMES = {"sqlite": "database.sqlite3", "postgresql": "database.pgdump"}
"""The name of the copy, by the kind of database."""

_OPTIONS = {
    "host": "PGHOST",
    "hostaddr": "PGHOSTADDR",
    "port": "PGPORT",
    "user": "PGUSER",
    "password": "PGPASSWORD",
    "dbname": "PGDATABASE",
    "service": "PGSERVICE",
    "passfile": "PGPASSFILE",
    "sslmode": "PGSSLMODE",
    "sslrootcert": "PGSSLROOTCERT",
    "sslcert": "PGSSLCERT",
    "sslkey": "PGSSLKEY",
}
"""libpq's options as its programs take them from the environment, where nobody else sees a password."""


class DumpError(Exception):
    """The database cannot be copied or restored; the message says why."""


def dump(folder: Path) -> set[JobKey]:
    """Copy the database as it is at one moment into a folder, while others write.

    Return the jobs that were running or waited for their first archiving at that moment. Raise DumpError.
    """
    path = folder / NAMES[connection.vendor]
    if connection.vendor == "sqlite":
        return _dump_sqlite(path)
    program = _program("pg_dump")
    with transaction.atomic(), connection.cursor() as cursor:
        cursor.execute("SET TRANSACTION ISOLATION LEVEL REPEATABLE READ")
        cursor.execute("SELECT pg_export_snapshot()")
        (snapshot,) = cursor.fetchone()
        unfinished = set(_unfinished(cursor.execute, cursor.fetchall))
        _run(program, "--format=custom", "--no-owner", "--no-privileges", f"--snapshot={snapshot}", f"--file={path}")
    return unfinished


def load(folder: Path) -> None:
    """Replace the database by the copy in a folder, wholly or not at all; raise DumpError."""
    path = folder / NAMES[connection.vendor]
    if connection.vendor == "sqlite":
        connection.ensure_connection()
        with _errors(), contextlib.closing(sqlite3.connect(f"file:{path}?mode=ro", uri=True)) as copy:
            copy.backup(connection.connection)
        return
    database = str(connection.settings_dict["NAME"])
    connection.close()  # whose locks pg_restore would wait for
    options = ["--clean", "--if-exists", "--no-owner", "--no-privileges", "--single-transaction"]
    _run(_program("pg_restore"), *options, f"--dbname={database}", str(path))


def _dump_sqlite(path: Path) -> set[JobKey]:
    connection.ensure_connection()
    path.touch(mode=0o600)
    with _errors(), contextlib.closing(sqlite3.connect(path)) as copy:
        connection.connection.backup(copy)
        copy.execute("PRAGMA journal_mode=DELETE")  # one file, which needs no log beside it
        cursor = copy.cursor()

        def execute(sql: str, params: Any) -> None:
            cursor.execute(sql.replace("%s", "?"), params)

        return set(_unfinished(execute, cursor.fetchall))


@contextlib.contextmanager
def _errors() -> Iterator[None]:
    """Raise DumpError for what SQLite says."""
    try:
        yield
    except sqlite3.Error as error:
        raise DumpError(f"SQLite: {error}") from None


def _unfinished(execute: Callable[[str, Any], Any], fetch: Callable[[], list[Any]]) -> Iterator[JobKey]:
    """Yield the jobs that run, and those that wait for their first archiving."""
    for jobs in (Job.objects.running(), Job.objects.awaiting_first_archive()):
        query = jobs.order_by().values_list("cluster", "job_id", "start_time").query
        execute(*query.sql_with_params())
        yield from (JobKey(*row) for row in fetch())


def _program(name: str) -> str:
    """Return the path of a program of PostgreSQL; raise DumpError if there is none."""
    path = shutil.which(name)
    if path is None:
        raise DumpError(f"there is no {name} here: install PostgreSQL's client, or see docs/backup.md")
    return path


def _run(program: str, *arguments: str) -> None:
    """Run a program of PostgreSQL on the database of DATABASE_URL; raise DumpError with what it says."""
    parameters: dict[str, Any] = connection.get_connection_params()
    given = {name: str(parameters[option]) for option, name in _OPTIONS.items() if parameters.get(option)}
    outcome = subprocess.run(  # noqa: S603  no word of it comes from outside
        [program, *arguments], env=os.environ | given, capture_output=True, text=True, errors="replace", check=False
    )
    if outcome.returncode:
        raise DumpError(f"{Path(program).name}: {' '.join(outcome.stderr.split())[:1000]}")
