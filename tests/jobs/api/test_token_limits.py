"""Tokens whose scope or clusters limit them, and persons who read the jobs that they see."""

import json
import time
from typing import Any

import pytest
from django.db import connection
from django.test.utils import CaptureQueriesContext

from accounts.models import User
from jobs.models import Job
from tests.support.clients import AppClient, start_body
from tests.support.factories import JobFactory, UserFactory, token_for

pytestmark = [pytest.mark.django_db, pytest.mark.usefixtures("cluster")]

NOW = int(time.time())
STOP = {"jobId": 1001, "cluster": "testcluster", "stopTime": NOW, "jobState": "completed"}
TAG = [{"type": "a", "name": "b"}]
NODES = {"cluster": "testcluster", "nodes": [{"hostname": "n01", "states": ["IDLE"]}]}
LINE = json.dumps({"operation": "start_job", "body": start_body(jobId=7)}).encode()
CALLS: dict[str, tuple[str, str, Any, set[str]]] = {
    "start_job": ("POST", "jobs/start_job/", start_body(jobId=5), {"report"}),
    "stop_job": ("POST", "jobs/stop_job/", STOP, {"report"}),
    "stop_job_by_id": ("POST", "jobs/stop_job/{id}", STOP, {"report"}),
    "tag_job": ("POST", "jobs/tag_job/{id}", TAG, {"report"}),
    "untag_job": ("DELETE", "jobs/tag_job/{id}", TAG, {"report"}),
    "nodestate": ("POST", "nodestate/", NODES, {"report"}),
    "events": ("POST", "jobs/events/", LINE, {"report"}),
    "running": ("GET", "jobs/?state=running", None, {"report", "read"}),
    "list": ("GET", "jobs/", None, {"read"}),
    "running_or_failed": ("GET", "jobs/?state=running&state=failed", None, {"read"}),
    "get_job": ("GET", "jobs/{id}?all-metrics=false", None, {"read"}),
    "query_job": ("POST", "jobs/{id}", [], {"read"}),
    "get_job_metrics": ("GET", "jobs/metrics/{id}", None, {"read"}),
    "list_clusters": ("GET", "clusters/", None, {"read"}),
    "usage": ("GET", "usage/", None, {"read"}),
    "used_nodes": ("GET", "jobs/used_nodes?ts=0", None, {"read"}),
    "edit_meta": ("PATCH", "jobs/edit_meta/{id}", {"key": "a", "value": "b"}, set()),
    "delete_job": ("DELETE", "jobs/delete_job/{id}", None, set()),
    "delete_before": ("DELETE", "jobs/delete_job_before/1", None, set()),
    "delete_tags": ("DELETE", "tags/", TAG, set()),
    "list_users": ("GET", "users/", None, set()),
}


def call(client: AppClient, name: str, job: Job) -> tuple[int, str]:
    """Make a call of the table; return the status and the answer."""
    method, path, body, _ = CALLS[name]
    answer = client.request(method, f"/api/{path.format(id=job.pk)}", body)
    return answer.status, answer.text


@pytest.fixture
def job() -> Job:
    """Return the running job of the table, which has few samples yet."""
    return JobFactory.create(job_id=1001, start_time=NOW - 600)


@pytest.mark.parametrize("scope", ["report", "read", "all"])
@pytest.mark.parametrize("name", CALLS)
def test_a_scope_allows_its_calls_alone(
    name: str, scope: str, anonymous: AppClient, admin: User, job: Job, synthetic: None
) -> None:
    anonymous.environ["REMOTE_ADDR"] = "127.0.0.1" if name != "used_nodes" else "192.0.2.1"
    status, text = call(anonymous.as_(token_for(admin, scope=scope)), name, job)
    is_refused = status == 403
    assert is_refused != (scope == "all" or scope in CALLS[name][3]), text
    assert not is_refused or f"the scope {scope}" in text


LIMITED_ANSWERS = {"list_users", "list_clusters", "list", "running_or_failed", "usage"}


@pytest.mark.parametrize("name", sorted(CALLS.keys() - LIMITED_ANSWERS))
def test_a_token_for_a_cluster_changes_and_reads_no_job_of_another(
    name: str, anonymous: AppClient, admin: User, job: Job, synthetic: None
) -> None:
    anonymous.environ["REMOTE_ADDR"] = "127.0.0.1" if name != "used_nodes" else "192.0.2.1"
    before = Job.objects.values().get()
    _, text = call(anonymous.as_(token_for(admin, clusters=["other", "third"])), name, job)
    if name == "running":
        assert json.loads(text)["jobs"] == []
    else:
        assert "Forbidden" in text
    assert Job.objects.values().get() == before


@pytest.mark.parametrize(
    "name", ["start_job", "stop_job", "stop_job_by_id", "tag_job", "nodestate", "events", "running"]
)
def test_a_token_for_a_cluster_does_its_work_there(name: str, anonymous: AppClient, bench: User, job: Job) -> None:
    token = token_for(bench, scope="report", clusters=["testcluster", "other"])
    status, text = call(anonymous.as_(token), name, job)
    assert status in (200, 201), text
    assert name != "running" or len(json.loads(text)["jobs"]) == 1


def test_a_stop_by_a_token_for_a_cluster_has_to_name_it(anonymous: AppClient, bench: User, job: Job) -> None:
    client = anonymous.as_(token_for(bench, clusters=["testcluster"]))
    answer = client.stop(jobId=1001, stopTime=NOW, jobState="completed")
    assert (answer.status, "field 'cluster'" in answer.error) == (403, True)


@pytest.fixture
def jobs() -> dict[str, Job]:
    """Return jobs of alice, of bob's project bio, and of others."""
    return {
        "alice": JobFactory.create(user="alice", project="none"),
        "bio": JobFactory.create(user="charlie", project="bio"),
        "bob": JobFactory.create(user="bob", project="none"),
        "other": JobFactory.create(user="charlie", project="none"),
    }


SEEN = {"alice": {"alice"}, "bob": {"bio", "bob"}, "carol": {"alice", "bio", "bob", "other"}}


@pytest.mark.parametrize("person", SEEN)
def test_a_person_reads_the_jobs_that_the_site_shows(
    person: str, anonymous: AppClient, jobs: dict[str, Job], request: pytest.FixtureRequest
) -> None:
    user = request.getfixturevalue(person)
    client = anonymous.as_(token_for(user, scope="read"))
    for _ in range(2):  # the first call of a token takes another way
        listed = {found["id"] for found in client.get("/api/jobs/").json["jobs"]}
        assert listed == {jobs[name].pk for name in SEEN[person]}
    assert listed == set(Job.objects.visible_to(user).values_list("pk", flat=True))
    for name, job in jobs.items():
        answer = client.get(f"/api/jobs/{job.pk}?all-metrics=false")
        assert answer.status == (200 if name in SEEN[person] else 422), answer
    missing = client.get("/api/jobs/999999?all-metrics=false")
    hidden = client.get(f"/api/jobs/{jobs['other'].pk}?all-metrics=false")
    assert person == "carol" or missing.error.replace("999999", "") == hidden.error.replace(str(jobs["other"].pk), "")
    foreign = client.get(f"/api/jobs/?user=charlie&job-id={jobs['other'].job_id}").json["jobs"]
    assert len(foreign) == (person == "carol")


@pytest.mark.parametrize("name", ["get_job_metrics", "query_job", "list_clusters", "start_job"])
def test_a_person_without_the_role_api_makes_no_other_call(
    name: str, anonymous: AppClient, alice: User, job: Job
) -> None:
    assert call(anonymous.as_(token_for(alice, scope="read")), name, job)[0] == 403
    assert call(anonymous.as_(token_for(alice)), "list", job)[0] == 403


def test_a_user_without_a_role_sees_nothing(anonymous: AppClient, jobs: dict[str, Job]) -> None:
    client = anonymous.as_(token_for(UserFactory.create(roles=[]), scope="read"))
    assert client.get("/api/jobs/").json["jobs"] == []


def test_limits_cost_an_unlimited_token_no_statement(api: AppClient, job: Job) -> None:
    api.get("/api/jobs/")
    with CaptureQueriesContext(
        connection,
    ) as queries:
        api.get("/api/jobs/")
    assert len(queries) == 1
