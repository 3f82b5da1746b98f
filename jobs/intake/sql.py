"""The SQL of start and stop: a single statement each, for one job or for many.

The ORM would take longer to build these queries than the rest of the request takes, and it has neither
`INSERT ... SELECT ... WHERE NOT EXISTS ... RETURNING` nor `UPDATE ... RETURNING`. The statement itself applies the
duplicate rule and chooses the run to stop, so that two identical calls at once cannot both succeed.
"""

from collections.abc import Iterator, Mapping, Sequence
from functools import lru_cache
from itertools import chain
from operator import attrgetter
from typing import Any, TypeVar

import msgspec
from django.db import connection

from jobs.models import Job
from jobs.rows.columns import STORED_COLUMNS, Row
from jobs.rows.locks import run_lock, run_locks
from jobs.rows.select import JOBS, run, select_list

# The database assigns the id.
_NEW_COLUMNS = tuple(name for name in STORED_COLUMNS if name != "id")
_new_values = attrgetter(*_NEW_COLUMNS)
_TYPED_AS = {"state": "job_state", "stop_time": "start_time"}  # what a stop has beside the columns that name its run

FEW = 8
"""Rows that are always one statement, and so one transaction if none is open."""

_TOGETHER = 50  # rows in a statement of SQLite if there are more than FEW
_Values = Sequence[Any]
T = TypeVar("T")

_NAMES = ", ".join(f'"{name}"' for name in _NEW_COLUMNS)


def _duplicate(job_id: str, cluster: str, first: str, last: str, start: str) -> str:
    """Return the query for a run that is in the way of a start, given by expressions of SQL."""
    return f"""
        SELECT 1 FROM {JOBS} WHERE "job_id" = {job_id} AND "cluster" = {cluster}
        AND "start_time" BETWEEN {first} AND {last}
        AND ("start_time" = {start} OR "job_state" = 'running' OR "start_time" + "duration" > {start})
    """


_INSERT_RUN = f"""
    INSERT INTO {JOBS} ({_NAMES})
    SELECT {", ".join(["%s"] * len(_NEW_COLUMNS))}
    WHERE NOT EXISTS ({_duplicate(*["%s"] * 5)})
    ON CONFLICT DO NOTHING RETURNING "id"
"""


def insert_run(job: Row, *, window: int) -> int | None:
    """Insert a started job unless it is a duplicate; return its row id, or None for a duplicate.

    It is a duplicate if a run of the same (job_id, cluster) has the same start, or has a start at most `window` seconds
    earlier or later and had not ended by the start of `job`. The row's id and tags are not used.
    """
    start = job.start_time
    latest = min(start + window, 2**63 - 1)  # the columns have 64 bits
    conditions = (job.job_id, job.cluster, start - window, latest, start, start)
    insert = (_INSERT_RUN, [*_new_values(job), *conditions])
    rows = run(*run_lock(job.job_id, job.cluster), insert)
    return rows[0][0] if rows else None


def insert_runs(jobs: Sequence[Row], *, window: int) -> list[int | None]:
    """Insert started jobs of different jobIds, each as `insert_run` does.

    On SQLite, more than FEW are inserted in several statements.
    """
    ids: dict[int, int] = {}
    for part in _parts(jobs):
        sql = _insert_runs(connection.vendor, len(part))
        values = [*_parameters(_NEW_COLUMNS, [_new_values(job) for job in part]), window, window]
        ids.update(run(*run_locks([(job.job_id, job.cluster) for job in part]), (sql, values)))
    return [ids.get(job.job_id) for job in jobs]


@lru_cache
def _insert_runs(vendor: str, number: int) -> str:
    given = {name: f'given."{name}"' for name in _NEW_COLUMNS}
    start = given["start_time"]
    # With LIMIT and OFFSET it stays a look-up per job, whatever PostgreSQL knows of the table.
    duplicate = _duplicate(given["job_id"], given["cluster"], f"{start} - %s", f"{start} + %s", start)
    return f"""
        INSERT INTO {JOBS} ({_NAMES})
        SELECT {", ".join(given.values())} FROM {_given(vendor, {name: name for name in _NEW_COLUMNS}, number)}
        WHERE NOT EXISTS ({duplicate} LIMIT 1 OFFSET 0)
        ON CONFLICT DO NOTHING RETURNING "job_id", "id"
    """


def _parts(rows: Sequence[T]) -> Iterator[Sequence[T]]:
    """Yield the rows of one statement after the other."""
    begin, most = 0, len(rows) if connection.vendor == "postgresql" else _TOGETHER
    while begin < len(rows):
        size = most if begin + most <= len(rows) else FEW
        yield rows[begin : begin + size]
        begin += size


def _given(vendor: str, columns: Mapping[str, str], number: int) -> str:
    """Return a table of rows given as `_parameters`; `columns` are its names, each with a column that has its type."""
    if vendor == "postgresql":
        types = {name: str(Job._meta.get_field(column).db_type(connection)) for name, column in columns.items()}
        # A text that is too long for its column is in no row; as a varchar it would be an error.
        texts = {name: "text" if kind.startswith("varchar") else kind for name, kind in types.items()}
        return f"""json_to_recordset(%s) AS given({", ".join(f'"{name}" {kind}' for name, kind in texts.items())})"""
    names = ", ".join(f'column{place} AS "{name}"' for place, name in enumerate(columns, 1))
    row = f"({', '.join(['%s'] * len(columns))})"
    return f"(SELECT {names} FROM (VALUES {', '.join([row] * number)})) AS given"


def _parameters(names: Sequence[str], rows: Sequence[_Values]) -> list[Any]:
    if connection.vendor == "postgresql":
        return [msgspec.json.encode([dict(zip(names, row, strict=True)) for row in rows]).decode()]
    return list(chain.from_iterable(rows))


# Expressions keep PostgreSQL from walking through all running jobs for each stop, where its statistics, older than the
# starts that came just before, have few.
_RUNS = """"job_state" || '' = 'running'"""


@lru_cache
def _stop_run(vendor: str, keys: tuple[str, ...]) -> str:
    conditions = " AND ".join(f'"{column}" = %s' for column in keys)
    return f"""
        UPDATE {JOBS} SET "job_state" = %s, "duration" = %s - "start_time"
        WHERE "id" = (SELECT "id" FROM {JOBS} WHERE {conditions} AND "start_time" + 0 <= %s AND {_RUNS}
                      ORDER BY "start_time" + 0 DESC LIMIT 1)
        AND {_RUNS} RETURNING {select_list(vendor, with_metadata=False)}
    """


def stop_run(
    *,
    state: str,
    stop_time: int,
    row_id: int | None = None,
    job_id: int | None = None,
    cluster: str | None = None,
    start_time: int | None = None,
) -> Row | None:
    """Stop the running job with these keys and the newest start not after `stop_time`; return its row, or None."""
    keys = {"id": row_id, "job_id": job_id, "cluster": cluster, "start_time": start_time}
    given = {column: value for column, value in keys.items() if value is not None}
    parameters = [state, stop_time, *given.values(), stop_time]
    rows = run((_stop_run(connection.vendor, tuple(given)), parameters))
    return Row._make(rows[0]) if rows else None


def stop_runs(stops: Sequence[Mapping[str, Any]], *, whole: bool = True) -> list[Row | None]:
    """Stop jobs of different jobIds, each as `stop_run` does with these arguments.

    Unless `whole`, the rows are without what is large in them, see `jobs.rows.select.whole`. Jobs that are named by
    different keys are stopped in several statements, and more than FEW on SQLite.
    """
    by_names: dict[tuple[str, ...], list[_Values]] = {}
    for stop in stops:
        given = {name: value for name, value in stop.items() if value is not None}
        by_names.setdefault(tuple(given), []).append(tuple(given.values()))
    stopped: dict[int, Row] = {}
    for names, alike in by_names.items():
        for part in _parts(alike):
            found = run((_stop_runs(connection.vendor, names, len(part), whole), _parameters(names, part)))
            stopped.update((row.job_id, row) for row in map(Row._make, found))
    return [stopped.get(stop["job_id"]) for stop in stops]


@lru_cache
def _stop_runs(vendor: str, names: tuple[str, ...], number: int, whole: bool) -> str:  # noqa: FBT001
    given = _given(vendor, {name: _TYPED_AS.get(name, name) for name in names}, number)
    keys = " AND ".join(f'"{name}" = given."{name}"' for name in names if name not in _TYPED_AS)
    return f"""
        WITH chosen AS MATERIALIZED (
            SELECT "state", "stop_time", (
                SELECT "id" FROM {JOBS} WHERE {keys}
                AND "start_time" + 0 <= given."stop_time" AND {_RUNS}
                ORDER BY "start_time" + 0 DESC LIMIT 1) AS "run"
            FROM {given})
        UPDATE {JOBS} SET "job_state" = "state", "duration" = "stop_time" - "start_time"
        FROM chosen WHERE "id" = "run" AND {_RUNS}
        RETURNING {select_list(vendor, with_metadata=False, whole=whole)}
    """
