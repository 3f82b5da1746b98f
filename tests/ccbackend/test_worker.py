"""ccbackend.fastpath.worker and the database engines: short calls in the main loop, which no client can hold up.

What does not depend on the main loop holds with gunicorn's own worker class and with granian too.
"""

import contextlib
import importlib.util
import json
import re
import resource
import socket
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support.clients import start_body
from tests.support.server import Server, running_server
from tests.support.waiting import patience

pytestmark = pytest.mark.server


def quick() -> float:
    """Return 3 seconds, more on a busy machine, far below gunicorn's time-outs and the 20 s wait for the database."""
    return min(patience(3.0), 10.0)


@pytest.fixture(scope="module", params=["gunicorn", "gthread", "granian"])
def server(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """Return a server of one process, so that a call that is held up cannot hide behind another process."""
    if importlib.util.find_spec(request.param.replace("gthread", "gunicorn")) is None:
        pytest.skip(f"{request.param} is not installed")
    with running_server(tmp_path_factory.mktemp("serving"), workers=1, http_server=request.param) as running:
        yield running


@pytest.fixture
def main_loop(server: Server) -> Server:
    """Return the server with the project's worker class."""
    if server.http_server != "gunicorn":
        pytest.skip("of the project's worker class alone")
    return server


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
        assert seconds_of_a_list(server) < quick()


def test_two_requests_sent_at_once_are_both_answered(server: Server) -> None:
    request = b"GET /api/jobs/?page=2 HTTP/1.1\r\nHost: localhost\r\nX-Auth-Token: %b\r\n\r\n"
    with socket.create_connection(("127.0.0.1", server.port), timeout=quick()) as sock:
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
    with server.locked():
        for thread in starts:
            thread.start()
        time.sleep(1)
        assert seconds_of_a_list(server) < quick()
        assert statuses == []
    begin = time.monotonic()
    for thread in starts:
        thread.join(timeout=20)
    assert statuses == [201] * 5
    assert time.monotonic() - begin < quick()


def test_a_stop_that_had_to_wait_is_done_once(server: Server) -> None:
    with contextlib.closing(server.client()) as client:
        client.started(jobId=77)
    answers: list[int] = []

    def stop() -> None:
        with contextlib.closing(server.client()) as client:
            answers.append(client.stop(jobId=77, stopTime=2_000_000_000).status)

    thread = threading.Thread(target=stop)
    with server.locked():
        thread.start()
        time.sleep(0.5)
    thread.join(timeout=20)
    assert answers == [200]


def test_noting_the_last_use_of_a_token_does_not_wait_for_a_locked_database(server: Server) -> None:
    with server.locked(), contextlib.closing(server.client("admin")) as client:
        begin = time.monotonic()
        assert client.get("/api/users/").status == 200
        assert time.monotonic() - begin < quick()


def answer_on(sock: socket.socket) -> tuple[bytes, dict[str, str], bytes]:
    """Read an answer; return status line, headers without Date and the request's number, and the body."""
    received = b""
    while b"\r\n\r\n" not in received:
        part = sock.recv(65536)
        assert part, received
        received += part
    head, _, body = received.partition(b"\r\n\r\n")
    status, *lines = head.split(b"\r\n")
    headers = dict(line.decode().split(": ", 1) for line in lines)
    while len(body) < int(headers["Content-Length"]):
        part = sock.recv(65536)
        assert part, received
        body += part
    assert headers.pop("Date").endswith(" GMT")
    headers.pop("X-Request-ID", None)  # gunicorn's own answers have none
    return status, headers, body


@pytest.mark.parametrize(
    ("first_line", "body"),
    [
        (b"GET /api/jobs/ HTTP/1.1", b""),
        (b"GET /api/jobs?items-per-page=7&page=2 HTTP/1.1", b""),
        (b"POST /api/jobs/start_job/ HTTP/1.1", b'{"jobId": 0}'),
        (b"PUT /api/jobs/stop_job HTTP/1.1", b"{"),
        (b"POST /api/jobs/stop_job/ HTTP/1.1", b'{"jobId": 4711, "stopTime": 5, "jobState": "failed"}'),
    ],
)
def test_both_ways_give_the_same_answer(main_loop: Server, first_line: bytes, body: bytes) -> None:
    head = b"%b\r\nHost: localhost\r\nX-Auth-Token: %b\r\nContent-Length: %d\r\n\r\n"
    request = head % (first_line, main_loop.tokens["bench"].encode(), len(body)) + body
    with socket.create_connection(("127.0.0.1", main_loop.port), timeout=quick()) as sock:
        sock.sendall(request)
        status, headers, content = answer_on(sock)
        sock.sendall(request[:40])
        time.sleep(0.2)
        sock.sendall(request[40:])
        status_later, headers_later, content_later = answer_on(sock)
    assert (status_later, headers_later) == (status, headers)
    of_running = rb'"jobState":"running","duration":\d+'  # a second may begin between the two
    assert re.sub(of_running, b"", content_later) == re.sub(of_running, b"", content)
    assert headers["Connection"] == "keep-alive"


def test_short_calls_are_answered_while_all_threads_are_busy(main_loop: Server) -> None:
    with contextlib.ExitStack() as stack:
        for _ in range(12):
            stuck = stack.enter_context(socket.create_connection(("127.0.0.1", main_loop.port)))
            stuck.sendall(b"POST /api/jobs/start_job/ HTTP/1.1\r\nHost: localhost\r\nContent-Length: 100\r\n\r\n{")
        time.sleep(0.5)
        assert seconds_of_a_list(main_loop) < quick()


def test_clients_that_do_not_close_hold_up_nobody(main_loop: Server) -> None:
    request = b"GET /admin/login/ HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n"
    with contextlib.ExitStack() as stack:
        for _ in range(4):
            sock = stack.enter_context(socket.create_connection(("127.0.0.1", main_loop.port), timeout=20))
            sock.sendall(request)
            assert sock.recv(12) == b"HTTP/1.1 200"
        assert seconds_of_a_list(main_loop) < quick()


def test_a_client_that_does_not_read_a_long_answer_holds_up_nobody_and_gets_it(main_loop: Server) -> None:
    nodes = [{"hostname": f"node{number:05}"} for number in range(2000)]
    with contextlib.closing(main_loop.client()) as client:
        for number in range(100, 125):
            client.started(jobId=number, numNodes=len(nodes), resources=nodes)
    request = b"GET /api/jobs/ HTTP/1.1\r\nHost: localhost\r\nX-Auth-Token: %b\r\n\r\n"
    with socket.socket() as slow:
        slow.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        slow.settimeout(20)
        slow.connect(("127.0.0.1", main_loop.port))
        slow.sendall(request % main_loop.tokens["bench"].encode())
        time.sleep(0.5)
        assert seconds_of_a_list(main_loop) < quick()
        status, _, body = answer_on(slow)
    assert status == b"HTTP/1.1 200 OK"
    assert len(json.loads(body)["jobs"]) == 25
    assert len(body) > 1_000_000


def test_too_many_open_files_end_no_worker(main_loop: Server) -> None:
    worker = main_loop.web_workers()[0]
    with contextlib.closing(main_loop.client()) as early, contextlib.ExitStack() as stack:
        assert early.get("/api/jobs/").status == 200
        before = resource.prlimit(worker.pid, resource.RLIMIT_NOFILE)
        resource.prlimit(worker.pid, resource.RLIMIT_NOFILE, (worker.num_fds() + 3, before[1]))
        for _ in range(10):
            stack.enter_context(socket.create_connection(("127.0.0.1", main_loop.port)))
        main_loop.wait_until(lambda: "Too many open files" in main_loop.logs())
        assert early.get("/api/jobs/").status == 200
        resource.prlimit(worker.pid, resource.RLIMIT_NOFILE, before)
        assert seconds_of_a_list(main_loop) < quick()
    assert [process.pid for process in main_loop.web_workers()] == [worker.pid]


def test_a_head_and_a_body_in_chunks_leave_the_connection_in_order(server: Server) -> None:
    token = server.tokens["bench"].encode()
    body = json.dumps(start_body(jobId=31)).encode()
    with socket.create_connection(("127.0.0.1", server.port), timeout=quick()) as sock:
        sock.sendall(b"HEAD /api/jobs/ HTTP/1.1\r\nHost: localhost\r\nX-Auth-Token: %b\r\n\r\n" % token)
        assert sock.recv(65536).endswith(b"\r\n\r\n")
        head = b"POST /api/jobs/start_job/ HTTP/1.1\r\nHost: localhost\r\nX-Auth-Token: %b\r\n" % token
        sock.sendall(head + b"Transfer-Encoding: chunked\r\n\r\n%x\r\n%b\r\n0\r\n\r\n" % (len(body), body))
        assert sock.recv(12) == b"HTTP/1.1 201"


@pytest.mark.parametrize(
    ("header", "status"),
    [
        (b"Connection: close", b"200"),
        (b"Content-Length: 0\r\nContent-Length: 0", b"400"),
        (b"Content-Length: +0", b"400"),
        (b"X Y: 1", b"400"),
        (b"X_Auth_Token: x", b"200"),
        (b"Transfer-Encoding: chunked\r\n\r\n0", b"200"),
        (b"Expect: 100-continue", b"100"),
        (b"X-Auth-Token: x", b"401"),
    ],
)
def test_an_unusual_request_is_gunicorn_s_business(server: Server, header: bytes, status: bytes) -> None:
    if server.http_server == "granian":
        pytest.skip("refuses other things")
    request = b"GET /api/jobs/?page=3 HTTP/1.1\r\nHost: localhost\r\nX-Auth-Token: %b\r\n%b\r\n\r\n"
    with socket.create_connection(("127.0.0.1", server.port), timeout=quick()) as sock:
        sock.sendall(request % (server.tokens["bench"].encode(), header))
        assert sock.recv(12) == b"HTTP/1.1 " + status


def test_the_short_way_writes_the_access_log_and_counts_requests(tmp_path: Path) -> None:
    log = tmp_path / "access.log"
    settings = {"GUNICORN_CMD_ARGS": f"--access-logfile {log} --max-requests 3"}
    with running_server(tmp_path, workers=1, settings=settings) as logged:
        for page in range(1, 5):
            with contextlib.closing(logged.client()) as client:
                assert client.get(f"/api/jobs/?page={page}").status == 200
        assert "Autorestarting" in logged.logs()
    lines = [line.split('"') for line in log.read_text().splitlines() if "page=" in line]
    assert [(line[1], line[2].split()[0]) for line in lines] == [
        (f"GET /api/jobs/?page={page} HTTP/1.1", "200") for page in range(1, 5)
    ]


@pytest.mark.parametrize(("name", "status"), [("?a=" + "b" * 9000, 414), ("", 431)])
def test_a_long_address_or_header_is_refused_in_json(main_loop: Server, name: str, status: int) -> None:
    with contextlib.closing(main_loop.client()) as client:
        answer = client.send("GET", f"/api/jobs/{name}", None, {"X-Long": "" if name else "b" * 9000})
        assert (answer.status, bool(answer.error)) == (status, True)
