"""Starts and stops that arrive at the same time; tests/jobs/intake has all the rules of single ones for them too."""

import importlib
import json
from collections.abc import Iterator
from typing import Any

import pytest
from django.db import DatabaseError, connection
from django.test.utils import CaptureQueriesContext

from accounts import bad_tokens
from accounts.models import User
from ccbackend.fastpath.heads import Content
from jobs.intake.sql import FEW
from jobs.models import Job, RefusedCall
from tests.jobs.intake.test_events import REFUSE_13
from tests.support.clients import AppClient, kept_connection, start_body
from tests.support.factories import START, JobFactory, token_for

pytestmark = pytest.mark.django_db

START_JOB, STOP_JOB = "/api/jobs/start_job/", "/api/jobs/stop_job/"


@pytest.fixture
def application(api: AppClient) -> Iterator[Any]:
    """Return the application of production, which knows the paths."""
    for path in (START_JOB, STOP_JOB):
        assert api.get(path).status == 405
    with kept_connection():
        yield importlib.import_module("ccbackend.wsgi").application


def content(path: str, body: Any, token: str | None, **environ: str) -> Content:
    """Return the body of a call as the main loop hands it on; `body` is encoded unless it is bytes."""
    made = Content(body if isinstance(body, bytes) else json.dumps(body).encode())
    made.head = {"REQUEST_METHOD": "POST", "PATH_INFO": path, "HTTP_HOST": "127.0.0.1:8080", "REMOTE_ADDR": "127.0.0.1"}
    made.head |= ({} if token is None else {"HTTP_X_AUTH_TOKEN": token}) | environ
    return made


def start(job_id: int, token: str | None, **changes: Any) -> Content:
    """Return the start of a job."""
    return content(START_JOB, start_body(jobId=job_id, startTime=START, **changes), token)


def stop(job_id: int, token: str | None, **changes: Any) -> Content:
    """Return the end of a job, named by all its keys."""
    keys = {"jobId": job_id, "cluster": "testcluster", "startTime": START}
    return content(STOP_JOB, keys | {"stopTime": START + 60, "jobState": "completed"} | changes, token)


def statuses(contents: list[Content]) -> list[int | None]:
    """Return the status of each call that was carried out, None for the others."""
    return [made.answered and made.answered.status for made in contents]


def test_calls_of_a_kind_are_one_statement(application: Any, api: AppClient) -> None:
    JobFactory.create(job_id=5, start_time=START)
    JobFactory.create(job_id=6, start_time=START)
    contents = [start(1, api.token), stop(5, api.token), start(2, api.token), stop(6, api.token), start(3, api.token)]
    with CaptureQueriesContext(connection) as captured:
        application.carry_out(contents)
    assert statuses(contents) == [201, 200, 201, 200, 201]
    statements = [query["sql"].split()[0] for query in captured if "SAVEPOINT" not in query["sql"]]
    locks = ["SELECT"] if connection.vendor == "postgresql" else []
    assert statements == [*locks, "INSERT", "WITH"]
    started = {job.job_id: job.pk for job in Job.objects.running()}
    assert [json.loads(contents[place].answered.answer) for place in (0, 2, 4)] == [
        {"id": started[number]} for number in (1, 2, 3)
    ]
    assert [json.loads(contents[place].answered.answer)["jobId"] for place in (1, 3)] == [5, 6]


def test_a_call_that_fails_spoils_no_other_and_leaves_no_trace(application: Any, api: AppClient) -> None:
    JobFactory.create(job_id=4, start_time=START)
    contents = [
        start(1, api.token),
        content(START_JOB, b"{", api.token),
        start(4, api.token),  # runs already
        start(2, api.token, numNodes=7),
        stop(99, api.token),
        stop(4, api.token, jobState="odd"),
        start(3, api.token),
    ]
    application.carry_out(contents)
    assert statuses(contents) == [201, None, None, None, None, None, 201]
    assert set(Job.objects.values_list("job_id", flat=True)) == {1, 3, 4}
    assert not RefusedCall.objects.exists()


@pytest.mark.django_db(transaction=True)
def test_what_the_database_refuses_leaves_all_calls_of_its_kind_to_be_made_alone(
    application: Any, api: AppClient
) -> None:
    """A trigger stands for whatever the checks before do not foresee."""
    JobFactory.create(job_id=5, start_time=START)
    with connection.cursor() as cursor:
        for statement in REFUSE_13[connection.vendor]:
            cursor.execute(statement)
    contents = [start(12, api.token), start(13, api.token), stop(5, api.token)]
    try:
        with pytest.raises(DatabaseError):
            application.carry_out(contents)
        assert statuses(contents) == [None, None, None]
        assert [job.job_id for job in Job.objects.running()] == [5]
    finally:
        with connection.cursor() as cursor:
            cursor.execute("DROP TRIGGER refuse" + (" ON jobs_job" if connection.vendor == "postgresql" else ""))


def test_of_two_calls_about_one_job_the_first_is_carried_out(application: Any, api: AppClient) -> None:
    contents = [start(1, api.token), stop(1, api.token), start(1, api.token), start(2, api.token)]
    application.carry_out(contents)
    assert statuses(contents) == [201, None, None, 201]
    assert Job.objects.running().count() == 2


def test_what_takes_more_than_a_statement_is_left(application: Any, api: AppClient) -> None:
    JobFactory.create(job_id=5, start_time=START)
    tagged = start(1, api.token, tags=[{"type": "a", "name": "b"}])
    own_word = stop(5, api.token, jobState="NODE_FAIL+EXTRA")
    with CaptureQueriesContext(connection) as captured:
        application.carry_out([tagged, own_word])
    assert (statuses([tagged, own_word]), len(captured)) == ([None, None], 0)


def test_stops_named_by_different_keys_are_all_carried_out(application: Any, api: AppClient) -> None:
    for number in range(1, 5):
        JobFactory.create(job_id=number, start_time=START)
    contents = [
        stop(1, api.token),
        stop(2, api.token, cluster=None),
        stop(3, api.token, startTime=None),
        stop(4, api.token, cluster=None, startTime=None),
    ]
    application.carry_out(contents)
    assert statuses(contents) == [200] * 4
    assert not Job.objects.running().exists()


def test_unknown_hosts_paths_and_tokens_are_left_and_not_noted(application: Any, api: AppClient, bench: User) -> None:
    never_used = token_for(bench)
    contents = [
        start(1, None),
        start(2, "ccb_unknown"),
        start(3, never_used),
        content(START_JOB, start_body(jobId=4), api.token, HTTP_HOST="elsewhere"),
        content("/api/jobs/start_job", start_body(jobId=5), api.token),
    ]
    application._matches.pop("/api/jobs/start_job", None)
    application.carry_out(contents)
    assert statuses(contents) == [None] * 5
    assert not Job.objects.exists()
    assert not bad_tokens.note("127.0.0.1")  # the first one


@pytest.mark.usefixtures("cluster")
def test_a_token_reaches_no_further_than_alone(application: Any, api: AppClient, bench: User, alice: User) -> None:
    tokens = {
        "report": token_for(bench, scope="report"),
        "read": token_for(bench, scope="read"),
        "cluster": token_for(bench, clusters=["testcluster"]),
        "other": token_for(bench, clusters=["other"]),
        "network": token_for(bench, networks=["10.0.0.0/8"]),
        "without role": token_for(alice),
    }
    for token in tokens.values():  # used before, from where they may be
        api.as_(token).request("GET", START_JOB, headers={"X-Forwarded-For": "10.0.0.1"})
    contents = [start(number, token) for number, token in enumerate(tokens.values(), 1)]
    application.carry_out(contents)
    assert dict(zip(tokens, statuses(contents), strict=True)) == {
        "report": 201,
        "read": None,
        "cluster": 201,
        "other": None,
        "network": None,
        "without role": None,
    }


def test_no_more_than_a_statement_takes_are_accepted(application: Any, api: AppClient) -> None:
    with pytest.raises(AssertionError):
        application.carry_out([start(number, api.token) for number in range(1, FEW + 2)])
    assert not Job.objects.exists()
