"""The archive worker and its claims: draining, retries, edits meanwhile, leases of dead workers."""

import itertools
import json
import threading
import time
from collections.abc import Callable, Iterator
from datetime import timedelta
from functools import partial
from pathlib import Path
from typing import Any

import pytest
from django.db import OperationalError, connection
from django.utils import timezone

from archive.exceptions import SourceError
from archive.format.layout import job_folder
from jobs.archiving import queue, worker, writing
from jobs.archiving.worker import ArchiveWorker
from jobs.deletion.services import delete_job
from jobs.messages import TagName
from jobs.models import ArchiveTask, Job
from jobs.rows import select
from jobs.states import MonitoringStatus
from jobs.tags.services import tag_job, tag_jobs, untag_jobs
from tests.support.archive_worker import RunWorker
from tests.support.factories import JobFactory

pytestmark = pytest.mark.django_db(transaction=True)


def meta(root: Path, job: Job) -> Any:
    """Return a job's meta.json."""
    return json.loads((job_folder(root, job.key) / "meta.json").read_bytes())


def wait_until(condition: Callable[[], bool], seconds: float = 5) -> float:
    """Wait for something and return how long it took."""
    begin = time.monotonic()
    while not condition():
        assert time.monotonic() < begin + seconds
        time.sleep(0.01)
    return time.monotonic() - begin


@pytest.fixture
def broken_store(monkeypatch: pytest.MonkeyPatch) -> Iterator[pytest.MonkeyPatch]:
    """Let every write to the archive fail until undone."""
    with monkeypatch.context() as patch:

        def fail(*args: Any, **options: Any) -> None:
            raise OSError("disk full")

        patch.setattr("archive.storage.store.ArchiveStore.write_job", fail)
        yield patch


@pytest.fixture
def running(archive_root: Path, run: RunWorker) -> ArchiveWorker:
    """Return a worker that runs in a thread."""
    return run()


def test_drain_archives_what_waits_and_nothing_else(archive_root: Path) -> None:
    waiting = [JobFactory.create(finished=True) for _ in range(50)]
    others = [JobFactory.create(), JobFactory.create(finished=True, monitoring_status=0)]
    failed = JobFactory.create(finished=True, monitoring_status=2)
    counts = ArchiveWorker().drain()
    assert (counts.archived, counts.failed) == (50, 0)
    assert set(Job.objects.archived()) == set(waiting)
    assert len(list(archive_root.rglob("meta.json"))) == 50
    for job in [*others, failed]:
        assert not job_folder(archive_root, job.key).exists()
    assert not ArchiveTask.objects.exists()


def test_drain_is_limited_to_the_named_rows(archive_root: Path) -> None:
    first, _ = JobFactory.create(finished=True), JobFactory.create(finished=True)
    assert ArchiveWorker(only=[first.pk]).drain().archived == 1
    assert list(Job.objects.archived()) == [first]


def test_draining_nothing_ends_at_once(archive_root: Path) -> None:
    counts = ArchiveWorker().drain()
    assert (counts.archived, counts.failed) == (0, 0)


def test_an_idle_worker_looks_for_stopped_jobs_often_and_rarely_for_anything_else(
    running: ArchiveWorker, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(worker, "_IDLE", 1000.0)
    monkeypatch.setattr(worker, "_TIDY_EVERY", 1000.0)
    looks: list[str] = []

    def note(name: str, look: Callable[[], Any]) -> Any:
        looks.append(name)
        return look()

    for name in ("has_stopped", "waiting_clusters"):
        monkeypatch.setattr(queue, name, partial(note, name, getattr(queue, name)))
    wait_until(lambda: looks[-5:] == ["has_stopped"] * 5)
    for number in (1, 2):
        JobFactory.create(finished=True)
        wait_until(lambda number=number: running.counts.archived == number)  # type: ignore[misc]


@pytest.mark.parametrize(
    ("state", "stopped"), [("running", False), ("waiting", True), ("claimed", False), ("tried", False)]
)
def test_a_job_that_waits_has_just_stopped_until_it_is_claimed_or_tried(state: str, stopped: bool) -> None:
    job = JobFactory.create(finished=state != "running")
    if state in {"claimed", "tried"}:
        ArchiveTask.objects.create(
            job=job, worker="me" if state == "claimed" else "", attempts=state == "tried", not_before=timezone.now()
        )
    assert queue.has_stopped() == stopped


def test_a_running_worker_stops_when_told(running: ArchiveWorker) -> None:
    JobFactory.create(finished=True)
    wait_until(lambda: running.counts.archived == 1)
    running.stopping.set()


def test_a_failed_attempt_is_kept_with_its_reason_and_tried_again_after_a_pause(
    archive_root: Path, broken_store: pytest.MonkeyPatch
) -> None:
    job = JobFactory.create(finished=True)
    assert ArchiveWorker().drain().failed == 1
    task = ArchiveTask.objects.get()
    assert (task.attempts, task.error, task.worker) == (1, "OSError: disk full", "")
    assert task.not_before > timezone.now() + timedelta(seconds=30)
    job.refresh_from_db()
    assert job.monitoring_status == MonitoringStatus.ARCHIVING
    assert ArchiveWorker().drain().failed == 0, "not before the pause is over"
    broken_store.undo()
    ArchiveTask.objects.update(not_before=timezone.now() - timedelta(seconds=1))
    assert ArchiveWorker().drain().archived == 1
    assert not ArchiveTask.objects.exists()


def test_pauses_grow(archive_root: Path, broken_store: pytest.MonkeyPatch) -> None:
    JobFactory.create(finished=True)
    pauses = []
    for _ in range(4):
        ArchiveTask.objects.update(not_before=timezone.now() - timedelta(seconds=1))
        ArchiveWorker().drain()
        pauses.append(ArchiveTask.objects.get().not_before - timezone.now())
    assert all(later > 1.5 * earlier for earlier, later in itertools.pairwise(pauses))


def test_after_many_attempts_the_job_is_marked_as_failed_with_its_reason(
    archive_root: Path, broken_store: pytest.MonkeyPatch
) -> None:
    job = JobFactory.create(finished=True)
    attempts = 0
    while Job.objects.awaiting_archive().exists():
        attempts += 1
        assert attempts < 100
        ArchiveTask.objects.update(not_before=timezone.now() - timedelta(seconds=1))
        ArchiveWorker().drain()
    job.refresh_from_db()
    assert job.monitoring_status == MonitoringStatus.FAILED
    assert "disk full" in job.archive_task.error
    assert not job.archive_task.of_source
    assert attempts > 3
    broken_store.undo()
    assert ArchiveWorker(at_once=True).drain().archived == 0, "failed for good until somebody asks"
    assert queue.retry_failed() == 1
    assert ArchiveWorker().drain().archived == 1


def test_an_error_that_stays_is_not_tried_again(
    archive_root: Path, cluster: Path, synthetic: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*args: Any, **options: Any) -> None:
        raise SourceError("no such metric store", transient=False)

    monkeypatch.setattr("archive.sources.synthetic.SyntheticSource.load", fail)
    job = JobFactory.create(finished=True)
    ArchiveWorker().drain()
    job.refresh_from_db()
    assert job.monitoring_status == MonitoringStatus.FAILED
    assert "no such metric store" in job.archive_task.error
    assert job.archive_task.of_source


def test_at_once_ignores_pauses_and_tries_each_job_once(archive_root: Path, broken_store: pytest.MonkeyPatch) -> None:
    for _ in range(3):
        JobFactory.create(finished=True)
    for _ in range(2):
        assert ArchiveWorker(at_once=True).drain().failed == 3
    assert set(ArchiveTask.objects.values_list("attempts", flat=True)) == {2}
    broken_store.undo()
    assert ArchiveWorker(at_once=True).drain().archived == 3


def test_one_bad_job_does_not_hold_up_the_others(archive_root: Path) -> None:
    bad = JobFactory.create(finished=True)
    good = JobFactory.create(finished=True)
    folder = job_folder(archive_root, bad.key)
    folder.parent.mkdir(parents=True)
    folder.write_text("a file where the folder should be")
    counts = ArchiveWorker().drain()
    assert (counts.archived, counts.failed) == (1, 1)
    good.refresh_from_db()
    assert good.is_archived


def test_a_job_that_somebody_holds_is_left_alone_until_the_lease_ends(archive_root: Path) -> None:
    JobFactory.create(finished=True)
    (claim,) = queue.claim_waiting("other:1:a", "testcluster", 10)
    assert queue.claim_waiting("me:2:b", "testcluster", 10) == []
    assert ArchiveWorker().drain().archived == 0
    assert ArchiveWorker(at_once=True).drain().archived == 0, "at_once waits for leases"
    ArchiveTask.objects.update(not_before=timezone.now() - timedelta(seconds=1))
    assert ArchiveWorker().drain().archived == 1
    queue.finish("other:1:a", [(claim, queue.Written("{}"))])
    assert not ArchiveTask.objects.exists()


def test_a_dead_worker_s_job_is_free_within_10_seconds(archive_root: Path) -> None:
    JobFactory.create(finished=True)
    queue.claim_waiting("dead:1:a", "testcluster", 10)
    assert ArchiveTask.objects.get().not_before <= timezone.now() + timedelta(seconds=10)
    assert queue.LEASE.total_seconds() > 2 * queue.RENEW_EVERY


def test_a_living_worker_keeps_a_job_that_takes_longer_than_its_lease(
    archive_root: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(queue, "LEASE", timedelta(seconds=0.6))
    monkeypatch.setattr(queue, "RENEW_EVERY", 0.1)
    writes: list[int] = []

    def slow(row: Any) -> queue.Written:
        writes.append(row[0])
        time.sleep(1.2)
        return queue.Written("{}")

    monkeypatch.setattr("jobs.archiving.writing.write", slow)
    JobFactory.create(finished=True)

    def drain_and_close() -> None:
        ArchiveWorker().drain()
        connection.close()

    first = threading.Thread(target=drain_and_close)
    first.start()
    wait_until(lambda: bool(writes))
    while first.is_alive():
        assert ArchiveWorker().drain().archived == 0
        time.sleep(0.1)
    first.join()
    assert len(writes) == 1


def test_released_jobs_are_free_at_once(archive_root: Path) -> None:
    JobFactory.create(finished=True)
    queue.claim_waiting("a:1:a", "testcluster", 10)
    queue.release("a:1:a")
    assert len(queue.claim_waiting("b:1:b", "testcluster", 10)) == 1


@pytest.mark.parametrize("edit", ["tag", "untag"])
def test_an_edit_while_the_job_is_written_reaches_meta_json(
    archive_root: Path, monkeypatch: pytest.MonkeyPatch, edit: str
) -> None:
    """The row was read before the edit and is finished after it."""
    job = JobFactory.create(finished=True)
    if edit == "untag":
        tag_job(row_id=job.pk, tags=[TagName(type="a", name="b")])
    claims = queue.claim_waiting("slow:1:a", "testcluster", 1)
    rows = select.fetch_rows([job.pk])
    if edit == "tag":
        tag_job(row_id=job.pk, tags=[TagName(type="late", name="tag")])
    else:
        untag_jobs(row_ids=[job.pk], tag=job.tags.get())
    statistics = writing.write(rows[job.pk])
    queue.finish("slow:1:a", [(claims[0], statistics)])
    assert ArchiveTask.objects.count() == 1, "still due"
    assert ArchiveWorker().drain().archived == 1
    assert [tag["type"] for tag in meta(archive_root, job).get("tags", [])] == (["late"] if edit == "tag" else [])
    assert not ArchiveTask.objects.exists()


def test_edits_of_many_archived_jobs_reach_their_meta_json(archive_root: Path) -> None:
    jobs = [JobFactory.create(finished=True) for _ in range(5)]
    ArchiveWorker().drain()
    assert tag_jobs(row_ids=[job.pk for job in jobs], tags=[TagName(type="a", name="b")]) == 5
    assert ArchiveWorker().drain().archived == 5
    assert all(meta(archive_root, job)["tags"][0]["type"] == "a" for job in jobs)
    assert untag_jobs(row_ids=[job.pk for job in jobs[:2]], tag=jobs[0].tags.get()) == 2
    ArchiveWorker().drain()
    assert ["tags" in meta(archive_root, job) for job in jobs] == [False, False, True, True, True]


def test_tagging_while_the_worker_drains_never_loses_a_tag(archive_root: Path) -> None:
    jobs = [JobFactory.create(finished=True) for _ in range(30)]

    def tag() -> None:
        for job in jobs:
            tag_job(row_id=job.pk, tags=[TagName(type="mid", name="way")])
        connection.close()

    tagging = threading.Thread(target=tag)
    tagging.start()
    ArchiveWorker().drain()
    tagging.join()
    ArchiveWorker(at_once=True).drain()
    assert [job for job in jobs if not meta(archive_root, job).get("tags")] == []
    assert not ArchiveTask.objects.exists()


def test_a_job_that_is_deleted_while_it_is_written_is_no_failure(
    archive_root: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    job, other = JobFactory.create(finished=True), JobFactory.create(finished=True)
    write = writing.write

    def delete_first(row: Any) -> queue.Written:
        if row[0] == job.pk:
            delete_job(row_id=job.pk)
            connection.close()
        return write(row)

    monkeypatch.setattr("jobs.archiving.writing.write", delete_first)
    assert ArchiveWorker().drain().failed == 0
    assert list(Job.objects.archived()) == [other]
    assert not ArchiveTask.objects.exists()


def test_several_workers_share_the_work_and_double_nothing(archive_root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for _ in range(60):
        JobFactory.create(finished=True)
    written: list[int] = []
    write = writing.write

    def counted(row: Any) -> queue.Written:
        written.append(row[0])
        return write(row)

    monkeypatch.setattr("jobs.archiving.writing.write", counted)
    workers = [ArchiveWorker() for _ in range(3)]

    def drain(one: ArchiveWorker) -> None:
        one.drain()
        connection.close()

    threads = [threading.Thread(target=drain, args=(one,)) for one in workers]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(written) == sorted(Job.objects.values_list("pk", flat=True))
    assert sum(one.counts.archived for one in workers) == 60
    assert Job.objects.archived().count() == 60


def test_a_worker_survives_a_database_that_does_not_answer(
    running: ArchiveWorker, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(worker, "_AFTER_TROUBLE", 0.05)
    calls: list[int] = []
    claim = queue.claim_waiting

    def refuse(*args: Any, **options: Any) -> Any:
        calls.append(1)
        if len(calls) < 4:
            raise OperationalError("away")
        return claim(*args, **options)

    monkeypatch.setattr(queue, "claim_waiting", refuse)
    JobFactory.create(finished=True)
    wait_until(lambda: running.counts.archived == 1)
    assert len(calls) >= 4


def test_what_was_claimed_when_the_database_went_away_is_begun_when_it_is_back(
    running: ArchiveWorker, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(worker, "_AFTER_TROUBLE", 0.05)
    fetch_rows, calls = select.fetch_rows, []

    def refuse_once(row_ids: Any) -> Any:
        calls.append(row_ids)
        if len(calls) == 1:
            raise OperationalError("away")
        return fetch_rows(row_ids)

    monkeypatch.setattr(worker, "fetch_rows", refuse_once)
    JobFactory.create(finished=True)
    assert wait_until(lambda: running.counts.archived == 1) < queue.LEASE.total_seconds() / 2
    assert len(calls) == 2


def test_a_worker_that_is_told_to_stop_gives_back_at_once_what_it_has_not_begun(
    archive_root: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    JobFactory.create_batch(20, finished=True)
    worker = ArchiveWorker()

    def write(row: Any) -> queue.Written:
        worker.stopping.set()
        time.sleep(0.1)
        return queue.Written("{}")

    monkeypatch.setattr("jobs.archiving.writing.write", write)
    begin = time.monotonic()
    worker.run()
    assert time.monotonic() - begin < 3
    assert 0 < worker.counts.archived < 20
    assert not ArchiveTask.objects.exclude(worker="").exists()
