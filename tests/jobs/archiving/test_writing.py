"""What a finished job looks like in the archive."""

import gzip
import json
from pathlib import Path
from typing import Any

import pytest

from archive.format.layout import job_folder
from jobs import checks
from jobs.archiving.worker import ArchiveWorker
from jobs.models import Job
from tests.support.clients import AppClient
from tests.support.factories import START, JobFactory, TagFactory

pytestmark = pytest.mark.django_db


def archived(root: Path, job: Job) -> tuple[Any, Any]:
    """Archive what waits; return meta.json and the data of a job, None where there is none."""
    ArchiveWorker().drain()
    folder = job_folder(root, job.key)
    data = folder / "data.json.gz"
    document = json.loads(gzip.decompress(data.read_bytes())) if data.exists() else None
    return json.loads((folder / "meta.json").read_bytes()), document


def test_a_job_lies_where_its_id_and_start_say(archive_root: Path) -> None:
    JobFactory.create(job_id=1034871, cluster="fritz", start_time=1649723812, finished=True)
    JobFactory.create(job_id=12, cluster="fritz", start_time=1649723812, finished=True)
    ArchiveWorker().drain()
    assert sorted(str(path.relative_to(archive_root)) for path in archive_root.rglob("*.json*")) == [
        "fritz/0/012/1649723812/meta.json",
        "fritz/1034/871/1649723812/meta.json",
    ]


def test_meta_json_is_the_job_meta_with_tags_metadata_and_status_3(archive_root: Path) -> None:
    tag = TagFactory.create(type="class", name="io")
    job = JobFactory.create(start_time=START, finished=True, tags=[tag])
    meta, data = archived(archive_root, job)
    assert data is None
    assert list(meta.items()) == [
        ("id", job.pk),
        ("jobId", job.job_id),
        ("user", "alice"),
        ("project", "bio"),
        ("cluster", "testcluster"),
        ("subCluster", "main"),
        ("partition", "work"),
        ("numNodes", 1),
        ("exclusive", 1),
        ("monitoringStatus", 3),
        ("jobState", "completed"),
        ("duration", 600),
        ("walltime", 3600),
        ("tags", [{"id": tag.pk, "type": "class", "name": "io"}]),
        ("resources", [{"hostname": "n01"}]),
        ("metaData", {"jobName": "a job"}),
        ("concurrentJobs", {"items": None, "count": 0}),
        ("startTime", START),
        ("statistics", {}),
    ]


def test_the_row_is_archived_with_the_statistics_of_meta_json(
    archive_root: Path, cluster: Path, synthetic: None
) -> None:
    job = JobFactory.create(finished=True)
    meta, data = archived(archive_root, job)
    job.refresh_from_db()
    assert job.monitoring_status == 3
    assert json.loads(job.statistics or "") == meta["statistics"]
    assert set(meta["statistics"]) == set(data) == {"cpu_load", "flops_any"}
    assert meta["statistics"]["flops_any"]["unit"] == {"base": "F/s", "prefix": "G"}
    for statistics in meta["statistics"].values():
        assert statistics["min"] <= statistics["avg"] <= statistics["max"]


def test_data_holds_the_metrics_of_the_cluster_in_scope_node_and_their_own(
    archive_root: Path, cluster: Path, synthetic: None
) -> None:
    _, data = archived(archive_root, JobFactory.create(finished=True))
    assert {name: set(scopes) for name, scopes in data.items()} == {"cpu_load": {"node"}, "flops_any": {"node", "core"}}


def test_a_job_of_more_than_8_nodes_has_scope_node_alone(archive_root: Path, cluster: Path, synthetic: None) -> None:
    hosts = json.dumps([{"hostname": f"n{number:02}"} for number in range(1, 18)])
    _, data = archived(archive_root, JobFactory.create(finished=True, num_nodes=17, resources=hosts))
    assert {name: set(scopes) for name, scopes in data.items()} == {"cpu_load": {"node"}, "flops_any": {"node"}}
    assert set(data["cpu_load"]["node"]["statisticsSeries"]) == {"min", "mean", "max"}


def test_a_metric_that_the_subcluster_removes_is_not_archived(
    archive_root: Path, cluster: Path, synthetic: None
) -> None:
    job = JobFactory.create(finished=True, sub_cluster="gpu", resources='[{"hostname":"g01"}]')
    _, data = archived(archive_root, job)
    assert set(data) == {"cpu_load"}


def test_the_word_of_the_scheduler_reaches_meta_json(api: AppClient, archive_root: Path) -> None:
    job = JobFactory.create()
    api.stop(jobId=job.job_id, stopTime=START + 999, jobState="node_fail")
    meta, _ = archived(archive_root, job)
    assert (meta["jobState"], meta["metaData"]) == ("failed", {"jobName": "a job", "schedulerState": "node_fail"})


def test_a_job_of_zero_seconds_is_archived(archive_root: Path, cluster: Path, synthetic: None) -> None:
    meta, _ = archived(archive_root, JobFactory.create(finished=True, duration=0))
    assert (meta["duration"], meta["monitoringStatus"]) == (0, 3)


def test_a_job_without_metadata_is_archived_with_null(archive_root: Path) -> None:
    assert archived(archive_root, JobFactory.create(finished=True, meta_data=None))[0]["metaData"] is None


def test_nothing_else_lies_in_the_archive(archive_root: Path, cluster: Path, synthetic: None) -> None:
    for _ in range(5):
        JobFactory.create(finished=True)
    ArchiveWorker().drain()
    names = {path.name for path in archive_root.rglob("*") if path.is_file()}
    assert names == {"version.txt", "cluster.json", "meta.json", "data.json.gz"}


def test_what_a_dead_worker_left_goes_when_the_job_is_archived_again(archive_root: Path) -> None:
    job = JobFactory.create(finished=True)
    folder = job_folder(archive_root, job.key)
    folder.mkdir(parents=True)
    (folder / ".meta.json.99-dead.tmp").write_text("half")
    archived(archive_root, job)
    assert [path.name for path in folder.iterdir()] == ["meta.json"]


def test_server_and_worker_refuse_an_archive_that_is_not_mounted(archive_root: Path) -> None:
    assert checks.archive_problem() is None
    JobFactory.create(archived=True)
    assert "mounted" in (checks.archive_problem() or "")


def test_server_and_worker_refuse_an_archive_of_another_version(archive_root: Path) -> None:
    (archive_root / "version.txt").write_text("2")
    assert "expected '1'" in (checks.archive_problem() or "")


def test_a_missing_archive_is_created(archive_root: Path, settings: Any) -> None:
    settings.ARCHIVE_ROOT = archive_root / "deep" / "root"
    assert checks.archive_problem() is None
    assert (settings.ARCHIVE_ROOT / "version.txt").read_text().strip() == "1"
