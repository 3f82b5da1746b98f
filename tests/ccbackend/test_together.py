"""Calls that arrive while the main loop is busy, over HTTP; see tests/jobs/api/test_together.py, too."""

import contextlib
import json
import socket
import threading
import time
from collections.abc import Iterator
from http.client import HTTPConnection
from typing import Any

import psutil
import pytest

from tests.support.clients import start_body
from tests.support.server import Server, running_server
from tests.support.waiting import patience

pytestmark = pytest.mark.server

Call = tuple[str, bytes]
"""The last part of a path and a body; or a query string, and no body, of a list."""


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """Return a server of one process, in which all calls arrive."""
    with running_server(tmp_path_factory.mktemp("together"), workers=1) as running:
        with contextlib.closing(running.client()) as client:  # the first call of a path is always made alone
            for number in (1, 2, 3):
                client.started(jobId=number)
            client.stop(jobId=1, stopTime=2_000_000_000)
        yield running


def start(number: int, **changes: Any) -> Call:
    """Return the start of a job."""
    return "start_job", json.dumps(start_body(jobId=number, **changes)).encode()


def stop(number: int, **changes: Any) -> Call:
    """Return the end of a job."""
    body = {"jobId": number, "stopTime": 2_000_000_000, "jobState": "completed"} | changes
    return "stop_job", json.dumps(body).encode()


def answers(server: Server, calls: list[Call]) -> list[tuple[int, Any]]:
    """Make calls over a connection each, so that all arrive while the worker sleeps; return statuses and bodies."""
    headers = {"X-Auth-Token": server.tokens["bench"]}
    worker = server.web_workers()[0]
    with contextlib.ExitStack() as stack:
        connections = []
        for _ in calls:
            connection = HTTPConnection("127.0.0.1", server.port, timeout=patience(20))
            connections.append(stack.enter_context(contextlib.closing(connection)))
            connection.request("GET", "/api/jobs/?items-per-page=1", headers=headers)
            assert json.load(connection.getresponse())
        worker.suspend()
        server.wait_until(lambda: worker.status() == psutil.STATUS_STOPPED)
        try:
            for connection, (path, body) in zip(connections, calls, strict=True):
                if body:
                    connection.request("POST", f"/api/jobs/{path}/", body, headers)
                else:
                    connection.request("GET", f"/api/jobs/?{path}", headers=headers)
        finally:
            worker.resume()
        responses = [connection.getresponse() for connection in connections]
        return [(response.status, json.load(response)) for response in responses]


def test_each_is_answered_as_if_it_had_come_alone(server: Server) -> None:
    calls = [start(number) for number in range(5000, 5013)]
    calls += [start(2), ("start_job", b"{5"), start(5013, numNodes=3), stop(4999), stop(3)]
    found = answers(server, calls)
    assert [status for status, _ in found] == [201] * 13 + [422, 400, 400, 422, 200]
    rows = server.query("SELECT id, job_id, job_state FROM jobs_job WHERE job_id >= 4999 ORDER BY job_id")
    assert [body["id"] for _, body in found[:13]] == [row_id for row_id, _, _ in rows]
    assert [row[1:] for row in rows] == [(number, "running") for number in range(5000, 5013)]
    assert found[-1][1]["duration"] == 2_000_000_000 - start_body()["startTime"]
    assert server.query("SELECT count(*) FROM jobs_refusedcall WHERE body = '{5'") == [(1,)]
    if server.database_url.startswith("postgres"):  # which writes down by which transaction a row came
        transactions = server.query(
            "SELECT count(DISTINCT xmin::text) FROM jobs_job WHERE job_id BETWEEN 5000 AND 5012"
        )
        assert transactions[0][0] <= 3


def test_they_wait_for_a_locked_database_in_threads_while_lists_are_answered(server: Server) -> None:
    found: list[tuple[int, Any]] = []
    thread = threading.Thread(target=lambda: found.extend(answers(server, [start(n) for n in range(6000, 6006)])))
    with server.locked():
        thread.start()
        time.sleep(0.5)
        with contextlib.closing(server.client()) as client:
            assert client.get("/api/jobs/").status == 200
        assert found == []
    thread.join(timeout=patience(20))
    assert [status for status, _ in found] == [201] * 6


def test_a_client_that_is_gone_spoils_no_other(server: Server) -> None:
    worker = server.web_workers()[0]
    head = "POST /api/jobs/start_job/ HTTP/1.1\r\nHost: localhost\r\nX-Auth-Token: {}\r\nContent-Length: {}\r\n\r\n"
    requests = []
    for number in range(7000, 7004):
        body = start(number)[1]
        requests.append(head.format(server.tokens["bench"], len(body)).encode() + body)
    with contextlib.ExitStack() as stack:
        sockets = [stack.enter_context(socket.create_connection(("127.0.0.1", server.port))) for _ in requests]
        worker.suspend()
        server.wait_until(lambda: worker.status() == psutil.STATUS_STOPPED)
        try:
            for sock, request in zip(sockets, requests, strict=True):
                sock.sendall(request)
            sockets[1].setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\1\0\0\0\0\0\0\0")  # a reset
            sockets[1].close()
        finally:
            worker.resume()
        for sock in (sockets[0], sockets[2], sockets[3]):
            sock.settimeout(patience(20))
            assert sock.recv(12) == b"HTTP/1.1 201"
    assert [process.pid for process in server.web_workers()] == [worker.pid]


def test_lists_that_arrive_together_are_answered_each_by_its_query(server: Server) -> None:
    with contextlib.closing(server.client()) as client:
        for number in range(8000, 8006):
            client.started(jobId=number, startTime=1_900_000_000 + number)
    queries = ["items-per-page=1", "state=failed", "items-per-page=1", "items-per-page=2", "page=x", "items-per-page=1"]
    found = answers(server, [(query, b"") for query in queries] + [start(8010, startTime=1_900_009_000)])
    assert [status for status, _ in found] == [200, 200, 200, 200, 400, 200, 201]
    newest = [[job["jobId"] for job in body["jobs"]] for status, body in found if status == 200]
    # A start at the same time may come before or after, for all alike.
    assert newest[0] == newest[2] == newest[4]
    assert newest[0] in ([8005], [8010])
    assert (newest[1], len(newest[3])) == ([], 2)


def test_a_list_is_never_older_than_its_request(server: Server) -> None:
    begin = 1_950_000_000
    others = [threading.Thread(target=answers_again_and_again, args=(server, 60)) for _ in range(2)]
    for thread in others:
        thread.start()
    with contextlib.closing(server.client()) as hook, contextlib.closing(server.client()) as poller:
        for number in range(60):
            hook.started(jobId=9000 + number, startTime=begin + number)
            (job,) = poller.get("/api/jobs/?items-per-page=1").json["jobs"]
            assert job["jobId"] == 9000 + number
    for thread in others:
        thread.join()


def answers_again_and_again(server: Server, times: int) -> None:
    """Ask for the same list many times."""
    with contextlib.closing(server.client()) as client:
        for _ in range(times):
            assert client.get("/api/jobs/?items-per-page=1").status == 200
