"""The signs of life of a running worker."""

import shutil
import time
from pathlib import Path

import pytest
from django.db import connection
from django.test.utils import CaptureQueriesContext

from jobs.archiving.heartbeat import Heartbeat
from jobs.models import FreeSpace, WorkerHeartbeat
from tests.support.archive_worker import RunWorker, run, wait_until
from tests.support.factories import JobFactory

__all__ = ["run"]


@pytest.mark.django_db(transaction=True)
def test_a_running_worker_gives_signs_of_life_and_takes_its_row_along(
    run: RunWorker, synthetic: None, cluster: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("jobs.archiving.heartbeat.BEAT_EVERY", 0.05)
    job = JobFactory.create(finished=True)
    worker = run()
    wait_until(lambda: WorkerHeartbeat.objects.filter(archived=1).exists(), 10)
    row = WorkerHeartbeat.objects.get()
    assert (row.worker, row.archived, row.failed) == (worker.name, 1, 0)
    assert 0 < row.seconds < 600
    assert row.clusters["testcluster"]["success"] > job.start_time
    assert row.clusters["testcluster"]["failure"] is None
    assert worker.name.startswith(f"{row.host}:{row.process}:")
    worker.stopping.set()
    wait_until(lambda: not WorkerHeartbeat.objects.exists(), 10)


@pytest.mark.django_db
def test_a_sign_of_life_is_one_statement_every_ten_seconds() -> None:
    heartbeat = Heartbeat("here:1:a")
    assert heartbeat.is_due
    heartbeat.beat(archived=0, failed=0, clusters={})
    assert not heartbeat.is_due
    with CaptureQueriesContext(connection) as queries:
        heartbeat.beat(archived=1, failed=0, clusters={})
    assert len(queries) == 1


@pytest.mark.django_db
def test_the_free_space_is_recorded_once_an_hour_for_two_days(archive_root: Path) -> None:
    hour = int(time.time()) // 3600
    FreeSpace.objects.create(hour=hour - 49, free=1)
    FreeSpace.objects.create(hour=hour - 47, free=2)
    for _ in range(2):  # two workers
        heartbeat = Heartbeat("here:1:a")
        heartbeat.beat(archived=0, failed=0, clusters={})
        heartbeat.beat(archived=0, failed=0, clusters={})
    found = dict(FreeSpace.objects.values_list("hour", "free"))
    assert found[hour - 47] == 2
    assert found[max(found)] > 2
    assert hour - 49 not in found
    shutil.rmtree(archive_root)
    Heartbeat("here:2:b").beat(archived=0, failed=0, clusters={})
