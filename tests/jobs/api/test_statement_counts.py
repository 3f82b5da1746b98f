"""How many statements the hot operations cost; BEGIN, COMMIT and savepoints apart."""

from collections.abc import Callable

import pytest
from django.contrib.contenttypes.models import ContentType
from django.db import connection
from django.test.utils import CaptureQueriesContext

from jobs.models import Job, Tag
from tests.support.clients import Answer, AppClient
from tests.support.factories import START, JobFactory, TagFactory

ON_POSTGRESQL = 1  # the lock of the duplicate rule


@pytest.fixture
def statements(api: AppClient) -> Callable[[Callable[[], Answer], int], list[str]]:
    """Return a function that makes a call with a known token and returns its statements."""
    assert api.get("/api/jobs/").status == 200
    ContentType.objects.get_for_models(Job, Tag)  # a history's entries name them; Django looks them up once per process

    def count(call: Callable[[], Answer], status: int) -> list[str]:
        with CaptureQueriesContext(connection) as captured:
            answer = call()
        assert answer.status == status, answer
        control = ("BEGIN", "COMMIT", "ROLLBACK", "SAVEPOINT", "RELEASE")
        return [query["sql"] for query in captured.captured_queries if not query["sql"].startswith(control)]

    return count


Count = Callable[[Callable[[], Answer], int], list[str]]


def _extra() -> int:
    return ON_POSTGRESQL if connection.vendor == "postgresql" else 0


def test_a_start_takes_2_statements_at_most_and_one_more_on_postgresql(api: AppClient, statements: Count) -> None:
    assert len(statements(api.start, 201)) <= 2 + _extra()


def test_a_refused_start_takes_one_more_to_name_the_job(api: AppClient, statements: Count) -> None:
    api.started()
    assert len(statements(api.start, 422)) <= 3 + _extra()


def test_a_stop_takes_3_statements_at_most(api: AppClient, statements: Count) -> None:
    job = JobFactory.create()
    assert len(statements(lambda: api.stop(jobId=job.job_id, stopTime=START + 60), 200)) <= 3
    assert len(statements(lambda: api.stop(jobId=job.job_id, stopTime=START + 60), 422)) <= 3
    assert len(statements(lambda: api.stop(jobId=77, stopTime=START + 60), 422)) <= 3


def test_a_stop_with_a_foreign_word_takes_3_statements_at_most(api: AppClient, statements: Count) -> None:
    job = JobFactory.create()
    call = lambda: api.stop(jobId=job.job_id, stopTime=START + 60, jobState="node_fail")  # noqa: E731
    assert len(statements(call, 200)) <= 3


@pytest.mark.parametrize(
    ("query", "number"),
    [
        ("", 1),
        ("&with-metadata=true", 1),
        ("&state=completed&state=running&cluster=testcluster", 1),
        ("&state=completed&state=running&tag=class:known", 3),  # the tag's id, and whether few jobs have it
    ],
)
def test_a_list_takes_the_same_statements_however_many_jobs_it_has(
    api: AppClient, statements: Count, query: str, number: int
) -> None:
    tags = [TagFactory.create(name=name) for name in ("known", "a", "b")]
    counts = []
    for wanted in (1, 5, 40):
        while Job.objects.count() < wanted:
            JobFactory.create(tags=tags, archived=Job.objects.count() % 2 == 1)
        counts.append(len(statements(lambda: api.get(f"/api/jobs/?items-per-page=100{query}"), 200)))
    assert counts == [number, number, number]


def test_tagging_takes_the_same_statements_however_many_tags_there_are(api: AppClient, statements: Count) -> None:
    counts = []
    for number in (1, 10):
        job = JobFactory.create()
        tags = [{"type": f"t{number}", "name": f"n{index}"} for index in range(number)]
        counts.append(len(statements(lambda: api.post(f"/api/jobs/tag_job/{job.pk}", tags), 200)))  # noqa: B023
    assert counts[0] == counts[1]


def test_deleting_before_a_time_takes_statements_by_batch_not_by_job(api: AppClient, statements: Count) -> None:
    counts = []
    for number in (1, 30):
        for _ in range(number):
            JobFactory.create(tags=[TagFactory.create()])
        counts.append(len(statements(lambda: api.delete(f"/api/jobs/delete_job_before/{START + 999}"), 200)))
    assert counts[0] == counts[1]


def test_a_known_token_costs_no_statement(api: AppClient, statements: Count) -> None:
    assert len(statements(lambda: api.get("/api/jobs/?items-per-page=0"), 200)) == 0
