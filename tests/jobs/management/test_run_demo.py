"""run_demo: what `make run` starts answers, and what it prints can be pasted."""

import json
import os
import re
import signal
import socket
import sqlite3
import subprocess
import sys
import time
import urllib.request
from collections.abc import Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from django.core.management import CommandError

from jobs.management.commands import run_demo
from tests.support.paths import PROJECT

SOURCES = {"demo": {"kind": "synthetic"}, "*": {"kind": "none"}}


@dataclass
class Demo:
    """A demo on a database and an archive of its own."""

    folder: Path
    sources: str = json.dumps(SOURCES)

    @property
    def environment(self) -> dict[str, str]:
        """Return the environment of its processes."""
        return os.environ | {
            "SECRET_KEY": "demo",
            "DATABASE_URL": f"sqlite:///{self.folder}/demo.sqlite3",
            "ARCHIVE_ROOT": str(self.folder / "archive"),
            "METRIC_SOURCES": self.sources,
        }

    def command(self, *arguments: str) -> list[str]:
        """Return a command line of run_demo."""
        login = ["--login-file", str(self.folder / "login.json")]
        return [sys.executable, "manage.py", "run_demo", *login, *arguments]

    def run(self, *arguments: str) -> "subprocess.CompletedProcess[str]":
        """Run it where it ends by itself."""
        command = self.command(*arguments)
        return subprocess.run(
            command, cwd=PROJECT, env=self.environment, capture_output=True, text=True, check=False, timeout=300
        )

    @contextmanager
    def serving(self, *arguments: str) -> Iterator[str]:
        """Start it; yield what it printed once it answered, and stop it by Ctrl-C."""
        printed = self.folder / "printed"
        with printed.open("w") as file:
            process = subprocess.Popen(
                self.command(*arguments), cwd=PROJECT, env=self.environment, stdout=file, stderr=subprocess.STDOUT
            )
        deadline = time.monotonic() + 300
        while "Ctrl-C" not in printed.read_text() and time.monotonic() < deadline and process.poll() is None:
            time.sleep(0.2)
        try:
            yield printed.read_text()
        finally:
            process.send_signal(signal.SIGINT)
            process.wait(timeout=300)

    def query(self, sql: str, *values: object) -> list[Any]:
        """Return the rows of a query."""
        with closing(sqlite3.connect(self.folder / "demo.sqlite3")) as database, database:
            return database.execute(sql, values).fetchall()


@pytest.fixture
def demo(tmp_path: Path) -> Demo:
    """Return a demo that was never started."""
    return Demo(tmp_path)


@pytest.fixture
def port() -> int:
    """Return a free port."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


@pytest.fixture
def output(demo: Demo, port: int) -> Iterator[str]:
    """Start a demo; yield what it printed once it answered."""
    with demo.serving("--port", str(port)) as printed:
        yield printed


@pytest.mark.server
def test_the_printed_curl_lines_work_when_pasted_and_work_again(output: str) -> None:
    assert re.search(r"/admin/ +log in as demo with password \S+", output)
    lines = [line for line in output.splitlines() if line.startswith("curl")]
    assert len(lines) == 3, output
    for _ in range(2):
        started, listed, read = (
            json.loads(subprocess.run(["bash", "-c", line], check=True, capture_output=True, text=True).stdout)
            for line in lines
        )
        assert list(started) == ["id"]
        assert listed["jobs"][0]["id"] == started["id"]
        assert [metric["name"] for metric in read["data"]] == ["cpu_load"]
        time.sleep(1.1)  # a fresh jobId comes with the next second


@pytest.mark.server
def test_it_serves_on_all_addresses_if_asked(demo: Demo, port: int) -> None:
    with demo.serving("--port", str(port), "--bind", "0.0.0.0") as printed:
        assert f"http://127.0.0.1:{port}/admin/" in printed
        assert f"http://{socket.gethostname()}:{port}/" in printed
        request = urllib.request.Request(f"http://127.0.0.1:{port}/", headers={"Host": "some.node.example.org"})
        with urllib.request.urlopen(request, timeout=60) as answer:  # noqa: S310  our own server
            assert answer.status == 200


@pytest.mark.parametrize(
    ("host", "port", "text"),
    [
        ("127.0.0.1", "http", "PORT 'http': expected a number from 1 to 65535"),
        ("127.0.0.1", "65536", "PORT '65536': expected"),
        ("127.0.0.1", "", "PORT '': expected"),
        ("everywhere", "8080", "BIND 'everywhere': expected an IP address"),
    ],
)
def test_an_address_that_is_none_is_refused(host: str, port: str, text: str) -> None:
    with pytest.raises(CommandError) as refused:
        run_demo._address(host, port)
    assert text in str(refused.value)


def test_an_address_of_another_machine_is_one_sentence(demo: Demo) -> None:
    outcome = demo.run("--bind", "192.0.2.1")
    assert outcome.returncode == 1
    (line,) = outcome.stderr.splitlines()
    assert "192.0.2.1:8080 cannot be used" in line
    assert not (demo.folder / "archive").exists()


def test_a_port_that_is_taken_is_one_sentence(demo: Demo) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        outcome = demo.run("--port", str(taken.getsockname()[1]))
    assert outcome.returncode == 1
    (line,) = outcome.stderr.splitlines()
    assert "cannot be used: Address already in use; try another with make run PORT=" in line


def test_every_day_of_the_first_page_has_jobs_and_renewing_brings_them_back(demo: Demo) -> None:
    assert demo.run("--renew").returncode == 0
    days = "SELECT start_time / 86400, count(*) FROM jobs_job GROUP BY 1 ORDER BY 1"
    today = int(time.time()) // 86400
    now = demo.query(days)
    assert {today - back for back in range(7)} <= {day for day, _ in now}
    assert min(number for _, number in now) > 5
    login = (demo.folder / "login.json").read_text()
    assert (demo.folder / "login.json").stat().st_mode & 0o777 == 0o600
    archived = set((demo.folder / "archive").rglob("meta.json"))
    begun = time.time()

    outcome = demo.run("--renew")

    assert outcome.returncode == 0, outcome.stderr
    assert "210 jobs of cluster demo deleted" in outcome.stderr
    assert "210 jobs of the last 7 days created" in outcome.stdout
    assert (demo.folder / "login.json").read_text() == login
    renewed = set((demo.folder / "archive").rglob("meta.json"))
    assert len(renewed) == len(archived) == demo.query("SELECT count(*) FROM jobs_job WHERE duration > 0")[0][0]
    assert all(path.stat().st_mtime > begun for path in renewed)


def manage(demo: Demo, *arguments: str) -> None:
    """Run a command of manage.py on the demo's database and archive."""
    command = [sys.executable, "manage.py", *arguments]
    subprocess.run(command, cwd=PROJECT, env=demo.environment, check=True, capture_output=True, timeout=300)


def test_a_database_with_a_user_is_refused_and_left_alone(demo: Demo) -> None:
    manage(demo, "migrate")
    manage(demo, "create_user", "demo", "--role", "api", "--no-password")
    before = demo.query("SELECT * FROM accounts_user")
    outcome = demo.run("--renew")
    assert outcome.returncode == 1
    (line,) = outcome.stderr.splitlines()
    assert "The database has users that are no demo data" in line
    assert demo.query("SELECT * FROM accounts_user") == before
    assert demo.query("SELECT count(*) FROM jobs_job") == [(0,)]
    assert not (demo.folder / "login.json").exists()


def test_a_database_of_another_program_is_refused_before_it_is_migrated(demo: Demo) -> None:
    demo.query("CREATE TABLE prices (amount)")
    assert "tables of another program" in demo.run("--renew").stderr
    assert demo.query("SELECT name FROM sqlite_master") == [("prices",)]


def test_an_archive_with_a_cluster_is_refused_and_left_alone(demo: Demo) -> None:
    (demo.folder / "archive" / "demo").mkdir(parents=True)
    (demo.folder / "archive" / "demo" / "cluster.json").write_text("{}")
    outcome = demo.run("--renew")
    assert outcome.returncode == 1
    assert "has clusters or jobs that are no demo data" in outcome.stderr
    assert (demo.folder / "archive" / "demo" / "cluster.json").read_text() == "{}"


def test_a_demo_does_not_take_another_archive_for_its_own(demo: Demo) -> None:
    assert demo.run("--renew").returncode == 0
    (demo.folder / "archive").rename(demo.folder / "other")
    environment = demo.environment | {"ARCHIVE_ROOT": str(demo.folder / "other")}
    command = demo.command("--renew")
    outcome = subprocess.run(command, cwd=PROJECT, env=environment, capture_output=True, text=True, check=False)
    assert outcome.returncode == 1
    assert "that are no demo data" in outcome.stderr


@pytest.mark.parametrize("module", ["benchmarks.prepare", "benchmarks.many"])
def test_the_benchmarks_fill_only_what_is_empty(demo: Demo, module: str) -> None:
    def fill() -> "subprocess.CompletedProcess[str]":
        command = [sys.executable, "-m", module, "3000"]
        return subprocess.run(
            command, cwd=PROJECT, env=demo.environment, capture_output=True, text=True, check=False, timeout=300
        )

    first = fill()
    assert first.returncode == 0, first.stderr
    assert demo.query("SELECT count(*) FROM jobs_job") == [(3000,)]
    assert not [
        name for name, password in demo.query("SELECT username, password FROM accounts_user") if password[0] != "!"
    ]
    second = fill()
    assert second.returncode == 1
    assert "Refused: the database has users" in second.stderr
    assert demo.query("SELECT count(*) FROM jobs_job") == [(3000,)]
