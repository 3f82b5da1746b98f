"""PostgreSQL through a pooler in transaction mode, which hands each transaction to another of its connections."""

import os
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import psycopg
import pytest
from django.db import connection

from ccbackend.checks import check_database
from ccbackend.postgresql import base
from jobs.models import Job
from tests.support import pooler
from tests.support.clients import AppClient
from tests.support.factories import START, JobFactory

pytestmark = [
    pytest.mark.django_db(transaction=True),
    pytest.mark.skipif(not os.environ.get("DATABASE_URL", "").startswith("postgres"), reason="of PostgreSQL alone"),
    pytest.mark.skipif(pooler.program() is None, reason="pgbouncer is not installed; `make pgbouncer` unpacks it"),
]


@pytest.fixture
def pooled(transactional_db: None, monkeypatch: pytest.MonkeyPatch) -> Iterator[dict[str, Any]]:
    """Let all connections of a test go through a pooler, and wait for a second for a lock; yield the direct way."""
    monkeypatch.setattr(base, "_LONGEST", 1)
    database: dict[str, Any] = connection.settings_dict
    direct = {"dbname": database["NAME"], "user": "postgres", "host": database["HOST"]}
    with psycopg.connect(**direct, autocommit=True) as postgres:
        postgres.execute(f"ALTER ROLE postgres IN DATABASE {database['NAME']} RESET lock_timeout".encode())
    # A short path: that of a socket has at most 107 bytes.
    with tempfile.TemporaryDirectory(prefix="pooler") as folder:
        Path(folder).chmod(0o755)
        with pooler.running_pooler(Path(folder) / "run", Path(direct["host"])):
            connection.close()
            changed = {"PORT": str(pooler.PORT), "HOST": f"{folder}/run"}
            before = {name: database[name] for name in changed}
            database.update(changed)
            yield direct
            connection.close()
            database.update(before)
    with psycopg.connect(**direct, autocommit=True) as postgres:
        postgres.execute(f"ALTER ROLE postgres IN DATABASE {database['NAME']} RESET lock_timeout".encode())


def test_the_same_call_is_repeated_on_any_of_the_pooler_s_connections(pooled: dict[str, Any], api: AppClient) -> None:
    through = {"dbname": pooled["dbname"], "user": "postgres", "host": connection.settings_dict["HOST"]}
    for job_id in range(1, 20):
        with psycopg.connect(**through, port=pooler.PORT) as other:
            if job_id % 2:
                other.execute("SELECT 1")  # now the connection that served us last belongs to another transaction
            api.started(jobId=job_id)
            assert api.stop(jobId=job_id, stopTime=2_000_000_000).status == 200
            other.rollback()
    wrapper: Any = connection
    assert wrapper.prepare_threshold is None


def test_a_pooler_that_forgets_whose_the_prepared_statements_are_mixes_up_none(
    pooled: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    # As with ?prepare_threshold=0 in DATABASE_URL and a pgbouncer too old for it, or with max_prepared_statements=0.
    monkeypatch.setitem(connection.settings_dict["OPTIONS"], "prepare_threshold", 0)
    clients: list[Any] = [connection, connection.copy()]
    through = {"dbname": pooled["dbname"], "user": "postgres", "host": connection.settings_dict["HOST"]}
    for turn in range(6):
        with psycopg.connect(**through, port=pooler.PORT) as other:
            if turn % 2:
                other.execute("SELECT 1")  # takes the connection that served the clients last
            for number, client in enumerate(clients):
                assert client.run((f"SELECT {number}, %s::bigint", [turn])) == [(number, turn)]
            other.rollback()
    clients[1].close()


def test_calls_work_through_a_pooler(pooled: dict[str, Any], api: AppClient) -> None:
    Job.objects.bulk_create([JobFactory.build(start_time=START + number) for number in range(1001)])
    row = api.started(jobId=99, tags=[{"type": "a", "name": "b"}])
    assert len(api.get("/api/jobs/?items-per-page=-1").json["jobs"]) == 1002
    assert api.post(f"/api/jobs/tag_job/{row}", [{"type": "a", "name": "c"}]).status == 200
    assert api.stop(jobId=99, stopTime=1_700_000_060).status == 200
    assert api.delete(f"/api/jobs/delete_job_before/{START + 999}").status == 200
    assert check_database(None) == []


def test_a_lock_is_waited_for_no_longer_through_a_pooler(pooled: dict[str, Any], api: AppClient) -> None:
    row = api.started(jobId=99)
    with psycopg.connect(**pooled) as other:
        other.execute("LOCK TABLE jobs_job IN EXCLUSIVE MODE")
        through = pooled | {"host": connection.settings_dict["HOST"], "port": pooler.PORT}
        # The connection of the pooler that has been in use is busy, so that the calls get new ones.
        with psycopg.connect(**through) as busy:
            busy.execute("SELECT 1")
            begin = time.monotonic()
            assert api.start(jobId=100).status == 503
            assert api.stop(jobId=99, stopTime=1_700_000_060).status == 503
            assert api.delete(f"/api/jobs/delete_job/{row}").status == 503
            assert 2.5 < time.monotonic() - begin < 15
    assert api.start(jobId=100).status == 201


def test_what_a_connection_is_given_outlives_it(pooled: dict[str, Any], api: AppClient) -> None:
    api.get("/api/jobs/")
    with psycopg.connect(**pooled) as direct:
        assert direct.execute("SHOW lock_timeout").fetchone() == ("1s",)
