"""restore: refuses what is not empty, not whole, of another kind or newer, and takes an older schema."""

import json
from pathlib import Path
from typing import Any

import pytest
from django.contrib.auth import get_user_model
from django.db import connection

from jobs.maintenance.backup import Manifest
from jobs.models import Job
from tests.support.commands import Machine, Run


@pytest.fixture
def folder(tmp_path: Path, run: Run) -> Path:
    """Return a backup of an archive without jobs, and of no database."""
    assert run("backup", tmp_path / "backup", "--no-database").status == 0
    return tmp_path / "backup"


def change(folder: Path, **values: Any) -> None:
    """Change values of a manifest."""
    path = folder / "backup.json"
    path.write_text(json.dumps(json.loads(path.read_bytes()) | values))


def test_a_backup_of_a_newer_release_is_refused_by_name(run: Run, folder: Path) -> None:
    change(folder, migrations=["jobs.0001_initial", "jobs.9999_from_the_future"])
    refused = run("restore", folder)
    assert refused.status == 1
    assert "newer schema (jobs.9999_from_the_future)" in refused.err


def test_a_backup_of_the_other_database_is_refused(run: Run, folder: Path) -> None:
    change(folder, database={"sqlite": "postgresql", "postgresql": "sqlite"}[connection.vendor])
    assert "expected the same" in run("restore", folder).err


@pytest.mark.parametrize("content", [None, b"", b"{}", b'{"files": {}, "changed": 1}'])
def test_what_is_no_whole_backup_is_refused(run: Run, folder: Path, content: bytes | None) -> None:
    (folder / "backup.json").unlink()
    if content is not None:
        (folder / "backup.json").write_bytes(content)
    refused = run("restore", folder)
    assert (refused.status, "backup.json" in refused.err) == (1, True)


def test_an_archive_or_a_database_that_is_not_empty_is_refused(run: Run, folder: Path, archive_root: Path) -> None:
    (archive_root / "fritz").mkdir()
    assert f"the archive {archive_root} is not empty" in run("restore", folder).err
    (archive_root / "fritz").rmdir()
    change(folder, database=connection.vendor)
    get_user_model().objects.create_user("ada")
    assert "the database has users" in run("restore", folder).err


def test_a_database_of_an_older_release_is_migrated(machine: Machine) -> None:
    machine.add_job(1)
    assert machine.run("migrate", "jobs", "0012", "-v", "0").status == 0
    backup = machine.folder / "backup"
    assert machine.run("backup", backup, "--no-archive").status == 0
    assert "jobs.0013_free_space" not in Manifest.read(backup).migrations
    for path in machine.folder.glob("db.sqlite3*"):  # with its log
        path.unlink()

    restored = machine.run("restore", backup)

    assert restored.status == 0, restored.err
    assert "1 job" in restored.out
    assert machine.execute(f"SELECT job_id FROM {Job._meta.db_table}") == [(1,)]
    assert machine.execute("SELECT COUNT(*) FROM jobs_freespace") == [(0,)]
