"""gunicorn's gthread worker, which on SQLite answers short calls in its main loop.

Handing a request to a thread and waking the main loop again costs as much as a stop_job itself, and threads of one
process that write to SQLite mostly wait for each other. So a start, a stop and a short list are answered in the main
loop as soon as the whole request has arrived, with gunicorn's own parser and response; all other calls go to the
threads as usual, and on PostgreSQL every call does. tests/ccbackend/test_gunicorn.py lists the internals in use.
"""

import re
import socket
import time
from concurrent.futures import Future
from functools import partial
from selectors import EVENT_READ
from types import SimpleNamespace
from typing import Any

from django.db import connections
from gunicorn.http import get_parser
from gunicorn.workers.gthread import TConn, ThreadWorker

from ccbackend.fastpath.heads import Heads
from ccbackend.sqlite.base import WouldWait

# Calls that take a few milliseconds at most and have short answers: a start, a stop, a first page of newest jobs.
_SHORT = re.compile(
    rb"(?:(?:POST|PUT) /api/jobs/(?:start_job|stop_job)/?"
    rb"|GET /api/jobs/?(?:\?(?:&?(?:items-per-page=(?:\d{1,2}|100)|page=\d|state=running|with-metadata=false))*)?)"
    rb" HTTP/1\.1\r\n"
)
_LARGEST = 64 * 1024  # bytes of a request that may be answered at once
_FIRST_WORD = 10  # seconds that a new connection may at least stay silent


class Worker(ThreadWorker):  # type: ignore[misc]  # gunicorn has no types
    """gunicorn's gthread worker, which answers short calls on SQLite in its main loop."""

    def init_process(self) -> None:
        """Start the process."""
        self._heads, self._next_notice = Heads(self.cfg), 0.0
        super().init_process()

    def notify(self) -> None:
        """Tell gunicorn once a second, not at each turn of the main loop, that the worker lives."""
        if (now := time.monotonic()) >= self._next_notice:
            self._next_notice = now + 1
            self.worker_connections = self.cfg.worker_connections
            super().notify()

    def accept(self, listener: socket.socket) -> None:
        """Accept a connection and wait for data in the main loop, not in a thread."""
        try:
            client, address = listener.accept()
        except (BlockingIOError, ConnectionAbortedError):
            return  # another worker was faster, or the client is gone
        except OSError as error:  # too many open files
            self.log.warning("No new connection until one ends, or for a second: %s", error)
            self.worker_connections = self.nr_conns
            return
        self.nr_conns += 1
        conn = TConn(self.cfg, client, address, listener.getsockname())
        conn.data_ready = True  # there is data by the time the main loop hands it on
        conn.timeout = time.monotonic() + max(self.cfg.keepalive, _FIRST_WORD)
        self.keepalived_conns.append(conn)
        self.poller.register(client, EVENT_READ, partial(self.on_client_socket_readable, conn))

    def on_client_socket_readable(self, conn: TConn, client: socket.socket) -> None:
        """Answer a short call that has arrived completely; leave anything else in the socket for a thread."""
        # With the proxy protocol a connection's first request has the address of the client for all of them.
        at_once = connections["default"].vendor == "sqlite" and self.cfg.proxy_protocol == "off"
        if not (at_once and self._answer(conn)):
            super().on_client_socket_readable(conn, client)

    def _answer(self, conn: TConn) -> bool:
        """Answer the short call in the socket if it is complete and the only one; return whether it was answered."""
        try:
            received = conn.sock.recv(_LARGEST, socket.MSG_PEEK)
            request = self._heads.request(received, conn.client) if _SHORT.match(received) else None
        except Exception:  # the thread meets the same error, and answers
            request = None
        if request is None:
            return False
        answer: list[bytes] = []
        sink = SimpleNamespace(sendall=answer.append, gettimeout=lambda: 0.0)
        database: Any = connections["default"]
        database.must_not_wait = True
        try:
            keep = self.handle_request(request, SimpleNamespace(sock=sink, client=conn.client, server=conn.server))
        except WouldWait:
            self.nr -= 1  # the thread will count it
            return False
        except Exception as error:
            self.handle_error(request, sink, conn.client, error)
            keep = False
        finally:
            database.must_not_wait = False
        self._send(conn, len(received), b"".join(answer), keep=keep)
        return True

    def _send(self, conn: TConn, size: int, answer: bytes, *, keep: bool) -> None:
        """Take a request of this size from the socket and send its answer; a thread sends the part that is left."""
        self.keepalived_conns.remove(conn)
        try:
            conn.sock.recv(size)
            rest = answer[conn.sock.send(answer) :]
        except OSError:  # the client has not read earlier answers, or is gone
            rest = answer
        if keep and not rest:
            conn.set_timeout()
            self.keepalived_conns.append(conn)
            return
        self.poller.unregister(conn.sock)
        sending = self.tpool.submit(self._send_rest, conn, rest, keep=keep)
        sending.add_done_callback(partial(self.method_queue.defer, self.finish_request, conn))

    def _send_rest(self, conn: TConn, rest: bytes, *, keep: bool) -> bool:
        """Send the rest of an answer; return whether the connection stays open."""
        conn.parser = conn.parser or get_parser(self.cfg, conn.sock, conn.client)  # finish_request looks at it
        conn.sock.settimeout(5)  # seconds, of a thread
        conn.sock.sendall(rest)
        return keep

    def finish_request(self, conn: TConn, served: "Future[Any]") -> None:
        """Let a thread wait up to two seconds for the client to close the connection, instead of the main loop."""
        if served.cancelled() or served.exception() or served.result():
            super().finish_request(conn, served)
        else:
            self.nr_conns -= 1
            self.tpool.submit(conn.close, graceful=True)
