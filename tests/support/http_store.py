"""A server on loopback, on which the fake metric stores of the tests are built."""

import sys
import threading
from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any, Self


class LoopbackServer(ABC):
    """Answers each request with what `body` makes of it, unless `misbehave` takes the answer over."""

    methods: Sequence[str] = ("GET", "POST")
    """What is not refused with `refusal`."""

    refusal: int = 405

    def __init__(self) -> None:
        self.calls: list[tuple[str, str, str | None]] = []
        self.misbehave: Callable[[BaseHTTPRequestHandler], object] | None = None
        self.leaving = threading.Event()
        store = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"
            disable_nagle_algorithm = True

            def _answer(self) -> None:
                length = int(self.headers["Content-Length"] or 0)
                body = self.rfile.read(length)
                if len(body) < length:
                    raise ConnectionError("the client left in the middle of its request")
                store.calls.append((self.command, self.path, self.headers["Authorization"]))
                store.reply(self, body)

            do_GET = do_POST = _answer

            def log_message(self, format: str, *arguments: Any) -> None:
                """Say nothing."""

        class Server(ThreadingHTTPServer):
            def handle_error(self, request: Any, client_address: Any) -> None:
                """Take it as it is that a client leaves in the middle."""
                if not isinstance(sys.exception(), ConnectionError):
                    super().handle_error(request, client_address)

        self._server = Server(("127.0.0.1", 0), Handler)
        self._server.daemon_threads = True
        self._thread = threading.Thread(target=self._server.serve_forever, kwargs={"poll_interval": 0.01})
        self.url = f"http://127.0.0.1:{self._server.server_port}"

    @abstractmethod
    def body(self, request: bytes) -> bytes:
        """Return the body of the answer to a request, given the request's body."""

    def reply(self, handler: BaseHTTPRequestHandler, request: bytes) -> None:
        """Answer a request, given its body."""
        if self.misbehave is not None:
            self.misbehave(handler)
        elif handler.command not in self.methods:
            respond(handler, self.refusal, b"Method Not Allowed")
        else:
            respond(handler, 200, self.body(request))

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *reason: object) -> None:
        self.leaving.set()
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()


def respond(handler: BaseHTTPRequestHandler, status: int, body: bytes, length: int | None = None) -> None:
    """Send an answer; `length` is what it claims to be long."""
    handler.send_response(status)
    handler.send_header("Content-Length", str(len(body) if length is None else length))
    handler.end_headers()
    handler.wfile.write(body)
    handler.wfile.flush()
    if length is not None:
        handler.close_connection = True
