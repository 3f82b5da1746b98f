"""ccbackend.fastpath.guarded: whatever clients do, the calls of the scheduler's hooks are answered in time."""

import contextlib
import itertools
import logging
import re
import socket
import time
from collections.abc import Iterator
from types import SimpleNamespace

import pytest

from ccbackend.fastpath.guarded import GuardedWorker
from tests.support.clients import WireClient
from tests.support.server import Server, running_server
from tests.support.waiting import patience

pytestmark = pytest.mark.server

CONNECTIONS = 50  # that a server process may have
SECONDS = 10  # that a client has for a small request
# With a cookie, or the form would be refused before its body is read.
FORM = b"POST /admin/login/ HTTP/1.1\r\nHost: localhost\r\nCookie: csrftoken=%b\r\n" % (b"a" * 32)
FORM += b"Content-Type: application/x-www-form-urlencoded\r\n"
_numbers = itertools.count(1)


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """Return a server of one process, so that a call that is held up cannot hide behind another process."""
    settings = {"GUNICORN_CMD_ARGS": f"--worker-connections {CONNECTIONS}"}
    with running_server(tmp_path_factory.mktemp("guarded"), workers=1, settings=settings) as running:
        yield running


@pytest.fixture
def attack(server: Server) -> Iterator[list[socket.socket]]:
    """Return the connections of an attacker, which end with the test."""
    connections: list[socket.socket] = []
    yield connections
    for sock in connections:
        sock.close()


def connect(server: Server, attack: list[socket.socket], sent: bytes, number: int) -> None:
    """Open connections and send the same on each."""
    for _ in range(number):
        sock = socket.socket()
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        sock.settimeout(30)
        sock.connect(("127.0.0.1", server.port))
        attack.append(sock)
        sock.sendall(sent)


def seconds_of_a_job(server: Server) -> float:
    """Return how long a start and a stop take, each on a new connection."""
    begin = time.monotonic()
    number = next(_numbers)
    with contextlib.closing(server.client()) as hook:
        assert hook.start(jobId=number).status == 201
    with contextlib.closing(server.client()) as hook:
        assert hook.stop(jobId=number, stopTime=2_000_000_000).status == 200
    return time.monotonic() - begin


def quick() -> float:
    """Return 2 seconds, more on a busy machine, and less than what each of these attacks cost before."""
    return min(patience(2.0), 0.8 * SECONDS)


@pytest.mark.parametrize(
    "sent",
    [
        pytest.param(b"", id="nothing"),
        pytest.param(b"G", id="one byte"),
        pytest.param(b"POST /api/jobs/start_job/ HTTP/1.1\r\nHost: localhost\r\n", id="half a head"),
        pytest.param(FORM + b"Content-Length: 100\r\n\r\nu", id="half a body"),
        pytest.param(FORM + b"Content-Length: 1000000\r\n\r\nu", id="half a large body"),
        pytest.param(FORM + b"Transfer-Encoding: chunked\r\n\r\n5\r\nu", id="half a chunk"),
        pytest.param(b"GET / HTTP/1.1\r\nHost: localhost\r\n\r\nGET / HTTP/1.1\r\nHo", id="one and a half"),
        pytest.param(b"GET / HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n", id="lingering"),
    ],
)
def test_connections_that_stop_in_the_middle_cost_a_hook_nothing(
    server: Server, attack: list[socket.socket], sent: bytes
) -> None:
    connect(server, attack, sent, 2 * CONNECTIONS)
    assert seconds_of_a_job(server) < quick()


def test_of_very_many_large_forms_some_are_refused_in_json(server: Server, attack: list[socket.socket]) -> None:
    connect(server, attack, FORM + b"Content-Length: 1000000\r\n\r\nu", 30)
    refused = []
    for sock in attack:
        sock.settimeout(0.1)
        with contextlib.suppress(TimeoutError):
            refused.append(sock.recv(1000))
    assert 0 < len(refused) < 30
    assert all(answer.startswith(b"HTTP/1.1 503 ") for answer in refused)
    assert all(answer.endswith(b'"error": "too many large forms at once"}\n') for answer in refused)


def test_clients_that_read_nothing_cost_a_hook_nothing(server: Server, attack: list[socket.socket]) -> None:
    with contextlib.closing(server.client(None)) as client:
        page = client.get("/api/docs/").text
    found = re.search(r'src="(/static/[^"]*swagger-ui-bundle.js)"', page)
    assert found is not None
    connect(server, attack, b"GET %b HTTP/1.1\r\nHost: localhost\r\n\r\n" % found[1].encode(), 2 * 8)
    assert seconds_of_a_job(server) < quick()


def test_a_small_request_has_ten_seconds(server: Server, attack: list[socket.socket]) -> None:
    connect(server, attack, b"POST /admin/login/ HTTP/1.1\r\nHost: localhost\r\nContent-Length: 3\r\n\r\n", 1)
    begin = time.monotonic()
    for _ in range(2):  # what is sent meanwhile does not prolong it
        time.sleep(2)
        attack[0].sendall(b"a")
    assert attack[0].recv(100) == b""
    assert SECONDS - 1 < time.monotonic() - begin < patience(SECONDS + 2)


def test_a_body_in_chunks_is_not_read_before_the_token(server: Server, attack: list[socket.socket]) -> None:
    head = b"POST /api/jobs/start_job/ HTTP/1.1\r\nHost: localhost\r\nX-Auth-Token: wrong\r\n"
    connect(server, attack, head + b"Transfer-Encoding: chunked\r\n\r\n", 1)
    begin = time.monotonic()
    assert attack[0].recv(12) == b"HTTP/1.1 401"
    assert time.monotonic() - begin < quick()


def test_the_oldest_silent_connection_makes_room(server: Server, attack: list[socket.socket]) -> None:
    kept = WireClient(server.port, server.tokens["bench"])
    with contextlib.closing(kept):
        assert kept.get("/api/jobs/").status == 200
        connect(server, attack, b"", 2 * CONNECTIONS)
        assert attack[0].recv(1) == b""
        assert kept.get("/api/jobs/").status == 200


@pytest.mark.parametrize(("most", "threads"), [(None, (4, 2, 8)), (40, (4, 2, 8)), (13, (3, 1, 8)), (6, (1, 1, 4))])
def test_there_are_no_more_threads_than_the_database_has_connections_for(
    most: int | None, threads: tuple[int, int, int], caplog: pytest.LogCaptureFixture
) -> None:
    worker = GuardedWorker.__new__(GuardedWorker)
    worker.cfg, worker.log = SimpleNamespace(threads=8), logging.getLogger("test")
    worker.bound_threads(most)
    assert (worker._hooks._max_workers, worker._forms._max_workers, worker.tpool._max_workers) == threads
    assert not caplog.messages


def test_too_few_connections_for_one_thread_of_each_kind_are_said(caplog: pytest.LogCaptureFixture) -> None:
    worker = GuardedWorker.__new__(GuardedWorker)
    worker.cfg, worker.log = SimpleNamespace(threads=8), logging.getLogger("test")
    worker.bound_threads(-1)
    assert caplog.messages == [
        "The database has connections for 0 threads of each process, too few: raise its max_connections or lower "
        "WEB_CONCURRENCY"
    ]
