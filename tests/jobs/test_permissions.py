"""What other users of the host may read: nothing of a new database and var/, and a check warns of what is open."""

import os
import stat
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from django.core.checks import run_checks
from django.db import connection, connections
from pytest_django import Settings

from tests.support.paths import PROJECT


@pytest.fixture(params=[0o000, 0o022, 0o077])
def _umask(request: pytest.FixtureRequest) -> Iterator[None]:
    before = os.umask(request.param)
    yield
    os.umask(before)


@pytest.mark.usefixtures("_umask")
@pytest.mark.django_db
@pytest.mark.skipif(connection.vendor != "sqlite", reason="SQLite's files")
def test_a_new_database_and_its_log_are_private_whatever_the_umask(tmp_path: Path) -> None:
    fresh: Any = connections["default"].copy()
    fresh.settings_dict = connection.settings_dict | {"NAME": tmp_path / "new.sqlite3"}
    try:
        with fresh.cursor() as cursor:
            cursor.execute("CREATE TABLE kept (number INTEGER)")
        modes = {path.name: stat.S_IMODE(path.stat().st_mode) for path in tmp_path.iterdir()}
    finally:
        fresh.close()
    assert modes == dict.fromkeys(["new.sqlite3", "new.sqlite3-wal", "new.sqlite3-shm"], 0o600)


@pytest.mark.usefixtures("_umask")
def test_the_folder_of_a_new_database_is_private_whatever_the_umask(tmp_path: Path) -> None:
    url = f"sqlite:///{tmp_path}/var/data/new.sqlite3"
    environment = os.environ | {"SECRET_KEY": "for-a-test", "DATABASE_URL": url}
    subprocess.run([sys.executable, "-c", "import ccbackend.settings"], cwd=PROJECT, env=environment, check=True)
    assert {stat.S_IMODE(path.stat().st_mode) for path in (tmp_path / "var").rglob("")} == {0o700}


@pytest.mark.django_db  # some checks look into the database
@pytest.mark.parametrize(
    ("mode", "folder", "archive_mode", "warned"),
    [
        (0o755, 0o755, 0o600, True),
        (0o755, 0o700, 0o600, False),
        (0o750, 0o755, 0o640, False),
        (0o700, 0o755, 0o600, False),
    ],
)
def test_check_warns_of_what_others_may_read(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    settings: Settings,
    mode: int,
    folder: int,
    archive_mode: int,
    warned: bool,
) -> None:
    settings.ARCHIVE_MODE = archive_mode
    settings.ARCHIVE_ROOT, env_file = tmp_path / "var" / "archive", tmp_path / "var" / ".env"
    monkeypatch.setenv("ENV_FILE", str(env_file))
    settings.ARCHIVE_ROOT.mkdir(parents=True)
    env_file.touch()
    settings.ARCHIVE_ROOT.chmod(mode)
    env_file.chmod(mode & 0o644 if warned else 0o600)
    settings.ARCHIVE_ROOT.parent.chmod(folder)

    found = {message.id: message for message in run_checks() if str(message.id).startswith("jobs.W")}

    assert set(found) == ({"jobs.W002", "jobs.W003"} if warned else set())
    assert all("chmod" in str(message.hint) for message in found.values())
