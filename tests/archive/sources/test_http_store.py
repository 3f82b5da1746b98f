"""What the sources that ask a store over HTTP have in common: each rule holds for every kind of them."""

import base64
import contextlib
import json
import pickle
import socket
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from http.server import BaseHTTPRequestHandler
from typing import Any

import pytest

from archive.exceptions import SourceError
from archive.format.cluster_json import decode_cluster
from archive.format.data_json import encode_data
from archive.format.meta_json import Resource
from archive.sources import cc_metric_store, get_source, http_store, prometheus, validate_config
from archive.sources.base import JobInfo, MetricSource
from tests.support.http_store import LoopbackServer, respond

TOKEN = "a-secret-token"
CLUSTER = decode_cluster(b'{"name": "demo", "metricConfig": [{"name": "load", "scope": "node", "timestep": 60}]}')
JOB = JobInfo("demo", "main", 7, 1_700_000_000, 1_700_000_060, [Resource("n01")], 1)
MODULES: dict[str, Any] = {"cc-metric-store": cc_metric_store, "prometheus": prometheus}
MORE = {"cc-metric-store": {}, "prometheus": {"queries": {"load": 'node_load1{instance=~"$hosts:9100"}'}}}
ANSWERS = {
    "cc-metric-store": {"results": [[{"data": [1.5]}]]},
    "prometheus": {
        "status": "success",
        "data": {
            "resultType": "matrix",
            "result": [{"metric": {"_host": "n01"}, "values": [[JOB.stop_time, "1.5"]]}],
        },
    },
}


class Store(LoopbackServer):
    """A store that has one sample."""

    def __init__(self, kind: str) -> None:
        super().__init__()
        self.kind = kind

    def body(self, request: bytes) -> bytes:
        """Return the one sample."""
        return json.dumps(ANSWERS[self.kind]).encode()


@pytest.fixture(params=sorted(MODULES))
def store(request: Any) -> Iterator[Store]:
    """Return a store of each kind that listens on loopback."""
    with Store(request.param) as listening:
        yield listening


def source_of(store: Store, **options: Any) -> MetricSource:
    """Return a source that asks the store."""
    return get_source(
        "demo", {"demo": {"kind": store.kind, "url": store.url, "timeout": 5, **MORE[store.kind], **options}}
    )


def failure(source: MetricSource) -> SourceError:
    """Return the error that a load raises, which names the store."""
    with pytest.raises(SourceError) as caught:
        source.load(JOB, CLUSTER)
    assert "http://127.0.0.1:" in str(caught.value)
    assert "/api/" in str(caught.value)
    return caught.value


def test_samples_are_loaded(store: Store) -> None:
    assert source_of(store).load(JOB, CLUSTER)["load"]["node"].series[0].data.tolist() == [1.5]


def test_the_token_is_sent_and_never_told(store: Store) -> None:
    store.misbehave = lambda handler: respond(handler, 401, f"bad token {TOKEN}".encode())
    error = failure(source_of(store, token=TOKEN))
    assert [call[2] for call in store.calls] == [f"Bearer {TOKEN}"]
    assert "401 Unauthorized: bad token ***" in str(error)
    assert TOKEN not in str(error)
    assert error.transient
    assert error.source_failed


LONG_TOKEN = TOKEN * 200


@pytest.mark.parametrize("body", ["x" * 195 + LONG_TOKEN + "y" * 1000, LONG_TOKEN * 100])
def test_not_even_the_beginning_of_a_token_is_told_where_a_refusal_is_cut(store: Store, body: str) -> None:
    store.misbehave = lambda handler: respond(handler, 401, body.encode())
    assert TOKEN[:3] not in str(failure(source_of(store, token=LONG_TOKEN)))


def test_a_refusal_in_json_is_told_in_its_words_without_the_token(store: Store) -> None:
    refusal = json.dumps({"status": "error", "errorType": "bad_data", "error": f'no "{TOKEN}"\n here'})
    store.misbehave = lambda handler: respond(handler, 400, refusal.encode())
    assert str(failure(source_of(store, token=TOKEN))).endswith(': answered 400 Bad Request: bad_data: no "***" here')


def test_threads_share_a_source(store: Store) -> None:
    source = source_of(store)
    alone = encode_data(source.load(JOB, CLUSTER))
    with ThreadPoolExecutor(8) as pool:
        assert set(pool.map(lambda _: encode_data(source.load(JOB, CLUSTER)), range(40))) == {alone}


def test_the_same_entry_is_the_same_source(store: Store) -> None:
    assert source_of(store) is source_of(store)


@pytest.mark.parametrize("kind", sorted(MODULES))
def test_nobody_listening_is_transient(kind: str) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        url = f"http://127.0.0.1:{taken.getsockname()[1]}"
        error = failure(get_source("demo", {"demo": {"kind": kind, "url": url, **MORE[kind]}}))
    assert error.transient
    assert error.source_failed
    assert "refused" in str(error)


def test_a_store_that_hangs_is_given_up_after_the_timeout(store: Store) -> None:
    store.misbehave = lambda handler: store.leaving.wait(20)
    begin = time.monotonic()
    error = failure(source_of(store, timeout=1))
    assert 0.9 < time.monotonic() - begin < 3
    assert error.transient
    assert error.source_failed
    assert "no answer within 1 s" in str(error)


def test_the_timeout_is_that_of_the_settings_unless_told(store: Store, settings: Any) -> None:
    settings.METRIC_TIMEOUT = 1
    store.misbehave = lambda handler: store.leaving.wait(20)
    entry = {"kind": store.kind, "url": store.url, **MORE[store.kind]}
    assert "within 1 s" in str(failure(get_source("demo", {"demo": entry})))


def test_a_store_that_drips_is_given_up_too(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    def drip(handler: BaseHTTPRequestHandler) -> None:
        respond(handler, 200, b"", length=10_000)
        with contextlib.suppress(OSError):
            while not store.leaving.wait(0.05):
                handler.wfile.write(b" ")

    store.misbehave = drip
    monkeypatch.setattr(http_store, "MAX_TIMEOUTS", 1)
    error = failure(source_of(store, timeout=0.5))
    assert error.transient
    assert error.source_failed
    assert "no whole answer within 0.5 s" in str(error)


@pytest.mark.parametrize("length", [None, 1000])
def test_a_cut_body_is_transient(store: Store, length: int | None) -> None:
    cut = json.dumps(ANSWERS[store.kind]).encode()[:-5]
    store.misbehave = lambda handler: respond(handler, 200, cut, length)
    error = failure(source_of(store))
    assert error.transient
    assert error.source_failed is (length is not None), "what the store sent whole is of the wrong shape"


def test_a_connection_closed_without_an_answer_is_transient(store: Store) -> None:
    store.misbehave = lambda handler: setattr(handler, "close_connection", True)
    error = failure(source_of(store))
    assert error.transient
    assert error.source_failed


@pytest.mark.parametrize(
    ("status", "transient"),
    [
        *((status, False) for status in (400, 413, 422)),
        *((status, True) for status in (302, 401, 403, 404, 408, 429, 500, 502, 503)),
    ],
)
def test_the_status_says_whether_trying_again_helps(store: Store, status: int, transient: bool) -> None:
    store.misbehave = lambda handler: respond(handler, status, b"<p>what\n went wrong</p>" + b"x" * 100_000)
    error = failure(source_of(store))
    assert error.transient is error.source_failed is transient
    assert f"answered {status} " in str(error)
    assert "<p>what went wrong</p>" in str(error)
    assert len(str(error)) < 400


@pytest.mark.parametrize("body", [b"", b"<html>", b"[]", b"{}", b"null", b"[" * 100_000, b'{"error": "\xff"}'])
def test_an_answer_that_is_something_else_is_transient(store: Store, body: bytes) -> None:
    store.misbehave = lambda handler: respond(handler, 200, body)
    error = failure(source_of(store))
    assert "the answer is not what was expected" in str(error)
    assert error.transient
    assert not error.source_failed


@pytest.mark.parametrize(("status", "reason"), [(200, "too many points"), (403, "answered 403 Forbidden: ")])
def test_an_endless_answer_is_not_read_to_its_end(
    store: Store, monkeypatch: pytest.MonkeyPatch, status: int, reason: str
) -> None:
    sent = 0

    def endless(handler: BaseHTTPRequestHandler) -> None:
        nonlocal sent
        respond(handler, status, b'{"results": [[{"data": [', length=10**12)
        with contextlib.suppress(OSError):
            while not store.leaving.is_set():
                sent += handler.wfile.write(b"1," * 50_000)

    store.misbehave = endless
    monkeypatch.setattr(MODULES[store.kind], "MAX_BYTES", 1_000_000)
    error = failure(source_of(store))
    assert error.transient is error.source_failed is (status != 200)
    assert reason in str(error)
    assert sent < 100_000_000


def test_a_cluster_that_is_not_known_yet_is_not_asked_for(store: Store) -> None:
    with pytest.raises(SourceError, match=r"cluster\.json is missing") as caught:
        source_of(store).load(JOB, None)
    assert caught.value.transient
    assert caught.value.source_failed
    assert store.calls == []


def test_an_error_stays_what_it_is_between_processes() -> None:
    for transient, source_failed in ((False, False), (True, False), (True, True)):
        error = SourceError("no answer", transient=transient, source_failed=source_failed)
        copy = pickle.loads(pickle.dumps(error))  # noqa: S301  its own
        assert (str(copy), copy.transient, copy.source_failed) == ("no answer", transient, source_failed)


def test_user_name_and_password_are_sent_and_never_told() -> None:
    login = base64.b64encode(b"scraper:hidden").decode()
    with Store("prometheus") as store:
        source = source_of(store, username="scraper", password="hidden")
        assert source.load(JOB, CLUSTER)
        assert store.calls[0][2] == f"Basic {login}"
        store.misbehave = lambda handler: respond(handler, 401, f"who is {login}, hidden?".encode())
        assert str(failure(source)).endswith("401 Unauthorized: who is ***, ***?")


GOOD: dict[str, Any] = {"url": "https://metrics.example.org/prefix/", "token": "x", "method": "GET"}


def entry_of(kind: str, **more: Any) -> dict[str, Any]:
    """Return a good entry with some values of it replaced."""
    return {"kind": kind, **GOOD, **MORE[kind], **more}


@pytest.mark.parametrize("kind", sorted(MODULES))
@pytest.mark.parametrize("more", [{}, {"method": "POST"}, {"timeout": 0.5}, {"url": "http://[::1]:80"}])
def test_a_good_entry_is_taken(kind: str, more: Any) -> None:
    assert validate_config({"*": entry_of(kind, **more)}) == []


@pytest.mark.parametrize("kind", sorted(MODULES))
@pytest.mark.parametrize(
    ("key", "value"),
    [("url", value) for value in (None, 3, "", "metrics:8082", "ftp://x", "http://", "http://h:x", "http://h:99999")]
    + [("url", value) for value in ("http://h/?q=1", "http://h/#f", " http://h", "http://h\n", "http://[::1")]
    + [("token", value) for value in (3, "", "two words", "line\n", "ü")]
    + [("method", "PUT"), ("method", ["GET"])]
    + [("timeout", value) for value in (0, -1, "30", True, None, float("inf"), float("nan"))]
    + [("tokn", "x")],
)
def test_a_bad_value_is_named(kind: str, key: str, value: Any) -> None:
    (message,) = validate_config({"*": entry_of(kind, **{key: value})})
    assert key in message


@pytest.mark.parametrize("kind", sorted(MODULES))
def test_a_url_is_required_and_secrets_are_not_repeated(kind: str) -> None:
    assert "url None" in validate_config({"*": {"kind": kind, **MORE[kind]}})[0]
    messages = validate_config({"*": entry_of(kind, url="http://me:hidden@host", token="also hidden")})
    assert len(messages) == 2
    assert "hidden" not in "".join(messages)


@pytest.mark.parametrize(
    "login",
    [
        {"username": "me"},
        {"password": "hidden"},
        {"username": "me", "password": "hidden", "token": "x"},
        {"username": "me", "password": ""},
        {"username": "m:e", "password": "hidden"},
        {"username": 3, "password": "hidden"},
        {"username": "me", "password": "hid\nden"},
    ],
)
def test_a_bad_login_is_named_and_not_repeated(login: Any) -> None:
    (message,) = validate_config({"*": {"kind": "prometheus", "url": "http://h", **MORE["prometheus"], **login}})
    assert "username, password" in message
    assert "hid" not in message
