"""A list that the database works on for long does not hold up the main loop of a server."""

import contextlib
import socket
import sqlite3
import threading
import time
from collections.abc import Iterator
from types import SimpleNamespace
from typing import Any

import psycopg
import pytest
from django.db import DatabaseError, connection, connections
from gunicorn.config import Config
from gunicorn.glogging import Logger

from ccbackend.fastpath import worker
from ccbackend.fastpath.connection import Connection
from ccbackend.fastpath.guarded import GuardedWorker
from ccbackend.fastpath.heads import Heads
from ccbackend.waiting import WouldWait
from jobs.rows.select import run
from tests.support.server import Server, running_server
from tests.support.waiting import patience

# Statements that take a time of their own: steps of SQLite's machine, and seconds.
_COUNT = """
    WITH RECURSIVE numbers(n) AS (SELECT 1 UNION ALL SELECT n + 1 FROM numbers WHERE n < {})
    SELECT count(*) FROM numbers
"""
_SLEEP = "SELECT count(*) FROM pg_sleep({})"
FOR_LONG = {"sqlite": _COUNT.format(10**6), "postgresql": _SLEEP.format(0.2)}
FOR_SECONDS = {"sqlite": _COUNT.format(2 * 10**7), "postgresql": _SLEEP.format(3)}


@contextlib.contextmanager
def in_main_loop() -> Iterator[None]:
    """Let the connection in this block be one that must not wait."""
    wrapper: Any = connections["default"]
    wrapper.must_not_wait = True
    try:
        yield
    finally:
        wrapper.must_not_wait = False


@pytest.mark.django_db(transaction=True)
def test_a_statement_of_the_main_loop_that_works_for_long_is_given_up() -> None:
    with in_main_loop():
        with pytest.raises(WouldWait):
            run((FOR_SECONDS[connection.vendor], []), briefly=True)
        assert run((FOR_LONG[connection.vendor], []))  # such as a start, which is not to be run briefly
        with pytest.raises(DatabaseError):
            run(("SELECT 1 FROM nowhere", []), briefly=True)
    assert run((FOR_LONG[connection.vendor], []), briefly=True)  # a thread takes the time that it needs


@pytest.fixture
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """Return a server of one process whose lists take seconds."""
    with running_server(tmp_path_factory.mktemp("slow"), workers=1) as running:
        with contextlib.closing(running.client()) as client:
            assert client.get("/api/jobs/").status == 200
            client.started(jobId=1)
        execute(
            running,
            "ALTER TABLE jobs_job RENAME TO fast",
            f"CREATE VIEW jobs_job AS SELECT * FROM fast WHERE ({FOR_SECONDS[connection.vendor]}) > 0",
        )
        yield running


def execute(server: Server, *statements: str) -> None:
    """Execute statements in the server's database."""
    if server.database_url.startswith("postgres"):
        with psycopg.connect(server.database_url) as postgres:
            for statement in statements:
                postgres.execute(statement.encode())
        return
    with contextlib.closing(sqlite3.connect(server.folder / "server.sqlite3", timeout=20)) as lite:
        lite.execute("PRAGMA legacy_alter_table=ON")
        for statement in statements:
            lite.execute(statement)
        lite.commit()


@pytest.mark.server
@pytest.mark.parametrize("query", ["", "?cluster=testcluster&state=running&state=failed&start-time=0-4000000000"])
def test_a_slow_list_holds_up_nobody_and_is_answered(server: Server, query: str) -> None:
    answers: list[tuple[float, int, int]] = []

    def ask() -> None:
        begin = time.monotonic()
        with contextlib.closing(server.client()) as client:
            answer = client.get(f"/api/jobs/{query}")
        answers.append((time.monotonic() - begin, answer.status, len(answer.json["jobs"])))

    thread = threading.Thread(target=ask)
    thread.start()
    begin, others = time.monotonic(), 0
    while not answers and time.monotonic() - begin < patience(60):
        with contextlib.closing(server.client(None)) as client:
            assert client.get("/api/jobs/").status == 401
        others += 1
        time.sleep(0.02)
    thread.join()
    ((seconds, status, jobs),) = answers
    assert (status, jobs) == (200, 1)
    assert others > 5 * seconds, f"{others} answers beside a list of {seconds:.1f} s"


@pytest.fixture
def asked() -> list[str]:
    """Return the queries that reached the application in the main loop."""
    return []


@pytest.fixture
def main_loop(asked: list[str]) -> Iterator[worker.Worker]:
    """Return a worker whose application always works for long."""

    def application(environ: dict[str, Any], start_response: Any) -> Any:
        asked.append(environ["QUERY_STRING"])
        raise WouldWait

    settings = Config()
    made = worker.Worker(1, 1, [], SimpleNamespace(wsgi=object), 30, settings, Logger(settings))
    made.wsgi, made._heads, made._writes, made._reads, made._slow = application, Heads(settings), [], [], {}
    yield made
    made.tmp.close()


def test_a_list_that_was_slow_goes_to_a_thread_at_once_for_a_while(
    main_loop: worker.Worker, asked: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    in_threads: list[Connection] = []
    monkeypatch.setattr(GuardedWorker, "proceed", lambda _, conn: in_threads.append(conn))
    ours, theirs = socket.socketpair()
    with ours, theirs:
        conn = Connection(main_loop.cfg, ours, ("127.0.0.1", 1), ("127.0.0.1", 2))

        def arrive(query: str) -> None:
            conn.received = b"GET /api/jobs/?%b HTTP/1.1\r\nHost: localhost\r\n\r\n" % query.encode()
            main_loop.proceed(conn)
            main_loop._answer_reads()

        for query in ("state=failed", "state=failed", "state=timeout"):
            arrive(query)
        assert asked == ["state=failed", "state=timeout"]
        clock = time.monotonic
        monkeypatch.setattr(time, "monotonic", lambda: clock() + 61)
        arrive("state=failed")
        assert asked == ["state=failed", "state=timeout", "state=failed"]
        assert len(in_threads) == 4
        conn.sock.close()
