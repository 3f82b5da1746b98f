"""ccbackend.postgresql: an ended connection is seen without a query, no wait in the main loop, prepared statements."""

import json
import os
from pathlib import Path
from typing import Any

import psycopg
import pytest
from django.core.exceptions import ImproperlyConfigured
from django.db import OperationalError, connection

from accounts.credentials import without_waiting
from accounts.models import ApiToken
from ccbackend import settings as settings_module
from ccbackend.waiting import WouldWait
from jobs.models import Job
from tests.support.clients import AppClient
from tests.support.factories import JobFactory, UserFactory

pytestmark = [
    pytest.mark.django_db(transaction=True),
    pytest.mark.skipif(not os.environ.get("DATABASE_URL", "").startswith("postgres"), reason="of PostgreSQL alone"),
]


@pytest.fixture
def must_not_wait(api: AppClient, monkeypatch: pytest.MonkeyPatch) -> None:
    """Let the connection be that of a main loop, which knows the token already."""
    assert api.get("/api/jobs/").status == 200
    monkeypatch.setattr(connection, "must_not_wait", True)


def test_a_notice_is_no_end(api: AppClient, other: "psycopg.Connection[Any]") -> None:
    with connection.cursor() as cursor:
        cursor.execute("LISTEN something")
    pid = connection.connection.info.backend_pid
    other.execute("NOTIFY something")
    other.commit()
    api.started(jobId=1)
    assert connection.connection.info.backend_pid == pid


def test_an_ended_connection_is_seen_at_once_and_costs_no_call(
    api: AppClient, other: "psycopg.Connection[Any]"
) -> None:
    api.started(jobId=1)
    assert connection.is_usable()
    other.execute("SELECT pg_terminate_backend(%s, 9999)", [connection.connection.info.backend_pid])
    assert not connection.is_usable()
    api.started(jobId=2)


@pytest.mark.parametrize("tags", [[], [{"type": "a", "name": "b"}]])
@pytest.mark.parametrize(
    "lock",
    [
        "SELECT pg_advisory_xact_lock(hashtextextended('testcluster', 7))",
        "LOCK TABLE jobs_job IN EXCLUSIVE MODE",
    ],
)
def test_a_start_that_must_not_wait_for_a_lock_does_nothing(
    api: AppClient, must_not_wait: None, other: "psycopg.Connection[Any]", lock: str, tags: list[dict[str, str]]
) -> None:
    other.execute(lock.encode())
    with pytest.raises(WouldWait):
        api.start(jobId=7, cluster="testcluster", tags=tags)
    other.rollback()
    assert not Job.objects.exists()
    assert api.start(jobId=7, cluster="testcluster", tags=tags).status == 201


def test_a_list_does_not_wait_for_a_migration(
    api: AppClient, must_not_wait: None, other: "psycopg.Connection[Any]"
) -> None:
    other.execute("LOCK TABLE jobs_job IN ACCESS EXCLUSIVE MODE")
    with pytest.raises(WouldWait):
        api.get("/api/jobs/")
    other.rollback()
    assert api.get("/api/jobs/").status == 200


@pytest.mark.parametrize("tags", [[], [{"type": "a", "name": "b"}]])
@pytest.mark.parametrize("before", range(7))
def test_calls_work_again_after_many_that_would_have_waited(
    api: AppClient, must_not_wait: None, other: "psycopg.Connection[Any]", tags: list[dict[str, str]], before: int
) -> None:
    for job_id in range(1, before + 1):  # the statements are prepared by one of the calls that follow, which fails
        api.started(jobId=job_id, tags=tags)
        assert api.stop(jobId=job_id, stopTime=2_000_000_000).status == 200
    job = JobFactory.create(job_id=99)
    other.execute("LOCK TABLE jobs_job IN EXCLUSIVE MODE")
    for _ in range(7 - before):
        with pytest.raises(WouldWait):
            api.start(jobId=98, tags=tags)
        with pytest.raises(WouldWait):
            api.stop(jobId=99, stopTime=job.start_time + 1)
    other.rollback()
    for job_id in range(50, 58):
        api.started(jobId=job_id, tags=tags)
        assert api.stop(jobId=job_id, stopTime=2_000_000_000).status == 200
    assert api.stop(jobId=99, stopTime=job.start_time + 1).status == 200


def test_the_tags_of_a_start_are_not_waited_for(
    api: AppClient, must_not_wait: None, other: "psycopg.Connection[Any]"
) -> None:
    other.execute("LOCK TABLE jobs_tag IN EXCLUSIVE MODE")
    with pytest.raises(WouldWait):
        api.start(jobId=7, tags=[{"type": "a", "name": "b"}])
    other.rollback()
    assert not Job.objects.exists()


@pytest.mark.parametrize("state", ["completed", "node_fail"])
def test_a_stop_that_must_not_wait_for_a_job_does_nothing(
    api: AppClient, must_not_wait: None, other: "psycopg.Connection[Any]", state: str
) -> None:
    job = JobFactory.create()
    other.execute("SELECT 1 FROM jobs_job WHERE id = %s FOR UPDATE", [job.pk])
    stop = {"jobId": job.job_id, "stopTime": job.start_time + 9, "jobState": state}
    with pytest.raises(WouldWait):
        api.post("/api/jobs/stop_job/", stop)
    other.rollback()
    job.refresh_from_db()
    assert job.is_running
    assert api.post("/api/jobs/stop_job/", stop).status == 200


def test_without_waiting_fails_soon_even_in_the_main_loop(
    must_not_wait: None, other: "psycopg.Connection[Any]"
) -> None:
    token, _ = ApiToken.issue(user=UserFactory.create())
    other.execute("LOCK TABLE accounts_apitoken IN EXCLUSIVE MODE")
    with pytest.raises(OperationalError), without_waiting():
        ApiToken.objects.filter(pk=token.pk).update(name="x")
    other.rollback()
    assert connection.get_autocommit()
    with connection.cursor() as cursor:
        assert cursor.execute("SHOW lock_timeout").fetchone() == ("20s",)


def test_starts_and_stops_are_prepared(api: AppClient) -> None:
    for number in range(1, 8):
        api.started(jobId=number)
        assert api.stop(jobId=number, stopTime=2_000_000_000).status == 200
    with connection.cursor() as cursor:
        cursor.execute("SELECT statement FROM pg_prepared_statements")
        prepared = [statement for (statement,) in cursor.fetchall()]
    assert {statement.split()[0] for statement in prepared if '"jobs_job"' in statement} >= {"INSERT", "UPDATE"}


def test_nothing_but_short_calls_is_prepared(api: AppClient) -> None:
    for number in range(1, 12):
        api.started(jobId=number)
        assert Job.objects.filter(job_id=number).count() == 1
    with connection.cursor() as cursor:
        cursor.execute("SELECT DISTINCT name LIKE 'ccbackend%%' FROM pg_prepared_statements")
        assert cursor.fetchall() == [(True,)]


@pytest.mark.parametrize(("written", "threshold"), [("none", None), ("None", None), ("0", 0), ("7", 7)])
def test_whether_statements_are_prepared_can_be_said(written: str, threshold: int | None) -> None:
    assert settings_module._prepare_threshold(written) == threshold


@pytest.mark.parametrize("written", ["", "-1", "often"])
def test_another_threshold_is_refused(written: str) -> None:
    with pytest.raises(ImproperlyConfigured, match="prepare_threshold: expected a number, or none"):
        settings_module._prepare_threshold(written)


@pytest.mark.parametrize("processes", [1, 2, 7, 1000])
def test_the_processes_of_the_server_leave_connections_to_others(db: None, processes: int) -> None:
    with connection.cursor() as cursor:
        (allowed,) = cursor.execute("SELECT current_setting('max_connections')::int").fetchone()
    share = connection.share_of_connections(processes)  # type: ignore[attr-defined]  # of our engine
    assert share * processes <= allowed - 15 < (share + 1) * processes + 3


def test_a_server_starts_while_the_database_is_away(monkeypatch: pytest.MonkeyPatch) -> None:
    connection.close()
    monkeypatch.setitem(connection.settings_dict, "HOST", "/nowhere")
    assert connection.share_of_connections(2) is None  # type: ignore[attr-defined]


def test_a_page_costs_postgresql_no_page_faults(api: AppClient) -> None:
    nodes = json.dumps([{"hostname": f"n{number:04}"} for number in range(80)])
    JobFactory.create_batch(50, resources=nodes)
    connection.close()  # the tests before have asked for much else on it
    connection.ensure_connection()
    backend = Path(f"/proc/{connection.connection.info.backend_pid}/stat")
    if not backend.exists():
        pytest.skip("PostgreSQL runs elsewhere")

    def faults() -> int:
        return int(backend.read_text().rpartition(")")[2].split()[7])

    for _ in range(20):
        assert len(api.get("/api/jobs/?items-per-page=50").body) > 80_000
    before = faults()
    for _ in range(20):
        api.get("/api/jobs/?items-per-page=50")
    assert faults() - before < 20 * 10
