"""The SQL of the hot paths: start, stop and list, each one statement that also decides.

Why not the ORM here: building these queries takes it longer than all the rest of the request, and it has neither
`INSERT ... SELECT ... WHERE NOT EXISTS ... RETURNING` nor `UPDATE ... RETURNING`. The duplicate rule and the choice of
the run to stop are decided by the statement itself, so that two identical calls at once cannot both win.
"""

import time
from collections.abc import Iterator, Sequence
from functools import lru_cache
from typing import Any

from django.db import connection

from jobs.encoding import COLUMNS, Row, encode_part
from jobs.models import Job, JobTag, Tag

_JOBS = f'"{Job._meta.db_table}"'
_LINKS = f'"{JobTag._meta.db_table}"'
_TAGS = f'"{Tag._meta.db_table}"'

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


# A job's tags as JSON text, in order of their ids; null or [] without any. One index look-up per job, in the same
# statement, so that a list is one query whatever its length.
_TAGS_AS_JSON = {
    "sqlite": f"""(SELECT json_group_array(json_object('id', t."id", 'type', t."type", 'name', t."name"))
        FROM (SELECT t.* FROM {_LINKS} l JOIN {_TAGS} t ON t."id" = l."tag_id"
              WHERE l."job_id" = {_JOBS}."id" ORDER BY t."id") t)""",
    "postgresql": f"""(SELECT json_agg(json_build_object('id', t."id", 'type', t."type", 'name', t."name")
        ORDER BY t."id")::text FROM {_LINKS} l JOIN {_TAGS} t ON t."id" = l."tag_id"
        WHERE l."job_id" = {_JOBS}."id")""",
}


@lru_cache
def _row(vendor: str, with_metadata: bool) -> str:  # noqa: FBT001
    """Return what is selected of a job: the columns, the tags as JSON text, the metadata or NULL."""
    metadata = '"meta_data"' if with_metadata else "NULL"
    columns = ", ".join(f'{_JOBS}."{column}"' for column in COLUMNS)
    has_tags = f'EXISTS (SELECT 1 FROM {_LINKS} l WHERE l."job_id" = {_JOBS}."id")'
    return f"{columns}, CASE WHEN {has_tags} THEN {_TAGS_AS_JSON[vendor]} END, {metadata}"


_INSERT_RUN = f"""
    INSERT INTO {_JOBS} ({_quoted(START_COLUMNS)}, "job_state", "duration")
    SELECT {", ".join(["%s"] * len(START_COLUMNS))}, 'running', 0
    WHERE NOT EXISTS (
        SELECT 1 FROM {_JOBS} WHERE "job_id" = %s AND "cluster" = %s AND "start_time" BETWEEN %s AND %s
        AND ("start_time" = %s OR "job_state" = 'running' OR "start_time" + "duration" > %s))
    ON CONFLICT DO NOTHING RETURNING "id"
"""


def lock_run(job_id: int, cluster: str) -> None:
    """Let one start at a time decide about (job_id, cluster), until the transaction ends.

    PostgreSQL alone needs it, in a statement of its own: a statement does not see what was committed after it began, so
    two starts one second apart would both find no duplicate. SQLite has one writer at a time anyway.
    """
    _lock(cluster, job_id)


def lock_new_tags() -> None:
    """Let one transaction at a time create tags: two with the same new tags in different order would deadlock."""
    _lock(_TAGS, 0)


def _lock(name: str, number: int) -> None:
    if connection.vendor == "postgresql":
        with connection.cursor() as cursor:
            cursor.execute("SELECT pg_advisory_xact_lock(hashtextextended(%s, %s))", [name, number])


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
        UPDATE {_JOBS} SET "job_state" = %s, "duration" = %s - "start_time"
        WHERE "id" = (SELECT "id" FROM {_JOBS} WHERE {conditions} AND "start_time" <= %s AND "job_state" = 'running'
                      ORDER BY "start_time" DESC LIMIT 1)
        AND "job_state" = 'running' RETURNING {_row(vendor, with_metadata=False)}
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


def fetch_row(row_id: int) -> Row | None:
    """Return one job with its tags and metadata, as a row for jobs.encoding."""
    with connection.cursor() as cursor:
        cursor.execute(f'SELECT {_row(connection.vendor, with_metadata=True)} FROM {_JOBS} WHERE "id" = %s', [row_id])
        row: Row | None = cursor.fetchone()
    return row


def select_rows(
    conditions: Sequence[tuple[str, Sequence[Any]]],
    *,
    with_metadata: bool,
    limit: int | None,
    offset: int = 0,
    part: int = 1000,
) -> Iterator[list[Row]]:
    """Yield jobs newest first, in parts of up to `part` rows: one statement, and memory for one part.

    `conditions` are pairs of SQL with %s and its parameters, all of which must hold. `limit` None is no limit.
    """
    where = " AND ".join(sql for sql, _ in conditions) or "TRUE"
    parameters = [value for _, values in conditions for value in values]
    sql = f"""
        SELECT {_row(connection.vendor, with_metadata)} FROM {_JOBS}
        WHERE {where} ORDER BY "start_time" DESC, "id" DESC
    """
    if limit is not None:
        sql += " LIMIT %s OFFSET %s"
        parameters += [limit, offset]
    # A server-side cursor costs a round trip more: only where the answer may be large.
    with connection.cursor() if limit is not None and limit <= part else connection.chunked_cursor() as cursor:
        cursor.execute(sql, parameters)
        while rows := cursor.fetchmany(part):
            yield rows
            if len(rows) < part:
                return


def select_json(
    conditions: Sequence[tuple[str, Sequence[Any]]], *, with_metadata: bool, limit: int | None, offset: int, part: int
) -> Iterator[tuple[int, bytes]]:
    """Yield jobs newest first as the inside of a JSON array, in parts of up to `part`: how many, and their text."""
    if connection.vendor == "sqlite" and limit is not None and limit <= part:
        where = " AND ".join(sql for sql, _ in conditions) or "TRUE"
        parameters = [int(time.time()), *(value for _, values in conditions for value in values), limit, offset]
        with connection.cursor() as cursor:
            cursor.execute(_page_as_json(where, with_metadata), parameters)
            count, text = cursor.fetchone()
        yield count, text or b""
        return
    for rows in select_rows(conditions, with_metadata=with_metadata, limit=limit, offset=offset, part=part):
        yield len(rows), encode_part(rows)


@lru_cache(maxsize=256)
def _page_as_json(where: str, with_metadata: bool) -> str:  # noqa: FBT001
    """Return the query for a page of jobs, each as jobs.encoding.job_meta writes it, by SQLite itself.

    One text in one call, during which other threads go on, instead of 22 Python objects a job: a page of 1,000 jobs
    takes a third less time. %% is the % of printf; parameters are the time now, those of `where`, limit and offset.
    """

    def unless(empty: str, key: str, column: str, value: str) -> str:
        return f"""CASE WHEN "{column}" = {empty} THEN '' ELSE ',"{key}":' || {value} END"""

    has_tags = f'EXISTS (SELECT 1 FROM {_LINKS} l WHERE l."job_id" = {_JOBS}."id")'
    keys = {
        '{"id":%%d': '"id"',
        ',"jobId":%%d': '"job_id"',
        ',"user":%%s': 'json_quote("user")',
        ',"project":%%s': 'json_quote("project")',
        ',"cluster":%%s': 'json_quote("cluster")',
        ',"subCluster":%%s%%s%%s': f"""json_quote("sub_cluster"),
            {unless("''", "partition", "partition", 'json_quote("partition")')},
            {unless("0", "arrayJobId", "array_job_id", '"array_job_id"')}""",
        ',"numNodes":%%d%%s%%s': f""""num_nodes",
            {unless("0", "numHwthreads", "num_hwthreads", '"num_hwthreads"')},
            {unless("0", "numAcc", "num_acc", '"num_acc"')}""",
        ',"exclusive":%%d': '"exclusive"',
        ',"monitoringStatus":%%d%%s': f""""monitoring_status", {unless("0", "smt", "smt", '"smt"')}""",
        ',"jobState":"%%s"': '"job_state"',
        ',"duration":%%d%%s%%s': f"""CASE "job_state" WHEN 'running' THEN max(0, %s - "start_time") ELSE "duration" END,
            {unless("0", "walltime", "walltime", '"walltime"')},
            CASE WHEN {has_tags} THEN ',"tags":' || {_TAGS_AS_JSON["sqlite"]} ELSE '' END""",
        ',"resources":%%s': '"resources"',
        ',"metaData":%%s,"concurrentJobs":{"items":null,"count":0}': (
            """ifnull("meta_data", 'null')""" if with_metadata else "'null'"
        ),
        ',"startTime":%%d': '"start_time"',
        ',"statistics":%%s}': """ifnull("statistics", 'null')""",
    }
    return f"""
        SELECT count(*), CAST(group_concat(job) AS BLOB) FROM (
            SELECT printf('{"".join(keys)}', {", ".join(keys.values())}) AS job
            FROM {_JOBS} WHERE {where} ORDER BY "start_time" DESC, "id" DESC LIMIT %s OFFSET %s)
    """
