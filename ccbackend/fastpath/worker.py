"""gunicorn's threaded worker, with a short way for the calls that hooks wait for.

Handing a request to a thread, waking the thread and waking the main loop again costs as much as a stop_job itself, and
threads of one process that write to SQLite mostly wait for each other. gunicorn's request, response and environment
cost half as much again. So a request of a few short kinds, in the plain form in which clients send it, is answered in
the main loop at once, as soon as all of it has arrived; everything else goes gunicorn's way to the threads, where a
long list, a metric store that hangs, a slow client or the admin site hold up nobody. docs/performance.md has figures.
"""

import gc
import io
import mmap
import re
import socket
import struct
import sys
import time
from datetime import timedelta
from email.utils import formatdate
from functools import lru_cache, partial
from selectors import EVENT_READ
from types import SimpleNamespace
from typing import Any, cast

from django.db import connections
from gunicorn import SERVER, SERVER_SOFTWARE
from gunicorn.workers.gthread import TConn, ThreadWorker

from ccbackend.sqlite.base import DatabaseWrapper, WouldWait

_LARGEST = 64 * 1024  # bytes of a request that may be answered at once
_SEND_TIMEOUT = struct.pack("ll", 1, 0)  # a second: then a client that does not take a short answer is cut off
_NO_TIMEOUT = struct.pack("ll", 0, 0)

# Calls that take some milliseconds at most, with short answers: a start, a stop, one of the first pages of newest or
# running jobs without metadata. Each header is one line of printable ASCII.
_REQUEST = re.compile(
    rb"(?:(?:POST|PUT) /api/jobs/(?:start_job|stop_job)/?"
    rb"|GET /api/jobs/?(?:\?(?:&?(?:items-per-page=(?:\d{1,2}|100)|page=\d|state=running|with-metadata=false))*)?)"
    rb" HTTP/1\.1\r\n((?:[A-Za-z][A-Za-z0-9-]*:[\x20-\x7e]*\r\n)+)\r\n"
)
_HEADER = re.compile("([^:]+):([^\r]*)\r\n")
_LENGTH = re.compile(r"\d{1,8}")
_TOKENS = frozenset({"HTTP_X_AUTH_TOKEN", "HTTP_AUTHORIZATION"})
# Whoever sends these wants another way of talking than request and answer.
_UNUSUAL = frozenset({"HTTP_TRANSFER_ENCODING", "HTTP_EXPECT", "HTTP_UPGRADE", "HTTP_TE"})

_ENVIRON = {
    "SCRIPT_NAME": "",
    "SERVER_PROTOCOL": "HTTP/1.1",
    "SERVER_SOFTWARE": SERVER_SOFTWARE,
    "wsgi.version": (1, 0),
    "wsgi.url_scheme": "http",  # no answer to a call with a token depends on it
    "wsgi.errors": sys.stderr,
    "wsgi.multithread": True,
    "wsgi.multiprocess": True,
    "wsgi.run_once": False,
    "wsgi.input_terminated": True,
}

# How many connections each worker has, in memory that all workers of a server share: a slot per worker, by its number.
# Clients keep their connections for days, so that whoever takes a new one should be the least busy.
_connections = memoryview(mmap.mmap(-1, mmap.PAGESIZE)).cast("H")
_NOBODY = 0xFFFF
_connections[:] = memoryview(b"\xff" * mmap.PAGESIZE).cast("H")
_FIRST_WORD = 10  # seconds that a new connection may stay silent at least
_HEAD_START = 0.0003  # seconds that a worker waits for less busy ones to take a new connection


class Worker(ThreadWorker):  # type: ignore[misc]  # gunicorn has no types
    """gunicorn's gthread worker that answers short requests in its main loop, on SQLite.

    On PostgreSQL a request mostly waits for the database, which threads do side by side: all go to the threads there.
    """

    alive: bool

    def init_process(self) -> None:
        """Start the process."""
        self._answers_at_once = False
        self._next_notice = 0.0
        self._slot = 1 + self.age % (len(_connections) - 1)
        super().init_process()

    def run(self) -> None:
        """Serve until told to stop; what is loaded by now stays, so the garbage collector need not look at it again."""
        told_by_proxy = self.cfg.proxy_protocol != "off"  # who the client is, once per connection, which gunicorn reads
        self._answers_at_once = connections["default"].vendor == "sqlite" and not (self.cfg.is_ssl or told_by_proxy)
        gc.collect()
        gc.freeze()
        try:
            super().run()
        finally:
            _connections[self._slot] = _NOBODY

    def notify(self) -> None:
        """Say, each turn of the main loop, how many connections there are, and each second that the worker lives."""
        _connections[self._slot] = self.nr_conns
        now = time.monotonic()
        if now >= self._next_notice:
            self._next_notice = now + 1
            super().notify()

    def accept(self, listener: socket.socket) -> None:
        """Accept a connection and wait in the main loop, not in a thread, until it says something."""
        if self.nr_conns > min(_connections):
            time.sleep(_HEAD_START)
        try:
            client, address = listener.accept()
        except (BlockingIOError, ConnectionAbortedError):  # another worker was faster, or the client is gone
            return
        self.nr_conns += 1
        conn = TConn(self.cfg, client, address, listener.getsockname())
        conn.data_ready = True  # it will be when the main loop hands it on
        conn.timeout = time.monotonic() + max(self.cfg.keepalive, _FIRST_WORD)
        self.keepalived_conns.append(conn)
        self.poller.register(client, EVENT_READ, partial(self.on_client_socket_readable, conn))

    def on_client_socket_readable(self, conn: TConn, client: socket.socket) -> None:
        """Answer a short request that is here completely; leave any other to a thread, and one that has to wait."""
        environ, size = _short_request(conn) if self._answers_at_once else (None, 0)
        if environ is None:
            super().on_client_socket_readable(conn, client)
            return
        begin = time.monotonic()
        response = SimpleNamespace(status="", headers=[], sent=0)  # as the access log wants it
        database = cast("DatabaseWrapper", connections["default"])
        database.must_not_wait = True
        try:
            body = b"".join(self.wsgi(environ, partial(_start_response, response)))
        except WouldWait:
            super().on_client_socket_readable(conn, client)
            return
        except Exception:
            self.log.exception("Error handling request %s", environ["RAW_URI"])
            response.status, response.headers, body = "500 Internal Server Error", [("Content-Length", "0")], b""
        finally:
            database.must_not_wait = False
        self.nr += 1
        if self.nr >= self.max_requests and self.alive:
            self.log.info("Autorestarting worker after current request.")
            self.alive = False
        keep = self.alive and self.cfg.keepalive > 0 and len(self.keepalived_conns) <= self.max_keepalived
        keep = _send(client, size, _head(response, keep=keep) + body) and keep
        response.sent = len(body)
        self.log.access(response, environ, environ, timedelta(seconds=time.monotonic() - begin))
        self.keepalived_conns.remove(conn)
        if keep:
            conn.set_timeout()
            self.keepalived_conns.append(conn)
        else:
            self.poller.unregister(client)
            self.nr_conns -= 1
            conn.close(graceful=True)


def _short_request(conn: TConn) -> tuple[dict[str, Any] | None, int]:
    """Return the WSGI environment of the short request that lies in the socket's buffer, and its size in bytes.

    It must be whole and alone, and bring a token; it is looked at, not taken. None where it is another request, only
    part of one, or more: what follows might come slowly.
    """
    try:
        received = conn.sock.recv(_LARGEST, socket.MSG_PEEK | socket.MSG_DONTWAIT)
    except OSError:
        return None, 0
    found = _REQUEST.match(received)
    if found is None:
        return None, 0
    headers = _HEADER.findall(found[1].decode())
    fields = {_key(name): value.strip() for name, value in headers}
    usual = len(fields) == len(headers) and "HTTP_HOST" in fields and fields.keys() & _TOKENS
    if not usual or fields.keys() & _UNUSUAL or fields.get("HTTP_CONNECTION", "keep-alive").lower() != "keep-alive":
        return None, 0
    method, target, _ = received[: found.start(1)].decode().split(" ")
    length = fields.get("CONTENT_LENGTH", "0" if method == "GET" else "")
    if not _LENGTH.fullmatch(length) or len(received) != found.end() + int(length):
        return None, 0
    path, _, query = target.partition("?")
    server = conn.server if isinstance(conn.server, tuple) else ("localhost", 80)  # of a unix socket: of no use
    environ = _ENVIRON | fields
    environ["REQUEST_METHOD"], environ["RAW_URI"] = method, target
    environ["PATH_INFO"], environ["QUERY_STRING"] = path, query
    environ["SERVER_NAME"], environ["SERVER_PORT"] = server[0], str(server[1])
    environ["REMOTE_ADDR"] = conn.client[0] if isinstance(conn.client, tuple) else conn.client
    environ["wsgi.input"] = io.BytesIO(received[found.end() :])
    return environ, len(received)


@lru_cache(maxsize=256)
def _key(name: str) -> str:
    """Return the name of a header in a WSGI environment."""
    key = name.upper().replace("-", "_")
    return key if key in ("CONTENT_TYPE", "CONTENT_LENGTH") else f"HTTP_{key}"


def _start_response(
    response: SimpleNamespace, status: str, headers: list[tuple[str, str]], exc_info: object = None
) -> None:
    """Take what the application says before its body."""
    response.status, response.headers = status, headers


def _head(response: SimpleNamespace, *, keep: bool) -> bytes:
    """Return an answer as far as its body; Django lets no line break into a header, and gives the length."""
    lines = "".join([f"{name}: {value}\r\n" for name, value in response.headers])
    date, connection = _date(int(time.time())), "keep-alive" if keep else "close"
    head = f"HTTP/1.1 {response.status}\r\nServer: {SERVER}\r\nDate: {date}\r\nConnection: {connection}\r\n{lines}\r\n"
    return head.encode("latin-1")


@lru_cache(maxsize=1)
def _date(now: int) -> str:
    return formatdate(now, usegmt=True)


def _send(client: socket.socket, size: int, answer: bytes) -> bool:
    """Take the request of this size from the socket and send the answer; tell whether the client took it in time."""
    try:
        client.recv(size)
        sent = client.send(answer)
        if sent < len(answer):
            client.settimeout(None)
            client.setsockopt(socket.SOL_SOCKET, socket.SO_SNDTIMEO, _SEND_TIMEOUT)
            client.sendall(memoryview(answer)[sent:])
            client.setsockopt(socket.SOL_SOCKET, socket.SO_SNDTIMEO, _NO_TIMEOUT)
            client.settimeout(0)
    except OSError:  # gone, or too slow
        return False
    return True
