"""The calls of newer releases of cc-backend: untag, delete tags, edit metadata, clusters, metrics, samples as a map."""

import json
from pathlib import Path
from typing import Any

import pytest

from accounts.models import User
from archive.format.layout import job_folder
from jobs import history
from jobs.archiving.worker import ArchiveWorker
from jobs.models import Job, Tag
from tests.support.clients import AppClient
from tests.support.factories import START, JobFactory, TagFactory, token_for

CALLS: list[tuple[str, str, Any]] = [
    ("DELETE", "/api/jobs/tag_job/1", []),
    ("DELETE", "/api/tags/", []),
    ("PATCH", "/api/jobs/edit_meta/1", {"key": "a", "value": "b"}),
    ("POST", "/api/jobs/edit_meta/1", {"key": "a", "value": "b"}),
    ("PATCH", "/api/jobs/edit_meta/", {"jobId": 1, "payload": {"key": "a", "value": "b"}}),
    ("GET", "/api/clusters/", None),
    ("GET", "/api/jobs/metrics/1", None),
    ("GET", "/api/jobs/1?all-metrics=true", None),
]


@pytest.fixture
def archived(api: AppClient, cluster: Path, synthetic: None) -> Job:
    """Return a job of one node that lies in the archive with samples and two tags."""
    JobFactory.create(finished=True, tags=[TagFactory.create(type="a", name=name) for name in ("x", "y")])
    assert ArchiveWorker().drain().archived == 1
    return Job.objects.get()


def meta_of(job: Job, archive_root: Path) -> Any:
    """Return the job's meta.json."""
    return json.loads((job_folder(archive_root, job.key) / "meta.json").read_bytes())


def tags_of(document: Any) -> list[str]:
    """Return the tags of a job in an answer or a file."""
    return [f"{tag['type']}:{tag['name']}" for tag in document.get("tags", [])]


@pytest.mark.parametrize(("method", "path", "body"), CALLS, ids=lambda part: str(part)[:30])
def test_each_call_needs_the_role_api_and_works_without_the_slash(
    anonymous: AppClient, api: AppClient, alice: User, method: str, path: str, body: Any
) -> None:
    assert anonymous.request(method, path, body).status == 401
    answer = anonymous.as_(token_for(alice)).request(method, path, body)
    assert (answer.status, answer.error) == (403, "missing role: api")
    place, mark, query = path.partition("?")
    other = f"{place.rstrip('/')}{'' if place.endswith('/') else '/'}{mark}{query}"
    assert api.request(method, path, body).status == api.request(method, other, body).status


# DELETE jobs/tag_job/{id}


def test_tags_are_taken_from_a_job_its_file_and_the_history_follow(
    api: AppClient, archived: Job, archive_root: Path
) -> None:
    other = JobFactory.create(tags=list(Tag.objects.all()))
    body = [{"type": "a", "name": "x", "scope": "global"}, {"type": "not", "name": "there"}]
    for _ in range(2):  # a tag that the job does not have is no error
        answer = api.delete(f"/api/jobs/tag_job/{archived.pk}", body)
        assert (answer.status, tags_of(answer.json)) == (200, ["a:y"])
    assert tags_of(meta_of(archived, archive_root)) == ["a:y"]
    assert other.tags.count() == 2
    entry = history.of_job(archived.pk).get()
    assert history.text_of(entry).startswith("Removed tag a:x.\nThrough API token ")


@pytest.mark.parametrize(
    ("row_id", "body", "status"),
    [
        ("4711", [{"type": "a", "name": "x"}], 404),
        ("x", [], 400),
        ("4711", [{"type": "a"}], 400),
        ("4711", {"type": "a"}, 400),
        ("4711", None, 400),
    ],
)
def test_tags_that_cannot_be_taken_are_refused(api: AppClient, row_id: str, body: Any, status: int) -> None:
    assert api.delete(f"/api/jobs/tag_job/{row_id}", body).status == status


# DELETE tags/


def test_tags_are_deleted_and_taken_from_all_jobs(api: AppClient, archived: Job, archive_root: Path) -> None:
    body = [{"type": "a", "name": "x"}, {"type": "not", "name": "there"}]
    answer = api.delete("/api/tags/", body)
    assert answer.text == "Deleted Tags from DB: 1 successfull of 2 requested"
    assert [str(tag) for tag in Tag.objects.all()] == ["a:y"]
    ArchiveWorker().drain()
    assert tags_of(meta_of(archived, archive_root)) == ["a:y"]


@pytest.mark.parametrize("body", [[{"type": "a"}], [{"name": "x"}], {}, None, [{"type": "a", "name": "x", "q": 1}]])
def test_a_tag_without_type_or_name_deletes_nothing(api: AppClient, body: Any) -> None:
    TagFactory.create(type="a", name="x")
    assert api.delete("/api/tags/", body).status == 400
    assert Tag.objects.count() == 1


# PATCH jobs/edit_meta/


@pytest.mark.parametrize("by_id", [True, False])
def test_a_key_of_the_metadata_is_set_and_its_file_and_the_history_follow(
    api: AppClient, archived: Job, archive_root: Path, by_id: bool
) -> None:
    for key, value in (("jobName", "another"), ("issue", "node\nlost"), ("issue", "")):
        change = {"key": key, "value": value}
        keys = {"jobId": archived.job_id, "cluster": "testcluster", "startTime": archived.start_time}
        path, body = (f"{archived.pk}", change) if by_id else ("", keys | {"payload": change})
        answer = api.request("PATCH", f"/api/jobs/edit_meta/{path}", body)
        assert (answer.status, answer.json["metaData"][key]) == (200, value)
    expected = {"jobName": "another", "issue": ""}
    assert Job.objects.get().metadata == expected
    assert meta_of(archived, archive_root)["metaData"] == expected
    newest, *_, oldest = map(history.text_of, history.of_job(archived.pk))
    assert "metaData.jobName: a job → another\nThrough API token " in oldest
    assert "metaData.issue: node⏎lost → (empty)" in newest


def test_of_several_runs_the_newest_is_edited(api: AppClient) -> None:
    JobFactory.create(job_id=1, start_time=START, finished=True)
    newest = JobFactory.create(job_id=1, start_time=START + 9, meta_data=None)
    answer = api.request("PATCH", "/api/jobs/edit_meta/", {"jobId": 1, "payload": {"key": "a", "value": "b"}})
    assert (answer.json["id"], answer.json["metaData"]) == (newest.pk, {"a": "b"})


@pytest.mark.parametrize(
    ("path", "body", "status", "message"),
    [
        ("4711", {"key": "a", "value": "b"}, 404, "4711"),
        ("x", {"key": "a", "value": "b"}, 400, "id"),
        ("1", {"value": "b"}, 400, "'key'"),
        ("1", {"key": "a"}, 400, "'value'"),
        ("1", {"key": "a", "value": 5}, 400, "value"),
        ("", {"payload": {"key": "a", "value": "b"}}, 400, "'jobId'"),
        ("", {"jobId": 5}, 422, "finding job failed"),
        ("", {"jobId": 5, "payload": {"key": "a", "value": "b"}}, 422, "finding job failed"),
    ],
)
def test_metadata_that_cannot_be_set_is_refused(
    api: AppClient, path: str, body: Any, status: int, message: str
) -> None:
    answer = api.request("PATCH", f"/api/jobs/edit_meta/{path}", body)
    assert (answer.status, message in answer.error) == (status, True)


@pytest.mark.parametrize("key", ["", "k" * 256])
def test_a_key_that_cannot_be_is_refused(api: AppClient, key: str) -> None:
    job = JobFactory.create()
    assert api.request("PATCH", f"/api/jobs/edit_meta/{job.pk}", {"key": key, "value": "b"}).status == 400
    assert Job.objects.get().metadata == {"jobName": "a job"}


# GET clusters/


def test_clusters_are_their_cluster_json_files(api: AppClient, cluster: Path) -> None:
    document = json.loads(cluster.read_bytes() if cluster.is_file() else (cluster / "cluster.json").read_bytes())
    assert api.get("/api/clusters/").json == {"clusters": [document]}
    assert api.get("/api/clusters/?cluster=testcluster").json == {"clusters": [document]}
    answer = api.get("/api/clusters/?cluster=nope")
    assert (answer.status, answer.error) == (400, "unknown cluster: nope")
    assert "'name'" in api.get("/api/clusters/?name=x").error


# GET jobs/metrics/{id} and GET jobs/{id}?all-metrics=


@pytest.mark.parametrize(
    ("query", "found"),
    [
        ("", [("cpu_load", "node"), ("flops_any", "core"), ("flops_any", "node")]),
        ("?scope=node", [("cpu_load", "node"), ("flops_any", "node")]),
        ("?scope=core&scope=node&metric=flops_any", [("flops_any", "core"), ("flops_any", "node")]),
        ("?metric=nope&metric=cpu_load&scope=accelerator", [("cpu_load", "node")]),
        ("?metric=nope", []),
    ],
)
def test_metrics_come_by_name_and_scope(
    api: AppClient, archived: Job, query: str, found: list[tuple[str, str]]
) -> None:
    answer = api.get(f"/api/jobs/metrics/{archived.pk}{query}").json
    assert [(item["name"], item["scope"]) for item in answer["data"]["jobMetrics"]] == found
    assert answer["error"] is None


def test_all_metrics_come_as_a_map_or_not_at_all(api: AppClient, archived: Job) -> None:
    path = f"/api/jobs/{archived.pk}"
    plain = api.get(path).json
    found = api.get(f"{path}?all-metrics=true").json
    assert found["meta"] == plain["meta"]
    assert found["data"] == {item["name"]: {item["scope"]: item["metric"]} for item in plain["data"]}
    assert api.get(f"{path}?all-metrics=false").json == {"meta": plain["meta"], "data": None}


def test_a_job_without_samples_has_no_metrics(api: AppClient) -> None:
    job = JobFactory.create(finished=True, monitoring_status=0)
    assert api.get(f"/api/jobs/metrics/{job.pk}").json["data"] == {"jobMetrics": []}
    assert api.get(f"/api/jobs/{job.pk}?all-metrics=true").json["data"] == {}


@pytest.mark.parametrize(
    ("path", "status", "message"),
    [
        ("metrics/4711", 422, "finding job failed"),
        ("metrics/x", 400, "id"),
        ("metrics/1?scope=galaxy", 400, "galaxy"),
        ("metrics/1?metrics=x", 400, "'metrics'"),
        ("4711?all-metrics=true", 422, "finding job failed"),
        ("1?all-metrics=1", 400, "all-metrics"),
        ("1?metrics=x", 400, "'metrics'"),
    ],
)
def test_samples_that_cannot_be_are_refused(api: AppClient, path: str, status: int, message: str) -> None:
    answer = api.get(f"/api/jobs/{path}")
    assert (answer.status, message in answer.error) == (status, True)
