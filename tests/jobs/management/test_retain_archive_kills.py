"""retain_archive as a real process: killed at any instant, stopped, and with a target that is full."""

import json
import os
import random
import shutil
import signal
import subprocess
import sys
import time
import urllib.parse
from collections.abc import Callable, Iterator
from datetime import timedelta
from pathlib import Path

import pytest
from django.db import connection
from django.utils import timezone

from archive.format.layout import job_folder
from archive.root import store
from archive.storage.store import ArchiveStore
from jobs.archiving import writing
from jobs.models import ArchiveTask, Job
from jobs.rows.select import fetch_rows
from tests.support.factories import JobFactory
from tests.support.paths import PROJECT
from tests.support.waiting import patience

pytestmark = pytest.mark.django_db(transaction=True)

JOBS = 200

Start = Callable[..., "subprocess.Popen[str]"]


def database_url() -> str:
    """Return the address of the database that this test works on."""
    name = str(connection.settings_dict["NAME"])
    if connection.vendor == "sqlite":
        return f"sqlite:///{name}"
    return urllib.parse.urlunsplit(urllib.parse.urlsplit(os.environ["DATABASE_URL"])._replace(path=f"/{name}"))


@pytest.fixture
def start(archive_root: Path) -> Iterator[Start]:
    """Return a function that starts the command as a process of its own."""
    processes: list[subprocess.Popen[str]] = []
    environment = os.environ | {
        "SECRET_KEY": "of a test",
        "DATABASE_URL": database_url(),
        "ARCHIVE_ROOT": str(archive_root),
        "DJANGO_SETTINGS_MODULE": "ccbackend.settings",
    }

    def begin(*options: object) -> "subprocess.Popen[str]":
        command = [sys.executable, PROJECT / "manage.py", "retain_archive", "--older-than", "1", "--yes", *options]
        process = subprocess.Popen(
            list(map(str, command)), env=environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
        )
        processes.append(process)
        return process

    yield begin
    for process in processes:
        process.kill()
        process.communicate()


@pytest.fixture
def few_jobs(archive_root: Path) -> dict[Job, dict[str, bytes]]:
    """Return jobs with the files that each has in the archive."""
    return make_jobs(20, archive_root)


@pytest.fixture
def jobs(archive_root: Path) -> dict[Job, dict[str, bytes]]:
    """Return jobs that a run is at work on for a while, with their files."""
    return make_jobs(JOBS, archive_root)


def make_jobs(number_of_jobs: int, archive_root: Path) -> dict[Job, dict[str, bytes]]:
    """Archive some jobs; return each with its files. Every tenth has no row."""
    chance, made = random.Random(3), {}
    for number in range(number_of_jobs):
        job = JobFactory.create(archived=True)
        meta = writing.meta_document(fetch_rows([job.pk])[job.pk], job.statistics)
        store().write_job(job.key, meta, json.dumps(chance.randbytes(20_000).hex()).encode())
        made[job] = files_of(job, archive_root)
        if number % 10 == 0:
            Job.objects.filter(pk=job.pk).delete()
    return made


def files_of(job: Job, root: Path) -> dict[str, bytes]:
    """Return the files of a job in an archive; nothing where it is not complete."""
    if not ArchiveStore(root).has_job(job.key):
        return {}
    return {path.name: path.read_bytes() for path in job_folder(root, job.key).iterdir()}


def count_jobs(root: Path) -> int:
    """Return how many jobs an archive has at this moment, while others work on it."""
    return sum("meta.json" in names and not folder.endswith(".tmp") for folder, _, names in os.walk(root))


def kill_at_work(process: "subprocess.Popen[str]", root: Path, after: float) -> bool:
    """Kill a process some seconds after it took the first job out; say whether it was still at work."""
    before = count_jobs(root)
    while process.poll() is None and count_jobs(root) == before:
        time.sleep(0.01)
    time.sleep(after)
    process.kill()
    process.communicate()
    # Long enough for the leases to end; one run below waits for that itself.
    ArchiveTask.objects.update(not_before=timezone.now() - timedelta(seconds=1))
    return process.returncode == -signal.SIGKILL


def nothing_is_left(root: Path) -> bool:
    """Say whether an archive has no job, no rest of one, and no empty folder."""
    return [path for path in root.rglob("*") if path.name != "version.txt" and path.name != "testcluster"] == []


@pytest.mark.parametrize("rows", [[], ["--rows"]])
def test_a_move_killed_at_any_instant_leaves_each_job_in_a_complete_place(
    start: Start, jobs: dict[Job, dict[str, bytes]], archive_root: Path, tmp_path: Path, rows: list[str]
) -> None:
    target, chance, killed = tmp_path / "cold", random.Random(5), 0
    options = ["--do", f"move:{target}", *rows]
    for _ in range(2):
        killed += kill_at_work(start(*options), archive_root, chance.random() * 0.1)
        for job, files in jobs.items():
            here, there = files_of(job, archive_root), files_of(job, target)
            assert files in (here, there), job.key
            assert here in (files, {})
            assert there in (files, {})
    assert killed
    process = start(*options)
    _, err = process.communicate(timeout=patience(60))
    assert process.returncode == 0, err
    assert all(files_of(job, target) == files for job, files in jobs.items())
    assert nothing_is_left(archive_root)
    assert not [path for path in target.rglob("*") if path.name.endswith(".tmp")]
    assert set(Job.objects.values_list("monitoring_status", flat=True)) == (set() if rows else {0})
    assert not ArchiveTask.objects.exists()


@pytest.mark.parametrize("rows", [[], ["--rows"]])
def test_a_deletion_killed_at_any_instant_leaves_each_job_complete_or_gone(
    start: Start, jobs: dict[Job, dict[str, bytes]], archive_root: Path, rows: list[str]
) -> None:
    chance, killed = random.Random(5), 0
    for _ in range(2):
        killed += kill_at_work(start("--do", "delete", *rows), archive_root, chance.random() * 0.05)
        for job, files in jobs.items():
            assert files_of(job, archive_root) in (files, {})
        known = set(Job.objects.values_list("pk", flat=True))
        assert not [job for job in jobs if job.pk not in known and job.job_id % 10 and files_of(job, archive_root)]
    assert killed
    process = start("--do", "delete", *rows)
    _, err = process.communicate(timeout=patience(60))
    assert process.returncode == 0, err
    assert nothing_is_left(archive_root)
    assert set(Job.objects.values_list("monitoring_status", flat=True)) == (set() if rows else {0})
    assert not ArchiveTask.objects.exists()


def test_the_run_after_a_kill_waits_for_what_was_held(
    start: Start, jobs: dict[Job, dict[str, bytes]], archive_root: Path, tmp_path: Path
) -> None:
    options = ["--do", f"move:{tmp_path / 'cold'}"]
    process = start(*options)
    while process.poll() is None and not ArchiveTask.objects.exists():
        time.sleep(0.01)
    process.kill()
    assert ArchiveTask.objects.exists()
    again = start(*options)
    out, err = again.communicate(timeout=patience(60))
    assert (again.returncode, "left" in out) == (0, False), err
    assert nothing_is_left(archive_root)


def test_a_signal_ends_it_with_its_counts(
    start: Start, jobs: dict[Job, dict[str, bytes]], archive_root: Path, tmp_path: Path
) -> None:
    process = start("--do", f"move:{tmp_path / 'cold'}")
    while not list(tmp_path.glob("cold/testcluster/*/*/*/data.json.gz")):
        time.sleep(0.01)
    process.send_signal(signal.SIGINT)
    _, err = process.communicate(timeout=patience(20))
    assert process.returncode == 130
    moved = sum(bool(files_of(job, tmp_path / "cold")) for job in jobs)
    assert 0 < moved < JOBS
    assert f"Interrupted. {moved} job" in err
    assert not ArchiveTask.objects.exists()
    assert Job.objects.archived().count() == Job.objects.filter(pk__in=[job.pk for job in jobs if here(job)]).count()


def here(job: Job) -> bool:
    """Say whether the archive of this server has a job."""
    return store().has_job(job.key)


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """Return a file system of one megabyte."""
    folder = tmp_path / "disk"
    folder.mkdir()
    mount = shutil.which("mount")
    if not mount or subprocess.run([mount, "-t", "tmpfs", "-o", "size=1m", "tmpfs", folder], check=False).returncode:
        pytest.skip("no file system can be mounted here")
    yield folder
    subprocess.run(["umount", folder], check=True)


def test_a_full_target_stops_the_run_and_nothing_is_lost(
    start: Start, jobs: dict[Job, dict[str, bytes]], archive_root: Path, small_disk: Path
) -> None:
    options = ["--do", f"move:{small_disk}"]
    process = start(*options)
    _, err = process.communicate(timeout=patience(60))
    assert process.returncode == 1
    assert "No space left on device" in err
    assert err.count("left: ") <= 20, "it gives up"
    moved = [job for job in jobs if not files_of(job, archive_root)]
    assert 0 < len(moved) < JOBS
    for job, files in jobs.items():
        assert files in (files_of(job, archive_root), files_of(job, small_disk))
    of_jobs = {path.parent for path in small_disk.rglob("*") if path.is_file() and "data" in path.name}
    assert of_jobs == {job_folder(small_disk, job.key) for job in moved}, "what was copied in vain goes"
    assert set(Job.objects.archived().values_list("pk", flat=True)) <= {job.pk for job in jobs if here(job)}
    subprocess.run(["mount", "-o", "remount,size=20m", small_disk], check=True)
    process = start(*options)
    _, err = process.communicate(timeout=patience(60))
    assert process.returncode == 0, err
    assert all(files_of(job, small_disk) == files for job, files in jobs.items())


@pytest.mark.parametrize("in_the_way", ["", "testcluster", "testcluster/5"])
def test_a_target_that_cannot_be_written_is_named_and_nothing_changes(
    start: Start, few_jobs: dict[Job, dict[str, bytes]], archive_root: Path, small_disk: Path, in_the_way: str
) -> None:
    path = small_disk / in_the_way
    if in_the_way:
        path.parent.mkdir(exist_ok=True)
        path.write_text("a file")
        (small_disk / "version.txt").write_text("1")
    else:
        subprocess.run(["mount", "-o", "remount,ro", small_disk], check=True)
    process = start("--do", f"move:{small_disk}")
    _, err = process.communicate(timeout=patience(60))
    assert process.returncode == 1
    assert str(path) in err
    assert "Traceback" not in err
    assert all(files_of(job, archive_root) == files for job, files in few_jobs.items())
    assert set(Job.objects.values_list("monitoring_status", flat=True)) == {3}
    assert not ArchiveTask.objects.exists()
