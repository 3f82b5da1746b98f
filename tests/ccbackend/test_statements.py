"""The statements that go straight through libpq: what they take and return, and that nothing breaks a connection."""

import os
import threading
from typing import Any

import psycopg
import pytest
from django.db import DatabaseError, DataError, IntegrityError, OperationalError, connection, transaction

from ccbackend.postgresql import statements
from jobs.models import Tag
from tests.support.waiting import wait_for

pytestmark = [
    pytest.mark.django_db(transaction=True),
    pytest.mark.skipif(not os.environ.get("DATABASE_URL", "").startswith("postgres"), reason="of PostgreSQL alone"),
]

TAG = ("INSERT INTO jobs_tag (type, name) VALUES (%s, %s)", ["a", "b"])


def run(*given: tuple[str, list[Any]]) -> list[tuple[Any, ...]]:
    """Run statements on the connection of this thread."""
    rows: list[tuple[Any, ...]] = connection.run(*given)  # type: ignore[attr-defined]
    return rows


def test_within_a_transaction_they_belong_to_it() -> None:
    with transaction.atomic():
        assert run(TAG) == []
        assert run(("SELECT name FROM jobs_tag", [])) == [("b",)]
        transaction.set_rollback(True)
    assert not Tag.objects.exists()
    assert run(TAG) == []


@pytest.mark.parametrize("times", [1, 8])  # as they are, and prepared
@pytest.mark.parametrize(
    ("kind", "value"),
    [
        *(("bigint", value) for value in (0, -1, 2**63 - 1, -(2**63), None)),
        ("integer", 7),
        ("smallint", 7),
        *(("text", value) for value in ("", "%s %% $1 'x' \\ \"", "é\u2028\U0001f600", "\t\r\n", None)),
        ("varchar", "x" * 300),
    ],
)
def test_a_value_comes_back_as_it_went(times: int, kind: str, value: object) -> None:
    for _ in range(times):
        rows = run((f"SELECT %s::{kind}, '100%%', n FROM generate_series(1, 2) n", [value]))
        assert rows == [(value, "100%", 1), (value, "100%", 2)]


def test_a_large_value_is_sent_and_read_in_parts() -> None:
    large = "0123456789" * 1_000_000
    assert run(("SELECT %s::text", [large])) == [(large,)]


def test_a_number_beyond_64_bits_equals_no_column() -> None:
    assert run(('SELECT 1 FROM jobs_tag WHERE "id" <> %s', [2**70])) == []


def test_what_no_text_of_postgresql_can_have_is_refused_before_anything_is_sent() -> None:
    with pytest.raises(DataError, match="NUL"):
        run(TAG, ("SELECT %s::text", ["a\0b"]))
    assert not Tag.objects.exists()
    assert run(("SELECT 1", [])) == [(1,)]


@pytest.mark.parametrize("before", [0, 8])
@pytest.mark.parametrize(
    ("wrong", "error"),
    [
        (("SELECT nothing", []), DatabaseError),
        (("SELECT %s::bigint", ["word"]), DataError),
        (TAG, IntegrityError),
    ],
)
def test_if_one_fails_none_is_done_and_the_connection_goes_on(
    wrong: tuple[str, list[Any]], error: type[Exception], before: int
) -> None:
    for _ in range(before):
        run(("SELECT 1", []))
    connection.ensure_connection()
    pid = connection.connection.info.backend_pid
    for _ in range(8):
        with pytest.raises(error):
            run(TAG, wrong, ("SELECT 1", []))
        assert not Tag.objects.exists()
        assert run(("SELECT 1", [])) == [(1,)]
    run(TAG)
    assert Tag.objects.count() == 1
    assert connection.connection.info.backend_pid == pid


def test_a_connection_that_ends_in_the_middle_is_an_error_and_then_a_new_one(
    other: "psycopg.Connection[Any]",
) -> None:
    connection.ensure_connection()
    pid = connection.connection.info.backend_pid
    asleep = "SELECT count(*) FROM pg_stat_activity WHERE pid = %s AND wait_event = 'PgSleep'"

    def end() -> None:
        wait_for(lambda: other.execute(asleep, [pid]).fetchone() == (1,))
        other.execute("SELECT pg_terminate_backend(%s)", [pid])

    ending = threading.Thread(target=end)
    ending.start()
    with pytest.raises(OperationalError):
        run(TAG, ("SELECT 1 FROM pg_sleep(600)", []))
    ending.join()
    connection.close_if_unusable_or_obsolete()
    assert run(("SELECT 1", [])) == [(1,)]
    assert not Tag.objects.exists()


def test_while_one_waits_other_threads_go_on(other: "psycopg.Connection[Any]") -> None:
    connection.ensure_connection()
    pid = connection.connection.info.backend_pid
    waits = "SELECT count(*) FROM pg_stat_activity WHERE pid = %s AND wait_event_type = 'Lock'"
    other.execute("LOCK TABLE jobs_tag IN EXCLUSIVE MODE")

    def release() -> None:  # needs the interpreter, which the thread below must not hold
        with psycopg.connect(other.info.dsn, autocommit=True) as third:
            wait_for(lambda: third.execute(waits, [pid]).fetchone() == (1,))
        other.rollback()

    releasing = threading.Thread(target=release)
    releasing.start()
    run(TAG)
    releasing.join()
    assert Tag.objects.count() == 1


def test_what_was_prepared_is_bounded_and_nothing_more_is_prepared_once_it_was_forgotten(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(statements, "_MOST_PREPARED", 3)
    prepared = "SELECT count(*) FROM pg_prepared_statements WHERE name LIKE 'ccbackend%'"
    for expected in (3, 0):
        for number in range(6):
            for _ in range(8):
                assert run((f"SELECT {number}", [])) == [(number,)]
        with connection.cursor() as cursor:
            assert cursor.execute(prepared).fetchone() == (expected,)
            cursor.execute("DEALLOCATE ALL")


def test_a_table_that_a_migration_changed_is_read_by_the_same_connection(other: "psycopg.Connection[Any]") -> None:
    run(TAG)
    for _ in range(8):
        rows = run(("SELECT * FROM jobs_tag", []))
    other.execute("ALTER TABLE jobs_tag ADD COLUMN more bigint DEFAULT 5")
    other.commit()
    try:
        assert run(("SELECT * FROM jobs_tag", [])) == [(*rows[0], 5)]
    finally:
        other.execute("ALTER TABLE jobs_tag DROP COLUMN more")
        other.commit()
