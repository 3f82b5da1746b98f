"""The SQL of the hot paths: start, stop and list, each one statement that also decides.

Why not the ORM here: building these queries takes it longer than all the rest of the request, and it has neither
`INSERT ... SELECT ... WHERE NOT EXISTS ... RETURNING` nor `UPDATE ... RETURNING`. The duplicate rule and the choice of
the run to stop are decided by the statement itself, so that two identical calls at once cannot both win.
"""

from collections.abc import Sequence
from functools import lru_cache
from typing import Any

from django.db import connection

from jobs.rows.columns import Row
from jobs.rows.select import JOBS, select_list

# Columns that a start writes, in the order of the parameters of insert_run.
START_COLUMNS = (
    "job_id",
    "cluster",
    "sub_cluster",
    "partition",
    "user",
    "project",
    "array_job_id",
    "num_nodes",
    "num_hwthreads",
    "num_acc",
    "exclusive",
    "monitoring_status",
    "smt",
    "start_time",
    "walltime",
    "resources",
    "meta_data",
)


def _quoted(columns: Sequence[str]) -> str:
    return ", ".join(f'"{column}"' for column in columns)


_INSERT_RUN = f"""
    INSERT INTO {JOBS} ({_quoted(START_COLUMNS)}, "job_state", "duration")
    SELECT {", ".join(["%s"] * len(START_COLUMNS))}, 'running', 0
    WHERE NOT EXISTS (
        SELECT 1 FROM {JOBS} WHERE "job_id" = %s AND "cluster" = %s AND "start_time" BETWEEN %s AND %s
        AND ("start_time" = %s OR "job_state" = 'running' OR "start_time" + "duration" > %s))
    ON CONFLICT DO NOTHING RETURNING "id"
"""


def insert_run(values: Sequence[Any], *, job_id: int, cluster: str, start_time: int, window: int) -> int | None:
    """Insert a started job unless it is a duplicate; return its row id, None for a duplicate.

    `values` are in the order of START_COLUMNS. A duplicate is a run of the same (job_id, cluster) with the same start,
    or whose start lies within `window` seconds either way and which had not ended by `start_time`.
    """
    latest = min(start_time + window, 2**63 - 1)  # the columns have 64 bit
    conditions = (job_id, cluster, start_time - window, latest, start_time, start_time)
    with connection.cursor() as cursor:
        cursor.execute(_INSERT_RUN, [*values, *conditions])
        rows = cursor.fetchall()
    return rows[0][0] if rows else None


@lru_cache
def _stop_run(vendor: str, keys: tuple[str, ...]) -> str:
    conditions = " AND ".join(f'"{column}" = %s' for column in keys)
    return f"""
        UPDATE {JOBS} SET "job_state" = %s, "duration" = %s - "start_time"
        WHERE "id" = (SELECT "id" FROM {JOBS} WHERE {conditions} AND "start_time" <= %s AND "job_state" = 'running'
                      ORDER BY "start_time" DESC LIMIT 1)
        AND "job_state" = 'running' RETURNING {select_list(vendor, with_metadata=False)}
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
    """Stop the running job with the given keys that started last, not after `stop_time`; return its row, or None."""
    keys = {"id": row_id, "job_id": job_id, "cluster": cluster, "start_time": start_time}
    given = {column: value for column, value in keys.items() if value is not None}
    with connection.cursor() as cursor:
        cursor.execute(_stop_run(connection.vendor, tuple(given)), [state, stop_time, *given.values(), stop_time])
        rows = cursor.fetchall()
    return rows[0] if rows else None
