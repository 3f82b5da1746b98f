"""The archive worker with a cc-metric-store: what it archives, and what waits while the store is in trouble."""

import gzip
import json
from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest

from archive.format.layout import job_folder
from jobs.archiving.worker import ArchiveWorker
from jobs.models import ArchiveTask
from jobs.states import MonitoringStatus
from tests.support.clients import AppClient
from tests.support.factories import JobFactory
from tests.support.fake_metric_store import CLUSTER_JSON, FakeStore, level
from tests.support.http_store import respond

pytestmark = pytest.mark.django_db(transaction=True)

TOKEN = "a-secret-token"


@pytest.fixture
def store(archive_root: Path, settings: Any, request: Any) -> Iterator[FakeStore]:
    """Return a fake store that has the samples of the cluster demo, which is in the archive."""
    (archive_root / "demo").mkdir()
    (archive_root / "demo/cluster.json").write_text(json.dumps(CLUSTER_JSON))
    with FakeStore(getattr(request, "param", "1.5.4")) as fake:
        settings.METRIC_SOURCES = {"demo": {"kind": "cc-metric-store", "url": fake.url, "token": TOKEN, "timeout": 5}}
        yield fake


def finished_job(**resource: Any) -> Any:
    """Make a job of two nodes that waits for the archive."""
    resources = json.dumps([{"hostname": "n01", **resource}, {"hostname": "n02", **resource}])
    return JobFactory.create(finished=True, cluster="demo", num_nodes=2, resources=resources)


def failed_task() -> ArchiveTask:
    """Let the worker fail at a job, which waits on; return its task."""
    row = finished_job()
    assert ArchiveWorker().drain().failed == 1
    row.refresh_from_db()
    assert row.monitoring_status == MonitoringStatus.ARCHIVING
    return ArchiveTask.objects.get(pk=row.pk)


def test_the_worker_archives_what_the_store_has(archive_root: Path, store: FakeStore) -> None:
    store.gaps = {0}
    row = finished_job()
    assert ArchiveWorker().drain().archived == 1
    folder = job_folder(archive_root, row.key)
    data = json.loads(gzip.decompress((folder / "data.json.gz").read_bytes()))
    assert sorted(data) == ["clock", "flops", "load", "mem_bw", "power"]
    first, second = (level("load", host) for host in ("n01", "n02"))
    assert data["load"]["node"]["series"][1] == {
        "hostname": "n02",
        "statistics": {"min": second + 1, "avg": second + 5, "max": second + 9},
        "data": [None, *(second + step for step in range(1, 10))],
    }
    assert [series["id"] for series in data["flops"]["core"]["series"]] == list("01230123")
    statistics = json.loads((folder / "meta.json").read_bytes())["statistics"]
    expected = {"min": first + 1, "avg": (first + second) / 2 + 5, "max": second + 9}
    assert statistics["load"] == {"unit": {"base": "B/s", "prefix": "G"}, **expected}
    row.refresh_from_db()
    assert row.monitoring_status == MonitoringStatus.ARCHIVED
    assert json.loads(row.statistics) == statistics


@pytest.mark.parametrize("store", ["0.1.1", "1.5.4"], indirect=True)
def test_a_job_with_a_silent_gpu_and_a_silent_socket_is_archived_and_shown(
    api: AppClient, archive_root: Path, store: FakeStore
) -> None:
    store.silent = {("acc_used", "n01", "00:02"), ("power", "n02", "0")}
    row = finished_job(accelerators=["00:01", "00:02"])
    assert ArchiveWorker().drain().archived == 1
    data = json.loads(gzip.decompress((job_folder(archive_root, row.key) / "data.json.gz").read_bytes()))
    used = data["acc_used"]["accelerator"]["series"]
    assert [(each["hostname"], each["id"]) for each in used] == [("n01", "00:01"), ("n02", "00:01"), ("n02", "00:02")]
    assert [each["id"] for each in data["power"]["socket"]["series"]] == ["0", "1", "1"]
    answer = api.get(f"/api/jobs/{row.pk}")
    assert answer.status == 200
    assert {"acc_used", "power"} <= {item["name"] for item in answer.json["data"]}


def test_a_store_in_trouble_leaves_the_job_waiting_with_its_reason(archive_root: Path, store: FakeStore) -> None:
    store.misbehave = lambda handler: respond(handler, 500, b"out of memory")
    task = failed_task()
    assert f"{store.url}/api/query: answered 500 Internal Server Error: out of memory" in task.error
    assert not job_folder(archive_root, task.job.key).exists()
    store.misbehave = None
    ArchiveTask.objects.filter(pk=task.pk).update(not_before=task.not_before - timedelta(days=1))
    assert ArchiveWorker().drain().archived == 1


def test_a_store_that_refuses_the_token_leaves_the_job_waiting_with_the_reason(store: FakeStore) -> None:
    store.misbehave = lambda handler: respond(handler, 401, b"token expired")
    task = failed_task()
    assert "answered 401 Unauthorized: token expired" in task.error
    assert TOKEN not in task.error
