"""Compare usage with the jobs that it was made of, by plain SQL, and set it right."""

from collections.abc import Iterator
from typing import NamedTuple

from django.db import connection, transaction

from jobs.ledger.books import add_usage
from jobs.ledger.usage import DAY, LONGEST, Amounts, Kind, Sums
from jobs.records import DeletedJob, JobFootprint, Usage
from jobs.rows.select import JOBS
from jobs.text import LATEST_TIME

_FOOTPRINTS, _USAGE, _DELETED = (f'"{model._meta.db_table}"' for model in (JobFootprint, Usage, DeletedJob))
_KINDS = ", ".join(f'"{name}"' for name in Kind._fields)
_AMOUNTS = ", ".join(f'"{name}"' for name in Amounts._fields)
_REPAIRED_AT_ONCE = 1000  # rows of usage


class Difference(NamedTuple):
    """A row of usage that is not what the jobs say: what is there, and what ought to be."""

    day: int
    kind: Kind
    found: Amounts
    expected: Amounts


def _least(first: str, second: str) -> str:
    return f"{'MIN' if connection.vendor == 'sqlite' else 'LEAST'}({first}, {second})"


def _greatest(first: str, second: str) -> str:
    return f"{'MAX' if connection.vendor == 'sqlite' else 'GREATEST'}({first}, {second})"


def _compared() -> str:
    """Return the query of the rows that differ, in one statement, so that nothing is booked between its parts.

    It splits each job at midnight by itself, and takes from the footprint only what is measured.
    """
    since = _greatest("begins", f"day * {DAY}") + " - begins"
    until = _least("ends", f"(day + 1) * {DAY}") + " - begins"
    is_last = f"CASE WHEN day = ends / {DAY} THEN"
    found = ", ".join(f'COALESCE(u."{name}", 0)' for name in Amounts._fields)
    expected = ", ".join(f'COALESCE(e."{name}", 0)' for name in Amounts._fields)
    key = " AND ".join(f'u."{name}" = e."{name}"' for name in ("day", *Kind._fields))
    differs = " OR ".join(f'u."{name}" <> e."{name}"' for name in Amounts._fields)
    return f"""
        WITH RECURSIVE runs AS (
            SELECT {", ".join(f'j."{name}"' for name in Kind._fields)}, j."num_nodes", f."cores", f."accelerators",
                f."waiting", f."power", j."start_time", j."duration"
            FROM {JOBS} j JOIN {_FOOTPRINTS} f ON f."job_id" = j."id"
            UNION ALL
            SELECT {_KINDS}, "num_nodes", "cores", "accelerators", "waiting", "power", "start_time", "duration"
            FROM {_DELETED}),
        spans AS (
            SELECT runs.*, {_least('"start_time"', str(LATEST_TIME))} AS begins,
                {_least('"start_time"', str(LATEST_TIME))} + {_least('"duration"', str(LONGEST))} AS ends
            FROM runs),
        days AS (
            SELECT spans.*, begins / {DAY} AS day FROM spans
            UNION ALL
            SELECT {_KINDS}, "num_nodes", "cores", "accelerators", "waiting", "power", "start_time", "duration",
                begins, ends, day + 1
            FROM days WHERE (day + 1) * {DAY} <= ends),
        expected AS (
            SELECT day, {_KINDS},
                SUM(CASE WHEN day = begins / {DAY} THEN 1 ELSE 0 END) AS "started",
                SUM({is_last} 1 ELSE 0 END) AS "jobs",
                SUM({is_last} CASE WHEN "waiting" > 0 THEN 1 ELSE 0 END ELSE 0 END) AS "waited",
                SUM({is_last} "waiting" ELSE 0 END) AS "waiting_seconds",
                SUM("num_nodes" * ({until} - ({since}))) AS "node_seconds",
                SUM("cores" * ({until} - ({since}))) AS "core_seconds",
                SUM("accelerators" * ({until} - ({since}))) AS "acc_seconds",
                SUM("power" * ({until}) / 1000 - "power" * ({since}) / 1000) AS "energy"
            FROM days GROUP BY day, {_KINDS})
        SELECT e."day", {", ".join(f'e."{name}"' for name in Kind._fields)}, {found}, {expected}
        FROM expected e LEFT JOIN {_USAGE} u ON {key}
        WHERE u."id" IS NULL AND ({" OR ".join(f'e."{name}" <> 0' for name in Amounts._fields)}) OR {differs}
        UNION ALL
        SELECT u."day", {", ".join(f'u."{name}"' for name in Kind._fields)}, {found}, {expected}
        FROM {_USAGE} u LEFT JOIN expected e ON {key} WHERE e."day" IS NULL
        ORDER BY 1, 2, 3, 4, 5, 6, 7
    """


def differences() -> Iterator[Difference]:
    """Yield the rows of usage that are not the sums of the jobs, by day."""
    width = len(Kind._fields)
    # SQLite would keep its snapshot, and so its log from being emptied, until all are read.
    with connection.cursor() as cursor:
        cursor.execute(_compared())
        for day, *row in cursor.fetchall():
            numbers = [int(number) for number in row[width:]]
            half = len(numbers) // 2
            yield Difference(day, Kind(*row[:width]), Amounts(*numbers[:half]), Amounts(*numbers[half:]))


def repair(found: list[Difference]) -> None:
    """Add what is missing to usage and take away what is too much.

    Jobs that are booked meanwhile add to the same rows, and are not lost.
    """
    changes: Sums = {
        (each.day, each.kind): Amounts(*(right - wrong for wrong, right in zip(each.found, each.expected, strict=True)))
        for each in found
    }
    keys = sorted(changes)
    for begin in range(0, len(keys), _REPAIRED_AT_ONCE):
        with transaction.atomic():
            add_usage({key: changes[key] for key in keys[begin : begin + _REPAIRED_AT_ONCE]})


def misplaced_marks() -> int:
    """Return how many jobs are marked as booked without a footprint, or the other way round; it reads all jobs."""
    with connection.cursor() as cursor:
        cursor.execute(
            f'SELECT COUNT(*) FROM {JOBS} j LEFT JOIN {_FOOTPRINTS} f ON f."job_id" = j."id" '
            'WHERE j."is_booked" <> (f."job_id" IS NOT NULL)'
        )
        count: int = cursor.fetchone()[0]
    return count
