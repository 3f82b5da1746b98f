"""What ccbackend.fastpath uses of gunicorn; a new version of gunicorn is compared with this list first."""

import ast
import os
import runpy
import socket
from collections.abc import Iterator
from types import SimpleNamespace
from typing import Any

import gunicorn
import pytest
from django.core.exceptions import ImproperlyConfigured
from gunicorn.config import Config
from gunicorn.glogging import Logger
from gunicorn.http import get_parser
from gunicorn.http.body import LengthReader
from gunicorn.workers.gthread import TConn, ThreadWorker

from tests.support.paths import PROJECT

VERSION = "27.0.1"

# Neither documented nor promised by gunicorn.
USED = {
    "worker": {
        *("_keepalive_after", "accept", "finish_request", "handle", "handle_error", "handle_request", "init_process"),
        *("load_wsgi", "murder_pending", "notify", "on_client_socket_readable", "wait_for_and_dispatch_events", "wsgi"),
        *("alive", "cfg", "keepalived_conns", "log", "method_queue", "nr", "nr_conns", "pending_conns", "poller"),
        *("tpool", "worker_connections"),
    },
    "method_queue": {"defer"},
    "connection": {"client", "close", "data_ready", "initialized", "parser", "server", "sock", "timeout"},
    "parser": {"unreader"},
    "unreader": {"buf", "take_buffered", "unread"},
    "request": {"_expected_100_continue", "body", "headers", "peer_addr", "remote_addr"},
    "body": {"reader"},
    "reader": {"length"},
    "settings": {
        "http2_cleartext",
        "is_ssl",
        "keepalive",
        "proxy_protocol",
        "threads",
        "worker_connections",
        "workers",
    },
}


@pytest.fixture
def parts() -> Iterator[dict[str, Any]]:
    """Return gunicorn's objects by the names in USED."""
    settings = Config()
    worker = ThreadWorker(1, 1, [], SimpleNamespace(wsgi=object), 30, settings, Logger(settings))
    worker.load_wsgi()
    parser = get_parser(settings, [b"POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 2\r\n\r\n{}"], ("127.0.0.1", 1))
    request = next(parser)
    ours, theirs = socket.socketpair()
    with ours, theirs:
        yield {
            "worker": worker,
            "method_queue": worker.method_queue,
            "connection": TConn(settings, ours, ("127.0.0.1", 1), ("127.0.0.1", 2)),
            "parser": parser,
            "unreader": parser.unreader,
            "request": request,
            "body": request.body,
            "reader": request.body.reader,
            "settings": settings,
        }
        worker.tmp.close()


def test_the_version_is_the_one_that_the_list_was_made_with() -> None:
    assert gunicorn.__version__ == VERSION
    assert f"gunicorn=={VERSION}\n" in (PROJECT / "requirements.txt").read_text()


def test_gunicorn_has_all_that_is_used(parts: dict[str, Any]) -> None:
    missing = [f"{part}.{name}" for part, names in USED.items() for name in names if not hasattr(parts[part], name)]
    assert missing == []
    assert isinstance(parts["reader"], LengthReader)
    assert parts["reader"].length == len(parts["unreader"].buf.getvalue()) == 2


@pytest.mark.parametrize("text", ["", "0", "-1", "1.5", "1_0", "1001", "9" * 5000, "two", "\u0662"])
def test_a_number_of_processes_that_cannot_be_is_refused_in_one_sentence(
    monkeypatch: pytest.MonkeyPatch, text: str
) -> None:
    monkeypatch.setenv("WEB_CONCURRENCY", text)
    with pytest.raises(SystemExit, match=r"^Configuration error: WEB_CONCURRENCY=.*: expected a whole number"):
        runpy.run_path(str(PROJECT / "gunicorn.conf.py"))
    with pytest.raises(ImproperlyConfigured, match=r"^WEB_CONCURRENCY( is set but empty|=.*: expected a whole number)"):
        runpy.run_path(str(PROJECT / "ccbackend" / "settings.py"))


def test_the_number_of_processes_is_that_of_the_cpus_or_as_set(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("WEB_CONCURRENCY", raising=False)
    assert runpy.run_path(str(PROJECT / "gunicorn.conf.py"))["workers"] == (os.cpu_count() or 1)
    monkeypatch.setenv("WEB_CONCURRENCY", " 12 ")
    assert runpy.run_path(str(PROJECT / "gunicorn.conf.py"))["workers"] == 12


def test_nothing_else_is_used(parts: dict[str, Any]) -> None:
    folder = PROJECT / "ccbackend" / "fastpath"
    names = ("connection.py", "guarded.py", "heads.py", "worker.py")
    trees = [ast.parse((folder / name).read_text()) for name in names]
    accessed = {node.attr for tree in trees for node in ast.walk(tree) if isinstance(node, ast.Attribute)}
    of_gunicorn = {name for name in accessed if any(hasattr(part, name) for part in parts.values())}
    assert of_gunicorn - {"__init__", "append", "fileno", "remove"} == set().union(*USED.values())
