"""gunicorn's threaded worker, with a short way for the calls that hooks wait for.

Handing a request to a thread, waking the thread and waking the main loop again costs as much as a stop_job itself, and
threads of one process that write to SQLite mostly wait for each other. So a request of a few short kinds, once all of
it has arrived, is answered in the main loop at once; everything else goes to the threads as ever, where a long list, a
metric store that hangs, a slow client or the admin site hold up nobody else. docs/performance.md has the figures.
"""

import gc
import mmap
import re
import socket
import struct
import time
from functools import partial
from selectors import EVENT_READ
from typing import cast

from django.db import connections
from gunicorn.workers.gthread import TConn, ThreadWorker

from ccbackend.sqlite.base import DatabaseWrapper, WouldWait

_LARGEST = 64 * 1024  # bytes of a request that may be answered at once
_SEND_TIMEOUT = struct.pack("ll", 1, 0)  # a second: then a client that does not take a short answer is cut off
_NO_TIMEOUT = struct.pack("ll", 0, 0)

# Calls that take some milliseconds at most, with short answers: a start, a stop, one of the first pages of newest or
# running jobs without metadata.
_SHORT = re.compile(
    rb"(?:POST|PUT) /api/jobs/(?:start_job|stop_job)[/ ]"
    rb"|GET /api/jobs/?(?:\?(?:&?(?:items-per-page=(?:\d{1,2}|100)|page=\d|state=running|with-metadata=false))*)? "
)
_LENGTH = re.compile(rb"\r\ncontent-length: *(\d{1,8})\r\n", re.IGNORECASE)

# How many connections each worker has, in memory that all workers of a server share: a slot per worker, by its number.
# Clients keep their connections for days, so that whoever takes a new one should be the least busy.
_connections = memoryview(mmap.mmap(-1, mmap.PAGESIZE)).cast("H")
_NOBODY = 0xFFFF
_connections[:] = memoryview(b"\xff" * mmap.PAGESIZE).cast("H")
_HEAD_START = 0.0003  # seconds that a worker waits for less busy ones to take a new connection


class Worker(ThreadWorker):  # type: ignore[misc]  # gunicorn has no types
    """gunicorn's gthread worker that answers short requests in its main loop, on SQLite.

    On PostgreSQL a request mostly waits for the database, which threads do side by side: all go to the threads there.
    """

    def init_process(self) -> None:
        """Start the process."""
        self._answers_at_once = False
        self._next_notice = 0.0
        self._slot = 1 + self.age % (len(_connections) - 1)
        super().init_process()

    def run(self) -> None:
        """Serve until told to stop; what is loaded by now stays, so the garbage collector need not look at it again."""
        self._answers_at_once = connections["default"].vendor == "sqlite" and not self.cfg.is_ssl
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
        conn.set_timeout()
        self.keepalived_conns.append(conn)
        self.poller.register(client, EVENT_READ, partial(self.on_client_socket_readable, conn))

    def on_client_socket_readable(self, conn: TConn, client: socket.socket) -> None:
        """Answer a short request that is here completely; leave any other to a thread, and one that has to wait."""
        request = _short_request(client) if self._answers_at_once else b""
        if not request:
            super().on_client_socket_readable(conn, client)
            return
        client.setsockopt(socket.SOL_SOCKET, socket.SO_SNDTIMEO, _SEND_TIMEOUT)
        database = cast("DatabaseWrapper", connections["default"])
        database.must_not_wait = True
        try:
            keep = self.handle(conn)
        except WouldWait:
            conn.parser.unreader.unread(request)
            keep = None
        finally:
            database.must_not_wait = False
            client.setsockopt(socket.SOL_SOCKET, socket.SO_SNDTIMEO, _NO_TIMEOUT)
        if keep is None:
            super().on_client_socket_readable(conn, client)
            return
        self.keepalived_conns.remove(conn)
        if keep and self.alive:
            conn.set_timeout()
            self.keepalived_conns.append(conn)
        else:
            self.poller.unregister(client)
            self.nr_conns -= 1
            conn.close(graceful=True)


def _short_request(client: socket.socket) -> bytes:
    """Return the short request that lies in the socket's buffer, whole and alone; it is looked at, not taken.

    Empty where it is another request, only part of one, or more: what follows might come slowly.
    """
    try:
        received = client.recv(_LARGEST, socket.MSG_PEEK | socket.MSG_DONTWAIT)
    except OSError:
        return b""
    if not _SHORT.match(received):
        return b""
    end = received.find(b"\r\n\r\n")
    length = _LENGTH.search(received, 0, end + 2)
    if end < 0 or (length is None and not received.startswith(b"GET")):
        return b""
    return received if len(received) == end + 4 + (int(length[1]) if length else 0) else b""
