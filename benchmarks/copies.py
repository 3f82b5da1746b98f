"""Copies of jobs with nodes, footprints and usage, which the database makes by itself, and so much more quickly."""

import contextlib
from collections.abc import Iterator
from typing import Any

from django.db import connection

from jobs.ledger.usage import DAY, Amounts, Kind, Share
from jobs.models import Job
from jobs.records import JobFootprint, JobNode, Usage

# In the order of their keys, in which SQLite inserts most quickly.
_ORDER = {Job: '"id"', JobFootprint: '"job_id"', JobNode: '"node_id", "start_time", "end_time", "job_id"'}
_JOBS, _FOOTPRINTS, _USAGE = (f'"{model._meta.db_table}"' for model in (Job, JobFootprint, Usage))
_KIND = ", ".join(f'"{name}"' for name in Kind._fields)
_AMOUNTS = ", ".join(f'"{name}"' for name in Amounts._fields)
_NUMBERS = Share._fields[2:]  # all but kind and start
# The jobs of the pattern with what makes up their usage; `kind` is the least row id of a job of the same kind, so that
# numbers are compared instead of texts.
_PATTERN_OF_USAGE = f"""
    CREATE TEMPORARY TABLE pattern_of_usage (
        job_id bigint, kind bigint, {", ".join(f'"{name}" text' for name in Kind._fields)},
        {", ".join(f'"{name}" bigint' for name in _NUMBERS)})
"""
_SUMS_OF_USAGE = f"""
    CREATE TEMPORARY TABLE sums_of_usage (
        day bigint, kind bigint, {", ".join(f'"{name}" bigint' for name in Amounts._fields)})
"""
_WRITE_PATTERN = f"""
    INSERT INTO pattern_of_usage SELECT f."job_id", MIN(f."job_id") OVER (PARTITION BY {_KIND}), {_KIND},
        {", ".join(f'f."{name}"' for name in _NUMBERS)}
    FROM {_JOBS} j JOIN {_FOOTPRINTS} f ON f."job_id" = j."id"
"""  # noqa: S608
# A job of less than two days has parts on up to three; `since` and `until` are seconds from its start.
_ADD_SUMS = f"""
    INSERT INTO sums_of_usage
    SELECT first + number, kind, SUM(CASE WHEN number = 0 THEN 1 ELSE 0 END),
        SUM(CASE WHEN number = last THEN 1 ELSE 0 END),
        SUM(CASE WHEN number = last AND "waiting" > 0 THEN 1 ELSE 0 END),
        SUM(CASE WHEN number = last THEN "waiting" ELSE 0 END),
        SUM("num_nodes" * (until - since)), SUM("cores" * (until - since)), SUM("accelerators" * (until - since)),
        SUM("power" * until / 1000 - "power" * since / 1000)
    FROM (
        SELECT runs.*, number, CASE WHEN number = 0 THEN 0 ELSE number * {DAY} - into_day END AS since,
            CASE WHEN number = last THEN "duration" ELSE (number + 1) * {DAY} - into_day END AS until
        FROM (
            SELECT r.*, {{start}} / {DAY} AS first, {{start}} % {DAY} AS into_day,
                ({{start}} % {DAY} + "duration") / {DAY} AS last
            FROM pattern_of_usage r WHERE {{chosen}}
        ) AS runs JOIN (SELECT column1 AS number FROM (VALUES (0), (1), (2)) AS v) AS days ON number <= last
    ) AS parts
    GROUP BY 1, kind
"""  # noqa: S608
# Without ORDER BY, with which SQLite would join without an index.
_WRITE_USAGE = f"""
    INSERT INTO {_USAGE} ("day", {_KIND}, {_AMOUNTS}) SELECT day, {_KIND}, {_AMOUNTS}
    FROM (
        SELECT day, kind, {", ".join(f'SUM("{name}") AS "{name}"' for name in Amounts._fields)}
        FROM sums_of_usage GROUP BY day, kind
    ) AS sums JOIN pattern_of_usage r ON r.job_id = sums.kind
"""  # noqa: S608


def take_pattern() -> None:
    """Move all jobs, which must have ended, and what is written down of them into temporary tables."""
    with connection.cursor() as cursor:
        for statement in (_PATTERN_OF_USAGE, _SUMS_OF_USAGE, _WRITE_PATTERN):
            cursor.execute(statement)
        for model, order in _ORDER.items():
            table = model._meta.db_table
            cursor.execute(f'CREATE TEMPORARY TABLE "pattern_{table}" AS SELECT * FROM "{table}" ORDER BY {order}')  # noqa: S608
        for model in (*_ORDER, Usage):
            to_empty = "TRUNCATE {} CASCADE" if connection.vendor == "postgresql" else "DELETE FROM {}"
            cursor.execute(to_empty.format(f'"{model._meta.db_table}"'))
        if connection.vendor == "postgresql":
            cursor.execute("ANALYZE pattern_of_usage")


def copy(shift: int, last: int, start: str) -> None:
    """Copy the jobs of the pattern to row ids that are lower by `shift`, those up to the row id `last`.

    `start` is the SQL of a job's new start, with `{row_id}` for its new row id. The caller opens the transaction.
    """
    with connection.cursor() as cursor:
        for model in _ORDER:
            names = [f'"{field.column}"' for field in model._meta.concrete_fields if field.column]
            row_id = '"id"' if model is Job else '"job_id"'
            new_start = start.format(row_id=f"({row_id} - {shift})")
            changed = {
                '"id"': f'"id" - {shift}',
                '"job_id"': f'"job_id" - {shift}',
                '"start_time"': new_start,
                '"end_time"': f'{new_start} + "end_time" - "start_time"',
            }
            chosen = f"{row_id} BETWEEN {shift + 1} AND {shift + last}"
            cursor.execute(
                f'INSERT INTO "{model._meta.db_table}" ({", ".join(names)}) '  # noqa: S608
                f"SELECT {', '.join(changed.get(name, name) for name in names)} "
                f'FROM "pattern_{model._meta.db_table}" WHERE {chosen}'
            )
        cursor.execute(_ADD_SUMS.format(start=f"({new_start})", chosen=chosen))


def write_usage() -> None:
    """Write the usage of all copies."""
    with connection.cursor() as cursor:
        cursor.execute(_WRITE_USAGE)


@contextlib.contextmanager
def quick_loading() -> Iterator[None]:
    """Do without safety, and without some of PostgreSQL's indexes, until the block ends; the connection is closed then.

    SQLite keeps its indexes: the copies come in the order in which most of them grow, and to create one reads the whole
    table again.
    """
    indexes: list[str] = []
    with connection.cursor() as cursor:
        if connection.vendor == "sqlite":
            for setting in ("journal_mode=OFF", "synchronous=OFF", "foreign_keys=OFF", "ignore_check_constraints=ON"):
                cursor.execute(f"PRAGMA {setting}")
        else:
            cursor.execute("SET maintenance_work_mem = '512MB'")
            cursor.execute("SET work_mem = '64MB'")
            indexes = _drop_indexes(cursor)
    yield
    with connection.cursor() as cursor:
        for statement in indexes:
            cursor.execute(statement)
    connection.close()  # the next one has its usual settings, and no temporary tables


def vacuum(how: str = "") -> None:
    """Let PostgreSQL mark what was just written as visible to all, while it need not be read from the disk for that."""
    if connection.vendor == "postgresql":
        with connection.cursor() as cursor:
            cursor.execute(f"VACUUM {how}")


def _drop_indexes(cursor: Any) -> list[str]:
    """Drop PostgreSQL's indexes that take longer to keep than to create; return the statements that create them.

    These are those of jobs that begin with a text, and the key of nodes. Partial ones are small.
    """
    cursor.execute("""
        SELECT format('DROP INDEX %I', indexname), indexdef FROM pg_indexes
        WHERE tablename = 'jobs_job' AND indexdef !~ 'UNIQUE|WHERE|[(]start_time'
        UNION ALL
        SELECT format('ALTER TABLE %s DROP CONSTRAINT %I', conrelid::regclass, conname),
            format('ALTER TABLE %s ADD CONSTRAINT %I %s', conrelid::regclass, conname, pg_get_constraintdef(oid))
        FROM pg_constraint WHERE conrelid = 'jobs_jobnode'::regclass AND contype = 'p'
    """)
    indexes = cursor.fetchall()
    for drop, _ in indexes:
        cursor.execute(drop)
    return [create for _, create in indexes]
