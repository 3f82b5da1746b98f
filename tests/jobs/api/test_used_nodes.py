"""GET jobs/used_nodes: a metric store's question, which nodes running jobs use, and the clients that may ask it."""

import json
from typing import Any

import pytest
from django.db import connection
from django.test.utils import CaptureQueriesContext

from accounts.models import User
from jobs.models import Job
from jobs.overview.nodes import used_nodes
from tests.support.clients import AppClient
from tests.support.factories import START, JobFactory, token_for

pytestmark = pytest.mark.django_db

PATH = f"/api/jobs/used_nodes?ts={START + 100}"


def resources(*hosts: str) -> str:
    """Return the resources of a job on some hosts."""
    return json.dumps([{"hostname": host} for host in hosts])


@pytest.mark.parametrize("path", [PATH, PATH.replace("?", "/?")])
def test_the_answer_is_the_map_alone_of_running_jobs_that_started_earlier(anonymous: AppClient, path: str) -> None:
    JobFactory.create(start_time=START + 99, resources=resources("n03", "n01"))
    JobFactory.create(start_time=START + 98, resources=resources("n02", "n01"))
    JobFactory.create(start_time=START, cluster="other", resources=resources("n01"))
    JobFactory.create(start_time=START + 100, resources=resources("n04"))
    JobFactory.create(start_time=START, finished=True, resources=resources("n05"))
    JobFactory.create(start_time=START, cluster="imported", resources='{"not": "a list"}')

    answer = anonymous.get(path)

    assert (answer.status, answer.json) == (200, {"other": ["n01"], "testcluster": ["n01", "n02", "n03"]})


def test_without_running_jobs_the_map_is_empty(anonymous: AppClient) -> None:
    assert anonymous.get(PATH).json == {}


@pytest.mark.parametrize("query", ["", "?ts=", "?ts=now", "?ts=-1", f"?ts={START}&cluster=a", f"?ts={2**63}"])
def test_a_question_without_a_time_or_with_anything_else_is_refused(anonymous: AppClient, query: str) -> None:
    answer = anonymous.get(f"/api/jobs/used_nodes{query}")
    assert answer.status == 400
    assert "expected" in answer.error


@pytest.mark.parametrize(
    ("peer", "networks", "status"),
    [
        ("127.0.0.1", None, 200),
        ("::1", None, 200),
        ("198.51.100.7", None, 401),
        ("", None, 401),
        ("198.51.100.7", ["198.51.100.0/24"], 200),
        ("127.0.0.1", [], 401),
        ("127.0.0.1", ["198.51.100.0/24"], 401),
        ("", ["unix"], 200),
    ],
)
def test_addresses_of_metric_stores_need_no_token(
    anonymous: AppClient, settings: Any, peer: str, networks: list[str] | None, status: int
) -> None:
    if networks is not None:
        settings.METRIC_STORE_IPS = networks
    anonymous.environ["REMOTE_ADDR"] = peer
    assert anonymous.get(PATH).status == status


@pytest.mark.parametrize(
    ("proxies", "client", "status"),
    [([], "127.0.0.1", 401), (["127.0.0.1"], "127.0.0.1", 200), (["127.0.0.1"], "198.51.100.7", 401)],
)
def test_a_client_behind_a_proxy_does_not_count_as_the_proxy(
    anonymous: AppClient, settings: Any, proxies: list[str], client: str, status: int
) -> None:
    settings.TRUSTED_PROXIES = proxies
    assert anonymous.get(PATH, headers={"X-Forwarded-For": client}).status == status


@pytest.mark.parametrize("peer", ["127.0.0.1", "198.51.100.7"])
def test_a_token_that_is_sent_counts_as_for_any_call(api: AppClient, alice: User, peer: str) -> None:
    api.environ["REMOTE_ADDR"] = peer
    assert api.get(PATH).status == 200
    assert api.get(PATH, token="no token").status == 401
    assert api.get(PATH, token=token_for(alice)).status == 403


def test_no_other_call_of_a_metric_store_goes_without_a_token(anonymous: AppClient) -> None:
    for path in ("/api/jobs/", "/api/jobs/1", "/api/users/"):
        assert anonymous.get(path).status == 401


def test_running_jobs_are_found_by_their_index() -> None:
    JobFactory.create_batch(10, archived=True)
    columns = ", ".join(f'"{field.column}"' for field in Job._meta.local_concrete_fields if not field.primary_key)
    with connection.cursor() as cursor:
        for _ in range(9):
            values = columns.replace('"job_id"', '"job_id" + %s')
            cursor.execute(f"INSERT INTO jobs_job ({columns}) SELECT {values} FROM jobs_job", [Job.objects.count()])
        JobFactory.create(job_id=1, start_time=START, resources=resources("n01"))
        cursor.execute("ANALYZE jobs_job")
        with CaptureQueriesContext(connection) as queries:
            assert used_nodes(before=START + 100) == {"testcluster": ["n01"]}
        (query,) = [query["sql"] for query in queries if query["sql"].startswith("SELECT")]
        cursor.execute(f"{'EXPLAIN QUERY PLAN' if connection.vendor == 'sqlite' else 'EXPLAIN'} {query}")
        assert "jobs_running" in str(cursor.fetchall())
