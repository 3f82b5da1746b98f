"""The SQL that inserts many archived jobs at once, and reserves their ids.

It avoids the ORM: an unsaved Job alone takes longer to build than its row takes to insert.
"""

from collections.abc import Iterable, Iterator, Sequence
from contextlib import suppress
from itertools import chain
from typing import Any

from django.db import IntegrityError, connection, models, transaction

from jobs.models import Job, JobTag
from jobs.rows.columns import STORED_COLUMNS, Row, stored_values

_JOBS = f'"{Job._meta.db_table}"'
_NEW = '"jobs_job_new"'
_NAMES = ", ".join(f'"{column}"' for column in (*STORED_COLUMNS, "is_booked"))
_MOST_PARAMETERS = 30_000  # per statement; both databases allow slightly more


def use_little_memory() -> None:
    """Let SQLite map and cache less of a large table than is useful in the server."""
    if connection.vendor == "sqlite":
        with connection.cursor() as cursor:
            cursor.execute("PRAGMA mmap_size=0")
            cursor.execute("PRAGMA cache_size=-16384")  # KiB


def gather_statistics(column: str = "") -> None:
    """Let PostgreSQL look at the table of jobs, or at one column of it, as it does by itself after a minute.

    Of a table that was empty it believes that a job id occurs in every 200th row, and reads the whole table to look up
    a thousand of them: a third of the time of a rebuild of 200,000 jobs.
    """
    if connection.vendor == "postgresql":
        with connection.cursor() as cursor:  # SKIP_LOCKED: a VACUUM by hand may take long
            cursor.execute(f"ANALYZE (SKIP_LOCKED) {_JOBS}" + (f' ("{column}")' if column else ""))


def insert_jobs(jobs: Iterable[Row], *, booked: bool = False) -> set[int]:
    """Insert jobs with their ids, without their tags, and return the ids of the inserted rows.

    A job whose id or run exists already is left out. The caller opens the transaction, and books them in it if they
    are marked as `booked`.
    """
    rows = [(*stored_values(job), booked) for job in jobs]
    into = f'INSERT INTO {_JOBS} ({_NAMES}) {{source}} ON CONFLICT DO NOTHING RETURNING "id"'
    inserted: set[int] = set()
    with connection.cursor() as cursor:
        if connection.vendor == "postgresql":
            with suppress(IntegrityError):  # usually all are new, and a single COPY is enough
                with transaction.atomic():
                    _copy(rows, _JOBS)
                return {row_id for row_id, *_ in rows}
            cursor.execute(f"CREATE TEMPORARY TABLE IF NOT EXISTS {_NEW} (LIKE {_JOBS}) ON COMMIT DELETE ROWS")
            _copy(rows, _NEW)
            cursor.execute(into.format(source=f"SELECT {_NAMES} FROM {_NEW}"))
            inserted.update(row_id for (row_id,) in cursor.fetchall())
            cursor.execute(f"TRUNCATE {_NEW}")  # the caller may go on in the same transaction
            return inserted
        for part in _parts(rows):
            cursor.execute(into.format(source=_values(part)), list(chain.from_iterable(part)))
            inserted.update(row_id for (row_id,) in cursor.fetchall())
    return inserted


def _copy(rows: Sequence[Sequence[Any]], table: str, names: str = _NAMES) -> None:
    """Copy rows into a table of PostgreSQL, which takes a fifth of the time of INSERT with a list of values."""
    to = f"COPY {table} ({names}) FROM STDIN"
    with connection.cursor() as cursor, connection.wrap_database_errors, cursor.copy(to) as copy:
        for row in rows:
            copy.write_row(row)


def insert_links(links: Sequence[tuple[int, int]], *, are_new: bool = False) -> None:
    """Add tags to jobs, given as pairs of row id and tag id; existing pairs stay, unless all are known to be new.

    PostgreSQL copies new ones in half of the time.
    """
    if not links:
        return
    table, names = f'"{JobTag._meta.db_table}"', '"job_id", "tag_id"'
    if connection.vendor == "postgresql" and are_new:
        _copy(links, table, names)
        return
    into = f"INSERT INTO {table} ({names})"
    with connection.cursor() as cursor:
        if connection.vendor == "postgresql":
            pairs = "SELECT * FROM unnest(%s::bigint[], %s::bigint[])"
            jobs, tags = [job for job, _ in links], [tag for _, tag in links]
            cursor.execute(f"{into} {pairs} ON CONFLICT DO NOTHING", [jobs, tags])
            return
        for part in _parts(links):
            cursor.execute(f"{into} {_values(part)} ON CONFLICT DO NOTHING", list(chain.from_iterable(part)))


def _parts(rows: Sequence[Sequence[Any]]) -> Iterator[Sequence[Sequence[Any]]]:
    """Yield as many rows at a time as fit into a statement."""
    size = _MOST_PARAMETERS // len(rows[0]) if rows else 1
    return (rows[begin : begin + size] for begin in range(0, len(rows), size))


def _values(rows: Sequence[Sequence[Any]]) -> str:
    places = f"({', '.join(['%s'] * len(rows[0]))})"
    return f"VALUES {', '.join([places] * len(rows))}"


def reserve_ids(number: int) -> list[int]:
    """Reserve ids for new jobs, ascending."""
    table = Job._meta.db_table
    if connection.vendor == "postgresql":
        # Needs no transaction: a sequence is never rolled back.
        with connection.cursor() as cursor:
            cursor.execute(
                "SELECT nextval(name) FROM CAST(pg_get_serial_sequence(%s, 'id') AS regclass) name, "
                "generate_series(1, %s)",
                [f'"{table}"', number],
            )
            return sorted(row_id for (row_id,) in cursor.fetchall())
    with transaction.atomic(), connection.cursor() as cursor:
        _make_sequence(cursor, table)
        cursor.execute('UPDATE "sqlite_sequence" SET "seq" = "seq" + %s WHERE "name" = %s', [number, table])
        cursor.execute('SELECT "seq" FROM "sqlite_sequence" WHERE "name" = %s', [table])
        last: int = cursor.fetchone()[0]
    return list(range(last - number + 1, last + 1))


def keep_ids(model: type[models.Model], last: int) -> None:
    """Make the database assign only ids above `last` from now on."""
    table = model._meta.db_table
    with transaction.atomic(), connection.cursor() as cursor:
        if connection.vendor == "postgresql":
            # Without the lock an insert between reading and setting could get an id that is then assigned again.
            cursor.execute(f'LOCK TABLE "{table}" IN SHARE ROW EXCLUSIVE MODE')
            cursor.execute(
                "SELECT setval(name, %s) FROM CAST(pg_get_serial_sequence(%s, 'id') AS regclass) name "
                "WHERE coalesce(pg_sequence_last_value(name), 0) < %s",
                [last, f'"{table}"', last],
            )
            return
        _make_sequence(cursor, table)
        cursor.execute('UPDATE "sqlite_sequence" SET "seq" = %s WHERE "name" = %s AND "seq" < %s', [last, table, last])


def _make_sequence(cursor: Any, table: str) -> None:
    """Create SQLite's sequence row for a table, which SQLite itself creates only with the first insert."""
    cursor.execute(
        'INSERT INTO "sqlite_sequence" ("name", "seq") SELECT %s, 0 '
        'WHERE NOT EXISTS (SELECT 1 FROM "sqlite_sequence" WHERE "name" = %s)',
        [table, table],
    )
