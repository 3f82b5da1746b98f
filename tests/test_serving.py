"""ccbackend.serving and ccbackend.sqlite: short calls in the main loop, and nobody who can hold them up."""

import contextlib
import os
import socket
import sqlite3
import threading
import time
from collections.abc import Iterator

import pytest

from tests.server import Server, running_server

pytestmark = [
    pytest.mark.server,
    pytest.mark.skipif(
        os.environ.get("DATABASE_URL", "").startswith("postgres"), reason="on PostgreSQL all calls go to threads"
    ),
]

QUICK = 3.0  # seconds: far below gunicorn's time-outs and the 20 s wait for the database


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """Return a server of one process, so that a call that is held up cannot hide behind another process."""
    with running_server(tmp_path_factory.mktemp("serving"), workers=1) as running:
        yield running


@contextlib.contextmanager
def locked(server: Server) -> Iterator[None]:
    """Hold the write lock of the server's database."""
    path = server.folder / "server.sqlite3"
    with contextlib.closing(sqlite3.connect(path, isolation_level=None, timeout=5)) as other:
        other.execute("BEGIN IMMEDIATE")
        yield
        other.rollback()


def seconds_of_a_list(server: Server) -> float:
    """Return how long a short list takes."""
    begin = time.monotonic()
    with contextlib.closing(server.client()) as client:
        assert client.get("/api/jobs/").status == 200
    return time.monotonic() - begin


@pytest.mark.parametrize(
    "sent",
    [
        b"GET /api/jobs/ HTTP/1.1\r\nHost: localhost\r\n\r\nG",
        b"GET /api/jobs/ HTTP/1.1\r\nHost: localh",
        b"POST /api/jobs/start_job/ HTTP/1.1\r\nHost: localhost\r\nContent-Length: 100\r\n\r\n{",
        b"",
    ],
)
def test_a_client_that_stops_in_the_middle_holds_up_nobody(server: Server, sent: bytes) -> None:
    with socket.create_connection(("127.0.0.1", server.port)) as stuck:
        stuck.sendall(sent)
        time.sleep(0.2)
        assert seconds_of_a_list(server) < QUICK


def test_two_requests_sent_at_once_are_both_answered(server: Server) -> None:
    request = b"GET /api/jobs/?page=2 HTTP/1.1\r\nHost: localhost\r\nX-Auth-Token: %b\r\n\r\n"
    with socket.create_connection(("127.0.0.1", server.port), timeout=QUICK) as sock:
        sock.sendall(request % server.tokens["bench"].encode() * 2)
        received = b""
        while received.count(b"HTTP/1.1 200 ") < 2:
            part = sock.recv(65536)
            assert part, received
            received += part


def test_starts_wait_for_a_locked_database_side_by_side_and_lists_go_on(server: Server) -> None:
    statuses: list[int] = []

    def start(number: int) -> None:
        with contextlib.closing(server.client()) as client:
            statuses.append(client.start(jobId=number).status)

    starts = [threading.Thread(target=start, args=(number,)) for number in range(1, 6)]
    with locked(server):
        for thread in starts:
            thread.start()
        time.sleep(1)
        assert seconds_of_a_list(server) < QUICK
        assert statuses == []
    begin = time.monotonic()
    for thread in starts:
        thread.join(timeout=20)
    assert statuses == [201] * 5
    assert time.monotonic() - begin < QUICK


def test_a_stop_that_had_to_wait_is_done_once(server: Server) -> None:
    with contextlib.closing(server.client()) as client:
        client.started(jobId=77)
    answers: list[int] = []

    def stop() -> None:
        with contextlib.closing(server.client()) as client:
            answers.append(client.stop(jobId=77, stopTime=2_000_000_000).status)

    thread = threading.Thread(target=stop)
    with locked(server):
        thread.start()
        time.sleep(0.5)
    thread.join(timeout=20)
    assert answers == [200]


def test_noting_the_last_use_of_a_token_does_not_wait_for_a_locked_database(server: Server) -> None:
    with locked(server), contextlib.closing(server.client("admin")) as client:
        begin = time.monotonic()
        assert client.get("/api/users/").status == 200
        assert time.monotonic() - begin < QUICK
