"""setup: README's production section as an ordinary user, and again, which changes nothing."""

import os
import re
import shlex
import shutil
import site
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest
from django.db import connection

from tests.support.clients import start_body
from tests.support.paths import PROJECT
from tests.support.server import free_port
from tests.support.waiting import wait_for

NOBODY = 65534
LEFT_OUT = (".git", ".venv", "var", ".env", "__pycache__", ".mypy_cache", ".ruff_cache", ".pytest_cache", "tests")


class Clone:
    """A clone of the project that belongs to an ordinary user, with the packages of the tests."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.user = NOBODY if os.geteuid() == 0 else os.geteuid()

    def make(self) -> None:
        """Copy the project; what README's first line installs is borrowed from the tests, as it takes a minute."""
        shutil.copytree(PROJECT, self.folder, ignore=shutil.ignore_patterns(*LEFT_OUT))
        subprocess.run([_python(), "-m", "venv", "--without-pip", self.folder / ".venv"], check=True)
        (packages,) = (self.folder / ".venv").glob("lib/*/site-packages")
        (packages / "of_the_tests.pth").write_text("\n".join(site.getsitepackages()))
        gunicorn = self.folder / ".venv" / "bin" / "gunicorn"
        gunicorn.write_text('#!/bin/sh\nexec "${0%/*}/python" -m gunicorn "$@"\n')
        gunicorn.chmod(0o755)
        if os.geteuid() == 0:
            for path in [self.folder, *self.folder.rglob("*")]:
                os.chown(path, self.user, self.user, follow_symlinks=False)

    def start(self, command: str) -> "subprocess.Popen[str]":
        """Start a line of the shell as that user, without a terminal and with nothing in the environment."""
        groups: list[int] | None = [] if os.geteuid() == 0 else None
        user = self.user if os.geteuid() == 0 else None
        return subprocess.Popen(
            ["sh", "-c", command],
            cwd=self.folder,
            env={"PATH": os.environ["PATH"], "HOME": str(self.folder)},
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            user=user,
            group=user,
            extra_groups=groups,
        )

    def run(self, command: str, status: int = 0) -> str:
        """Run a line of the shell to its end, and return what it says."""
        process = self.start(command)
        said, _ = process.communicate(timeout=300)
        assert process.returncode == status, said
        return said

    def files(self) -> dict[Path, tuple[int, int]]:
        """Return all files that setup may have made, with their times and sizes."""
        made = [self.folder / ".env", *(self.folder / "var").rglob("*")]
        kept = [path for path in made if path.is_file() and ".sqlite3" not in path.name]
        return {path: (path.stat().st_mtime_ns, path.stat().st_size) for path in kept}


def _python() -> str:
    """Return a Python of this version that every user of this host may run, where there is one."""
    name = f"python{sys.version_info[0]}.{sys.version_info[1]}"
    return shutil.which(name, path="/usr/bin:/usr/local/bin") or sys.executable


@pytest.fixture
def clone() -> Iterator[Clone]:
    """Return a clone where every user of this host may go."""
    if connection.vendor != "sqlite":
        pytest.skip("the PostgreSQL of the tests is for the account that runs them alone")
    with tempfile.TemporaryDirectory(prefix="ccbackend-clone-") as folder:
        Path(folder).chmod(0o755)
        made = Clone(Path(folder) / "ccbackend")
        made.make()
        if made.start(".venv/bin/python -c 'import django'").wait():
            pytest.skip("another user of this host cannot use the Python or the packages of the tests")
        yield made


def production() -> list[str]:
    """Return the lines of README's production section."""
    section = (PROJECT / "README.md").read_text().partition("## Production\n")[2].partition("\n## ")[0]
    return section.partition("```\n")[2].partition("```")[0].splitlines()


def commands(unit: Path) -> list[str]:
    """Return the commands of a unit, in the order in which systemd runs them."""
    return re.findall(r"^Exec(?:StartPre|Start)=(.*)$", unit.read_text(), re.MULTILINE)


@pytest.mark.server
def test_readme_leads_an_ordinary_user_to_a_server_that_archives_a_job(clone: Clone) -> None:
    install, setup, copy, enable = production()
    assert install == "python3 -m venv .venv && .venv/bin/pip install --require-hashes -r requirements.lock"

    said = clone.run(setup)

    (token,) = re.findall(r"^ccb_\w+$", said, re.MULTILINE)
    assert (clone.folder / ".env").stat().st_mode & 0o777 == 0o600
    units = clone.folder / shlex.split(copy)[2].removesuffix("/*")
    assert enable.endswith("enable --now ccbackend ccbackend-worker")
    check, serve = commands(units / "ccbackend.service")
    (work,) = commands(units / "ccbackend-worker.service")
    assert f"User={'nobody' if clone.user == NOBODY else ''}" in (units / "ccbackend.service").read_text()
    clone.run(f"exec {check}")
    address = f"127.0.0.1:{free_port()}"
    processes = [clone.start(f"exec {serve.replace('127.0.0.1:8080', address)}"), clone.start(f"exec {work}")]
    try:
        client = httpx.Client(base_url=f"http://{address}/api/jobs", headers={"X-Auth-Token": token})
        wait_for(lambda: _answers(client), 30)
        body = start_body(jobId=4711)
        assert client.post("/start_job/", json=body).status_code == 201
        stop = {"jobId": 4711, "cluster": body["cluster"], "stopTime": body["startTime"] + 60, "jobState": "completed"}
        assert client.post("/stop_job/", json=stop).status_code == 200
        folder = clone.folder / "var" / "job-archive" / body["cluster"] / "4" / "711" / str(body["startTime"])
        wait_for((folder / "meta.json").exists, 30)
    finally:
        for process in processes:
            process.terminate()
        for process in processes:
            process.communicate()


def _answers(client: httpx.Client) -> bool:
    try:
        return client.get("/").status_code == 200
    except httpx.TransportError:
        return False


def test_again_it_says_what_is_there_and_changes_nothing(clone: Clone) -> None:
    options = (
        "--name jobs.example.org --cluster fritz --nodes 'f[01-10]' --sockets 2 --cores 36 --threads 2 "
        "--admin ada --archive var/other"
    )
    made = clone.run(f"echo Tannenzapfen-17 | .venv/bin/python manage.py setup {options} --password-stdin")
    assert "ada created" in made
    assert "server_name jobs.example.org;" in (clone.folder / "var/deploy/nginx.conf").read_text()
    unit = (clone.folder / "var/deploy/systemd/ccbackend.service").read_text()
    assert f"RequiresMountsFor={clone.folder}/var/other\n" in unit
    assert "/opt/" not in unit
    clone.run(".venv/bin/python manage.py check --deploy --fail-level WARNING")
    before = clone.files()

    again = clone.run(".venv/bin/python manage.py setup --cluster fritz --hook slurm")

    assert all("there" in line for line in again.splitlines()), again
    assert clone.files() == before


def test_a_step_that_fails_says_what_to_do_and_the_next_run_goes_on(clone: Clone) -> None:
    assert "--password-stdin" in clone.run(".venv/bin/python manage.py setup --admin ada", status=2)
    assert "expected sqlite:///PATH" in clone.run(".venv/bin/python manage.py setup --database nonsense", status=2)
    assert clone.files() == {}
    failed = clone.run(".venv/bin/python manage.py setup --archive /proc/archive --yes", status=1)
    assert re.search(r"install -d -o \S+ -m 700 /proc/archive", failed)
    changed = clone.run(".venv/bin/python manage.py setup --archive var/archive --yes", status=1)
    assert "has another ARCHIVE_ROOT" in changed
    settings = clone.folder / ".env"
    settings.write_text(settings.read_text().replace("/proc/archive", "var/archive"))
    assert "var/archive created" in clone.run(".venv/bin/python manage.py setup")
