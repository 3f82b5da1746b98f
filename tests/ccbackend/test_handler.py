"""ccbackend.fastpath.handler: the short way and Django's own give the same answers, and both count."""

import io
import json
from collections.abc import Callable
from typing import Any

import pytest

from accounts.models import User
from ccbackend.fastpath import counts
from ccbackend.fastpath.handler import FastHandler, Handler, get_application
from ccbackend.fastpath.shared import SharedCounts
from tests.support.clients import AppClient, start_body
from tests.support.factories import JobFactory, token_for

pytestmark = pytest.mark.django_db

# Set by middleware for browsers and their caches, of no use to a call with a token.
FOR_BROWSERS = {
    "cross-origin-opener-policy",
    "referrer-policy",
    "vary",
    "x-frame-options",
    "content-security-policy",
    "permissions-policy",
}

CALLS: list[tuple[str, str, Any]] = [
    ("GET", "/api/jobs/", None),
    ("GET", "/api/jobs?items-per-page=1&page=2", None),
    ("GET", "/api/jobs/?items-per-page=many", None),
    ("HEAD", "/api/jobs/", None),
    ("OPTIONS", "/api/jobs/", None),
    ("PATCH", "/api/jobs/", None),
    ("POST", "/api/jobs/start_job/", {"jobId": 1}),
    ("PUT", "/api/jobs/start_job", start_body(jobId=0)),
    ("POST", "/api/jobs/start_job/", b"{"),
    ("POST", "/api/jobs/stop_job/", {"jobId": 4711, "stopTime": 5, "jobState": "failed"}),
    ("POST", "/api/jobs/tag_job/0", []),
    ("DELETE", "/api/jobs/delete_job/0", None),
    ("GET", "/api/jobs/0", None),
    ("GET", "/api/users/", None),
    ("GET", "/api/nope", None),
    ("GET", "/api", None),
    ("GET", "/nope", None),
]


@pytest.fixture
def counted(monkeypatch: pytest.MonkeyPatch) -> Callable[[], dict[tuple[str, str], int]]:
    """Count from zero; return a function that returns the requests by operation and status."""
    monkeypatch.setattr(counts, "shared", SharedCounts())
    return lambda: {(each.operation, each.status): sum(each.intervals) for each in counts.answered()}


@pytest.fixture
def both(archive_root: Any, bench: User) -> tuple[AppClient, AppClient]:
    """Return clients of the short way and of Django's own."""
    token = token_for(bench)
    return AppClient(FastHandler(), token), AppClient(Handler(), token)


@pytest.mark.parametrize("token", ["", "unknown"])
@pytest.mark.parametrize(("method", "path", "body"), CALLS)
def test_both_ways_give_the_same_answer(
    both: tuple[AppClient, AppClient], method: str, path: str, body: Any, token: str
) -> None:
    JobFactory.create_batch(3, finished=True)  # the duration of a running one depends on the moment
    fast, whole = (client.request(method, path, body, token=token) for client in both)

    assert (fast.status, fast.body) == (whole.status, whole.body)
    headers, others = (dict(answer.headers.items()) for answer in (fast, whole))
    assert headers.pop("x-request-id") != others.pop("x-request-id")
    assert {name: headers[name] for name in headers.keys() - FOR_BROWSERS} == {
        name: others[name] for name in others.keys() - FOR_BROWSERS
    }


@pytest.mark.parametrize("handler", [FastHandler, Handler])
def test_requests_are_counted_by_operation_and_status(
    handler: type[Handler], archive_root: Any, bench: User, counted: Callable[[], dict[tuple[str, str], int]]
) -> None:
    client = AppClient(handler(), token_for(bench))
    client.started(jobId=1)
    assert client.start(jobId=1).status == 422
    client.get("/api/jobs/")
    client.get("/api/jobs/")
    client.get("/api/jobs/12345")
    client.get("/api/nope")
    client.get("/admin/login/")
    client.get("/admin/login/", token=None)

    client.get("/nope", token=None)

    assert counted() == {
        ("start_job", "201"): 1,
        ("start_job", "422"): 1,
        ("list_jobs", "200"): 2,
        ("get_job", "422"): 1,
        ("no_such_path", "404"): 1,
        ("admin:login", "200"): 2,
        ("other", "404"): 1,
    }


@pytest.mark.parametrize("handler", [FastHandler, Handler])
def test_a_body_that_is_too_large_is_read_to_its_end(
    handler: type[Handler], archive_root: Any, bench: User, settings: Any
) -> None:
    settings.DATA_UPLOAD_MAX_MEMORY_SIZE = 1000
    sent = io.BytesIO(b"x" * 5_000_000)
    client = AppClient(handler(), token_for(bench))
    client.environ |= {"wsgi.input": sent, "CONTENT_LENGTH": "5000000"}

    assert client.post("/api/jobs/start_job/").status == 413
    assert sent.read() == b""


@pytest.mark.parametrize("handler", [FastHandler, Handler])
def test_a_body_in_chunks_is_read(handler: type[Handler], archive_root: Any, bench: User) -> None:
    client = AppClient(handler(), token_for(bench))
    body = io.BytesIO(json.dumps(start_body(jobId=5)).encode())
    client.environ |= {"wsgi.input": body, "HTTP_TRANSFER_ENCODING": "chunked"}

    assert client.post("/api/jobs/start_job/").status == 201


@pytest.mark.parametrize(("fast", "handler"), [(True, FastHandler), (False, Handler)])
def test_the_setting_chooses_the_way(fast: bool, handler: type[Handler], archive_root: Any, settings: Any) -> None:
    settings.FAST_PATH = fast
    assert type(get_application()) is handler
