"""A real server for tests: gunicorn and the archive worker as in production, with a database and an archive of its own.

Also the clients that tests call it with, or the application in this process; each checks what holds for every answer.
"""

import contextlib
import http.client
import io
import json
import os
import secrets
import signal
import socket
import subprocess
import sys
import threading
import time
import urllib.parse
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from http import HTTPStatus
from pathlib import Path
from typing import Any, TypeVar

import psycopg
from django.db import DEFAULT_DB_ALIAS, connection, connections

PROJECT = Path(__file__).resolve().parents[1]
SHARED = PROJECT.parent / "shared"

T = TypeVar("T")

# The reason phrases of the contract; Python 3.13 renamed two of them.
_PHRASES = {413: "Request Entity Too Large", 422: "Unprocessable Entity"}
_PLAIN_PATHS = ("/api/users", "/api/user/")
_PAGES = ("/api/schema", "/api/docs")


@dataclass(frozen=True)
class Answer:
    """What a server answered."""

    status: int
    headers: Mapping[str, str]
    body: bytes

    @property
    def json(self) -> Any:
        """Return the body decoded."""
        return json.loads(self.body)

    @property
    def text(self) -> str:
        """Return the body as text, without the line break at its end."""
        return self.body.decode().removesuffix("\n")

    @property
    def error(self) -> str:
        """Return the message of an error answer."""
        return str(self.json["error"])


def check_contract(method: str, path: str, answer: Answer) -> None:
    """Check what behaviour.md asks of every answer under /api: JSON or the documented text, one error format."""
    place = path.partition("?")[0]
    if not place.startswith("/api") or place.startswith(_PAGES):
        return
    if method == "HEAD":
        assert answer.body == b"", f"HEAD {path}: a body"
        return
    kind = answer.headers.get("content-type", "")
    about = f"{method} {path}: {answer.status} {kind} {answer.body[:300]!r}"
    users = place.startswith(_PLAIN_PATHS)
    if users and (answer.status in (400, 422) or (answer.status == 200 and method != "GET")):
        assert kind.startswith("text/plain"), about
        assert answer.body or (answer.status == 200 and method == "DELETE"), about
        return
    assert kind == "application/json", about
    if answer.status < 400:
        json.loads(answer.body)
        return
    document = json.loads(answer.body)
    assert set(document) == {"status", "error"}, about
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
        """Remember the application; `environ` is what the server would add to every request."""
        self.application = application
        self.token = token
        self.environ: dict[str, Any] = {"REMOTE_ADDR": "127.0.0.1"}

    def as_(self, token: str | None) -> "AppClient":
        """Return a client with another token."""
        other = AppClient(self.application, token)
        other.environ = dict(self.environ)
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
        started: list[tuple[str, list[tuple[str, str]]]] = []
        with _kept_connection():
            result = self.application(environ | self.environ, lambda status, items: started.append((status, items)))
            try:
                content = b"".join(result)
            finally:
                if hasattr(result, "close"):
                    result.close()
        status, items = started[0]
        return Answer(int(status.split()[0]), {key.lower(): value for key, value in items}, content)


@contextlib.contextmanager
def _kept_connection() -> Iterator[None]:
    """Keep a request's end from closing the connection whose transaction the test runs in."""
    if not connection.in_atomic_block:
        yield
        return
    wrapper = connections[DEFAULT_DB_ALIAS]
    wrapper.close_if_unusable_or_obsolete = lambda: None  # type: ignore[method-assign]
    try:
        yield
    finally:
        del wrapper.close_if_unusable_or_obsolete


def at_once(calls: Sequence[Callable[[], T]]) -> list[T]:
    """Run calls in threads of their own that begin at the same moment; return their results in order."""
    barrier = threading.Barrier(len(calls))

    def run(call: Callable[[], T]) -> T:
        barrier.wait(30)
        return call()

    with ThreadPoolExecutor(len(calls)) as pool:
        return list(pool.map(run, calls))


_BOOTSTRAP = """
import django, json, sys
django.setup()
from django.core.management import call_command
from accounts.models import ApiToken, User
call_command("migrate", verbosity=0)
tokens = {}
for name, roles in (("bench", ["api"]), ("admin", ["admin", "api"]), ("alice", ["user"])):
    user = User.objects.create_user(name)
    user.add_roles(roles)
    tokens[name] = ApiToken.issue(user=user, name="test")[1]
json.dump(tokens, sys.stdout)
"""


@dataclass
class Server:
    """gunicorn with some workers, and archive workers, on a database and an archive of their own."""

    folder: Path
    workers: int = 2
    sources: Mapping[str, Any] = field(default_factory=lambda: {"*": {"kind": "none"}})
    settings: Mapping[str, str] = field(default_factory=dict)
    tokens: dict[str, str] = field(default_factory=dict)
    port: int = 0
    _web: "subprocess.Popen[bytes] | None" = None
    _archivers: "list[subprocess.Popen[bytes]]" = field(default_factory=list)
    _drop: str = ""

    @property
    def archive_root(self) -> Path:
        """Return the root of its archive."""
        return self.folder / "job-archive"

    def prepare(self) -> None:
        """Create the database and the users bench, admin and alice with a token each."""
        self.folder.mkdir(parents=True, exist_ok=True)
        self._environment = os.environ | {
            "SECRET_KEY": "for-a-test",
            "DJANGO_SETTINGS_MODULE": "ccbackend.settings",
            "DATABASE_URL": self._fresh_database(),
            "ARCHIVE_ROOT": str(self.archive_root),
            "METRIC_SOURCES": json.dumps(self.sources),
            "LOG_LEVEL": "WARNING",
            "DEBUG": "false",
            **self.settings,
        }
        output = subprocess.run(
            [sys.executable, "-c", _BOOTSTRAP], env=self._environment, cwd=PROJECT, check=True, stdout=subprocess.PIPE
        ).stdout
        self.tokens = json.loads(output)

    def _fresh_database(self) -> str:
        url = os.environ.get("DATABASE_URL", "")
        if not url.startswith("postgres"):
            return f"sqlite:///{self.folder / 'server.sqlite3'}"
        self._drop = f"server_{secrets.token_hex(6)}"
        with psycopg.connect(url, autocommit=True) as postgres:
            postgres.execute(f"CREATE DATABASE {self._drop}".encode())
        return urllib.parse.urlunsplit(urllib.parse.urlsplit(url)._replace(path=f"/{self._drop}"))

    def query(self, sql: str) -> list[tuple[Any, ...]]:
        """Run one SELECT in the server's database, by a process of its own."""
        script = (
            "import django, json, sys; django.setup(); from django.db import connection; c = connection.cursor();"
            "c.execute(sys.argv[1]); json.dump(c.fetchall(), sys.stdout)"
        )
        command = [sys.executable, "-c", script, sql]
        output = subprocess.run(command, env=self._environment, cwd=PROJECT, check=True, stdout=subprocess.PIPE).stdout
        return [tuple(row) for row in json.loads(output)]

    def start_web(self) -> None:
        """Start gunicorn on a free port and wait until it answers."""
        self.port = self.port or _free_port()
        command = ["-m", "gunicorn", "ccbackend.wsgi", "-w", str(self.workers), "-b", f"127.0.0.1:{self.port}"]
        self._web = self._spawn("web.log", *command)
        _wait_for(self._answers, 30, self.logs)

    def _answers(self) -> bool:
        assert self._web is not None
        assert self._web.poll() is None, f"gunicorn has ended\n{self.logs()}"
        with contextlib.suppress(OSError, http.client.HTTPException), contextlib.closing(self.client(None)) as client:
            client.connection.timeout = 5
            return client.get("/api/jobs/").status == 401
        return False

    def start_worker(self) -> None:
        """Start an archive worker."""
        self._archivers.append(self._spawn("worker.log", "manage.py", "archive_worker"))

    def _spawn(self, log: str, *arguments: str) -> "subprocess.Popen[bytes]":
        with (self.folder / log).open("ab") as stream:
            return subprocess.Popen(
                [sys.executable, *arguments],
                env=self._environment,
                cwd=PROJECT,
                stdin=subprocess.DEVNULL,
                stdout=stream,
                stderr=stream,
                start_new_session=True,
            )

    def kill_web(self) -> None:
        """Kill gunicorn and all its workers, as a crash would."""
        if self._web is not None:
            _end(self._web, signal.SIGKILL)
            self._web = None

    def kill_workers(self) -> None:
        """Kill the archive workers, as a crash would."""
        while self._archivers:
            _end(self._archivers.pop(), signal.SIGKILL)

    def kill_one_worker(self) -> None:
        """Kill the archive worker that was started first."""
        _end(self._archivers.pop(0), signal.SIGKILL)

    def manage(self, *arguments: str) -> "subprocess.CompletedProcess[str]":
        """Run a command of manage.py to its end."""
        command = [sys.executable, "manage.py", *arguments]
        return subprocess.run(
            command, env=self._environment, cwd=PROJECT, capture_output=True, text=True, check=False, timeout=300
        )

    def stop(self) -> None:
        """End everything and drop the database."""
        for process in [*self._archivers, *([self._web] if self._web else [])]:
            _end(process, signal.SIGTERM)
        self._archivers, self._web = [], None
        if self._drop:
            with psycopg.connect(os.environ["DATABASE_URL"], autocommit=True) as postgres:
                postgres.execute(f"DROP DATABASE IF EXISTS {self._drop} WITH (FORCE)".encode())

    def client(self, user: str | None = "bench") -> WireClient:
        """Return a client with the token of a user."""
        return WireClient(self.port, None if user is None else self.tokens[user])

    def logs(self) -> str:
        """Return what the processes wrote, the last of it."""
        parts = [f"--- {path.name}\n{path.read_text(errors='replace')[-8000:]}" for path in self.folder.glob("*.log")]
        return "\n".join(parts)

    def wait_until(self, condition: Callable[[], bool], seconds: float = 30) -> None:
        """Wait for something, showing the logs where it does not come."""
        _wait_for(condition, seconds, self.logs)


@contextlib.contextmanager
def running_server(folder: Path, **options: Any) -> Iterator[Server]:
    """Give a server that answers; it is stopped at the end, and its logs written where a failed test shows them."""
    server = Server(folder, **options)
    try:
        server.prepare()
        server.start_web()
        yield server
    finally:
        sys.stdout.write(server.logs())
        server.stop()


def _free_port() -> int:
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        return int(listener.getsockname()[1])


def _end(process: "subprocess.Popen[bytes]", how: signal.Signals) -> None:
    """Signal a process and what it started, and wait for it."""
    if process.poll() is None:
        with contextlib.suppress(ProcessLookupError):
            (os.killpg if how == signal.SIGKILL else os.kill)(process.pid, how)
        try:
            process.wait(20)
        except subprocess.TimeoutExpired:
            os.killpg(process.pid, signal.SIGKILL)
            process.wait(20)


def _wait_for(condition: Callable[[], bool], seconds: float, about: Callable[[], str]) -> None:
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, f"did not happen within {seconds} s\n{about()}"
        time.sleep(0.05)
