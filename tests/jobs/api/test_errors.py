"""What every operation shares: methods, slashes, media types, sizes, and errors in one format."""

import contextlib
import http.client
import json
import logging
import socket
import sqlite3
import threading
import time
from collections.abc import Iterator
from typing import Any

import psycopg
import pytest
from django.db import OperationalError, connection, connections

from jobs.models import Job
from tests.support.clients import AppClient, start_body
from tests.support.factories import START, JobFactory, token_for
from tests.support.server import Server, running_server

MB = 1024 * 1024

OPERATIONS = [
    ("GET", "/api/jobs/"),
    ("POST", "/api/jobs/start_job/"),
    ("PUT", "/api/jobs/start_job/"),
    ("POST", "/api/jobs/stop_job/"),
    ("PUT", "/api/jobs/stop_job/"),
    ("POST", "/api/jobs/stop_job/1"),
    ("PUT", "/api/jobs/stop_job/1"),
    ("POST", "/api/jobs/tag_job/1"),
    ("PATCH", "/api/jobs/tag_job/1"),
    ("DELETE", "/api/jobs/tag_job/1"),
    ("PATCH", "/api/jobs/edit_meta/"),
    ("POST", "/api/jobs/edit_meta/"),
    ("PATCH", "/api/jobs/edit_meta/1"),
    ("POST", "/api/jobs/edit_meta/1"),
    ("GET", "/api/jobs/metrics/1"),
    ("DELETE", "/api/tags/"),
    ("GET", "/api/clusters/"),
    ("GET", "/api/usage/"),
    ("POST", "/api/nodestate/"),
    ("PUT", "/api/nodestate/"),
    ("DELETE", "/api/jobs/delete_job/"),
    ("DELETE", "/api/jobs/delete_job/1"),
    ("DELETE", "/api/jobs/delete_job_before/5"),
    ("GET", "/api/jobs/1"),
    ("POST", "/api/jobs/1"),
    ("GET", "/api/users/"),
    ("POST", "/api/users/"),
    ("PUT", "/api/users/"),
    ("DELETE", "/api/users/"),
    ("POST", "/api/user/alice"),
]
PATHS = sorted({path for _, path in OPERATIONS})
METHODS = ["GET", "POST", "PUT", "PATCH", "DELETE", "OPTIONS", "TRACE", "PROPFIND"]


def _client_for(path: str, api: AppClient, admin_api: AppClient) -> AppClient:
    return admin_api if path.startswith("/api/user") else api


@pytest.mark.parametrize("slash", ["", "/"])
@pytest.mark.parametrize(("method", "path"), OPERATIONS)
def test_every_operation_answers_itself_with_and_without_the_slash(
    api: AppClient, admin_api: AppClient, method: str, path: str, slash: str
) -> None:
    JobFactory.create(start_time=1)
    answer = _client_for(path, api, admin_api).request(method, path.rstrip("/") + slash)
    assert answer.status in (200, 201, 400, 404, 422)
    assert "location" not in answer.headers
    assert "no such path" not in answer.body.decode()


@pytest.mark.parametrize("path", PATHS)
def test_every_other_method_is_a_405_that_lists_those_that_work(
    api: AppClient, admin_api: AppClient, path: str
) -> None:
    client = _client_for(path, api, admin_api)
    known = {method for method, other in OPERATIONS if other == path}
    for method in METHODS:
        if method not in known:
            answer = client.request(method, path)
            assert answer.status == 405, method
            allowed = set(answer.headers["allow"].split(", "))
            assert known <= allowed <= known | {"HEAD"}


@pytest.mark.parametrize("path", ["/api/jobs/", "/api/jobs", "/api/jobs/{id}", "/api/users/"])
def test_head_works_where_get_does_and_has_no_body(api: AppClient, admin_api: AppClient, path: str) -> None:
    path = path.replace("{id}", str(JobFactory.create().pk))
    client = _client_for(path, api, admin_api)
    head, get = client.request("HEAD", path), client.get(path)
    assert (head.status, head.body) == (200, b"")
    assert head.headers["content-type"] == get.headers["content-type"]
    assert head.headers["content-length"] == str(len(get.body))


@pytest.mark.parametrize("path", ["/api/jobs/start_job/", "/api/jobs/?page=0", "/api/jobs/abc"])
def test_an_error_to_head_has_no_body(api: AppClient, path: str) -> None:
    answer = api.request("HEAD", path)
    assert (answer.status >= 400, answer.body) == (True, b"")


def test_head_of_a_long_list_has_no_body(api: AppClient) -> None:
    Job.objects.bulk_create([JobFactory.build(start_time=START + number) for number in range(1001)])
    assert api.request("HEAD", "/api/jobs/?items-per-page=-1").body == b""


def test_head_of_an_unknown_path_has_no_body(api: AppClient) -> None:
    assert api.request("HEAD", "/api/nothing").body == b""


UNKNOWN = ["/api/", "/api/nothing", "/api/jobs/1/2", "/api/user/", "/api/jobs/start_job/1/2"]


@pytest.mark.parametrize("path", UNKNOWN)
def test_an_unknown_path_is_a_404_in_json(api: AppClient, path: str) -> None:
    assert api.get(path).status == 404


@pytest.mark.parametrize("path", UNKNOWN)
def test_a_post_to_an_unknown_path_is_a_404_in_json(api: AppClient, path: str) -> None:
    assert api.post(path).status == 404


def test_an_unknown_path_is_a_404_in_json_without_a_token_too(anonymous: AppClient) -> None:
    assert anonymous.get("/api/nothing").status == 404


def test_a_post_to_an_unknown_path_without_a_token_is_a_404_in_json(anonymous: AppClient) -> None:
    assert anonymous.post("/api/nothing").status == 404


@pytest.mark.parametrize("token", [True, False])
def test_the_base_path_itself_is_a_404_in_json(api: AppClient, anonymous: AppClient, token: bool) -> None:
    assert (api if token else anonymous).get("/api").status == 404


@pytest.mark.parametrize(
    "accept", ["application/ld+json", "text/html", "application/xml", "image/*", "nonsense", "application/json;q=0"]
)
def test_the_answer_is_json_whatever_accept_says(api: AppClient, accept: str) -> None:
    assert api.get("/api/jobs/", headers={"Accept": accept}).status == 200
    assert api.get("/api/jobs/?page=0", headers={"Accept": accept}).status == 400
    assert api.get("/api/jobs/?format=xml", headers={"Accept": accept}).status == 400


@pytest.mark.parametrize(
    "kind",
    [
        "application/json",
        "application/ld+json",
        "",
        "application/x-www-form-urlencoded",
        "text/plain",
        "nonsense",
        "multipart/form-data; boundary=x",
        "application/json; charset=latin-1",
        "multipart/form-data",
    ],
)
def test_a_body_is_json_whatever_the_content_type_says(api: AppClient, kind: str) -> None:
    body = json.dumps(start_body(user="jörg"), ensure_ascii=False).encode()
    assert api.post("/api/jobs/start_job/", body, headers={"Content-Type": kind}).status == 201
    assert Job.objects.get().user == "jörg"


def test_a_body_without_any_content_type_is_json(api: AppClient) -> None:
    api.environ["CONTENT_TYPE"] = ""
    assert api.post("/api/jobs/start_job/", start_body()).status == 201


def test_a_delete_takes_a_body(api: AppClient) -> None:
    job = JobFactory.create()
    assert api.delete("/api/jobs/delete_job", {"jobId": job.job_id}).status == 200


def test_a_body_of_32_mb_is_taken_and_one_byte_more_is_a_413(api: AppClient) -> None:
    body = json.dumps(start_body(metaData={"jobScript": ""})).encode()
    body = body.replace(b'"jobScript": ""', b'"jobScript": "%s"' % (b"x" * (32 * MB - len(body))))
    assert len(body) == 32 * MB
    assert api.post("/api/jobs/start_job/", body).status == 201
    answer = api.post("/api/jobs/start_job/", body + b" ")
    assert answer.status == 413
    assert "32 MB" in answer.error


def test_a_users_form_of_more_than_32_mb_is_a_413_in_json(admin_api: AppClient) -> None:
    assert admin_api.form("POST", "/api/users/", {"username": "x" * (32 * MB)}).status == 413


def test_an_unexpected_failure_is_a_500_in_json_that_shows_no_stack(
    api: AppClient, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def fail(*args: Any, **options: Any) -> None:
        raise RuntimeError("secret detail")

    monkeypatch.setattr("jobs.intake.services.insert_run", fail)
    answer = api.start()
    assert answer.status == 500
    assert "secret detail" not in answer.error
    assert "secret detail" in caplog.text, "the traceback belongs into the log"


def test_a_refused_request_is_one_line_in_the_log(api: AppClient, caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.WARNING):
        api.stop(jobId=77, stopTime=5)
    (line,) = [record.getMessage() for record in caplog.records if record.levelno >= logging.WARNING]
    begin = "POST /api/jobs/stop_job/ 422 from 127.0.0.1 as bench with "
    assert line.startswith(f"{begin}{(api.token or '')[:12]}: finding job failed")


# The database is locked or away.


@contextlib.contextmanager
def _locked() -> Iterator[None]:
    """Hold a lock that a start has to wait for, from another connection."""
    name = connection.settings_dict["NAME"]
    if connection.vendor == "sqlite":
        with contextlib.closing(sqlite3.connect(str(name), isolation_level=None)) as other:
            other.execute("BEGIN IMMEDIATE")
            yield
            other.rollback()
        return
    settings = connection.settings_dict
    with connection.cursor() as cursor:
        cursor.execute("SET lock_timeout = '300ms'")
    with psycopg.connect(dbname=name, host=settings["HOST"], user="postgres") as pg:
        pg.execute("LOCK TABLE jobs_job IN EXCLUSIVE MODE")
        yield
        pg.rollback()
    connections["default"].close()


@pytest.mark.django_db(transaction=True)
def test_a_locked_database_is_a_503_with_retry_after_and_nothing_half_done(api: AppClient, settings: Any) -> None:
    settings.DATABASE_WAIT = 0.3
    job = JobFactory.create()
    assert api.get("/api/jobs/").status == 200  # the token is known from here on
    with _locked():
        for answer in (
            api.start(tags=[{"type": "a", "name": "b"}]),
            api.stop(jobId=job.job_id, stopTime=START + 60),
            api.delete(f"/api/jobs/delete_job/{job.pk}"),
            api.delete(f"/api/jobs/delete_job_before/{START + 999}"),
            api.post(f"/api/jobs/tag_job/{job.pk}", [{"type": "a", "name": "b"}]),
        ):
            assert answer.status == 503
    assert Job.objects.get().is_running
    assert api.start(tags=[{"type": "a", "name": "b"}]).status == 201


@pytest.mark.django_db(transaction=True)
def test_a_database_that_is_locked_for_a_moment_is_waited_for(api: AppClient) -> None:
    assert api.get("/api/jobs/").status == 200
    held, release = threading.Event(), threading.Event()

    def hold() -> None:
        with _locked():
            held.set()
            release.wait(5)

    holder = threading.Thread(target=hold)
    holder.start()
    assert held.wait(5)
    threading.Timer(0.3, release.set).start()
    assert api.start().status == 201
    holder.join()


@pytest.mark.django_db(transaction=True)
def test_a_database_that_is_away_is_a_503_and_the_server_recovers(
    api: AppClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert api.get("/api/jobs/").status == 200
    connections["default"].close()
    with monkeypatch.context() as away:

        def refuse(*args: Any, **options: Any) -> None:
            raise OperationalError("connection refused")

        away.setattr(connections["default"], "connect", refuse)
        assert api.start().status == 503
        assert api.get("/api/jobs/").status == 503
    assert api.start().status == 201


def test_a_database_that_is_away_is_a_503_for_a_session_too(
    anonymous: AppClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*args: Any, **options: Any) -> None:
        raise OperationalError("connection refused")

    monkeypatch.setattr("django.contrib.sessions.backends.db.SessionStore.load", refuse)
    assert anonymous.get("/api/jobs/", headers={"Cookie": "sessionid=abcdefghijklmnop"}).status == 503


@pytest.mark.django_db(transaction=True)
def test_a_restarted_postgresql_costs_no_request(api: AppClient) -> None:
    if connection.vendor != "postgresql":
        pytest.skip("SQLite has no server that could restart")
    settings = connection.settings_dict
    assert api.get("/api/jobs/").status == 200
    where = {"host": settings["HOST"], "user": "postgres"}
    with psycopg.connect(dbname=settings["NAME"], autocommit=True, **where) as other:
        other.execute("SELECT pg_terminate_backend(pid, 9999) FROM pg_stat_activity WHERE pid <> pg_backend_pid()")
    assert api.get("/api/jobs/").status == 200


# Over the wire.


def _exchange(port: int, *parts: bytes) -> bytes:
    """Send raw bytes and return all that comes until the server closes."""
    with socket.create_connection(("127.0.0.1", port), timeout=10) as wire:
        for part in parts:
            wire.sendall(part)
        received = b""
        while data := wire.recv(65536):
            received += data
    return received


@pytest.fixture(scope="module")
def wire(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """Return one server for all that depends on gunicorn."""
    with running_server(tmp_path_factory.mktemp("wire")) as running:
        yield running


@pytest.mark.server
@pytest.mark.parametrize(("number", "header"), [(1, "X-Auth-Token: {}"), (2, "Authorization: Bearer {}")])
def test_a_body_in_chunks_is_read(wire: Server, number: int, header: str) -> None:
    body = json.dumps(start_body(jobId=number)).encode()
    head = "POST /api/jobs/start_job HTTP/1.1\r\nHost: 127.0.0.1\r\nConnection: close\r\n"
    head += f"{header.format(wire.tokens['bench'])}\r\nTransfer-Encoding: chunked\r\n\r\n"
    chunks = [b"%x\r\n%b\r\n" % (len(part), part) for part in (body[:10], body[10:])]
    assert _exchange(wire.port, head.encode(), *chunks, b"0\r\n\r\n").startswith(b"HTTP/1.1 201 ")


@pytest.mark.server
def test_a_body_above_32_mb_is_a_413_that_the_client_gets_to_see(wire: Server) -> None:
    for _ in range(5):
        with contextlib.closing(wire.client()) as client:
            client.connection.putrequest("POST", "/api/jobs/start_job/")
            client.connection.putheader("X-Auth-Token", wire.tokens["bench"])
            client.connection.putheader("Content-Length", str(33 * MB))
            client.connection.endheaders()
            with contextlib.suppress(OSError):
                for _ in range(33):
                    client.connection.send(b" " * MB)
                    time.sleep(0.005)
            response = client.connection.getresponse()
            assert (response.status, json.loads(response.read())["status"]) == (413, "Request Entity Too Large")


@pytest.mark.server
def test_a_413_says_that_the_connection_ends_or_leaves_it_open(wire: Server) -> None:
    with contextlib.closing(wire.client()) as client:
        answer = client.post("/api/jobs/start_job/", b" " * (33 * MB))
        assert answer.status == 413
        time.sleep(0.2)
        assert client.get("/api/jobs/?page=2").status == 200


@pytest.mark.server
def test_a_body_in_chunks_above_32_mb_is_a_413(wire: Server) -> None:
    with contextlib.closing(wire.client()) as client:
        client.connection.putrequest("POST", "/api/jobs/start_job/")
        client.connection.putheader("X-Auth-Token", wire.tokens["bench"])
        client.connection.putheader("Transfer-Encoding", "chunked")
        client.connection.endheaders()
        with contextlib.suppress(OSError):
            for part in [*[b" " * MB] * 32, b" "]:
                client.connection.send(b"%x\r\n%b\r\n" % (len(part), part))
            client.connection.send(b"0\r\n\r\n")
        response = client.connection.getresponse()
        assert (response.status, json.loads(response.read())["status"]) == (413, "Request Entity Too Large")


@pytest.mark.server
@pytest.mark.parametrize("path", ["/api/jobs/", "/api/jobs/?page=0", "/api/users/", "/api/jobs/start_job"])
def test_an_answer_to_head_leaves_nothing_in_the_way_of_the_next(wire: Server, path: str) -> None:
    head = f"HEAD {path} HTTP/1.1\r\nHost: localhost\r\nX-Auth-Token: {wire.tokens['bench']}\r\n\r\n"
    get = head.replace(f"HEAD {path}", "GET /api/jobs/?page=0").replace("Host:", "Connection: close\r\nHost:")
    received = _exchange(wire.port, head.encode(), get.encode())
    first, _, rest = received.partition(b"\r\n\r\n")
    assert first.startswith(b"HTTP/1.1 ")
    assert rest.startswith(b"HTTP/1.1 400 "), received


@pytest.mark.server
def test_a_prolog_without_a_content_type_starts_a_job(wire: Server) -> None:
    connection = http.client.HTTPConnection("127.0.0.1", wire.port, timeout=10)
    body = json.dumps(start_body(jobId=5))
    connection.request("POST", "/api/jobs/start_job", body, {"X-AUTH-TOKEN": wire.tokens["bench"]})
    assert connection.getresponse().status == 201
    connection.close()


@pytest.mark.server
def test_requests_that_come_one_behind_the_other_are_all_answered_in_order(wire: Server) -> None:
    get = "GET /api/jobs/?page={} HTTP/1.1\r\nHost: localhost\r\nX-Auth-Token: {}\r\n{}\r\n"
    token = wire.tokens["bench"]
    requests = [get.format(page, token, "Connection: close\r\n" * (page == 6)).encode() for page in range(2, 7)]
    received = _exchange(wire.port, b"".join(requests))
    pages = [part.partition(b"}")[0] for part in received.split(b'"page":')[1:]]
    assert pages == [b"2", b"3", b"4", b"5", b"6"], received


def test_an_inactive_user_is_no_server_error(anonymous: AppClient, alice: Any) -> None:
    token = token_for(alice)
    alice.is_active = False
    alice.save()
    assert anonymous.as_(token).get("/api/jobs/").status == 401
