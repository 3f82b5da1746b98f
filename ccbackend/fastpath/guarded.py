"""gunicorn's gthread worker, in which no client can hold up others.

A request reaches a thread when it is whole. Pages, and requests too large for the main loop, have other threads than
the calls of the scheduler's hooks; large forms, which are read before the log-in is checked, have two of their own. A
connection that lingers costs no thread, and silent ones make room for new ones.
tests/ccbackend/test_gunicorn.py lists the internals in use.
"""

import contextlib
import re
import resource
import socket
import time
from collections import deque
from concurrent.futures import Future, ThreadPoolExecutor
from functools import partial
from http import HTTPStatus
from selectors import EVENT_READ
from typing import Any

from gunicorn.workers.gthread import STOP_KEEPALIVE_LINGER, ThreadWorker

from accounts.bad_tokens import DELAY
from ccbackend.fastpath import refusals
from ccbackend.fastpath.connection import FIRST_BYTES, LARGEST, Arrival, Connection, arrival_of

HOOK_THREADS, FORM_THREADS = 4, 2
"""Threads for the calls of hooks and for large forms, beside those of gunicorn's setting `threads` for all others."""

_MOST_FORMS = 16  # large forms that may be read or wait for that
_HOOK = re.compile(rb"(?:POST|PUT) /api/")
_API = re.compile(rb"[A-Z]+ /api/")
_LINGER = 2.0  # seconds that a client has to close its end; its last answer could be lost otherwise
_LEFT_UNREAD = 0.1  # seconds that the rest of a body has to arrive when the answer was sent without it
_TOO_MANY = 10  # connections to close if no file can be opened


class GuardedWorker(ThreadWorker):  # type: ignore[misc]  # gunicorn has no types
    """gunicorn's gthread worker, in which no client can hold up others."""

    def init_process(self) -> None:
        """Start the process."""
        most = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
        resource.setrlimit(resource.RLIMIT_NOFILE, (most, most))
        self._lingering: deque[Connection] = deque()
        self._delayed: deque[Connection] = deque()
        self.bound_threads(None)
        self._unread_forms, self._next_notice = 0, 0.0
        super().init_process()

    def bound_threads(self, most: int | None) -> None:
        """Have no more threads than this (but one of each kind), before any is used; None means the usual numbers."""
        hooks, forms, others = HOOK_THREADS, FORM_THREADS, self.cfg.threads
        if most is not None:
            hooks, forms = min(hooks, max(1, most // 4)), min(forms, max(1, most // 8))
            others = min(others, max(1, most - hooks - forms))
            if hooks + forms + others > most:
                self.log.warning(
                    "The database has connections for %d threads of each process, too few: raise its max_connections "
                    "or lower WEB_CONCURRENCY",
                    max(0, most),
                )
        self._hooks, self._forms, self.tpool = map(ThreadPoolExecutor, (hooks, forms, others))

    def notify(self) -> None:
        """Tell gunicorn once a second, not at each turn of the main loop, that the worker lives."""
        if (now := time.monotonic()) >= self._next_notice:
            self._next_notice = now + 1
            self.worker_connections = self.cfg.worker_connections
            super().notify()

    def accept(self, listener: socket.socket) -> None:
        """Accept a connection and wait for a request in the main loop, not in a thread."""
        try:
            client, address = listener.accept()
        except (BlockingIOError, ConnectionAbortedError):
            return  # another worker was faster, or the client is gone
        except OSError as error:  # too many open files
            self.log.warning("Closing silent connections; no new one until one ends, or for a second: %s", error)
            self.worker_connections = self.nr_conns
            for _ in range(_TOO_MANY):
                self._drop_oldest(self._lingering, self._delayed, self.pending_conns)
            return
        self.nr_conns += 1
        self._wait(Connection(self.cfg, client, address, listener.getsockname()), self.pending_conns, FIRST_BYTES)
        if self.nr_conns >= self.worker_connections:
            others = [self.pending_conns] if len(self.pending_conns) > 1 else []
            self._drop_oldest(self._lingering, self._delayed, *others, self.keepalived_conns)

    def on_client_socket_readable(self, conn: Connection, client: socket.socket) -> None:
        """Take a part of a request."""
        if client.fileno() < 0:
            return  # closed in the same turn
        if not conn.is_plain:
            self._submit(conn, is_whole=False)
            return
        try:
            part = client.recv(LARGEST)
        except BlockingIOError:
            return
        except OSError:
            part = b""
        if part:
            conn.received += part
            self.proceed(conn)
        else:
            self._drop(conn)

    def proceed(self, conn: Connection) -> None:
        """Give a request to a thread if it is whole, or will not be while the main loop waits."""
        arrival = arrival_of(conn.received)
        if arrival is not Arrival.PART:
            self._submit(conn, is_whole=arrival is Arrival.WHOLE)
        elif conn.queue is not self.pending_conns:
            conn.wait_in(self.pending_conns, FIRST_BYTES)

    def _submit(self, conn: Connection, *, is_whole: bool) -> None:
        conn.leave()
        self.poller.unregister(conn.sock)
        conn.is_large_form = conn.is_plain and not is_whole and not _API.match(conn.received)
        if conn.is_large_form:
            self._unread_forms += 1
            if self._unread_forms > _MOST_FORMS:
                with contextlib.suppress(OSError):  # not `sendall`: it would wait for a client that does not read
                    conn.sock.send(refusals.answer(HTTPStatus.SERVICE_UNAVAILABLE, "too many large forms at once"))
                self._finish(conn, keep=False)
                return
        is_hook = is_whole and _HOOK.match(conn.received)
        pool = self._forms if conn.is_large_form else self._hooks if is_hook else self.tpool
        conn.before_thread()
        pool.submit(self.handle, conn).add_done_callback(partial(self.method_queue.defer, self.finish_request, conn))

    def handle_error(self, req: Any, client: Any, addr: Any, exc: Exception) -> None:
        """Answer a request that cannot be read in JSON, without repeating it."""
        refused = refusals.refusal(exc, self.cfg)
        if refused is None:
            super().handle_error(req, client, addr, exc)
            return
        self.log.warning("Request from %s refused: %s", (addr or ("unix",))[0], refused[1])
        with contextlib.suppress(OSError):
            client.sendall(refusals.answer(*refused))

    def _keepalive_after(self, conn: Connection, keepalive: bool) -> bool:  # noqa: FBT001  gunicorn's signature
        """Return whether the connection stays open."""
        conn.sock.deadline = time.monotonic() + _LEFT_UNREAD
        return bool(super()._keepalive_after(conn, keepalive))

    def finish_request(self, conn: Connection, served: "Future[Any]") -> None:
        """Take a connection back from a thread."""
        self._finish(conn, keep=not served.cancelled() and served.exception() is None and bool(served.result()))

    def _finish(self, conn: Connection, *, keep: bool) -> None:
        self._unread_forms -= conn.is_large_form
        conn.is_large_form = False
        if getattr(conn.sock, "held", b""):  # a TLS socket has none
            self.delay(conn)
            return
        if not keep:
            self.linger(conn)
            return
        conn.after_thread()
        self._wait(conn, self.keepalived_conns, self.cfg.keepalive if self.alive else STOP_KEEPALIVE_LINGER)
        if conn.received:
            self.proceed(conn)

    def delay(self, conn: Connection) -> None:
        """Keep the answer in `held` for a while, in the main loop, then send it and close the connection."""
        self._wait(conn, self._delayed, DELAY)

    def linger(self, conn: Connection) -> None:
        """Close our end; the main loop discards what still comes until the client has closed the other."""
        try:
            conn.sock.shutdown(socket.SHUT_WR)
            conn.sock.settimeout(0)
        except OSError:  # the client was faster
            self.nr_conns -= 1
            conn.close()
        else:
            self._wait(conn, self._lingering, _LINGER)

    def murder_pending(self) -> None:
        """Close the connections whose time is over."""
        super().murder_pending()
        while self._delayed and self._delayed[0].timeout <= time.monotonic():
            conn = self._delayed[0]
            conn.leave()
            self.poller.unregister(conn.sock)
            with contextlib.suppress(OSError):  # not `sendall`: it would wait for a client that does not read
                conn.sock.send(conn.sock.held)
            self.linger(conn)
        while self._lingering and self._lingering[0].timeout <= time.monotonic():
            self._drop(self._lingering[0])

    def _wait(self, conn: Connection, queue: "deque[Connection]", seconds: float) -> None:
        conn.wait_in(queue, seconds)
        only_ends = queue is self._lingering or queue is self._delayed
        on_data = self._discard if only_ends else self.on_client_socket_readable
        self.poller.register(conn.sock, EVENT_READ, partial(on_data, conn))

    def _discard(self, conn: Connection, client: socket.socket) -> None:
        try:
            ended = client.fileno() >= 0 and not client.recv(LARGEST)
        except OSError:
            ended = True
        if ended:
            self._drop(conn)

    def _drop_oldest(self, *queues: "deque[Connection]") -> None:
        """Close the connection that has waited longest in the first queue that is not empty."""
        for queue in filter(None, queues):
            self._drop(queue[0])
            return

    def _drop(self, conn: Connection) -> None:
        conn.leave()
        self.poller.unregister(conn.sock)
        self.nr_conns -= 1
        conn.close()
