"""list_jobs: the words of the search box, all matching jobs up to a limit, as a table and as lines of JSON."""

import json

import pytest

from jobs.models import Job
from tests.support.commands import Run
from tests.support.factories import START, JobFactory


@pytest.fixture
def jobs(db: None, cluster: object) -> list[Job]:
    """Return jobs of alice and bob, the newest first."""
    made = [
        JobFactory.create(user="alice", start_time=START, finished=True, meta_data='{"jobName": "my job"}'),
        JobFactory.create(user="bob", start_time=START + 10, finished=True, job_state="failed", project="<b>\x1b[31m"),
        JobFactory.create(user="alice", start_time=START + 20),
    ]
    return made[::-1]


def test_matching_jobs_are_listed_newest_first(run: Run, jobs: list[Job]) -> None:
    newest, failed, oldest = jobs
    lines = run("list_jobs").out.splitlines()
    assert [line.split()[0] for line in lines] == ["JOB", *(str(job.job_id) for job in jobs)]
    assert "\x1b" not in "".join(lines)
    assert [line.split()[0] for line in run("list_jobs", "user:alice").out.splitlines()[1:]] == [
        str(newest.job_id),
        str(oldest.job_id),
    ]
    assert str(failed.job_id) in run("list_jobs", "state:failed,timeout").out
    assert str(oldest.job_id) in run("list_jobs", "name:my job").out.splitlines()[1]
    assert len(run("list_jobs", "--", "-user:alice").out.splitlines()) == 2


def test_json_has_a_line_for_each_job_as_the_api_has_it(run: Run, jobs: list[Job]) -> None:
    found = [json.loads(line) for line in run("list_jobs", "--json").out.splitlines()]
    assert [job["jobId"] for job in found] == [job.job_id for job in jobs]
    assert found[2]["metaData"] == {"jobName": "my job"}


def test_what_the_limit_leaves_out_is_said(run: Run, jobs: list[Job]) -> None:
    outcome = run("list_jobs", "--limit", "2")
    assert len(outcome.out.splitlines()) == 3
    assert "more than these 2" in outcome.err
    assert "more than" not in run("list_jobs", "--limit", "3").err


@pytest.mark.parametrize(
    ("words", "status", "text"),
    [
        (["user:nobody"], 0, "No matching jobs."),
        (["colour:red"], 2, "colour"),
        (["nodes:many"], 2, "nodes"),
    ],
)
def test_words_that_are_not_understood_are_named(
    run: Run, jobs: list[Job], words: list[str], status: int, text: str
) -> None:
    outcome = run("list_jobs", *words)
    assert (outcome.status, text in outcome.err) == (status, True), outcome.err
    assert outcome.out == ""
