"""The SQL of start and stop: a single statement each.

The ORM would take longer to build these queries than the rest of the request takes, and it has neither
`INSERT ... SELECT ... WHERE NOT EXISTS ... RETURNING` nor `UPDATE ... RETURNING`. The statement itself applies the
duplicate rule and chooses the run to stop, so that two identical calls at once cannot both succeed.
"""

from functools import lru_cache
from operator import attrgetter

from django.db import connection

from jobs.rows.columns import STORED_COLUMNS, Row
from jobs.rows.locks import lock_run, one_round_trip
from jobs.rows.select import JOBS, select_list

# The database assigns the id.
_NEW_COLUMNS = tuple(name for name in STORED_COLUMNS if name != "id")
_new_values = attrgetter(*_NEW_COLUMNS)

_INSERT_RUN = f"""
    INSERT INTO {JOBS} ({", ".join(f'"{name}"' for name in _NEW_COLUMNS)})
    SELECT {", ".join(["%s"] * len(_NEW_COLUMNS))}
    WHERE NOT EXISTS (
        SELECT 1 FROM {JOBS} WHERE "job_id" = %s AND "cluster" = %s AND "start_time" BETWEEN %s AND %s
        AND ("start_time" = %s OR "job_state" = 'running' OR "start_time" + "duration" > %s))
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
    with connection.cursor() as cursor:
        with one_round_trip():
            lock_run(job.job_id, job.cluster)
            cursor.execute(_INSERT_RUN, [*_new_values(job), *conditions])
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
    """Stop the running job with these keys and the newest start not after `stop_time`; return its row, or None."""
    keys = {"id": row_id, "job_id": job_id, "cluster": cluster, "start_time": start_time}
    given = {column: value for column, value in keys.items() if value is not None}
    with connection.cursor() as cursor:
        with one_round_trip():
            cursor.execute(_stop_run(connection.vendor, tuple(given)), [state, stop_time, *given.values(), stop_time])
        rows = cursor.fetchall()
    return Row._make(rows[0]) if rows else None
