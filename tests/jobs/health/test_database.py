"""The health of the database: it is cut off, not migrated or short of connections, and all faces say so."""

from collections.abc import Callable, Iterator
from typing import Any

import pytest
from django.db import connection
from django.db.migrations.recorder import MigrationRecorder

from jobs.health import database
from jobs.health.report import State
from tests.jobs.health.conftest import Tell
from tests.support.clients import AppClient
from tests.support.waiting import wait_for

pytestmark = pytest.mark.django_db


@pytest.fixture
def unreachable() -> Iterator[Callable[[], None]]:
    """Return a function after which no new connection to the database can be made."""
    before = dict(connection.settings_dict)

    def cut() -> None:
        connection.settings_dict |= {"NAME": "/nowhere/db.sqlite3"} if connection.vendor == "sqlite" else {"PORT": "1"}

    yield cut
    connection.settings_dict |= before


def test_a_database_that_cannot_be_reached(tell: Tell, unreachable: Callable[[], None], anonymous: AppClient) -> None:
    before = dict(connection.settings_dict)
    unreachable()
    told = tell("database")
    assert told.state == State.ERROR
    assert "cannot be reached" in told.text
    answer = anonymous.get("/readyz")
    assert answer.status == 503
    assert "cannot be reached" in answer.json["findings"][0]["sentence"]

    connection.settings_dict |= before
    assert tell("database").state == State.OK
    assert anonymous.get("/readyz").status == 200


def test_a_database_that_is_not_migrated(tell: Tell, anonymous: AppClient, transactional_db: None) -> None:
    """The application looks over a connection of its own, so the rows must be committed."""
    recorder = MigrationRecorder(connection)
    last = max(name for app, name in recorder.applied_migrations() if app == "jobs")
    recorder.record_unapplied("jobs", last)
    try:
        told = tell("database")
        assert told.state == State.ERROR
        assert f"jobs.{last}" in told.text
        assert "manage.py migrate" in told.text
        assert anonymous.get("/readyz").status == 503
    finally:
        recorder.record_applied("jobs", last)
    assert tell("database").state == State.OK


@pytest.mark.parametrize("name", ["MANY_CONNECTIONS", "NEARLY_ALL_CONNECTIONS"])
def test_few_connections_left(tell: Tell, monkeypatch: pytest.MonkeyPatch, name: str) -> None:
    if connection.vendor != "postgresql":
        pytest.skip("SQLite has no limit for connections")
    monkeypatch.setattr(database, "MANY_CONNECTIONS", 0.001)  # this one
    monkeypatch.setattr(database, name, 0.001)
    told = tell("database")
    assert told.state == (State.WARNING if name == "MANY_CONNECTIONS" else State.ERROR)
    assert "connections are in use" in told.text
    monkeypatch.undo()
    assert tell("database").state == State.OK


def test_too_few_connections_for_the_processes_of_the_server(tell: Tell, settings: Any) -> None:
    if connection.vendor != "postgresql":
        pytest.skip("SQLite has no limit for connections")
    settings.SERVER_PROCESSES = 1000
    told = tell("database")
    assert told.state == State.WARNING
    assert "are too few for 1000 processes of the server: 0 for each, and 5 are needed" in told.text
    assert "Raise max_connections to 5020" in told.text
    settings.SERVER_PROCESSES = 1
    told = tell("database")
    assert told.state == State.OK
    assert "the server may open 16." in told.text


def test_a_look_at_the_database_leaves_no_connection_open() -> None:
    if connection.vendor != "postgresql":
        pytest.skip("PostgreSQL counts its connections")
    with connection.cursor() as cursor:

        def sessions() -> int:
            cursor.execute("SELECT pg_stat_clear_snapshot()")
            cursor.execute("SELECT count(*) FROM pg_stat_activity WHERE datname = current_database()")
            return int(cursor.fetchone()[0])

        before = sessions()
        assert database.trouble() is None
        wait_for(lambda: sessions() <= before)
