"""Fixtures of the tests of commands: an archive and a database of its own, in this process and in real ones."""

import contextlib
import dataclasses
import os
import pty
import shutil
import sqlite3
import subprocess
import sys
import termios
import threading
from collections.abc import Callable
from io import StringIO
from pathlib import Path
from typing import Any
from unittest import mock

import pytest
from django.core.management import CommandError, call_command, get_commands, load_command_class
from django.db import connection, connections

from tests.support.paths import PROJECT
from tests.support.waiting import patience


@pytest.fixture(autouse=True)
def _own_archive(archive_root: Path) -> None:
    """Keep every command away from the archive of the checkout."""


@dataclasses.dataclass(frozen=True)
class Outcome:
    """What a command wrote, and its exit status."""

    status: int
    out: str
    err: str

    @property
    def lines(self) -> list[str]:
        """Return the lines on stdout."""
        return self.out.splitlines()


Run = Callable[..., Outcome]


@pytest.fixture
def run(db: None) -> Run:
    """Return a function that runs a command in this process; an error's message counts as written to stderr."""

    def call(*arguments: object, **options: Any) -> Outcome:
        out, err = StringIO(), StringIO()
        status = 0
        try:
            call_command(*map(str, arguments), stdout=out, stderr=err, **options)
        except CommandError as error:
            status = error.returncode
            err.write(str(error))
        return Outcome(status, out.getvalue(), err.getvalue())

    return call


@pytest.fixture
def typed(db: None) -> Run:
    """Return a function that runs a command line in this process, up to its exit status.

    What a real process adds, settings of its own and the start of Python, takes a second of CPU time for each line.
    """

    def call(name: str, *arguments: object) -> Outcome:
        status = 0
        with (
            contextlib.redirect_stdout(StringIO()) as out,
            contextlib.redirect_stderr(StringIO()) as err,
            mock.patch.object(connections, "close_all"),  # which would end the transaction of the test
        ):
            command = load_command_class(get_commands()[name], name)
            try:
                command.run_from_argv(["manage.py", name, *map(str, arguments)])
            except SystemExit as end:
                status = end.code if isinstance(end.code, int) else int(end.code is not None)
        return Outcome(status, out.getvalue(), err.getvalue())

    return call


class Terminal(StringIO):
    """A standard input at which somebody sits."""

    def isatty(self) -> bool:
        """Say that it is one."""
        return True


@pytest.fixture
def answer(monkeypatch: pytest.MonkeyPatch) -> Callable[[str], None]:
    """Return a function that lets a person at a terminal answer the next question."""
    return lambda text: monkeypatch.setattr(sys, "stdin", Terminal(f"{text}\n"))


@dataclasses.dataclass(frozen=True)
class Machine:
    """A database and an archive that real processes of manage.py work on."""

    folder: Path

    @property
    def environment(self) -> dict[str, str]:
        """Return the environment of its processes."""
        kept = {name: value for name, value in os.environ.items() if name not in {"METRIC_SOURCES", "TIME_ZONE"}}
        return kept | {
            "SECRET_KEY": "of a test",
            "DATABASE_URL": f"sqlite:///{self.folder}/db.sqlite3",
            "ARCHIVE_ROOT": str(self.folder / "archive"),
            "DJANGO_SETTINGS_MODULE": "ccbackend.settings",
        }

    def arguments(self, *arguments: object) -> list[str]:
        """Return the command line of a command."""
        return [sys.executable, str(PROJECT / "manage.py"), *map(str, arguments)]

    def run(self, *arguments: object, stdin: str = "") -> Outcome:
        """Run a command to its end, without a terminal."""
        process = subprocess.run(
            self.arguments(*arguments),
            input=stdin,
            capture_output=True,
            text=True,
            env=self.environment,
            timeout=600,
            check=False,
        )
        return Outcome(process.returncode, process.stdout, process.stderr)

    def run_on_terminal(self, *arguments: object) -> tuple[Outcome, str]:
        """Run a command to its end with stderr on a terminal of 100 columns; return what that shows, too."""
        ours, theirs = pty.openpty()
        termios.tcsetwinsize(theirs, (24, 100))
        process = subprocess.Popen(
            self.arguments(*arguments), env=self.environment, stdout=subprocess.PIPE, stderr=theirs, text=True
        )
        os.close(theirs)
        shown: list[bytes] = []

        def read() -> None:
            with contextlib.suppress(OSError):  # which is how a terminal ends
                while True:
                    shown.append(os.read(ours, 65536))

        reader = threading.Thread(target=read)
        reader.start()
        out, _ = process.communicate(timeout=patience(60))
        reader.join()
        os.close(ours)
        return Outcome(process.returncode, out, ""), b"".join(shown).decode()

    def execute(self, sql: str, *values: object) -> list[Any]:
        """Run a statement in the database and return its rows."""
        with sqlite3.connect(self.folder / "db.sqlite3", timeout=20) as connection:
            return connection.execute(sql, values).fetchall()

    def add_job(self, job_id: int, **values: object) -> None:
        """Store a finished job that waits for the archive."""
        texts = dict.fromkeys(("sub_cluster", "partition", "project"), "")
        numbers = dict.fromkeys(("array_job_id", "num_hwthreads", "num_acc", "smt", "walltime", "submit_time"), 0)
        facts = {"job_id": job_id, "cluster": "fritz", "user": "alice", "num_nodes": 1, "exclusive": 1}
        end = {"monitoring_status": 1, "job_state": "completed", "start_time": 1_700_000_000, "duration": 60}
        columns: dict[str, object] = {
            **texts,
            **numbers,
            **facts,
            **end,
            "resources": '[{"hostname":"f0001"}]',
            **values,
        }
        names = ", ".join(f'"{name}"' for name in columns)
        places = ", ".join("?" * len(columns))
        self.execute(f"INSERT INTO jobs_job ({names}) VALUES ({places})", *columns.values())


@pytest.fixture(scope="session")
def migrated(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a folder with a migrated database, to be copied; SQLite, so these tests run once, beside SQLite."""
    if connection.vendor != "sqlite":
        pytest.skip("its processes work on SQLite")
    machine = Machine(tmp_path_factory.mktemp("migrated"))
    outcome = machine.run("migrate", "-v", "0")
    assert outcome.status == 0, outcome.err
    return machine.folder


@pytest.fixture
def machine(migrated: Path, tmp_path: Path) -> Machine:
    """Return a machine with an empty database."""
    folder = tmp_path / "machine"
    shutil.copytree(migrated, folder)
    return Machine(folder)
