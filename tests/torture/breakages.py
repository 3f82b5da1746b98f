"""What is broken, each for real and for a moment: a function that breaks it, waits, and puts it right again."""

import contextlib
import sqlite3
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from http.server import BaseHTTPRequestHandler
from pathlib import Path
from random import Random
from typing import Any

import psutil
import psycopg

from tests.support.fake_metric_store import FakeStore
from tests.support.http_store import respond
from tests.support.server import Server
from tests.torture.disk import Disk
from tests.torture.postgres import KillablePostgres

# Leases of a clock that was an hour ahead before it was set back; both databases store times without a zone in UTC.
_FUTURE = {
    "sqlite": "strftime('%Y-%m-%d %H:%M:%f', 'now', '+1 hour')",
    "postgres": "now() + interval '1 hour'",
}


@dataclass
class Scene:
    """The parts that can break. `postgres` is None where the database is the file `sqlite`."""

    server: Server
    store: FakeStore
    disk: Disk
    sqlite: Path
    postgres: KillablePostgres | None
    random: Random
    longest: float = 2.0  # seconds something stays broken

    def pause(self) -> None:
        """Let what is broken be so for a while."""
        time.sleep(self.random.uniform(self.longest / 4, self.longest))

    def execute(self, *statements: str) -> None:
        """Run SQL in one transaction of a connection of its own, which is held for a while before the last one."""
        with self._connection() as connection:
            for statement in statements[:-1]:
                connection.execute(statement)
            if len(statements) > 1:
                self.pause()
            connection.execute(statements[-1])

    def query(self, sql: str) -> list[tuple[Any, ...]]:
        """Return the rows of a SELECT."""
        with self._connection() as connection:
            rows: list[tuple[Any, ...]] = connection.execute(sql).fetchall()
            return rows

    @contextlib.contextmanager
    def _connection(self) -> Iterator[Any]:
        """Give a connection to the database, of either kind: both have the method `execute`."""
        if self.postgres is None:
            with contextlib.closing(sqlite3.connect(self.sqlite, 60, isolation_level=None)) as sqlite:
                yield sqlite
        else:
            with psycopg.connect(self.postgres.url, autocommit=True) as postgres:
                yield postgres


def kill_server(scene: Scene) -> None:
    """Kill all processes of the HTTP server, and start it again."""
    scene.server.kill_web()
    scene.pause()
    scene.server.start_web()


def kill_web_worker(scene: Scene) -> None:
    """Kill one process of the HTTP server, which replaces it."""
    _kill_one(scene, scene.server.web_workers())
    scene.pause()


def kill_archive_worker(scene: Scene) -> None:
    """Kill all processes of the archive worker, and start it again."""
    scene.server.kill_workers()
    scene.pause()
    scene.server.start_worker()


def kill_writing_process(scene: Scene) -> None:
    """Kill one process of the archive worker, which replaces it."""
    _kill_one(scene, scene.server.archiver_processes())
    scene.pause()


def kill_everything(scene: Scene) -> None:
    """Kill HTTP server, archive worker and PostgreSQL, and start them again."""
    scene.server.kill_workers()
    scene.server.kill_web()
    if scene.postgres is not None:
        scene.postgres.kill()
    scene.pause()
    if scene.postgres is not None:
        scene.postgres.start()
    scene.server.start_worker()
    scene.server.start_web()


def kill_postgres(scene: Scene) -> None:
    """Kill all processes of PostgreSQL, and start it again."""
    assert scene.postgres is not None
    scene.postgres.kill()
    scene.pause()
    scene.postgres.start()


def lock_database(scene: Scene) -> None:
    """Lock the database, or on PostgreSQL the job table, against writing."""
    if scene.postgres is None:
        scene.execute("BEGIN IMMEDIATE", "COMMIT")
    else:
        scene.execute("BEGIN", "LOCK TABLE jobs_job IN EXCLUSIVE MODE", "COMMIT")


def fill_archive(scene: Scene) -> None:
    """Fill the archive's file system, and empty it again."""
    scene.disk.fill()
    scene.pause()
    scene.disk.empty()


def archive_read_only(scene: Scene) -> None:
    """Make the archive's file system read-only for a while."""
    scene.disk.forbid_writing()
    scene.pause()
    scene.disk.allow_writing()


def store_hangs(scene: Scene) -> None:
    """Let the metric store take requests and not answer."""
    with _store(scene, lambda handler, over: over.wait()):
        scene.pause()


def store_dies(scene: Scene) -> None:
    """Let the metric store close every connection."""
    with _store(scene, lambda handler, over: None):
        scene.pause()


def store_breaks_off(scene: Scene) -> None:
    """Let the metric store break off in the middle of an answer."""
    with _store(scene, lambda handler, over: respond(handler, 200, b'{"results": [[', 5000)):
        scene.pause()


def set_clock_back(scene: Scene) -> None:
    """Leave the leases of a dead worker as they are after the clock was set back by an hour."""
    scene.server.kill_workers()
    vendor = "sqlite" if scene.postgres is None else "postgres"
    scene.execute(f"UPDATE jobs_archivetask SET not_before = {_FUTURE[vendor]} WHERE worker <> ''")
    scene.server.start_worker()
    scene.pause()


BREAKAGES: dict[str, Callable[[Scene], None]] = {
    "HTTP server, all its processes": kill_server,
    "one process of the HTTP server": kill_web_worker,
    "archive worker, all its processes": kill_archive_worker,
    "one process of the archive worker": kill_writing_process,
    "HTTP server, archive worker and PostgreSQL at once": kill_everything,
    "PostgreSQL, all its processes": kill_postgres,
    "database locked against writing by another program": lock_database,
    "archive's file system full": fill_archive,
    "archive's file system read-only": archive_read_only,
    "metric store takes requests and does not answer": store_hangs,
    "metric store closes every connection": store_dies,
    "metric store breaks off in the middle of an answer": store_breaks_off,
    "clock set back by an hour: leases of a dead worker end in the future": set_clock_back,
}
"""What can be broken, by its name in the report."""

IN_ANOTHER = {"HTTP server, all its processes"}
"""What is broken by another one of them, too, and takes long to start again."""


def why_not(breakage: Callable[[Scene], None], scene: Scene) -> str:
    """Return why something cannot be broken here; the empty text if it can."""
    if breakage is kill_postgres and scene.postgres is None:
        return "SQLite has no server"
    if breakage in (fill_archive, archive_read_only):
        return scene.disk.problem
    return ""


def _kill_one(scene: Scene, processes: list[psutil.Process]) -> None:
    with contextlib.suppress(psutil.NoSuchProcess, IndexError):
        scene.random.choice(processes).kill()


@contextlib.contextmanager
def _store(scene: Scene, answer: Callable[[BaseHTTPRequestHandler, threading.Event], object]) -> Iterator[None]:
    """Let the metric store answer in another way, and close the connection after it."""
    over = threading.Event()

    def misbehave(handler: BaseHTTPRequestHandler) -> None:
        answer(handler, over)
        handler.close_connection = True

    scene.store.misbehave = misbehave
    try:
        yield
    finally:
        scene.store.misbehave = None
        over.set()
