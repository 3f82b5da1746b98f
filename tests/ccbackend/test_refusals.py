"""ccbackend.fastpath.refusals: requests that gunicorn's parser refuses are answered in JSON, and not repeated."""

import json
import logging
import socket
from http import HTTPStatus

import pytest
from gunicorn.config import Config
from gunicorn.glogging import Logger
from gunicorn.http import errors, get_parser

from accounts import tokens
from ccbackend.fastpath.worker import Worker

TOKEN = tokens.generate()
LINE = f"GET /api/jobs/ HTTP/1.1\r\nHost: x\r\nX-Auth-Token: {TOKEN}\r\n"


@pytest.mark.parametrize(
    ("sent", "status"),
    [
        (f"GET /api/jobs/?{'state=running&' * 700} HTTP/1.1\r\nX-Auth-Token: {TOKEN}\r\n\r\n", 414),
        (f"GET /api/jobs/ HTTP/1.1\r\nHost: x\r\nX-Auth-Token: {TOKEN * 200}\r\n\r\n", 431),
        (LINE + "A: b\r\n" * 200 + "\r\n", 431),
        (LINE + f"X-Auth-Token {TOKEN}\r\n\r\n", 400),
        (LINE + f"X-Auth-Token: {TOKEN}\x01\r\n\r\n", 400),
        (LINE + f"X-Auth-Token: {TOKEN}\0\r\n\r\n", 400),
        (LINE + f"X Auth Token: {TOKEN}\r\n\r\n", 400),
        (LINE + f"X-Auth-Token\t: {TOKEN}\r\n\r\n", 400),
        (LINE + f" {TOKEN}\r\n\r\n", 400),
        (LINE + f"{TOKEN}\r\n\r\n", 400),
        (LINE + f"{TOKEN}: x y\x7f\0\r\n\r\n", 400),
        (LINE + f"Content-Length: {TOKEN}\r\n\r\n", 400),
        (LINE + f"Transfer-Encoding: {TOKEN}\r\n\r\n", 501),
        (LINE + f"Expect: {TOKEN}\r\n\r\n", 417),
        (f"GET /api/jobs/ {TOKEN}\r\n\r\n", 400),
        (f"{TOKEN} /api/jobs/ HTTP/1.1\r\n\r\n", 400),
        (f"X-Auth-Token: {TOKEN}\r\n\r\n", 400),
    ],
)
def test_a_request_that_cannot_be_read_is_refused_in_json_without_its_token(
    sent: str, status: int, caplog: pytest.LogCaptureFixture, capfd: pytest.CaptureFixture[str]
) -> None:
    settings = Config()
    settings.set("limit_request_line", 8190)
    worker = Worker(1, 1, [], None, 30, settings, Logger(settings))
    with pytest.raises(errors.ParseException) as refused:
        next(get_parser(settings, [sent.encode("latin-1")], ("192.0.2.1", 1)))
    ours, theirs = socket.socketpair()
    with ours, theirs, caplog.at_level(logging.DEBUG):
        worker.handle_error(None, ours, ("192.0.2.1", 1), refused.value)
        ours.close()
        answer = theirs.recv(1 << 16)
    worker.tmp.close()

    head, _, body = answer.decode().partition("\r\n\r\n")
    assert head.startswith(f"HTTP/1.1 {status} {HTTPStatus(status).phrase}\r\n")
    assert "Content-Type: application/json\r\n" in head
    assert head.endswith(f"Content-Length: {len(body)}")
    document = json.loads(body)
    assert (document["status"], bool(document["error"])) == (HTTPStatus(status).phrase, True)
    log = caplog.text + "".join(capfd.readouterr())
    assert "192.0.2.1" in log
    secret = TOKEN.removeprefix(tokens.visible_prefix(TOKEN))
    assert not any(secret[start : start + 8] in answer.decode() + log for start in range(len(secret) - 7))


@pytest.mark.parametrize("error", [errors.ConfigurationProblem("x"), errors.InvalidResponseHeader("x"), ValueError()])
def test_what_the_client_is_not_to_blame_for_stays_gunicorn_s(error: Exception) -> None:
    settings = Config()
    worker = Worker(1, 1, [], None, 30, settings, Logger(settings))
    ours, theirs = socket.socketpair()
    with ours, theirs:
        worker.handle_error(None, ours, None, error)
        assert theirs.recv(100).startswith(b"HTTP/1.1 500")
    worker.tmp.close()
