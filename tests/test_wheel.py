"""The wheel that `pip install .` builds: it has all files, and works in an environment and a folder of its own."""

import os
import re
import site
import subprocess
import sys
import zipfile
from pathlib import Path

import httpx
import pytest
from django.db import connection

from tests.support.clients import start_body
from tests.support.paths import PROJECT
from tests.support.server import free_port
from tests.support.waiting import wait_for
from tests.test_requirements import require_index

PACKAGES = ("accounts", "archive", "ccbackend", "jobs")
BESIDE = ("deploy", "templates", "gunicorn.conf.py")
"""What is inside ccbackend once it is installed."""


def built(folder: Path) -> Path:
    """Return a wheel of the project, built as pip does for everybody."""
    command = [sys.executable, "-m", "pip", "wheel", "--quiet", "--no-deps", "--wheel-dir", str(folder), str(PROJECT)]
    subprocess.run(command, check=True)
    (wheel,) = folder.glob("ccbackend-*.whl")
    return wheel


def wanted() -> set[str]:
    """Return the paths in the wheel of all that the server has."""
    found = {path: path for name in PACKAGES for path in (PROJECT / name).rglob("*")}
    beside = [path for name in BESIDE for path in [PROJECT / name, *(PROJECT / name).rglob("*")]]
    found |= {path: PROJECT / "ccbackend" / path.relative_to(PROJECT) for path in beside}
    files = {there for here, there in found.items() if here.is_file() and "__pycache__" not in here.parts}
    return {str(path.relative_to(PROJECT)) for path in files}


class Installed:
    """The wheel in an environment of its own, which borrows what it needs from the tests, and a folder to run it in."""

    def __init__(self, folder: Path, wheel: Path) -> None:
        self.folder, self.environment = folder / "centre", folder / "environment"
        self.folder.mkdir()
        subprocess.run([sys.executable, "-m", "venv", "--without-pip", self.environment], check=True)
        (packages,) = self.environment.glob("lib/*/site-packages")
        (packages / "of_the_tests.pth").write_text("\n".join(site.getsitepackages()))
        pip = [sys.executable, "-m", "pip", "--python", str(self.environment / "bin" / "python")]
        subprocess.run([*pip, "install", "--quiet", "--no-deps", "--no-index", str(wheel)], check=True)

    def start(self, *words: str) -> "subprocess.Popen[str]":
        """Start the command `ccbackend` with nothing in the environment."""
        return subprocess.Popen(
            [str(self.environment / "bin" / "ccbackend"), *words],
            cwd=self.folder,
            env={"PATH": os.environ["PATH"], "WEB_CONCURRENCY": "1"},
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )

    def run(self, *words: str) -> str:
        """Run it to its end, and return what it says."""
        process = self.start(*words)
        said, _ = process.communicate(timeout=300)
        assert process.returncode == 0, said
        return said


@pytest.mark.server
def test_the_wheel_has_all_files_and_serves_where_it_is_installed(tmp_path: Path) -> None:
    if connection.vendor != "sqlite":
        pytest.skip("the same on either database")
    require_index(tmp_path)
    wheel = built(tmp_path)
    packed = {name for name in zipfile.ZipFile(wheel).namelist() if ".dist-info/" not in name}
    assert packed == wanted()

    installed = Installed(tmp_path, wheel)
    failed = installed.start("check")
    assert f"into the environment or {installed.folder}/.env" in failed.communicate()[0]
    said = installed.run("setup", "--name", "jobs.example.org", "--cluster", "fritz", "--nodes", "*", "--yes")

    (token,) = re.findall(r"^ccb_\w+$", said, re.MULTILINE)
    assert (installed.folder / ".env").stat().st_mode & 0o777 == 0o600
    assert "server_name jobs.example.org;" in (installed.folder / "var/deploy/nginx.conf").read_text()
    units = "\n".join(path.read_text() for path in (installed.folder / "var/deploy/systemd").iterdir())
    assert f"\nWorkingDirectory={installed.folder}\n" in units
    assert set(re.findall(r"^Exec(?:Start|StartPre)=(\S+)", units, re.MULTILINE)) == {
        f"{installed.environment}/bin/ccbackend"
    }
    assert 'ExecReload=/bin/sh -c "kill -HUP $$MAINPID"' in units
    assert "/opt/" not in units
    assert "no issues" in installed.run("check", "--deploy", "--database", "default")
    serves(installed, token)


def serves(installed: Installed, token: str) -> None:
    """Assert that the server takes a start, and has pages with the style sheets that they name."""
    address = f"127.0.0.1:{free_port()}"
    process = installed.start("serve", "--bind", address)
    headers = {"X-Forwarded-Proto": "https"}
    try:
        with httpx.Client(base_url=f"http://{address}", headers=headers) as client:
            wait_for(lambda: _answers(client), 30)
            page = client.get("/admin/login/")
            assert page.status_code == 200
            sheets = re.findall(r'<link rel="stylesheet" href="([^"]+)"', page.text)
            assert any("/jobs/" in sheet for sheet in sheets)
            assert {client.get(sheet).status_code for sheet in sheets} == {200}
            body = start_body(cluster="fritz")
            started = client.post("/api/jobs/start_job/", json=body, headers={"X-Auth-Token": token})
            assert started.status_code == 201, started.text
    finally:
        process.terminate()
        process.communicate()


def _answers(client: httpx.Client) -> bool:
    try:
        return client.get("/healthz").status_code == 200
    except httpx.TransportError:
        return False


def test_env_file_names_the_folder_of_an_installed_server(tmp_path: Path) -> None:
    """From whatever folder a cron job calls it."""
    code = tmp_path / "site-packages" / "ccbackend"
    (code / "deploy").mkdir(parents=True)
    for name in ("__init__.py", "reading.py", "environment.py"):
        (code / name).write_bytes((PROJECT / "ccbackend" / name).read_bytes())
    script = "from ccbackend.reading import BASE_DIR; print(BASE_DIR)"
    command = [sys.executable, "-c", script]
    for settings, folder in (({}, tmp_path), ({"ENV_FILE": "/srv/centre/.env"}, Path("/srv/centre"))):
        environment = {"PYTHONPATH": str(code.parent), **settings}
        told = subprocess.check_output(command, cwd=tmp_path, env=environment, text=True)
        assert told.strip() == str(folder)
