"""Book jobs that have a row already: those that ended without being archived, and those from before there were books.

Rows that come into the database as ended jobs are booked in the transaction that inserts them, and archived jobs in
the one that records it. The others are found by the partial index `jobs_to_book`.
"""

from collections.abc import Iterable, Sequence
from operator import attrgetter
from typing import Any

import msgspec
from django.db import connection, transaction

from archive import root
from jobs.ledger.books import ENTRY_COLUMNS, Entry, book
from jobs.ledger.footprint import footprint_of
from jobs.ledger.sql import columns, one_of
from jobs.rows.columns import Row, submit_time_in
from jobs.rows.select import JOBS
from jobs.states import JobState, MonitoringStatus

# With constants, so that SQLite can use the index; the condition is TO_BOOK.
_ENDED = f"""NOT ("job_state" = '{JobState.RUNNING.value}')"""
_TO_BOOK = f"""{_ENDED} AND NOT ("monitoring_status" = {MonitoringStatus.ARCHIVING.value}) AND NOT is_booked"""
_COMPUTED = {"tags": "NULL"}
_LIST = ", ".join(_COMPUTED.get(name, f'"{name}"') for name in Row._fields)
_SELECT = f"SELECT {_LIST} FROM {JOBS}"
_MARK = {
    "sqlite": f'UPDATE {JOBS} SET "is_booked" = TRUE, "submit_time" = %s WHERE "id" = %s',
    "postgresql": f"""
        UPDATE {JOBS} SET "is_booked" = TRUE, "submit_time" = g.submitted
        FROM unnest(%s::bigint[], %s::bigint[]) g(submitted, id) WHERE {JOBS}."id" = g.id
    """,
}
_values = attrgetter(*ENTRY_COLUMNS)
_METADATA = msgspec.json.Decoder(dict[str, str | None])


def waiting() -> int:
    """Return how many ended jobs are not booked, as an index counts them."""
    with connection.cursor() as cursor:
        cursor.execute(f"SELECT COUNT(*) FROM {JOBS} WHERE {_TO_BOOK}")
        count: int = cursor.fetchone()[0]
    return count


def book_next(most: int, *, below: int | None = None) -> list[int]:
    """Book the newest jobs that are not booked, in one transaction; return their row ids, newest first.

    `below` is the row id at which the last batch ended: PostgreSQL would otherwise read again what that left behind in
    the index. Jobs that another process books at this moment are left to it.
    """
    further, parameters = (' AND "id" < %s', [below]) if below is not None else ("", [])
    skip = "FOR NO KEY UPDATE SKIP LOCKED" if connection.vendor == "postgresql" else ""
    with connection.cursor() as cursor:
        # In the order of the index: PostgreSQL would look for one in the table while it believes that there are many.
        cursor.execute(f'SELECT 1 FROM {JOBS} WHERE {_TO_BOOK}{further} ORDER BY "id" DESC LIMIT 1', parameters)
        if cursor.fetchone() is None:  # nearly always, and no reason for a transaction
            return []
        with transaction.atomic():
            cursor.execute(
                f'{_SELECT} WHERE {_TO_BOOK}{further} ORDER BY "id" DESC LIMIT %s {skip}', [*parameters, most]
            )
            return _book(cursor, cursor.fetchall())


def book_ended(row_ids: Sequence[int]) -> None:
    """Book those of these jobs that have ended and are not booked, whatever they wait for.

    The caller opens the transaction and has locked the rows.
    """
    chosen, parameters = one_of('"id"', row_ids)
    with connection.cursor() as cursor:
        cursor.execute(f'{_SELECT} WHERE {chosen} AND {_ENDED} AND NOT "is_booked"', parameters)
        if values := cursor.fetchall():
            _book(cursor, values)


def book_rows(rows: Iterable[Row]) -> None:
    """Book ended jobs whose rows were just inserted as booked ones, in the same transaction."""
    clusters = root.registry()
    book([Entry.of(_values(row), footprint_of(row, row.statistics, clusters.get(row.cluster))) for row in rows])


def _book(cursor: Any, values: Sequence[Sequence[Any]]) -> list[int]:
    rows = [_with_submit_time(Row._make(each)) for each in values]
    marks = [(row.submit_time, row.id) for row in rows]
    if connection.vendor == "postgresql":
        cursor.execute(_MARK["postgresql"], columns(marks, 2))
    else:
        cursor.executemany(_MARK["sqlite"], marks)
    book_rows(rows)
    return [row.id for row in rows]


def _with_submit_time(row: Row) -> Row:
    """Return a job with its time of submission; one that started before there was a column has it in its metadata."""
    if row.submit_time or row.meta_data is None:
        return row
    try:
        submitted = submit_time_in(_METADATA.decode(row.meta_data))
    except msgspec.DecodeError:  # no map of texts: then it says nothing of it
        submitted = 0
    return row._replace(submit_time=submitted)
