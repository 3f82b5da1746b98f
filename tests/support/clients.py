"""The clients that tests call a server with, or the application in this process.

Each checks what holds for every answer.
"""

import contextlib
import gzip
import http.client
import io
import json
import re
import sys
import threading
import urllib.parse
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from http import HTTPStatus
from typing import Any, TypeVar

from django.db import DEFAULT_DB_ALIAS, connection, connections

from ccbackend.fastpath.heads import Content
from tests.support.api_schema import check_described

T = TypeVar("T")

# The reason phrases of the contract; Python 3.13 renamed two of them.
_PHRASES = {413: "Request Entity Too Large", 422: "Unprocessable Entity"}
_PAGES = ("/api/schema", "/api/docs")


@dataclass(frozen=True)
class Answer:
    """What a server answered."""

    status: int
    headers: Mapping[str, str]
    body: bytes

    @property
    def content(self) -> bytes:
        """Return the body unpacked."""
        return gzip.decompress(self.body) if self.headers.get("content-encoding") == "gzip" else self.body

    @property
    def json(self) -> Any:
        """Return the body decoded."""
        return json.loads(self.content)

    @property
    def text(self) -> str:
        """Return the body as text, without the line break at its end."""
        return self.body.decode().removesuffix("\n")

    @property
    def error(self) -> str:
        """Return the message of an error answer."""
        return str(self.json["error"])


def check_contract(method: str, path: str, answer: Answer) -> None:
    """Check an answer under /api: as our OpenAPI description has it, and what that cannot say of refusals."""
    place = re.sub("/{2,}", "/", path.partition("?")[0])
    if not place.startswith("/api") or place.startswith(_PAGES):
        return
    kind = answer.headers.get("content-type", "")
    check_described(method, place, answer.status, kind, answer.content)
    if answer.status < 400 or kind != "application/json" or method == "HEAD":
        return
    about = f"{method} {path}: {answer.status} {answer.body[:300]!r}"
    document = answer.json
    assert document["status"] == _PHRASES.get(answer.status, HTTPStatus(answer.status).phrase), about
    assert document["error"].strip(), about
    assert "Traceback" not in document["error"], about
    if answer.status == 401:
        assert answer.headers.get("www-authenticate"), about
    if answer.status == 503:
        assert int(answer.headers["retry-after"]) > 0, about


class Client(ABC):
    """Calls the API; bodies that are not bytes are sent as JSON, every answer is checked against the contract."""

    token: str | None = None

    @abstractmethod
    def send(self, method: str, path: str, body: bytes | None, headers: Mapping[str, str]) -> Answer:
        """Send one request and return its answer."""

    def request(
        self,
        method: str,
        path: str,
        body: Any = None,
        *,
        token: str | None = "",
        headers: Mapping[str, str] | None = None,
    ) -> Answer:
        """Call a path; `token` None sends none, the empty text stands for the client's own."""
        all_headers: dict[str, str] = {}
        token = self.token if token == "" else token
        if token is not None:
            all_headers["X-Auth-Token"] = token
        raw = body if isinstance(body, bytes | None) else json.dumps(body).encode()
        if raw is not None:
            all_headers["Content-Type"] = "application/json"
        all_headers |= dict(headers or {})
        answer = self.send(method, path, raw, all_headers)
        check_contract(method, path, answer)
        return answer

    def get(self, path: str, **options: Any) -> Answer:
        """GET a path."""
        return self.request("GET", path, **options)

    def post(self, path: str, body: Any = None, **options: Any) -> Answer:
        """POST to a path."""
        return self.request("POST", path, body, **options)

    def delete(self, path: str, body: Any = None, **options: Any) -> Answer:
        """DELETE a path."""
        return self.request("DELETE", path, body, **options)

    def start(self, **changes: Any) -> Answer:
        """Start the job of `start_body` with some keys changed."""
        return self.post("/api/jobs/start_job/", start_body(**changes))

    def started(self, **changes: Any) -> int:
        """Start a job, which must succeed, and return its database id."""
        answer = self.start(**changes)
        assert answer.status == 201, answer
        return int(answer.json["id"])

    def stop(self, **body: Any) -> Answer:
        """Stop a job by request body."""
        return self.post("/api/jobs/stop_job/", body)

    def form(self, method: str, path: str, fields: Mapping[str, str], **options: Any) -> Answer:
        """Send an urlencoded form."""
        headers = {"Content-Type": "application/x-www-form-urlencoded"} | options.pop("headers", {})
        return self.request(method, path, urllib.parse.urlencode(fields).encode(), headers=headers, **options)


def start_body(**changes: Any) -> dict[str, Any]:
    """Return a valid body of start_job; a change to None leaves the key out."""
    body: dict[str, Any] = {
        "jobId": 1001,
        "user": "alice",
        "project": "bio",
        "cluster": "testcluster",
        "subCluster": "main",
        "partition": "work",
        "numNodes": 1,
        "exclusive": 1,
        "startTime": 1_700_000_000,
        "walltime": 3600,
        "resources": [{"hostname": "n01"}],
    } | changes
    return {key: value for key, value in body.items() if value is not None}


class WireClient(Client):
    """Calls a server over one connection that is kept open; for one thread."""

    def __init__(self, port: int, token: str | None = None, timeout: float = 60) -> None:
        """Remember where the server listens."""
        self.token = token
        self.connection = http.client.HTTPConnection("127.0.0.1", port, timeout=timeout)

    def send(self, method: str, path: str, body: bytes | None, headers: Mapping[str, str]) -> Answer:
        """Send one request; read the answer too where the server gave it before all was sent."""
        with contextlib.suppress(BrokenPipeError, ConnectionResetError):
            self.connection.request(method, path, body, dict(headers))
        response = self.connection.getresponse()
        return Answer(response.status, {key.lower(): value for key, value in response.getheaders()}, response.read())

    def close(self) -> None:
        """Close the connection."""
        self.connection.close()


class AppClient(Client):
    """Calls the production application (ccbackend.wsgi) in this process, through its WSGI interface."""

    def __init__(self, application: Callable[..., Any], token: str | None = None) -> None:
        """Remember the application; `environ` is what the server would add to every request.

        With `together`, starts and stops go the way of those that arrive at the same time as others.
        """
        self.application = application
        self.token = token
        self.environ: dict[str, Any] = {"REMOTE_ADDR": "127.0.0.1"}
        self.together = False

    def as_(self, token: str | None) -> "AppClient":
        """Return a client with another token."""
        other = AppClient(self.application, token)
        other.environ, other.together = dict(self.environ), self.together
        return other

    def send(self, method: str, path: str, body: bytes | None, headers: Mapping[str, str]) -> Answer:
        """Make a WSGI environment as gunicorn does, and collect the answer."""
        place, _, query = path.partition("?")
        environ = {
            "REQUEST_METHOD": method,
            "SCRIPT_NAME": "",
            "PATH_INFO": urllib.parse.unquote_to_bytes(place).decode("latin-1"),
            "QUERY_STRING": query,
            "SERVER_NAME": "127.0.0.1",
            "SERVER_PORT": "8080",
            "SERVER_PROTOCOL": "HTTP/1.1",
            "HTTP_HOST": "127.0.0.1:8080",
            "wsgi.version": (1, 0),
            "wsgi.url_scheme": "http",
            "wsgi.input": io.BytesIO(body or b""),
            "wsgi.errors": sys.stderr,
            "wsgi.multithread": True,
            "wsgi.multiprocess": True,
            "wsgi.run_once": False,
        }
        if body is not None:
            environ["CONTENT_LENGTH"] = str(len(body))
        for name, value in headers.items():
            key = name.upper().replace("-", "_")
            environ[key if key in ("CONTENT_TYPE", "CONTENT_LENGTH") else f"HTTP_{key}"] = value
        environ |= self.environ
        started: list[tuple[str, list[tuple[str, str]]]] = []
        with kept_connection():
            if self.together and place.rstrip("/") in ("/api/jobs/start_job", "/api/jobs/stop_job"):
                environ["wsgi.input"] = self._carried_out(environ)
            result = self.application(environ, lambda status, items: started.append((status, items)))
            try:
                content = b"".join(result)
            finally:
                if hasattr(result, "close"):
                    result.close()
        status, items = started[0]
        return Answer(int(status.split()[0]), {key.lower(): value for key, value in items}, content)

    def _carried_out(self, environ: dict[str, Any]) -> Content:
        """Return the body of a call after the attempt to carry it out, as ccbackend.fastpath.worker makes it."""
        content = Content(environ["wsgi.input"].read())
        content.head = environ
        self.application.carry_out([content])  # type: ignore[attr-defined]  # that of ccbackend.fastpath
        return content


@contextlib.contextmanager
def kept_connection() -> Iterator[None]:
    """Keep a request's end from closing the connection whose transaction the test runs in."""
    if not connection.in_atomic_block:
        yield
        return
    attributes = vars(connections[DEFAULT_DB_ALIAS])  # by hand: a mock takes a tenth of the time of a short call
    former = attributes.get("close_if_unusable_or_obsolete")
    attributes["close_if_unusable_or_obsolete"] = lambda: None
    try:
        yield
    finally:
        del attributes["close_if_unusable_or_obsolete"]
        if former is not None:
            attributes["close_if_unusable_or_obsolete"] = former


def at_once(calls: Sequence[Callable[[], T]]) -> list[T]:
    """Run calls in threads of their own that begin at the same moment; return their results in order."""
    barrier = threading.Barrier(len(calls))

    def run(call: Callable[[], T]) -> T:
        barrier.wait(30)
        return call()

    with ThreadPoolExecutor(len(calls)) as pool:
        return list(pool.map(run, calls))
