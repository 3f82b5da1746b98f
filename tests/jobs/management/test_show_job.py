"""show_job: the newest run, one by its start or database id, as text and as JSON."""

import json

import pytest

from jobs.models import Job
from tests.support.commands import Run
from tests.support.factories import START, JobFactory, TagFactory


@pytest.fixture
def runs(db: None) -> list[Job]:
    """Return two runs of the same job id, the older one first."""
    older = JobFactory.create(job_id=7, finished=True, tags=[TagFactory.create(type="perf", name="bad")])
    return [older, JobFactory.create(job_id=7, start_time=older.start_time + 1000)]


def test_the_newest_run_is_shown_or_the_one_that_is_asked_for(run: Run, runs: list[Job]) -> None:
    older, newer = runs
    for arguments, job in (
        (["7"], newer),
        (["7", "--start", str(older.start_time)], older),
    ):
        outcome = run("show_job", newer.cluster, *arguments)
        assert f"database id {job.pk}\n" in outcome.out, outcome.err
    assert "tags         perf:bad" in run("show_job", older.pk).out


def test_json_is_that_of_the_api(run: Run, runs: list[Job]) -> None:
    found = json.loads(run("show_job", runs[0].pk, "--json").out)
    assert (found["jobId"], found["startTime"], found["tags"][0]["name"]) == (7, runs[0].start_time, "bad")


@pytest.mark.parametrize(
    ("words", "status", "text"),
    [
        (["x"], 2, "expected CLUSTER and JOBID"),
        (["a", "1", "2"], 2, "expected CLUSTER and JOBID"),
        (["nowhere", "7"], 2, "no such cluster"),
        (["999999"], 1, "there is no job 999999"),
        (["testcluster", "7", "--start", str(START - 5)], 1, "that started at"),
        (["testcluster", "7", "--start", "0"], 1, "that started at 0"),
        (["testcluster", "7", "--start", "9" * 20], 2, f"--start '{'9' * 20}': expected epoch seconds"),
        (["7", "--start", "5"], 2, "--start 5: expected CLUSTER and JOBID with it"),
        (["testcluster", "7", "--start", ""], 2, "--start '': expected epoch seconds"),
    ],
)
def test_what_is_not_there_is_said(run: Run, runs: list[Job], words: list[str], status: int, text: str) -> None:
    outcome = run("show_job", *[runs[0].cluster if word == "testcluster" else word for word in words])
    assert (outcome.status, text in outcome.err) == (status, True), outcome.err
