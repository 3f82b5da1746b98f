"""The archive worker and jobs that fail each in their own way: none of them holds up the good ones of its cluster."""

import json
import random
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from http.server import BaseHTTPRequestHandler
from pathlib import Path
from typing import Any

import pytest
from django.utils import timezone

from jobs.archiving import worker
from jobs.models import ArchiveTask, Job
from tests.conftest import TEST_CLUSTER
from tests.support.archive_worker import RunWorker, wait_until
from tests.support.factories import JobFactory
from tests.support.http_store import LoopbackServer, respond

pytestmark = pytest.mark.django_db(transaction=True)

OWN = ["shape", "not JSON", "empty", "too few results"]
TRANSPORT = ["500", "cut", "hang"]
TIMEOUT = 1.0
MOST = 290  # of 300 good jobs: on a busy machine one may time out
HANGING = 3.0  # seconds until the worker has found room beside the 14 jobs that hang; they hang for 112 seconds


class FaultyStore(LoopbackServer):
    """A cc-metric-store that answers wrongly for some jobs, named by their start time."""

    def __init__(self) -> None:
        super().__init__()
        self.faults: dict[int, str] = {}
        self.asked: list[int] = []

    def body(self, request: bytes) -> bytes:
        """Return three samples for each query."""
        return json.dumps({"results": [[{"data": [1, 2, 3]}] for _ in json.loads(request)["queries"]]}).encode()

    def reply(self, handler: BaseHTTPRequestHandler, request: bytes) -> None:
        """Answer a request as the job's fault says."""
        start_time = json.loads(request)["from"]
        self.asked.append(start_time)
        fault, good = self.faults.get(start_time), self.body(request)
        bodies = {"shape": b'{"results": 3}', "not JSON": b"<html>", "empty": b"", "too few results": b'{"results":[]}'}
        if fault == "hang":
            self.leaving.wait(10)
            handler.close_connection = True
        elif fault == "cut":
            respond(handler, 200, good[:10], length=len(good))
        else:
            respond(handler, 500 if fault == "500" else 200, bodies.get(fault or "", good))


@pytest.fixture
def store(archive_root: Path, settings: Any) -> Iterator[FaultyStore]:
    """Return the metric store of testcluster."""
    (archive_root / "testcluster").mkdir()
    config = TEST_CLUSTER | {"metricConfig": TEST_CLUSTER["metricConfig"][:1]}
    (archive_root / "testcluster/cluster.json").write_text(json.dumps(config))
    with FaultyStore() as listening:
        entry = {"kind": "cc-metric-store", "url": listening.url, "timeout": TIMEOUT}
        settings.METRIC_SOURCES = {"testcluster": entry, "*": {"kind": "none"}}
        yield listening


def add(store: FaultyStore, number: int, *faults: str) -> list[Job]:
    """Make jobs that wait, with faults in turn if any are named."""
    jobs = JobFactory.create_batch(number, finished=True)
    for position, job in enumerate(jobs if faults else ()):
        store.faults[job.start_time] = faults[position % len(faults)]
    return jobs


def archived(jobs: list[Job]) -> int:
    """Return how many of these jobs are archived."""
    return Job.objects.archived().filter(pk__in=[job.pk for job in jobs]).count()


def failed(jobs: list[Job]) -> int:
    """Return how many of these jobs failed once and pause."""
    tasks = ArchiveTask.objects.filter(pk__in=[job.pk for job in jobs], attempts=1, worker="").exclude(error="")
    return tasks.filter(not_before__gt=timezone.now()).count()


@pytest.mark.parametrize("fault", OWN + TRANSPORT)
def test_good_jobs_behind_bad_ones_are_archived_in_seconds(store: FaultyStore, run: RunWorker, fault: str) -> None:
    bad, good = add(store, 12, fault), add(store, 6)
    run()
    wait_until(lambda: archived(good) == 6, 8)
    wait_until(lambda: failed(bad) == 12, 8)
    assert Job.objects.awaiting_archive().count() == 12, "and are tried again"


def test_an_answer_of_the_wrong_shape_puts_no_source_in_doubt(store: FaultyStore, run: RunWorker) -> None:
    bad = add(store, 40, *OWN)
    one = run()
    wait_until(lambda: failed(bad) == 40, 10)
    assert one._pools["testcluster"].backoff.failures == 0


def test_a_hundred_bad_jobs_among_the_good_leave_these_half_of_their_rate(
    store: FaultyStore, run: RunWorker, settings: Any
) -> None:
    settings.METRIC_SOURCES["testcluster"]["timeout"] = 8
    alone = add(store, 300)
    first = run()
    undisturbed = wait_until(lambda: archived(alone) >= MOST, 30)
    first.stopping.set()
    jobs = add(store, 400)
    bad = random.Random(7).sample(jobs, 100)
    store.faults = {job.start_time: (OWN + TRANSPORT)[position % 7] for position, job in enumerate(bad)}
    good = [job for job in jobs if job.start_time not in store.faults]
    run()
    took = wait_until(lambda: archived(good) >= MOST, 30)
    assert took < 2 * undisturbed + HANGING, (took, undisturbed)
    store.leaving.set()
    wait_until(lambda: failed(bad) == 100, 30)


def test_a_dozen_bad_jobs_delay_the_first_good_one_by_seconds_and_a_long_trouble_by_half_a_minute() -> None:
    def pause(failures: int) -> float:
        return worker.Backoff(failures, time.monotonic()).pause()

    assert sum(max(0.0, pause(failures)) for failures in range(worker._FAILURES_UNTIL_DOUBT + 13)) < 6
    assert pause(worker._FAILURES_UNTIL_DOUBT) <= 0, "the first try is at once"
    assert 29 < pause(10_000) <= 30


@pytest.mark.parametrize(("usual", "slow"), [(0, 5), (0.01, 0.5), (0.2, 1), (0.9, 4.5), (3, 5), (20, 20)])
def test_a_job_is_slow_by_what_is_usual_in_its_cluster(usual: float, slow: float) -> None:
    with ThreadPoolExecutor(1) as executor:
        assert worker.ClusterPool(executor, usual=usual).slow == slow


def test_executors_beside_jobs_that_hang_are_limited(
    store: FaultyStore, run: RunWorker, monkeypatch: pytest.MonkeyPatch, settings: Any
) -> None:
    settings.METRIC_SOURCES["testcluster"]["timeout"] = 8
    monkeypatch.setattr(worker, "_SLOW_AT_MOST", 0.1)
    add(store, 40, "hang")
    one = run()

    def executors() -> int:
        return len({work.executor for work in list(one._in_work.values())})

    wait_until(lambda: executors() == worker._MOST_EXECUTORS, 7)
    time.sleep(0.5)  # five times as long as it takes to get another one
    assert executors() == worker._MOST_EXECUTORS
    store.leaving.set()


def test_a_source_in_doubt_is_tried_with_the_newest_job_and_each_time_with_another(
    store: FaultyStore, run: RunWorker, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(worker, "_LONGEST_PAUSE", 0.1)
    jobs = [job.start_time for job in add(store, 60, "500")]
    one = run()
    wait_until(lambda: one.counts.failed >= 12, 10)
    tries = [start_time for start_time in store.asked if start_time in jobs[worker._CLAIMED :]]
    assert len(tries) >= 8
    assert tries == jobs[::-1][: len(tries)]


def test_jobs_that_hang_do_not_hold_up_the_try_that_ends_the_doubt(
    store: FaultyStore, run: RunWorker, settings: Any
) -> None:
    settings.METRIC_SOURCES["testcluster"]["timeout"] = 8
    add(store, 2, "hang")
    add(store, 2 * worker._CLAIMED, "500")
    good = add(store, 10)
    run()
    wait_until(lambda: archived(good) == 10, 7)  # before the first of them is given up
    store.leaving.set()


def test_jobs_that_failed_before_leave_the_others_a_way_when_they_hang_again(
    store: FaultyStore, run: RunWorker, settings: Any
) -> None:
    settings.METRIC_SOURCES["testcluster"]["timeout"] = 8
    hanging = add(store, 10, "hang")
    ArchiveTask.objects.bulk_create(
        [ArchiveTask(job=job, not_before=timezone.now(), attempts=1, error="no answer") for job in hanging]
    )
    run()
    wait_until(lambda: len(store.asked) == 2, 5)
    good = add(store, 10)
    wait_until(lambda: archived(good) == 10, 7)  # before the first of them is given up
    assert len(store.asked) == 12
    store.leaving.set()


def test_a_cluster_whose_folder_cannot_be_written_holds_up_no_other(archive_root: Path, run: RunWorker) -> None:
    (archive_root / "broken").write_text("a file where the folder should be")
    JobFactory.create_batch(20, finished=True, cluster="broken")
    run()
    wait_until(lambda: ArchiveTask.objects.filter(attempts=1).count() >= 5, 5)
    good = JobFactory.create_batch(20, finished=True)
    wait_until(lambda: archived(good) == 20, 3)


def test_an_error_that_nobody_foresaw_is_the_job_s_own(archive_root: Path, run: RunWorker) -> None:
    bad = JobFactory.create_batch(20, finished=True, resources="no JSON")
    good = JobFactory.create_batch(5, finished=True)
    one = run()
    wait_until(lambda: archived(good) == 5, 5)
    wait_until(lambda: failed(bad) == 20, 5)
    assert one._pools["testcluster"].backoff.failures == 0
