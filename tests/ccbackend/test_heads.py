"""Remembered heads: the same request as gunicorn's parser gives, or none."""

from typing import Any

import pytest
from gunicorn.config import Config
from gunicorn.http import get_parser
from gunicorn.http.errors import ParseException

from ccbackend.fastpath.heads import Heads

CLIENT = ("127.0.0.1", 40_000)
HEAD = b"POST /api/jobs/stop_job/?x=%%31 HTTP/1.1\r\nHost: a:80\r\n%bX-Auth-Token: t\r\n%b\r\n"


def call(body: bytes, *, before: bytes = b"", after: bytes = b"", name: bytes = b"Content-Length") -> bytes:
    """Return a request with this body, and header lines before and after its length."""
    return HEAD % (before + name + b": %d\r\n" % len(body), after) + body


def facts(request: Any) -> dict[str, Any]:
    """Return what the application gets to see of a request."""
    names = ("method", "uri", "path", "query", "version", "headers", "scheme", "peer_addr", "remote_addr", "must_close")
    return {name: getattr(request, name) for name in names} | {
        "close": request.should_close(),
        "body": request.body.read(),
    }


@pytest.fixture
def cfg() -> Config:
    """Return gunicorn's settings."""
    return Config()


def test_each_request_is_as_gunicorn_parses_it_the_first_time_and_later(cfg: Config) -> None:
    heads = Heads(cfg)
    for body in (b"{}", b'{"jobId": 1}', b"", b"x" * 5000, b"{}"):
        for options in (
            {},
            {"name": b"content-length"},
            {"after": b"Connection: close\r\n"},
            {"before": b"X-A: 1\r\nX-A: 2\r\n"},
        ):
            received = call(body, **options)
            for client in (CLIENT, ("10.0.0.1", 2), b""):
                expected = facts(next(get_parser(cfg, [received], client)))
                assert facts(heads.request(received, client)) == expected
                assert facts(heads.request(received, client)) == expected


def test_requests_of_one_head_have_bodies_of_their_own(cfg: Config) -> None:
    heads = Heads(cfg)
    first, second = heads.request(call(b"one"), CLIENT), heads.request(call(b"number two"), CLIENT)
    assert (second.body.read(), first.body.read()) == (b"number two", b"one")
    assert len(heads._parsed) == 1


@pytest.mark.parametrize(
    "received",
    [
        call(b"{}")[:-1],
        call(b"{}") + b"x",
        call(b"{}") + call(b"{}"),
        call(b"{}")[:40],
        b"",
        call(b"{}", after=b"Expect: 100-continue\r\n"),
        HEAD % (b"Transfer-Encoding: chunked\r\n", b""),
        HEAD % (b"Transfer-Encoding: chunked\r\n", b"") + b"2\r\n{}\r\n0\r\n\r\n",
    ],
)
def test_what_is_not_one_whole_plain_request_is_none_however_often_it_comes(cfg: Config, received: bytes) -> None:
    heads = Heads(cfg)
    heads.request(call(b"{}"), CLIENT)
    assert [heads.request(received, CLIENT) for _ in range(2)] == [None, None]


@pytest.mark.parametrize(
    "after",
    [
        b"Content-Length: 2\r\n",
        b"Content-Length: 3\r\n",
        b"content-length : 2\r\n",
        b"Transfer-Encoding: chunked\r\n",
        b"X Y: 1\r\n",
        b" folded\r\n",
        b"X: \0\r\n",
    ],
)
def test_what_gunicorn_refuses_is_refused_however_often_it_comes(cfg: Config, after: bytes) -> None:
    heads = Heads(cfg)
    for _ in range(2):
        with pytest.raises(ParseException):
            heads.request(call(b"{}", after=after), CLIENT)
    assert heads._parsed == {}


def test_what_gunicorn_trusts_a_proxy_with_is_not_believed_of_others(cfg: Config) -> None:
    cfg.set("forwarded_allow_ips", "10.0.0.1")
    heads, received = Heads(cfg), call(b"{}", after=b"X-Forwarded-Proto: https\r\n")
    schemes = [heads.request(received, (host, 1)).scheme for host in ("10.0.0.1", "10.0.0.2", "10.0.0.1")]
    assert schemes == ["https", "http", "https"]


def test_few_and_short_heads_are_remembered(cfg: Config, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("ccbackend.fastpath.heads._MOST", 3)
    heads = Heads(cfg)
    for number in range(10):
        assert heads.request(call(b"{}", after=b"X-N: %d\r\n" % number), CLIENT).headers[-1] == ("X-N", str(number))
        assert len(heads._parsed) <= 3
    heads._parsed.clear()
    assert heads.request(call(b"{}", after=b"X-Long: %b\r\n" % (b"x" * 5000)), CLIENT) is not None
    assert heads._parsed == {}
