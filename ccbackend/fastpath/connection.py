"""A client's connection, which no client can keep a thread waiting on for long."""

import contextlib
import enum
import re
import socket
import time
from collections import deque
from typing import Any

from gunicorn.http import get_parser
from gunicorn.workers.gthread import TConn

FIRST_BYTES = 10.0
"""Seconds that a client has for a request that fits in LARGEST, from the connection or the request's first byte on."""

LARGEST = 64 * 1024
"""Bytes of a request that the main loop collects; a thread reads the rest of a larger one."""

_RATE = 32 * 1024  # bytes per second that a larger body must have, beyond FIRST_BYTES
_SEND = 30.0  # seconds for each part of an answer, of up to 1 MB

_END = b"\r\n\r\n"
_LENGTH = re.compile(rb"\r\ncontent-length:[ \t]*(\d{1,8})[ \t]*\r\n", re.IGNORECASE)
_UNUSUAL = re.compile(rb"\r\n(?:transfer-encoding|expect):", re.IGNORECASE)


class Arrival(enum.Enum):
    """How much of a request has arrived, as far as its end is easily found; gunicorn decides what it is."""

    WHOLE = enum.auto()
    PART = enum.auto()
    """The main loop waits for the rest."""
    LARGE = enum.auto()
    """A thread reads the rest: it is long, or of unknown length, or its client waits for an answer first."""


def is_delayed(answer: bytes) -> bool:
    """Return whether an answer refuses one of many bad tokens of an address, see accounts.bad_tokens."""
    return answer.startswith(b"HTTP/1.1 401 ") and b"\r\nRetry-After: " in answer


def arrival_of(received: bytes) -> Arrival:
    """Return how much of a request has arrived with these bytes."""
    end = received.find(_END)
    if end < 0:
        return Arrival.PART if len(received) < LARGEST else Arrival.LARGE
    if _UNUSUAL.search(received, 0, end):
        return Arrival.LARGE
    found = _LENGTH.search(received, 0, end + 2)
    size = end + len(_END) + (int(found[1]) if found else 0)
    if len(received) >= size:
        return Arrival.WHOLE
    return Arrival.PART if size <= LARGEST else Arrival.LARGE


class ClientSocket(socket.socket):
    """A client's socket. In a thread, reading ends at a deadline, which moves with what arrives, and sending too."""

    deadline = 0.0
    held = b""
    """An answer that the main loop will send, later."""

    def recv(self, size: int, flags: int = 0, /) -> bytes:
        """Receive bytes; raise TimeoutError after the deadline if the socket is blocking."""
        if self.gettimeout() == 0:
            return super().recv(size, flags)
        self.settimeout(max(0.001, self.deadline - time.monotonic()))
        received = super().recv(size, flags)
        self.deadline += len(received) / _RATE
        return received

    def sendall(self, data: Any, flags: int = 0, /) -> None:
        """Send bytes; a client that does not read them has closed the connection, as far as gunicorn is concerned."""
        if self.held or is_delayed(data):
            self.held += data
            return
        self.settimeout(_SEND)
        try:
            super().sendall(data, flags)
        except TimeoutError:
            raise BrokenPipeError("the client does not read its answer") from None


class Connection(TConn):  # type: ignore[misc]  # gunicorn has no types
    """A connection, what has arrived of its next request, and the queue in which it waits for something."""

    def __init__(self, cfg: Any, client: socket.socket, address: Any, server: Any) -> None:
        """Take over a socket that was just accepted."""
        super().__init__(cfg, ClientSocket(fileno=client.detach()), address, server)
        self.received, self.queue, self.is_large_form = b"", deque[Connection](), False
        self.data_ready = True  # there is data by the time the main loop hands the connection on
        self.is_plain = not cfg.is_ssl and cfg.http2_cleartext == "off"
        if self.is_plain:
            self.parser, self.initialized = get_parser(cfg, self.sock, address), True

    def wait_in(self, queue: "deque[Connection]", seconds: float) -> None:
        """Leave the queue and wait in another one, whose connections wait equally long."""
        self.leave()
        self.timeout, self.queue = time.monotonic() + seconds, queue
        queue.append(self)

    def leave(self) -> None:
        """Wait for nothing any more."""
        with contextlib.suppress(ValueError):  # gunicorn has taken it out
            self.queue.remove(self)

    def before_thread(self) -> None:
        """Let the parser have what has arrived, and set the deadline for the rest."""
        if self.received:
            self.parser.unreader.unread(self.received)
            self.received = b""
        self.sock.deadline = time.monotonic() + FIRST_BYTES

    def after_thread(self) -> None:
        """Take from the parser what it has read of the next request."""
        self.sock.settimeout(0)
        self.received = self.parser.unreader.take_buffered() if self.is_plain else b""
