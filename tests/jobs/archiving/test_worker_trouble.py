"""The archive worker in trouble: sources that hang, are away or refuse, a full or read-only disk, jobs that kill it."""

import contextlib
import errno
import json
import os
import subprocess
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ProcessPoolExecutor
from datetime import timedelta
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest
from django.utils import timezone

from archive.format.layout import job_folder
from jobs.archiving import queue, worker, writing
from jobs.archiving.worker import ArchiveWorker
from jobs.exceptions import ArchiveUnavailableError
from jobs.models import ArchiveTask, Job
from jobs.rows.select import fetch_rows
from jobs.samples import load
from jobs.samples.load import _LOADS, samples
from jobs.states import MonitoringStatus
from tests.conftest import TEST_CLUSTER
from tests.support import deadly_job
from tests.support.archive_worker import RunWorker, wait_until
from tests.support.clients import AppClient
from tests.support.factories import JobFactory
from tests.support.waiting import wait_for

pytestmark = pytest.mark.django_db(transaction=True)

METRICS = [TEST_CLUSTER["metricConfig"][0]]


class Store(ThreadingHTTPServer):
    """A metric store that answers, hangs, refuses or dies in the middle, as `mode` says; counts its requests."""

    daemon_threads = True
    mode = "answer"
    requests = 0

    def __init__(self) -> None:
        """Listen on a free port of loopback."""
        self.leaving = threading.Event()
        super().__init__(("127.0.0.1", 0), Handler)


class Handler(BaseHTTPRequestHandler):
    """Answers a query with three samples for each series."""

    server: Store

    def do_GET(self) -> None:
        """Answer, or not."""
        queries = json.loads(self.rfile.read(int(self.headers["Content-Length"])))["queries"]
        self.server.requests += 1
        if self.server.mode == "hang":
            self.server.leaving.wait(30)
            self.close_connection = True
            return
        status = 401 if self.server.mode == "refuse" else 200
        body = json.dumps({"results": [[{"data": [1, 2, 3]}] for _ in queries]}).encode()
        self.send_response(status)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        if self.server.mode == "die":
            body = body[: len(body) // 2]
            self.close_connection = True
        self.wfile.write(body)

    def log_message(self, format: str, *args: Any) -> None:
        """Say nothing."""


@pytest.fixture
def store(archive_root: Path, settings: Any) -> Iterator[Store]:
    """Return the metric store of the clusters `slow1` and `slow2`; all others have none."""
    server = Store()
    thread = threading.Thread(target=server.serve_forever, args=(0.05,))
    thread.start()
    entry = {"kind": "cc-metric-store", "url": f"http://127.0.0.1:{server.server_port}", "timeout": 3}
    settings.METRIC_SOURCES = {"slow1": entry, "slow2": entry}
    for name in ("slow1", "slow2"):
        (archive_root / name).mkdir()
        config = TEST_CLUSTER | {"name": name, "metricConfig": METRICS}
        (archive_root / name / "cluster.json").write_text(json.dumps(config))
    yield server
    server.leaving.set()
    server.shutdown()
    thread.join()
    server.server_close()


def archived(cluster: str) -> int:
    """Return how many jobs of a cluster are archived."""
    return Job.objects.archived().filter(cluster=cluster).count()


def test_stores_that_hang_hold_up_no_other_cluster(store: Store, run: RunWorker) -> None:
    store.mode = "hang"
    for cluster in ("slow1", "slow2"):
        JobFactory.create_batch(60, finished=True, cluster=cluster)
    run()
    wait_until(lambda: store.requests >= 2, 5)
    JobFactory.create_batch(40, finished=True)
    assert wait_until(lambda: archived("testcluster") == 40, 10) < 2.5, "before the first of them gives up"


@pytest.mark.parametrize(("mode", "reason"), [("refuse", "401 Unauthorized"), ("die", "closed connection")])
def test_a_store_that_was_away_costs_few_attempts_and_all_goes_on_when_it_is_back(
    store: Store, run: RunWorker, monkeypatch: pytest.MonkeyPatch, mode: str, reason: str
) -> None:
    monkeypatch.setattr(worker, "_LONGEST_PAUSE", 0.5)
    store.mode = mode
    JobFactory.create_batch(100, finished=True, cluster="slow1")
    one = run()
    wait_until(lambda: one.counts.failed >= 8, 20)
    tried = ArchiveTask.objects.filter(attempts__gt=0)
    assert 8 <= tried.count() < 20
    assert set(tried.values_list("attempts", flat=True)) == {1}
    assert all(reason in error for error in tried.values_list("error", flat=True))
    assert Job.objects.awaiting_archive().count() == 100
    store.mode = "answer"
    wait_until(lambda: archived("slow1") >= 100 - one.counts.failed, 10)
    queue.clear_backoff()
    wait_until(lambda: archived("slow1") == 100, 10)
    assert not ArchiveTask.objects.exists()


def test_draining_gives_a_store_up_that_goes_on_failing_and_says_what_is_left(store: Store) -> None:
    store.mode = "refuse"
    JobFactory.create_batch(50, finished=True, cluster="slow1")
    JobFactory.create_batch(50, finished=True)
    counts = ArchiveWorker().drain()
    assert counts.archived == 50
    assert worker._DRAIN_FAILURES <= counts.failed < 20
    assert Job.objects.awaiting_archive().count() == 50
    assert not ArchiveTask.objects.exclude(worker="").exists()


def test_an_edit_is_written_while_the_metric_store_is_away(archive_root: Path, store: Store, run: RunWorker) -> None:
    store.mode = "refuse"
    JobFactory.create_batch(5, finished=True, cluster="slow1")
    edited = JobFactory.create(archived=True, cluster="slow1")
    queue.record_edit([edited.pk])
    run()
    wait_until(lambda: (job_folder(archive_root, edited.key) / "meta.json").exists(), 5)


def test_a_broken_cluster_json_leaves_jobs_waiting_until_it_is_whole(
    archive_root: Path, store: Store, run: RunWorker, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(worker, "_LONGEST_PAUSE", 0.5)
    path = archive_root / "slow1" / "cluster.json"
    whole = path.read_bytes()
    path.write_bytes(whole[: len(whole) // 2])
    JobFactory.create_batch(10, finished=True, cluster="slow1")
    one = run()
    wait_until(lambda: one.counts.failed >= 2, 10)
    (error,) = set(ArchiveTask.objects.exclude(error="").values_list("error", flat=True))
    assert "cluster.json is missing or cannot be read" in error
    path.write_bytes(whole)
    wait_until(lambda: archived("slow1") >= 10 - one.counts.failed, 15)
    queue.clear_backoff()
    wait_until(lambda: archived("slow1") == 10, 10)


def test_a_job_whose_workers_die_pauses_from_the_fourth_time_on(archive_root: Path) -> None:
    job = JobFactory.create(finished=True)
    for attempts, pause in ((1, 0), (2, 0), (3, 0), (4, 60), (5, 2 * 60)):
        assert queue.claim_waiting("dead:1:a", "testcluster", 10)
        ArchiveTask.objects.update(not_before=timezone.now() - timedelta(seconds=1))
        assert queue.claim_waiting("other:1:a", "testcluster", 10) == [], "nobody takes what may still be written"
        queue.reclaim_expired()
        task = ArchiveTask.objects.get(pk=job.pk)
        assert (task.worker, task.attempts) == ("", attempts)
        assert "dead:1:a did not live" in task.error
        assert pause - 5 < (task.not_before - timezone.now()).total_seconds() < 1.5 * pause + 5
        queue.clear_backoff()
    assert ArchiveWorker().drain().archived == 1


def test_jobs_that_died_together_come_back_apart(archive_root: Path) -> None:
    """Otherwise one that kills its worker would take the same ones with it each time."""
    JobFactory.create_batch(8, finished=True)
    for _ in range(4):
        assert len(queue.claim_waiting("dead:1:a", "testcluster", 10)) == 8
        ArchiveTask.objects.update(not_before=timezone.now() - timedelta(seconds=1))
        queue.reclaim_expired()
    pauses = sorted(ArchiveTask.objects.values_list("not_before", flat=True))
    assert pauses[-1] - pauses[0] > timedelta(seconds=2)


def test_a_lease_that_was_renewed_meanwhile_is_not_ended(archive_root: Path) -> None:
    JobFactory.create(finished=True)
    (claim,) = queue.claim_waiting("alive:1:a", "testcluster", 10)
    queue.fail("alive:1:a", claim, "died", killed=True, expired=True)
    assert ArchiveTask.objects.get().worker == "alive:1:a"


def test_a_job_that_kills_its_process_each_time_pauses_and_no_other_job_does(
    archive_root: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(writing, "write", deadly_job.write)
    deadly = JobFactory.create(finished=True, job_id=deadly_job.DEADLY)
    jobs = JobFactory.create_batch(40, finished=True)
    one = ArchiveWorker(in_processes=True)
    begin = timezone.now()
    one.drain()
    task = ArchiveTask.objects.get()
    assert (task.pk, task.attempts, task.error) == (deadly.pk, 4, worker._KILLED)
    assert task.not_before - begin > timedelta(seconds=59)
    assert task.not_before - timezone.now() < timedelta(seconds=91)
    assert archived("testcluster") == len(jobs)


@pytest.mark.parametrize(
    ("kills", "error"),
    [
        (True, OSError(errno.EBADF, os.strerror(errno.EBADF))),  # as the closed pipes were seen to cause
        (False, EOFError("unexpected EOF")),  # of the fork server, if it or the new process is killed
    ],
)
def test_a_process_that_cannot_be_started_ends_no_worker(
    archive_root: Path, monkeypatch: pytest.MonkeyPatch, *, kills: bool, error: Exception
) -> None:
    starts = []
    real = ProcessPoolExecutor._adjust_process_count

    def start(executor: ProcessPoolExecutor) -> None:
        starts.append(executor)
        if len(starts) != 2:
            real(executor)
            return
        if kills:
            for process in executor._processes.values():
                process.kill()
            wait_for(lambda: executor._broken)
        raise error

    monkeypatch.setattr(ProcessPoolExecutor, "_adjust_process_count", start)
    monkeypatch.setattr(writing, "write", deadly_job.write)
    JobFactory.create_batch(3, finished=True)
    ArchiveWorker(in_processes=True).drain()
    assert len(set(starts)) > 1
    assert archived("testcluster") == 3


def fill(path: Path) -> None:
    """Write a file until the disk is full."""
    with contextlib.suppress(OSError), path.open("wb", buffering=0) as file:
        while True:
            file.write(b"x" * 4096)


@pytest.fixture
def small_disk(archive_root: Path) -> Iterator[Path]:
    """Return the archive's root, on a file system of its own, of 1 MB."""
    mount = ["mount", "-t", "tmpfs", "-o", "size=1m", "tmpfs", str(archive_root)]
    mounted = subprocess.run(mount, capture_output=True, check=False)
    if mounted.returncode:
        pytest.skip(f"no file system can be mounted here: {mounted.stderr.decode().strip()}")
    (archive_root / "version.txt").write_text("1\n")
    yield archive_root
    subprocess.run(["umount", "-l", str(archive_root)], check=True)


@pytest.mark.parametrize("trouble", ["full", "read-only"])
def test_a_disk_in_trouble_loses_nothing_and_all_goes_on_when_it_is_well(
    small_disk: Path,
    trouble: str,
    run: RunWorker,
    api: AppClient,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(worker, "_LONGEST_PAUSE", 0.3)
    JobFactory.create(finished=True)
    assert ArchiveWorker().drain().archived == 1
    filler = small_disk / "filler"
    if trouble == "full":
        fill(filler)
    else:
        subprocess.run(["mount", "-o", "remount,ro", str(small_disk)], check=True)
    jobs = JobFactory.create_batch(30, finished=True)
    one = run()
    wait_until(lambda: one.counts.failed >= 5, 20)
    assert api.get("/api/jobs/").json["items"] == 25
    reason = "No space left" if trouble == "full" else "Read-only file system"
    assert all(reason in error for error in ArchiveTask.objects.exclude(error="").values_list("error", flat=True))
    assert not list(small_disk.glob("**/.*.tmp"))
    assert set(Job.objects.filter(pk__in=[job.pk for job in jobs]).values_list("monitoring_status", flat=True)) == {
        MonitoringStatus.ARCHIVING
    }
    if trouble == "full":
        filler.unlink()
    else:
        subprocess.run(["mount", "-o", "remount,rw", str(small_disk)], check=True)
    wait_until(lambda: archived("testcluster") >= 20, 20)
    queue.clear_backoff()
    wait_until(lambda: archived("testcluster") == 31, 20)


def test_running_jobs_of_a_store_that_hangs_take_few_of_the_server_s_threads(
    store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(load, "_WAIT_FOR_LOAD", 1.5)
    store.mode = "hang"
    row = fetch_rows([JobFactory.create(cluster="slow1", start_time=int(time.time()) - 600).pk])
    (job,) = row.values()
    messages: list[str] = []

    def look() -> None:
        with pytest.raises(ArchiveUnavailableError) as caught:
            samples(job, None)
        messages.append(str(caught.value))

    threads = [threading.Thread(target=look) for _ in range(_LOADS + 4)]
    for thread in threads:
        thread.start()
    wait_until(lambda: len(messages) >= 3, 1)  # at once, because a fourth waits already
    wait_until(lambda: len(messages) == 4, 2)
    assert all("others are being loaded" in message for message in messages)
    assert store.requests == _LOADS
    store.leaving.set()
    for thread in threads:
        thread.join()
    store.mode = "answer"
    assert b"cpu_load" in samples(job, None)
