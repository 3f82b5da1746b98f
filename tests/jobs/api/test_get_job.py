"""POST and GET jobs/{id}: a job with its samples."""

import gzip
import json
import time
from pathlib import Path
from typing import Any

import pytest

from archive.format.layout import job_folder
from jobs.archiving.worker import ArchiveWorker
from jobs.models import Job
from tests.support.clients import AppClient
from tests.support.factories import START, JobFactory, TagFactory


def names(document: Any) -> list[tuple[str, str]]:
    """Return name and scope of each metric of an answer."""
    return [(item["name"], item["scope"]) for item in document["data"]]


@pytest.fixture
def archived(api: AppClient, cluster: Path, synthetic: None) -> Job:
    """Return a job of one node that lies in the archive with samples."""
    JobFactory.create(finished=True, tags=[TagFactory.create(type="class", name="io")])
    assert ArchiveWorker().drain().archived == 1
    return Job.objects.get()


def test_meta_is_the_job_with_tags_metadata_and_its_start_in_rfc_3339(api: AppClient) -> None:
    tag = TagFactory.create(type="class", name="io")
    job = JobFactory.create(start_time=START, finished=True, monitoring_status=0, tags=[tag])
    assert api.get(f"/api/jobs/{job.pk}").json == {
        "meta": {
            "id": job.pk,
            "jobId": job.job_id,
            "user": "alice",
            "project": "bio",
            "cluster": "testcluster",
            "subCluster": "main",
            "partition": "work",
            "numNodes": 1,
            "exclusive": 1,
            "monitoringStatus": 0,
            "jobState": "completed",
            "duration": 600,
            "walltime": 3600,
            "tags": [{"id": tag.pk, "type": "class", "name": "io"}],
            "resources": [{"hostname": "n01"}],
            "metaData": {"jobName": "a job"},
            "concurrentJobs": {"items": None, "count": 0},
            "startTime": "2023-11-14T22:13:20Z",
        },
        "data": [],
    }


@pytest.mark.parametrize("body", [b"null", b"", None])
def test_null_or_no_body_is_all_metrics_sorted_by_name(api: AppClient, archived: Job, body: bytes | None) -> None:
    answer = api.post(f"/api/jobs/{archived.pk}", body)
    assert names(answer.json) == [("cpu_load", "node"), ("flops_any", "core")]


@pytest.mark.parametrize("slash", ["", "/"])
def test_get_gives_the_same_with_all_metrics(api: AppClient, archived: Job, slash: str) -> None:
    got, posted = api.get(f"/api/jobs/{archived.pk}{slash}"), api.post(f"/api/jobs/{archived.pk}{slash}", None)
    assert (got.status, got.json) == (200, posted.json)


def test_an_empty_list_is_no_metric(api: AppClient, archived: Job) -> None:
    assert api.post(f"/api/jobs/{archived.pk}", []).json["data"] == []


def test_the_named_metrics_come_and_unknown_names_are_left_out(api: AppClient, archived: Job) -> None:
    assert names(api.post(f"/api/jobs/{archived.pk}", ["nope", "cpu_load"]).json) == [("cpu_load", "node")]


def test_a_metric_has_unit_timestep_and_series_with_statistics(api: AppClient, archived: Job) -> None:
    metric = api.post(f"/api/jobs/{archived.pk}", ["flops_any"]).json["data"][0]["metric"]
    assert (metric["unit"], metric["timestep"]) == ({"base": "F/s", "prefix": "G"}, 60)
    assert [series["id"] for series in metric["series"]] == ["0", "1", "2", "3"]
    for series in metric["series"]:
        assert set(series) == {"hostname", "id", "statistics", "data"}
        assert set(series["statistics"]) == {"min", "avg", "max"}
        assert len(series["data"]) == 10


def test_jobs_of_several_nodes_come_in_scope_node(api: AppClient, cluster: Path, synthetic: None) -> None:
    JobFactory.create(finished=True, num_nodes=2, resources='[{"hostname":"n01"},{"hostname":"n02"}]')
    ArchiveWorker().drain()
    document = api.get(f"/api/jobs/{Job.objects.get().pk}").json
    assert names(document) == [("cpu_load", "node"), ("flops_any", "node")]
    assert [series["hostname"] for series in document["data"][0]["metric"]["series"]] == ["n01", "n02"]


def test_a_metric_without_a_wanted_scope_comes_in_all_that_it_has(
    api: AppClient, archived: Job, archive_root: Path
) -> None:
    data = {"gpu": {scope: {"unit": {"base": ""}, "timestep": 60, "series": []} for scope in ("socket", "accelerator")}}
    folder = job_folder(archive_root, archived.key)
    (folder / "data.json.gz").write_bytes(gzip.compress(json.dumps(data).encode()))
    assert names(api.get(f"/api/jobs/{archived.pk}").json) == [("gpu", "accelerator"), ("gpu", "socket")]


@pytest.mark.parametrize("state", [{}, {"finished": True}])
def test_a_job_that_is_not_archived_is_answered_from_its_source(
    api: AppClient, cluster: Path, synthetic: None, state: dict[str, Any]
) -> None:
    job = JobFactory.create(start_time=int(time.time()) - 1200, **state)
    document = api.post(f"/api/jobs/{job.pk}", ["cpu_load"]).json
    assert names(document) == [("cpu_load", "node")]
    samples = document["data"][0]["metric"]["series"][0]["data"]
    assert len(samples) == (10 if state else 20)


@pytest.mark.parametrize("kind", ["none", "synthetic"])
def test_a_job_without_monitoring_has_no_samples(api: AppClient, cluster: Path, settings: Any, kind: str) -> None:
    settings.METRIC_SOURCES = {"*": {"kind": kind}}
    job = JobFactory.create(monitoring_status=0, finished=True)
    answer = api.get(f"/api/jobs/{job.pk}")
    assert (answer.status, answer.json["data"]) == (200, [])


@pytest.mark.parametrize("state", [{}, {"finished": True}, {"archived": True}])
def test_a_cluster_without_a_source_has_no_samples(api: AppClient, state: dict[str, Any]) -> None:
    job = JobFactory.create(**state)
    answer = api.get(f"/api/jobs/{job.pk}")
    assert (answer.status, answer.json["data"]) == (200, [])


def test_a_source_that_fails_is_a_500_with_its_reason(
    api: AppClient, cluster: Path, synthetic: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*args: Any, **options: Any) -> None:
        raise OSError("the store is on fire")

    monkeypatch.setattr("archive.sources.synthetic.SyntheticSource.load", fail)
    job = JobFactory.create()
    answer = api.get(f"/api/jobs/{job.pk}")
    assert answer.status == 500
    assert "the store is on fire" in answer.error


def test_an_unreadable_data_file_is_a_500_with_its_reason(api: AppClient, archived: Job, archive_root: Path) -> None:
    (job_folder(archive_root, archived.key) / "data.json.gz").write_bytes(b"no gzip")
    answer = api.get(f"/api/jobs/{archived.pk}")
    assert answer.status == 500
    assert "data.json.gz" in answer.error


@pytest.mark.parametrize("method", ["GET", "POST"])
def test_an_unknown_job_is_a_422(api: AppClient, method: str) -> None:
    answer = api.request(method, "/api/jobs/99999")
    assert answer.status == 422
    assert answer.error.startswith("finding job failed: ")


@pytest.mark.parametrize("method", ["GET", "POST"])
@pytest.mark.parametrize("text", ["abc", "1.5", "9223372036854775808", "0x1", "%00", "1%00", "%D9%A1"])
def test_an_id_that_is_no_number_is_a_400(api: AppClient, method: str, text: str) -> None:
    answer = api.request(method, f"/api/jobs/{text}")
    assert answer.status == 400
    assert "id" in answer.error


@pytest.mark.parametrize("body", [{"a": 1}, [1], ["x", None], "cpu_load", b"[", b"\xff"])
def test_a_body_that_is_no_list_of_names_is_refused(api: AppClient, body: Any) -> None:
    job = JobFactory.create()
    assert api.post(f"/api/jobs/{job.pk}", body).status == 400


def test_a_start_beyond_the_year_9999_does_not_break_the_answer(api: AppClient) -> None:
    job = JobFactory.create(start_time=2**62)
    assert api.get(f"/api/jobs/{job.pk}").status == 200
