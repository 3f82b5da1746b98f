"""POST and PUT start_job: what is taken, what is refused and why, and which run counts as a duplicate."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from jobs.models import Job, JobTag, Tag
from jobs.text import LATEST_TIME
from tests.support.clients import AppClient, start_body
from tests.support.factories import START, JobFactory

PATH = "/api/jobs/start_job/"


def test_a_started_job_is_stored_as_running_and_its_database_id_is_answered(api: AppClient) -> None:
    answer = api.start(arrayJobId=7, numHwthreads=4, numAcc=1, smt=2)
    job = Job.objects.get()
    assert (answer.status, answer.body) == (201, b'{"id":%d}\n' % job.pk)
    assert (job.job_id, job.cluster, job.sub_cluster, job.partition) == (1001, "testcluster", "main", "work")
    assert (job.user, job.project, job.start_time, job.walltime) == ("alice", "bio", 1_700_000_000, 3600)
    assert (job.array_job_id, job.num_nodes, job.num_hwthreads, job.num_acc, job.smt) == (7, 1, 4, 1, 2)
    assert (job.job_state, job.duration, job.monitoring_status, job.exclusive) == ("running", 0, 1, 1)
    assert job.statistics is None


@pytest.mark.parametrize("method", ["POST", "PUT"])
@pytest.mark.parametrize("path", [PATH, PATH.rstrip("/")])
def test_post_and_put_start_a_job_with_and_without_the_slash(api: AppClient, method: str, path: str) -> None:
    assert api.request(method, path, start_body()).status == 201


def test_resources_tags_and_metadata_are_kept(api: AppClient) -> None:
    resources = [
        {"hostname": "n01", "hwthreads": [0, 1], "accelerators": ["00000000:01:00.0"], "configuration": "cfg"},
        {"hostname": "n02"},
    ]
    tags = [{"type": "class", "name": "io"}, {"type": "class", "name": "cpu"}]
    meta = {"jobName": "n<1>&", "jobScript": "#!/bin/bash\necho ü\n", "slurmInfo": None, "JobName": "another key"}
    api.started(numNodes=2, resources=resources, tags=tags, metaData=meta)
    (job,) = api.get("/api/jobs/?with-metadata=true").json["jobs"]
    assert job["resources"] == resources
    assert [(tag["type"], tag["name"]) for tag in job["tags"]] == [("class", "io"), ("class", "cpu")]
    assert job["metaData"] == meta


def test_the_same_tag_twice_is_no_error_and_one_tag(api: AppClient) -> None:
    api.started(tags=[{"type": "a", "name": "b"}, {"type": "a", "name": "b"}])
    assert (Tag.objects.count(), JobTag.objects.count()) == (1, 1)


def test_a_job_script_of_several_megabytes_is_taken(api: AppClient) -> None:
    script = "echo ü\n" * 700_000
    api.started(metaData={"jobScript": script})
    assert Job.objects.get().metadata["jobScript"] == script


@pytest.mark.parametrize(("sent", "stored"), [(None, 1), (0, 0), (1, 1), (2, 2), (3, 0), ("2", 2)])
def test_exclusive_is_0_to_2_by_default_1_and_3_is_taken_as_0(api: AppClient, sent: Any, stored: int) -> None:
    api.started(exclusive=sent)
    assert Job.objects.get().exclusive == stored


@pytest.mark.parametrize("value", [4, -1])
def test_another_exclusive_is_refused(api: AppClient, value: int) -> None:
    answer = api.start(exclusive=value)
    assert answer.status == 400
    assert "exclusive" in answer.error
    assert str(value) in answer.error


@pytest.mark.parametrize(("shared", "stored"), [("none", 1), ("single_user", 2), ("multi_user", 0), ("", 2)])
def test_shared_wins_over_exclusive_unless_empty(api: AppClient, shared: str, stored: int) -> None:
    api.started(shared=shared, exclusive=2)
    assert Job.objects.get().exclusive == stored


def test_another_word_in_shared_is_refused(api: AppClient) -> None:
    answer = api.start(shared="everybody")
    assert answer.status == 400
    assert "everybody" in answer.error


@pytest.mark.parametrize(("sent", "stored"), [(None, 1), (0, 0), (1, 1), (2, 1), (3, 1)])
def test_a_monitoring_status_of_2_or_3_is_taken_as_1(api: AppClient, sent: int | None, stored: int) -> None:
    api.started(monitoringStatus=sent)
    assert Job.objects.get().monitoring_status == stored


@pytest.mark.parametrize("smt", [0, 1, 4, 2**31 - 1])
def test_any_smt_from_0_is_taken(api: AppClient, smt: int) -> None:
    api.started(smt=smt)
    assert Job.objects.get().smt == smt


@pytest.mark.parametrize(
    "word",
    [
        None,
        "",
        "running",
        "RUNNING",
        "completed",
        "failed",
        "cancelled",
        "stopped",
        "timeout",
        "preempted",
        "out_of_memory",
        "node_fail",
        "boot_fail",
        "deadline",
        "suspended",
        "requeued",
        "revoked",
        "completing",
        "pending",
        "Node_Fail",
    ],
)
def test_any_known_state_or_none_starts_a_running_job(api: AppClient, word: str | None) -> None:
    api.started(jobState=word)
    assert Job.objects.get().job_state == "running"


def test_a_negative_walltime_counts_as_absent(api: AppClient) -> None:
    api.started(walltime=-1)
    assert "walltime" not in api.get("/api/jobs/").json["jobs"][0]


def test_a_walltime_of_more_than_32_bits_is_kept(api: AppClient) -> None:
    api.started(walltime=257698037700)
    assert api.get("/api/jobs/").json["jobs"][0]["walltime"] == 257698037700


def test_without_num_nodes_the_resources_are_counted(api: AppClient) -> None:
    for number, absent in enumerate(({}, {"numNodes": None})):
        body = start_body(jobId=5 + number, resources=[{"hostname": "n01"}, {"hostname": "n02"}])
        del body["numNodes"]
        assert api.post(PATH, body | absent).status == 201
    assert [job["numNodes"] for job in api.get("/api/jobs/").json["jobs"]] == [2, 2]


def test_submit_time_and_requested_memory_are_kept_in_the_metadata(api: AppClient) -> None:
    given = {"submitTime": 1_699_999_999, "requestedMemory": 128_000}
    api.started(jobId=1, **given)
    api.started(jobId=2, **given, metaData={"jobName": "x", "submitTime": "5"})
    api.started(jobId=3, submitTime=0, requestedMemory="64")
    api.started(jobId=4, metaData={"a": "b"}, submitTime="soon", requestedMemory=-1)
    api.post(PATH, json.dumps(start_body(jobId=5, submittime=7)).encode())
    kept = [job["metaData"] for job in api.get("/api/jobs/?with-metadata=true").json["jobs"]]
    assert kept == [
        {"submitTime": "7"},
        {"a": "b"},
        {"requestedMemory": "64"},
        {"submitTime": "5", "requestedMemory": "128000", "jobName": "x"},
        {"submitTime": "1699999999", "requestedMemory": "128000"},
    ]
    assert list(Job.objects.order_by("-job_id").values_list("submit_time", flat=True)) == [7, 0, 0, 5, 1_699_999_999]
    assert not any("submitTime" in job for job in api.get("/api/jobs/").json["jobs"])  # the contract does not know it


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"jobState": "foo"}, "foo"),
        ({"resources": []}, "'resources' and 'user' should not be empty"),
        ({"resources": None}, "'resources' and 'user' should not be empty"),
        ({"user": ""}, "'resources' and 'user' should not be empty"),
        ({"user": None}, "'resources' and 'user' should not be empty"),
        ({"numNodes": 0}, "numNodes"),
        ({"numNodes": -3}, "-3"),
        ({"numAcc": -1}, "numAcc"),
        ({"numHwthreads": -1}, "numHwthreads"),
        ({"smt": -1}, "smt"),
        ({"numNodes": 2}, "len(resources) does not equal numNodes (1 vs 2)"),
        ({"startTime": 0}, "startTime"),
        ({"startTime": None}, "startTime"),
        ({"startTime": -5}, "-5"),
        ({"jobId": 0}, "jobId"),
        ({"jobId": None}, "jobId"),
        ({"jobId": -1}, "-1"),
        ({"resources": [{"hwthreads": [1]}]}, "hostname"),
        ({"tags": [{"type": "", "name": "x"}]}, "tag"),
        ({"tags": [{"type": "x"}]}, "tag"),
    ],
)
def test_a_value_that_cannot_be_is_refused_by_name(api: AppClient, changes: dict[str, Any], message: str) -> None:
    answer = api.start(**changes)
    assert answer.status == 400
    assert message in answer.error
    assert not Job.objects.exists()


def test_the_first_thing_wrong_is_named_in_the_documented_order(api: AppClient, cluster: Path) -> None:
    body = start_body(cluster="nope", subCluster="nope", jobState="foo", resources=[], numNodes=0, startTime=0, jobId=0)
    steps: list[tuple[str, dict[str, Any]]] = [
        ("no such cluster: nope", {"cluster": "testcluster"}),
        ("subcluster", {"subCluster": "main"}),
        ("state", {"jobState": "running"}),
        ("'resources' and 'user'", {"resources": [{"hostname": "n01"}, {"hostname": "n02"}]}),
        ("numNodes", {"numNodes": 1}),
        ("len(resources)", {"numNodes": 2}),
        ("startTime", {"startTime": START}),
        ("jobId", {"jobId": 1}),
    ]
    for message, correction in steps:
        answer = api.post(PATH, body)
        assert (answer.status, message in answer.error) == (400, True), answer
        body |= correction
    assert api.post(PATH, body).status == 201


def test_without_any_configured_cluster_any_name_is_taken(api: AppClient) -> None:
    api.started(cluster="brand-new", subCluster="whatever")
    job = Job.objects.get()
    assert (job.cluster, job.sub_cluster) == ("brand-new", "whatever")


@pytest.mark.parametrize("name", ["../etc", ".hidden", "a/b", "", "version.txt"])
def test_a_cluster_name_that_could_not_be_a_folder_is_refused(api: AppClient, name: str) -> None:
    answer = api.start(cluster=name)
    assert answer.status == 400
    assert "cluster" in answer.error


def test_an_unknown_cluster_is_refused_where_one_is_configured(api: AppClient, cluster: Path) -> None:
    answer = api.start(cluster="nope")
    assert (answer.status, answer.error) == (400, "no such cluster: nope")


def test_a_cluster_whose_file_cannot_be_read_is_not_called_unknown(api: AppClient, archive_root: Path) -> None:
    path = archive_root / "broken/cluster.json"
    path.parent.mkdir(parents=True)
    path.write_text('{"name": "broken", "subClusters": [{"name": "main", "nodes": "n[1"}]}')
    answer = api.start(cluster="broken")
    expected = "cluster broken: its cluster.json cannot be read: node list 'n[1': expected a name"
    assert (answer.status, answer.error[: len(expected)]) == (400, expected)
    assert answer.error.endswith("at `$.subClusters[0]`")


def test_empty_items_of_a_node_list_are_skipped(api: AppClient, archive_root: Path) -> None:
    path = archive_root / "c1/cluster.json"
    path.parent.mkdir(parents=True)
    path.write_text('{"name": "c1", "subClusters": [{"name": "main", "nodes": "n[01-04],,n07,"}]}')
    assert api.start(cluster="c1", subCluster="", resources=[{"hostname": "n07"}]).status == 201
    assert Job.objects.get().sub_cluster == "main"


def test_an_unknown_subcluster_is_refused(api: AppClient, cluster: Path) -> None:
    answer = api.start(subCluster="nope")
    assert answer.status == 400
    assert "nope" in answer.error


@pytest.mark.parametrize(("host", "name"), [("n07", "main"), ("g02", "gpu")])
@pytest.mark.parametrize("given", ["", None])
def test_the_subcluster_is_found_by_the_first_host(
    api: AppClient, cluster: Path, host: str, name: str, given: str | None
) -> None:
    api.started(subCluster=given, resources=[{"hostname": host}])
    assert Job.objects.get().sub_cluster == name


def test_a_host_of_no_subcluster_is_refused(api: AppClient, cluster: Path) -> None:
    answer = api.start(subCluster="", resources=[{"hostname": "zzz"}])
    assert answer.status == 400
    assert "zzz" in answer.error


def test_a_host_finds_its_subcluster_in_each_of_several_clusters(
    api: AppClient, add_cluster: Callable[[str], Path]
) -> None:
    add_cluster("emmy")
    add_cluster("alex")
    api.started(cluster="emmy", subCluster=None, resources=[{"hostname": "w2201"}])
    api.started(cluster="alex", subCluster=None, resources=[{"hostname": "a0121"}])
    assert [job.sub_cluster for job in Job.objects.order_by("pk")] == ["icelake", "a40"]


# The duplicate rule.


def test_the_same_run_again_is_refused_with_the_id_of_the_first_and_changes_nothing(api: AppClient) -> None:
    first = api.started()
    answer = api.start(user="mallory", tags=[{"type": "new", "name": "tag"}])
    assert answer.status == 422
    message = f"a job with that jobId, cluster and startTime already exists: dbid: {first}, jobid: 1001"
    assert answer.error == message
    assert Job.objects.get().user == "alice"
    assert not Tag.objects.exists()


@pytest.mark.parametrize("distance", [1, 60, -1, -60])
def test_a_start_within_the_window_of_a_running_one_either_way_is_a_duplicate(api: AppClient, distance: int) -> None:
    api.started()
    assert api.start(startTime=START + distance).status == 422


@pytest.mark.parametrize("distance", [61, -61, 86399])
def test_a_start_outside_the_window_is_a_run_of_its_own(api: AppClient, distance: int) -> None:
    api.started()
    assert api.start(startTime=START + distance).status == 201


@pytest.mark.parametrize(("start", "status"), [(9, 422), (10, 201), (11, 201), (20, 201), (-1, 422), (0, 422)])
def test_a_start_after_the_end_of_the_former_run_is_a_run_of_its_own(api: AppClient, start: int, status: int) -> None:
    """The first run lasted 10 s; an end equal to the new start counts as ended, a later start as not ended."""
    api.started()
    assert api.stop(jobId=1001, stopTime=START + 10).status == 200
    assert api.start(startTime=START + start).status == status


def test_a_start_that_lies_before_a_later_run_of_zero_seconds_is_a_duplicate(api: AppClient) -> None:
    api.started(startTime=START)
    assert api.stop(jobId=1001, stopTime=START).status == 200
    assert api.start(startTime=START - 1).status == 422


def test_a_window_of_0_leaves_the_exact_match(api: AppClient, settings: Any) -> None:
    settings.DUPLICATE_START_WINDOW = 0
    api.started()
    assert api.start(startTime=START + 1).status == 201
    assert api.start(startTime=START).status == 422


def test_another_cluster_or_job_id_is_no_duplicate(api: AppClient) -> None:
    api.started()
    assert api.start(cluster="other").status == 201
    assert api.start(jobId=1002).status == 201


def test_the_same_start_is_refused_though_the_run_has_ended_long_before(api: AppClient) -> None:
    api.started()
    assert api.stop(jobId=1001, stopTime=START).status == 200
    assert api.start().status == 422


def test_the_refusal_names_the_run_that_is_in_the_way(api: AppClient) -> None:
    api.started(startTime=START)
    assert api.stop(jobId=1001, stopTime=START + 5).status == 200
    running = api.started(startTime=START + 50)
    answer = api.start(startTime=START + 10)
    assert answer.status == 422
    assert f"dbid: {running}," in answer.error


def test_a_refused_tag_leaves_no_job_behind(api: AppClient) -> None:
    assert api.start(tags=[{"type": "good", "name": "one"}, {"type": "bad", "name": ""}]).status == 400
    assert not Job.objects.exists()
    assert not Tag.objects.exists()


@pytest.mark.django_db(transaction=True)
def test_a_failure_while_tagging_takes_the_start_back(api: AppClient, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*args: Any, **options: Any) -> None:
        raise RuntimeError("in the middle")

    monkeypatch.setattr(JobTag.objects, "bulk_create", fail)
    answer = api.start(tags=[{"type": "a", "name": "b"}])
    assert answer.status == 500
    assert not Job.objects.exists()
    assert not Tag.objects.exists()


def test_resources_are_stored_without_empty_parts(api: AppClient) -> None:
    sent: Any = [{"hostname": "n01", "hwthreads": [], "accelerators": None, "configuration": ""}]
    api.started(resources=sent)
    assert json.loads(Job.objects.get().resources) == [{"hostname": "n01"}]


def test_64_bit_ids_are_kept(api: AppClient) -> None:
    api.started(jobId=530239482495005, arrayJobId=2**63 - 1)
    job = api.get("/api/jobs/").json["jobs"][0]
    assert (job["jobId"], job["arrayJobId"]) == (530239482495005, 2**63 - 1)


def test_the_factory_makes_what_a_start_makes(api: AppClient) -> None:
    made = JobFactory.create()
    row_id = api.started(jobId=made.job_id, startTime=made.start_time + 100, metaData={"jobName": "a job"})
    started = Job.objects.get(pk=row_id)
    different = {
        field.name for field in Job._meta.concrete_fields if getattr(made, field.name) != getattr(started, field.name)
    }
    assert different == {"id", "start_time"}


def test_the_latest_possible_start_is_no_server_error(api: AppClient) -> None:
    assert api.start(startTime=LATEST_TIME).status == 201
    assert api.start(startTime=LATEST_TIME).status == 422
