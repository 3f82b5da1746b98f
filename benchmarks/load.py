"""A small HTTP load generator: some kept-alive connections, one request at a time on each, in one thread."""

import selectors
import socket
import time
from collections.abc import Iterator
from dataclasses import dataclass, field


@dataclass
class Result:
    """What a run measured: seconds of wall time, a latency (seconds) per answer, answers by status."""

    seconds: float = 0.0
    latencies: list[float] = field(default_factory=list)
    statuses: dict[int, int] = field(default_factory=dict)

    @property
    def rate(self) -> float:
        """Answers per second."""
        return len(self.latencies) / self.seconds if self.seconds else 0.0

    def percentile(self, share: float) -> float:
        """Return the latency that a share of the answers did not exceed, in milliseconds."""
        ordered = sorted(self.latencies)
        return ordered[min(len(ordered) - 1, int(share * len(ordered)))] * 1000 if ordered else 0.0


@dataclass
class _Connection:
    sock: socket.socket
    sent_at: float = 0.0
    received: bytearray = field(default_factory=bytearray)


def http_request(method: str, path: str, token: str, body: bytes = b"") -> bytes:
    """Return the bytes of a request."""
    head = f"{method} {path} HTTP/1.1\r\nHost: 127.0.0.1\r\nX-Auth-Token: {token}\r\n"
    if body:
        head += f"Content-Type: application/json\r\nContent-Length: {len(body)}\r\n"
    return head.encode() + b"\r\n" + body


def drive(port: int, requests: Iterator[bytes], *, connections: int, seconds: float) -> Result:
    """Send requests to 127.0.0.1:port until `seconds` have passed or there are no more."""
    result = Result()
    selector = selectors.DefaultSelector()
    begin = time.perf_counter()
    for _ in range(connections):
        sock = socket.create_connection(("127.0.0.1", port))
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        connection = _Connection(sock)
        if _send_next(connection, requests, begin + seconds):
            selector.register(sock, selectors.EVENT_READ, connection)
    while selector.get_map():
        for key, _ in selector.select():
            connection = key.data
            data = connection.sock.recv(1 << 20)
            connection.received += data
            status = _finished(connection.received)
            if data and status is None:
                continue
            result.latencies.append(time.perf_counter() - connection.sent_at)
            result.statuses[status or 0] = result.statuses.get(status or 0, 0) + 1
            connection.received.clear()
            if not data or not _send_next(connection, requests, begin + seconds):
                selector.unregister(connection.sock)
                connection.sock.close()
    result.seconds = time.perf_counter() - begin
    return result


def _send_next(connection: _Connection, requests: Iterator[bytes], deadline: float) -> bool:
    connection.sent_at = time.perf_counter()
    if connection.sent_at > deadline:
        return False
    request = next(requests, None)
    if request is None:
        return False
    connection.sock.sendall(request)
    return True


def _finished(received: bytearray) -> int | None:
    """Return the status of a complete answer, None while some is missing."""
    end = received.find(b"\r\n\r\n")
    if end < 0:
        return None
    head = bytes(received[:end]).lower()
    _, marked, rest = head.partition(b"content-length:")
    if marked:
        complete = len(received) - end - 4 >= int(rest.split(b"\r\n", 1)[0])
    else:  # sent in chunks
        complete = received.endswith(b"\r\n0\r\n\r\n")
    return int(head[9:12]) if complete else None
