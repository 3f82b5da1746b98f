"""POST and PUT stop_job, by request body and by database id: which run is meant, and when none can be stopped."""

import json
import time
import tracemalloc
from typing import Any

import pytest

from jobs.intake import sql
from jobs.models import Job
from jobs.text import LATEST_TIME
from tests.support.clients import AppClient
from tests.support.factories import START, JobFactory, TagFactory

PATH = "/api/jobs/stop_job/"


def test_a_stop_sets_state_and_duration_and_answers_with_the_job(api: AppClient) -> None:
    tag = TagFactory.create(type="class", name="io")
    job = JobFactory.create(job_id=1, start_time=START, tags=[tag])
    answer = api.stop(jobId=1, cluster="testcluster", startTime=START, stopTime=START + 600, jobState="failed")
    assert answer.status == 200
    assert answer.json == {
        "id": job.pk,
        "jobId": 1,
        "user": "alice",
        "project": "bio",
        "cluster": "testcluster",
        "subCluster": "main",
        "partition": "work",
        "numNodes": 1,
        "exclusive": 1,
        "monitoringStatus": 1,
        "jobState": "failed",
        "duration": 600,
        "walltime": 3600,
        "tags": [{"id": tag.pk, "type": "class", "name": "io"}],
        "resources": [{"hostname": "n01"}],
        "metaData": None,
        "concurrentJobs": {"items": None, "count": 0},
        "startTime": START,
        "statistics": None,
    }
    job.refresh_from_db()
    assert (job.job_state, job.duration) == ("failed", 600)


@pytest.mark.parametrize("method", ["POST", "PUT"])
@pytest.mark.parametrize("slash", ["", "/"])
@pytest.mark.parametrize("by_id", [True, False])
def test_post_and_put_stop_a_job_with_and_without_the_slash(
    api: AppClient, method: str, slash: str, by_id: bool
) -> None:
    job = JobFactory.create()
    path = f"/api/jobs/stop_job/{job.pk}{slash}" if by_id else f"/api/jobs/stop_job{slash}"
    assert api.request(method, path, {"jobId": job.job_id, "stopTime": START + 999}).status == 200


def test_a_stop_by_id_needs_the_stop_time_alone_and_ignores_the_other_keys(api: AppClient) -> None:
    job = JobFactory.create()
    body = {"jobId": 99, "cluster": "other", "startTime": 5, "stopTime": job.start_time + 5, "jobState": "timeout"}
    answer = api.post(f"{PATH}{job.pk}", body)
    assert (answer.status, answer.json["jobState"], answer.json["duration"]) == (200, "timeout", 5)


def test_a_finished_job_waits_for_the_archive_from_the_moment_of_the_stop(api: AppClient) -> None:
    job = JobFactory.create()
    assert api.stop(jobId=job.job_id, stopTime=START + 999).status == 200
    assert list(Job.objects.awaiting_archive()) == [job]


def test_a_job_without_monitoring_never_waits_for_the_archive(api: AppClient) -> None:
    job = JobFactory.create(monitoring_status=0)
    answer = api.stop(jobId=job.job_id, stopTime=START + 999)
    assert (answer.status, answer.json["monitoringStatus"]) == (200, 0)
    assert not Job.objects.awaiting_archive().exists()


@pytest.mark.parametrize("body", [{"stopTime": START}, {"stopTime": START, "jobId": None}])
def test_a_missing_job_id_is_refused(api: AppClient, body: dict[str, Any]) -> None:
    answer = api.post(PATH, body)
    assert (answer.status, answer.error) == (400, "the field 'jobId' is required")


@pytest.mark.parametrize("path", [PATH, f"{PATH}1"])
def test_a_missing_stop_time_is_refused(api: AppClient, path: str) -> None:
    answer = api.post(path, {"jobId": 1})
    assert answer.status == 400
    assert "stopTime" in answer.error


@pytest.mark.parametrize(
    "other", [{"jobId": 2}, {"cluster": "other"}, {"startTime": START + 1}, {"startTime": START - 1}]
)
def test_all_given_keys_must_match(api: AppClient, other: dict[str, Any]) -> None:
    JobFactory.create(job_id=1, start_time=START)
    keys = {"jobId": 1, "cluster": "testcluster", "startTime": START, "stopTime": START + 9} | other
    answer = api.post(PATH, keys)
    assert answer.status == 422
    assert answer.error.startswith("finding job failed")
    assert Job.objects.get().is_running


def test_an_unknown_id_is_not_found(api: AppClient) -> None:
    answer = api.post(f"{PATH}99999", {"stopTime": START})
    assert answer.status == 422
    assert answer.error.startswith("finding job failed")


@pytest.mark.parametrize("text", ["abc", "1x", "1.0", "9" * 30])
def test_an_id_that_is_no_number_is_refused(api: AppClient, text: str) -> None:
    answer = api.post(f"{PATH}{text}", {"stopTime": START})
    assert answer.status == 400
    assert text in answer.error


def test_of_several_runs_the_running_one_is_stopped(api: AppClient) -> None:
    running = JobFactory.create(job_id=1, start_time=START)
    JobFactory.create(job_id=1, start_time=START + 100, finished=True, duration=5)
    assert api.stop(jobId=1, stopTime=START + 500).json["id"] == running.pk


def test_of_several_running_the_newest_start_is_stopped(api: AppClient) -> None:
    JobFactory.create(job_id=1, start_time=START)
    newest = JobFactory.create(job_id=1, start_time=START + 200)
    JobFactory.create(job_id=1, start_time=START + 100)
    assert api.stop(jobId=1, stopTime=START + 500).json["id"] == newest.pk


def test_a_late_stop_of_the_first_run_does_not_hit_the_second(api: AppClient) -> None:
    first = JobFactory.create(job_id=1, start_time=START)
    JobFactory.create(job_id=1, start_time=START + 100)
    answer = api.stop(jobId=1, stopTime=START + 50)
    assert (answer.status, answer.json["id"]) == (200, first.pk)


def test_a_late_stop_of_a_first_run_that_is_stopped_already_does_not_hit_the_second(api: AppClient) -> None:
    JobFactory.create(job_id=1, start_time=START, finished=True, duration=50)
    second = JobFactory.create(job_id=1, start_time=START + 100)
    answer = api.stop(jobId=1, stopTime=START + 50)
    assert answer.status == 422
    assert "completed" in answer.error
    second.refresh_from_db()
    assert second.is_running


def test_a_stop_before_every_start_finds_no_job(api: AppClient) -> None:
    JobFactory.create(job_id=1, start_time=START)
    answer = api.stop(jobId=1, stopTime=START - 1)
    assert answer.status == 422
    assert answer.error.startswith("finding job failed")


@pytest.mark.parametrize("by_id", [True, False])
def test_a_stop_time_before_the_start_of_the_named_run_is_refused(api: AppClient, by_id: bool) -> None:
    job = JobFactory.create(job_id=1, start_time=START)
    path, keys = (f"{PATH}{job.pk}", {}) if by_id else (PATH, {"jobId": 1, "startTime": START})
    answer = api.post(path, keys | {"stopTime": START - 1})
    assert answer.status == 400
    assert "stopTime" in answer.error
    assert str(START - 1) in answer.error
    assert Job.objects.get().is_running


@pytest.mark.parametrize("keys", [{}, {"startTime": START}])
def test_a_job_of_zero_seconds_has_duration_0(api: AppClient, keys: dict[str, int]) -> None:
    JobFactory.create(job_id=1, start_time=START)
    answer = api.stop(jobId=1, stopTime=START, **keys)
    assert (answer.status, answer.json["duration"]) == (200, 0)


@pytest.mark.parametrize("by_id", [True, False])
def test_a_second_stop_is_refused_and_changes_nothing(api: AppClient, by_id: bool) -> None:
    job = JobFactory.create(job_id=1, start_time=START)
    path = f"{PATH}{job.pk}" if by_id else PATH
    assert api.post(path, {"jobId": 1, "stopTime": START + 60, "jobState": "timeout"}).status == 200
    answer = api.post(path, {"jobId": 1, "stopTime": START + 90, "jobState": "failed"})
    assert answer.status == 422
    assert "timeout" in answer.error
    assert str(START + 60) in answer.error
    job.refresh_from_db()
    assert (job.job_state, job.duration) == ("timeout", 60)


def test_a_second_stop_of_an_archived_job_leaves_it_archived(api: AppClient) -> None:
    job = JobFactory.create(archived=True)
    assert api.stop(jobId=job.job_id, stopTime=START + 9999).status == 422
    job.refresh_from_db()
    assert job.is_archived


@pytest.mark.parametrize(
    ("word", "state"),
    [
        (None, "completed"),
        ("", "completed"),
        ("COMPLETED", "completed"),
        ("Failed", "failed"),
        *((word, word) for word in ("cancelled", "stopped", "timeout", "preempted", "out_of_memory")),
    ],
)
def test_every_final_state_is_kept_and_none_means_completed(api: AppClient, word: str | None, state: str) -> None:
    job = JobFactory.create()
    assert api.stop(jobId=job.job_id, stopTime=START + 999, jobState=word).json["jobState"] == state


@pytest.mark.parametrize("by_id", [True, False])
@pytest.mark.parametrize(
    "word",
    ["node_fail", "boot_fail", "deadline", "suspended", "requeued", "revoked", "completing", "pending", "DEADLINE"],
)
def test_words_of_newer_clients_are_taken_as_failed_and_kept_in_metadata(
    api: AppClient, word: str, by_id: bool
) -> None:
    job = JobFactory.create()
    path = f"{PATH}{job.pk}" if by_id else PATH
    answer = api.post(path, {"jobId": job.job_id, "stopTime": START + 999, "jobState": word})
    assert (answer.status, answer.json["jobState"], answer.json["metaData"]) == (200, "failed", None)
    job = Job.objects.get()
    assert (job.metadata["schedulerState"] or "").lower() == word.lower()
    assert job.metadata["jobName"] == "a job"


@pytest.mark.parametrize(
    ("key", "text", "status"),
    [("jobState", "failed", 200), ("jobState", "x", 400), ("cluster", "x", 422)],
)
def test_a_text_of_many_megabytes_takes_little_more_memory_than_its_body(
    api: AppClient, key: str, text: str, status: int
) -> None:
    """The body and what is read of it: one copy, and the decoder's buffer, which grows by half at a time."""
    first, job = JobFactory.create_batch(2)
    api.stop(jobId=first.job_id, stopTime=START + 9, jobState="failed by root")  # what is loaded once
    body = json.dumps({"jobId": job.job_id, "stopTime": START + 9, key: f"{text} {'and on ' * 150_000}"}).encode()
    tracemalloc.start()
    try:
        answer = api.post(PATH, body)
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert (answer.status, len(answer.body) < 3_000) == (status, True)
    assert peak < 3.5 * len(body) + 500_000
    assert len(Job.objects.get(pk=job.pk).metadata.get("schedulerState") or "") < 256


def test_the_scheduler_state_is_kept_for_a_job_without_metadata(api: AppClient) -> None:
    job = JobFactory.create(meta_data=None)
    assert api.stop(jobId=job.job_id, stopTime=START + 999, jobState="node_fail").status == 200
    assert Job.objects.get().metadata == {"schedulerState": "node_fail"}


@pytest.mark.parametrize(
    ("text", "state", "kept"),
    [
        ("cancelled by 102216", "cancelled", "cancelled by 102216"),
        ("CANCELLED by 1022", "cancelled", "CANCELLED by 1022"),
        ("CANCELLED+", "cancelled", "CANCELLED+"),
        ("OUT_OF_ME+", "out_of_memory", "OUT_OF_ME+"),
        (" COMPLETED ", "completed", None),
        ("COMPLETED\n", "completed", None),
        ("NODE_FAIL by root", "failed", "NODE_FAIL by root"),
        ("NODE_FAIL\tby\n root", "failed", "NODE_FAIL by root"),
        ("PREEMPTED by QOS", "preempted", "PREEMPTED by QOS"),
        ("REVOK+", "failed", "REVOK+"),
        ("  ", "completed", None),
    ],
)
def test_of_a_state_as_sacct_prints_it_the_first_word_counts_and_the_whole_is_kept(
    api: AppClient, text: str, state: str, kept: str | None
) -> None:
    job = JobFactory.create()
    assert api.stop(jobId=job.job_id, stopTime=START + 999, jobState=text).json["jobState"] == state
    assert Job.objects.get().metadata.get("schedulerState") == kept
    started = api.start(jobId=99, jobState=text)
    assert started.status == 201


@pytest.mark.parametrize(
    "word",
    ["running", "foo", "RUNNING", "running+", "running by 5", "by cancelled", "c+", "+", "cancel", "failed++"],
)
@pytest.mark.parametrize("by_id", [True, False])
def test_running_and_unknown_states_are_refused(api: AppClient, word: str, by_id: bool) -> None:
    job = JobFactory.create()
    path = f"{PATH}{job.pk}" if by_id else PATH
    answer = api.post(path, {"jobId": job.job_id, "stopTime": START + 999, "jobState": word})
    assert answer.status == 400
    assert word in answer.error
    assert Job.objects.get().is_running


def test_an_empty_cluster_is_as_good_as_none(api: AppClient) -> None:
    job = JobFactory.create()
    assert api.stop(jobId=job.job_id, cluster="", stopTime=START + 999).status == 200


def test_numbers_may_come_as_text(api: AppClient) -> None:
    job = JobFactory.create()
    assert api.post(f"{PATH}{job.pk}", {"stopTime": str(job.start_time + 7)}).json["duration"] == 7


def test_a_stop_in_the_far_future_is_taken(api: AppClient) -> None:
    job = JobFactory.create(start_time=START)
    answer = api.stop(jobId=job.job_id, stopTime=LATEST_TIME)
    assert (answer.status, answer.json["duration"]) == (200, LATEST_TIME - START)


def test_the_answer_has_its_keys_in_the_order_of_the_reference(api: AppClient) -> None:
    job = JobFactory.create(array_job_id=5, num_hwthreads=4, num_acc=1, smt=2, tags=[TagFactory.create()])
    answer = api.stop(jobId=job.job_id, stopTime=START + 999)
    keys = "id jobId user project cluster subCluster partition arrayJobId numNodes numHwthreads numAcc exclusive"
    keys += (
        " monitoringStatus smt jobState duration walltime tags resources metaData concurrentJobs startTime statistics"
    )
    assert " ".join(json.loads(answer.body)) == keys


def test_the_answer_does_not_wait_for_archiving(api: AppClient, monkeypatch: pytest.MonkeyPatch) -> None:
    def slow(*args: Any, **options: Any) -> None:
        time.sleep(60)

    monkeypatch.setattr("jobs.archiving.writing.write", slow)
    monkeypatch.setattr("archive.storage.store.ArchiveStore.write_job", slow)
    job = JobFactory.create()
    assert api.stop(jobId=job.job_id, stopTime=START + 999).status == 200


def test_a_start_that_comes_in_between_is_no_bad_request(api: AppClient, monkeypatch: pytest.MonkeyPatch) -> None:
    """A 400 would stop the production adapter for good; the job is there, so it is stopped, or was not found: 422."""
    stop_run = sql.stop_run

    def too_early(**keys: Any) -> Any:
        monkeypatch.setattr("jobs.intake.sql.stop_run", stop_run)
        JobFactory.create(job_id=1, start_time=START)

    monkeypatch.setattr("jobs.intake.sql.stop_run", too_early)
    assert api.stop(jobId=1, stopTime=START + 60).status in (200, 422)


def test_by_id_the_other_keys_are_ignored_whatever_they_hold(api: AppClient) -> None:
    row_id = api.started()
    body = {"stopTime": START + 5, "jobId": "0x5", "cluster": 7, "startTime": [None]}
    assert api.post(f"/api/jobs/stop_job/{row_id}", body).status == 200
