"""gunicorn's gthread worker, which answers short calls in its main loop.

Handing a request to a thread and waking the main loop again costs as much as a stop_job itself, and threads of one
process that write to SQLite mostly wait for each other. So a start, a stop and a short list are answered in the main
loop as soon as the whole request has arrived, with gunicorn's own parser and response, unless the database would have
to wait for a lock or to work for long; all other calls go to the threads as usual. Starts and stops that arrive while
the main loop is busy are carried out together, and lists of the same page are read once.
"""

import re
import time
from collections.abc import Sequence
from functools import cached_property, partial
from types import SimpleNamespace
from typing import Any

from django.db import connections

from ccbackend.fastpath.connection import Connection, is_delayed
from ccbackend.fastpath.guarded import GuardedWorker
from ccbackend.fastpath.heads import Content, Heads
from ccbackend.waiting import WouldWait

# Calls that usually take a few milliseconds at most and have short answers: a start, a stop, a first page of jobs.
_SHORT = re.compile(
    rb"(?:(?P<write>POST|PUT) /api/jobs/(?:start_job|stop_job)/?"
    rb"|GET /api/jobs/?(?:\?(?:&?(?:items-per-page=(?:\d{1,2}|100)|page=\d|with-metadata=false|state=[a-z_]+"
    rb"|cluster=[\w.-]+|start-time=\d+-\d+))*)?) HTTP/1\.1\r\n"
)
_MOST_SLOW, _SLOW_FOR = 1000, 60.0  # lists that took longer, and for how many seconds they go to threads at once


class Worker(GuardedWorker):
    """gunicorn's gthread worker, which answers short calls in its main loop."""

    def init_process(self) -> None:
        """Start the process."""
        self._heads = Heads(self.cfg)
        self._writes: list[tuple[Connection, Any]] = []
        self._reads: list[tuple[Connection, Any, bytes]] = []
        self._slow: dict[bytes, float] = {}
        super().init_process()

    def load_wsgi(self) -> None:
        """Load the application; have no more threads than the database has connections for."""
        super().load_wsgi()
        database: Any = connections["default"]
        share = database.share_of_connections(self.cfg.workers)
        self.bound_threads(None if share is None else share - 2)  # of the main loop and the counts of calls

    @cached_property
    def _answers_at_once(self) -> bool:
        # With the proxy protocol a connection's first request has the address of the client for all of them.
        return bool(self.cfg.proxy_protocol == "off")

    def proceed(self, conn: Connection) -> None:
        """Take a short call that has arrived completely: it is answered at the end of this turn."""
        short = _SHORT.match(conn.received) if self._answers_at_once else None
        request = self._request(conn) if short and not self._is_slow(short[0]) else None
        if short is None or request is None:
            super().proceed(conn)
            return
        conn.leave()
        if short["write"]:
            self._writes.append((conn, request))
        else:
            self._reads.append((conn, request, short[0]))

    def _request(self, conn: Connection) -> Any:
        """Return the request that has arrived if it is whole and the only one, else None."""
        try:
            return self._heads.request(conn.received, conn.client)
        except Exception:  # the thread meets the same error, and answers
            return None

    def wait_for_and_dispatch_events(self, timeout: float) -> None:
        """Wait for events and take them up; then carry out the calls that have arrived."""
        super().wait_for_and_dispatch_events(timeout)
        self._answer_writes()
        self._answer_reads()

    def _answer_writes(self) -> None:
        most = getattr(self.wsgi, "most_together", 1)  # with FAST_PATH off
        while self._writes:
            together, self._writes = self._writes[:most], self._writes[most:]
            is_free = len(together) == 1 or self._carry_out([request.body for _, request in together])
            for conn, request in together:
                if not ((is_free or request.body.answered) and self._answer(conn, request)):
                    super().proceed(conn)

    def _answer_reads(self) -> None:
        """Answer lists; those that ask for the same page get what the database told the first one.

        They had all arrived before it was asked, so none is older than its request.
        """
        reads, self._reads = self._reads, []
        pages: dict[str, bytes] = {}
        for conn, request, line in reads:
            request.body.pages = pages
            if self._is_slow(line):  # as the one before it was
                super().proceed(conn)
            elif not self._answer(conn, request):
                if len(self._slow) >= _MOST_SLOW:
                    self._slow.clear()
                self._slow[line] = time.monotonic() + _SLOW_FOR
                super().proceed(conn)

    def _is_slow(self, line: bytes) -> bool:
        """Return whether the list with this first line worked for long not long ago."""
        return self._slow.get(line, 0) >= time.monotonic()

    def _carry_out(self, contents: Sequence[Content]) -> bool:
        """Carry out calls together; return False if those that were not would have to wait for a lock."""
        database: Any = connections["default"]
        database.must_not_wait = True
        try:
            self.wsgi.carry_out(contents)
        except WouldWait:
            return False
        except Exception:  # noqa: S110  each call meets the error that it is to blame for by itself, and answers
            pass
        finally:
            database.must_not_wait = False
        return True

    def _answer(self, conn: Connection, request: Any) -> bool:
        """Answer a call; return whether it was answered: it was not if it would take long or wait for a lock."""
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
        conn.received = b""
        self._send(conn, b"".join(answer), keep=keep)
        return True

    def _send(self, conn: Connection, answer: bytes, *, keep: bool) -> None:
        """Send an answer; a thread sends the part that is left."""
        if is_delayed(answer):
            conn.sock.held = answer
            conn.leave()
            self.poller.unregister(conn.sock)
            self.delay(conn)
            return
        try:
            rest = answer[conn.sock.send(answer) :]
        except OSError:  # the client has not read earlier answers, or is gone
            rest = answer
        if keep and not rest:
            conn.wait_in(self.keepalived_conns, self.cfg.keepalive)
            return
        conn.leave()
        self.poller.unregister(conn.sock)
        if rest:
            sending = self.tpool.submit(lambda: conn.sock.sendall(rest) or keep)
            sending.add_done_callback(partial(self.method_queue.defer, self.finish_request, conn))
        else:
            self.linger(conn)
