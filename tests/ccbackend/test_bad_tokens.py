"""Bad tokens: their refusals are delayed by address once there are many, and good tokens from there never wait."""

import contextlib
import socket
import time
from collections.abc import Iterator

import pytest

from accounts import bad_tokens, tokens
from accounts.models import User
from tests.support.clients import AppClient
from tests.support.factories import token_for
from tests.support.server import Server, running_server
from tests.support.waiting import patience

PATH = "/api/jobs/?state=running"


@pytest.mark.django_db
@pytest.mark.parametrize("bad", ["malformed", None])
def test_of_many_bad_tokens_the_later_refusals_say_that_they_are_delayed(
    bad: str | None, anonymous: AppClient, bench: User
) -> None:
    answers = [anonymous.get(PATH, token=tokens.generate() if bad is None else bad) for _ in range(bad_tokens.MOST + 1)]
    assert {answer.status for answer in answers} == {401}
    assert ["retry-after" in answer.headers for answer in answers] == [False] * bad_tokens.MOST + [True]
    assert "retry-after" not in anonymous.get(PATH, token=token_for(bench)).headers
    anonymous.environ["REMOTE_ADDR"] = "192.0.2.1"
    assert "retry-after" not in anonymous.get(PATH, token="x").headers


def test_the_counts_are_bounded_and_end(monkeypatch: pytest.MonkeyPatch) -> None:
    for number in range(25_000):
        bad_tokens.note(f"address {number}")
    assert len(bad_tokens._counts) <= 10_000
    assert [bad_tokens.note("one") for _ in range(bad_tokens.MOST + 1)][-1]
    monkeypatch.setattr(bad_tokens, "WINDOW", -1.0)
    assert not bad_tokens.note("one")


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """Return a server of one process, so that the counts are those of one."""
    with running_server(tmp_path_factory.mktemp("bad_tokens"), workers=1) as running:
        yield running


def ask(server: Server, path: str, token: str) -> socket.socket:
    """Send a request and return its connection."""
    sock = socket.create_connection(("127.0.0.1", server.port), timeout=30)
    sock.sendall(f"GET {path} HTTP/1.1\r\nHost: localhost\r\nX-Auth-Token: {token}\r\n\r\n".encode())
    return sock


@pytest.mark.server
@pytest.mark.parametrize("path", [PATH, "/api/clusters/"], ids=["in the main loop", "in a thread"])
def test_many_refusals_are_delayed_and_a_good_token_beside_them_is_not(server: Server, path: str) -> None:
    for _ in range(bad_tokens.MOST):
        ask(server, path, "x").recv(10)
    begin = time.monotonic()
    bad = [ask(server, path, "x") for _ in range(100)]
    with contextlib.closing(server.client()) as hook:
        for _ in range(10):
            assert hook.get(path).status == 200
    for_good_ones = time.monotonic() - begin
    answers = [sock.recv(4096) for sock in bad]
    for_bad_ones = time.monotonic() - begin
    assert all(answer.startswith(b"HTTP/1.1 401 ") and b"malformed token" in answer for answer in answers)
    assert for_bad_ones >= bad_tokens.DELAY
    assert for_good_ones < min(patience(0.5), for_bad_ones)
    for sock in bad:
        assert sock.recv(1) == b""  # closed
        sock.close()
