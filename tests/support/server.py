"""A real server for tests: HTTP server and archive worker as in production, with a database and archive of its own."""

import atexit
import contextlib
import functools
import http.client
import json
import os
import secrets
import shutil
import signal
import socket
import sqlite3
import subprocess
import sys
import tempfile
import time
import urllib.parse
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import psutil
import psycopg

from tests.support.clients import WireClient
from tests.support.paths import PROJECT

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
    """An HTTP server with some workers, and archive workers, on a database and an archive of their own.

    The HTTP server is "gunicorn" with the project's worker class, gunicorn's own "gthread", or "granian". The database
    is an empty one at `database_url`, or a copy made for it; with `is_empty` one without tables and users. `project` is
    the folder of its code.
    """

    folder: Path
    workers: int = 2
    http_server: str = "gunicorn"
    sources: Mapping[str, Any] = field(default_factory=lambda: {"*": {"kind": "none"}})
    settings: Mapping[str, str] = field(default_factory=dict)
    database_url: str = ""
    is_empty: bool = False
    project: Path = PROJECT
    tokens: dict[str, str] = field(default_factory=dict)
    port: int = 0
    _web: "subprocess.Popen[bytes] | None" = None
    _archivers: "list[subprocess.Popen[bytes]]" = field(default_factory=list)
    _drop: str = ""

    @property
    def archive_root(self) -> Path:
        """Return the root of its archive."""
        return Path(self.settings.get("ARCHIVE_ROOT", self.folder / "job-archive"))

    def prepare(self) -> None:
        """Create the database and the users bench, admin and alice with a token each."""
        self.folder.mkdir(parents=True, exist_ok=True)
        if self.is_empty:
            self.database_url = self._copied("")
        elif self.database_url:
            self.tokens = _set_up(self.database_url, self.project)
        else:
            template, tokens = _template(self.project)
            self.database_url, self.tokens = self._copied(template), dict(tokens)
        self._environment = os.environ | {
            "SECRET_KEY": "for-a-test",
            "DJANGO_SETTINGS_MODULE": "ccbackend.settings",
            "DATABASE_URL": self.database_url,
            "ARCHIVE_ROOT": str(self.archive_root),
            "METRIC_SOURCES": json.dumps(self.sources),
            "LOG_LEVEL": "WARNING",
            "DEBUG": "false",
            **self.settings,
        }

    def _copied(self, template: str) -> str:
        """Copy the database of a name or path, "" for none, and return the URL of the copy."""
        if not _on_postgres():
            path = self.folder / "server.sqlite3"
            return _sqlite_url(shutil.copyfile(template, path) if template else path)
        self._drop = f"server_{secrets.token_hex(6)}"
        _execute(f"CREATE DATABASE {self._drop} TEMPLATE {template or 'template0'}")
        return _postgres_url(self._drop)

    def query(self, sql: str) -> list[tuple[Any, ...]]:
        """Run one SELECT in the server's database."""
        if self.database_url.startswith("postgres"):
            with psycopg.connect(self.database_url) as postgres:
                return postgres.execute(sql.encode()).fetchall()
        with contextlib.closing(sqlite3.connect(self.folder / "server.sqlite3", timeout=20)) as connection:
            return connection.execute(sql).fetchall()

    def start_web(self) -> None:
        """Start the HTTP server on a free port and wait until it answers."""
        self.port = self.port or free_port()
        command = ["gunicorn", "ccbackend.wsgi", "-w", str(self.workers), "-b", f"127.0.0.1:{self.port}"]
        if self.http_server == "gthread":
            command += ["--worker-class", "gthread"]
        elif self.http_server == "granian":
            command = ["granian", "--interface", "wsgi", "--workers", str(self.workers), "--port", str(self.port)]
            command += ["--blocking-threads", "8", "ccbackend.wsgi:application"]
        self._web = self._spawn("web.log", "-m", *command)
        _wait_for(self._answers, 30, self.logs)

    def web_workers(self) -> list[psutil.Process]:
        """Return the worker processes of the HTTP server."""
        assert self._web is not None
        return psutil.Process(self._web.pid).children()

    def reload_web(self) -> None:
        """Let gunicorn replace its worker processes, as after a change of its settings."""
        assert self._web is not None
        self._web.send_signal(signal.SIGHUP)

    def _answers(self) -> bool:
        assert self._web is not None
        assert self._web.poll() is None, f"the HTTP server has ended\n{self.logs()}"
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
                cwd=self.project,
                stdin=subprocess.DEVNULL,
                stdout=stream,
                stderr=stream,
                start_new_session=True,
            )

    def kill_web(self) -> None:
        """Kill the HTTP server and all its workers, as a crash would."""
        if self._web is not None:
            _end(self._web, signal.SIGKILL)
            self._web = None

    def kill_workers(self) -> None:
        """Kill the archive workers, as a crash would."""
        while self._archivers:
            _end(self._archivers.pop(), signal.SIGKILL)

    def archiver_processes(self) -> list[psutil.Process]:
        """Return the processes that the archive workers have started, such as those that write jobs."""
        parents = [psutil.Process(archiver.pid) for archiver in self._archivers if archiver.poll() is None]
        children = [child for parent in parents for child in parent.children(recursive=True)]
        return [child for child in children if child.status() != psutil.STATUS_ZOMBIE]

    def kill_one_worker(self) -> None:
        """Kill the archive worker that was started first."""
        _end(self._archivers.pop(0), signal.SIGKILL)

    def manage(self, *arguments: str) -> "subprocess.CompletedProcess[str]":
        """Run a command of manage.py to its end."""
        return self.python("manage.py", *arguments)

    def python(self, *arguments: str, timeout: float = 300) -> "subprocess.CompletedProcess[str]":
        """Run Python with the server's settings to its end."""
        command = [sys.executable, *arguments]
        return subprocess.run(
            command,
            env=self._environment,
            cwd=self.project,
            capture_output=True,
            text=True,
            check=False,
            timeout=timeout,
        )

    def stop(self) -> None:
        """End everything and drop the database."""
        for process in [*self._archivers, *([self._web] if self._web else [])]:
            _end(process, signal.SIGTERM)
        self._archivers, self._web = [], None
        if self._drop:
            _drop_database(self._drop)

    def client(self, user: str | None = "bench") -> WireClient:
        """Return a client with the token of a user."""
        return WireClient(self.port, None if user is None else self.tokens[user])

    def logs(self) -> str:
        """Return what the processes wrote, the last of it."""
        parts = [f"--- {path.name}\n{path.read_text(errors='replace')[-8000:]}" for path in self.folder.glob("*.log")]
        return "\n".join(parts)

    @contextlib.contextmanager
    def locked(self) -> Iterator[None]:
        """Let nobody else write to its database."""
        if self.database_url.startswith("postgres"):
            with psycopg.connect(self.database_url) as postgres:
                postgres.execute("LOCK TABLE jobs_job, accounts_apitoken IN EXCLUSIVE MODE")
                yield
            return
        with contextlib.closing(sqlite3.connect(self.folder / "server.sqlite3", isolation_level=None)) as other:
            other.execute("BEGIN IMMEDIATE")
            yield
            other.rollback()

    def wait_until(self, condition: Callable[[], bool], seconds: float = 30) -> None:
        """Wait for something, showing the logs where it does not come."""
        _wait_for(condition, seconds, self.logs)


@functools.cache
def _template(project: Path) -> tuple[str, dict[str, str]]:
    """Return a migrated database with users, its name or path, and their tokens: one for all servers of this code."""
    if _on_postgres():
        template = f"template_{secrets.token_hex(6)}"
        _execute(f"CREATE DATABASE {template}")
        atexit.register(_drop_database, template)
        url = _postgres_url(template)
    else:
        folder = tempfile.mkdtemp(prefix="ccbackend-server-")
        atexit.register(shutil.rmtree, folder, ignore_errors=True)
        template = str(Path(folder, "template.sqlite3"))
        url = _sqlite_url(template)
    return template, _set_up(url, project)


def _set_up(url: str, project: Path) -> dict[str, str]:
    """Migrate a database and create its users; return their tokens."""
    environment = os.environ | {
        "SECRET_KEY": "for-a-test",
        "DJANGO_SETTINGS_MODULE": "ccbackend.settings",
        "DATABASE_URL": url,
    }
    command = [sys.executable, "-c", _BOOTSTRAP]
    output = subprocess.run(command, env=environment, cwd=project, check=True, stdout=subprocess.PIPE).stdout
    tokens: dict[str, str] = json.loads(output)
    return tokens


def _on_postgres() -> bool:
    return os.environ.get("DATABASE_URL", "").startswith("postgres")


def _sqlite_url(path: Path | str) -> str:
    return f"sqlite:///{path}"


def _postgres_url(database: str) -> str:
    return urllib.parse.urlunsplit(urllib.parse.urlsplit(os.environ["DATABASE_URL"])._replace(path=f"/{database}"))


def _drop_database(name: str) -> None:
    with contextlib.suppress(psycopg.OperationalError):  # at exit the server may be gone already
        _execute(f"DROP DATABASE IF EXISTS {name} WITH (FORCE)")


def _execute(sql: str) -> None:
    with psycopg.connect(os.environ["DATABASE_URL"], autocommit=True) as postgres:
        postgres.execute(sql.encode())


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


def free_port() -> int:
    """Return a port of the loopback address that nothing listens on."""
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
