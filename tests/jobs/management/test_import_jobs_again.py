"""import_jobs that stops, is killed, or meets others at work: the next run completes it."""

import shutil
import signal
import subprocess
import time
from pathlib import Path
from typing import Any

import psutil
import pytest
from django.db import IntegrityError

from archive.format.layout import JobKey, job_folder
from archive.storage.store import ArchiveStore
from jobs.maintenance import import_jobs, restore
from jobs.maintenance.import_jobs import JobImport
from jobs.maintenance.import_sources import Source
from jobs.models import ArchiveTask, Job, Tag
from tests.support.commands import Machine, Run
from tests.support.factories import JobFactory
from tests.support.import_source import DATA, META, Put, assert_nothing_is_half_done, written


@pytest.mark.parametrize(
    ("owner", "step"),
    [(restore, "ids_of_tags"), (import_jobs, "reserve_ids"), (restore, "insert_jobs"), (restore, "insert_links")],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_an_import_that_stops_at_any_step_is_completed_by_the_next(
    run: Run, put: Put, theirs: Path, archive_root: Path, monkeypatch: pytest.MonkeyPatch, owner: Any, step: str
) -> None:
    for number in (1, 2, 3):
        put(jobId=number)

    def stop(*args: Any, **options: Any) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(owner, step, stop)
        outcome = run("import_jobs", theirs)
    assert outcome.status == 130
    assert "Run it again to go on" in outcome.err
    assert f"{Job.objects.count()} jobs imported" in outcome.err
    complete = set(ArchiveStore(archive_root).iter_jobs())
    assert {job.key for job in Job.objects.all()} <= complete
    assert run("import_jobs", theirs).status == 0
    assert Job.objects.count() == 3
    assert_nothing_is_half_done(archive_root)


def test_a_ctrl_c_after_a_commit_leaves_nothing_uncounted(
    run: Run, put: Put, theirs: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    put()
    real = restore.insert

    def pressed(*arguments: Any, **options: Any) -> set[int]:
        inserted = real(*arguments, **options)
        signal.raise_signal(signal.SIGINT)
        return inserted

    monkeypatch.setattr(restore, "insert", pressed)
    outcome = run("import_jobs", theirs)
    assert outcome.status == 130
    assert "Interrupted. 1 job imported" in outcome.err
    assert Job.objects.count() == 1


def test_a_killed_import_is_completed_by_the_next(machine: Machine, put: Put, theirs: Path) -> None:
    number = 200
    for job_id in range(1, number + 1):
        put(jobId=job_id)
    root = machine.folder / "archive"
    kills = 0
    for rows in (0, 80):
        process = subprocess.Popen(machine.arguments("import_jobs", theirs, "-v", "0"), env=machine.environment)
        workers: list[psutil.Process] = []
        while process.poll() is None:
            files = sum(1 for _ in root.rglob("meta.json"))
            if files > rows and machine.execute("SELECT count(*) FROM jobs_job")[0][0] >= rows:
                workers = psutil.Process(process.pid).children(recursive=True)
                process.kill()
                kills += 1
                break
            time.sleep(0.01)
        process.wait()
        _, alive = psutil.wait_procs(workers, timeout=10)
        assert not alive, "the processes of a killed import end with it"
        in_database = set(machine.execute("SELECT cluster, job_id, start_time FROM jobs_job"))
        assert in_database <= set(ArchiveStore(root).iter_jobs())
        for cluster, job_id, start_time in in_database:
            key = JobKey(cluster, job_id, start_time)
            assert ArchiveStore(root).read_data(key) == DATA
    assert kills
    assert machine.run("import_jobs", theirs, "-v", "0").status == 0
    rows_of = dict(machine.execute("SELECT job_id, id FROM jobs_job"))
    assert len(rows_of) == number
    assert {job_id: written(root, JobKey("fritz", job_id, META["startTime"]))["id"] for job_id in rows_of} == rows_of
    assert machine.execute("SELECT count(*) FROM jobs_jobtag") == [(2 * number,)]
    assert not list(root.rglob("*.tmp"))
    for job_id in rows_of:
        copy = job_folder(root, JobKey("fritz", job_id, META["startTime"])) / "data.json.gz"
        assert (
            copy.read_bytes()
            == (job_folder(theirs, JobKey("fritz", job_id, META["startTime"])) / copy.name).read_bytes()
        )


def test_rows_come_in_batches_and_queries_do_not_grow_with_jobs(
    run: Run, put: Put, theirs: Path, archive_root: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(import_jobs, "_BATCH", 2)
    for number in range(1, 6):
        put(jobId=number, tags=[{"type": "n", "name": str(number % 2)}])
    seen: list[int] = []
    work = JobImport(sources=[Source(theirs)], trouble=pytest.fail, progress=seen.append)
    assert work.run().imported == 5
    assert [number for number in seen if number] == [2, 2, 1]
    assert_nothing_is_half_done(archive_root)


def test_a_tag_that_is_deleted_in_between_is_made_again_and_its_file_follows(
    run: Run, put: Put, theirs: Path, archive_root: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    put(jobId=1)
    calls = []

    def delete_before(rows: Any, *, booked: bool) -> set[int]:
        calls.append(rows)
        monkeypatch.undo()
        Tag.objects.all().delete()
        raise IntegrityError("jobs_jobtag_tag_id_fk")

    monkeypatch.setattr(restore, "insert_jobs", delete_before)
    # The deletion is undone with the transaction: what stays is that the tags' ids are asked for again.
    assert run("import_jobs", theirs).lines == ["1 job imported, 0 skipped (here already), 0 refused."]
    assert len(calls) == 1
    assert Job.objects.get().tags.count() == 2
    assert_nothing_is_half_done(archive_root)


@pytest.mark.django_db
def test_files_follow_where_a_tag_has_another_id_by_now(put: Put) -> None:
    job, _ = restore.read_job(put() / "meta.json")
    assert restore.insert({7: job}, written=dict.fromkeys(job.tags, 99)) == {7}
    assert [task.pk for task in ArchiveTask.objects.all()] == [7]


def test_a_job_that_started_while_its_files_were_copied_keeps_its_row(
    run: Run, put: Put, theirs: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    put(jobId=1)
    put(jobId=2)
    insert = restore.insert

    def start_before(jobs: Any, written: Any) -> set[int]:
        JobFactory.create(job_id=1, cluster="fritz", start_time=META["startTime"])
        return insert(jobs, written)

    monkeypatch.setattr(restore, "insert", start_before)
    assert run("import_jobs", theirs).lines == ["1 job imported, 1 skipped (here already), 0 refused."]
    assert Job.objects.get(job_id=1).is_running


def test_of_the_same_job_twice_the_whole_one_is_imported(
    run: Run, put: Put, theirs: Path, tmp_path: Path, archive_root: Path
) -> None:
    folder = put({"data.json": DATA[:-1]})
    whole = tmp_path / "whole"
    shutil.copytree(folder, whole)
    (whole / "data.json").write_bytes(DATA)
    outcome = run("import_jobs", theirs, whole)
    assert outcome.lines == ["1 job imported, 0 skipped (here already), 1 refused."]
    assert str(folder) in outcome.err
    assert_nothing_is_half_done(archive_root)


def test_a_file_that_cannot_be_written_refuses_the_job_and_keeps_the_rest(
    run: Run, put: Put, theirs: Path, archive_root: Path
) -> None:
    put(jobId=1)
    put(jobId=2)
    (archive_root / "fritz/0").mkdir(parents=True)
    (archive_root / "fritz/0/002").write_text("in the way")
    outcome = run("import_jobs", theirs)
    assert outcome.status == 1
    assert "/002/" in outcome.err
    assert [job.job_id for job in Job.objects.all()] == [1]
    assert_nothing_is_half_done(archive_root)
