"""The SQL that reads jobs as rows, with tags and metadata in the same statement."""

import contextlib
from collections.abc import Collection, Iterator, Sequence
from functools import lru_cache
from typing import Any

from django.db import connection, transaction

from jobs.models import Job, JobTag, Tag
from jobs.rows.columns import Row

SqlCondition = tuple[str, Sequence[Any]]
"""A condition in SQL with %s placeholders, and its parameters."""

JOBS = f'"{Job._meta.db_table}"'
LINKS = f'"{JobTag._meta.db_table}"'
TAGS = f'"{Tag._meta.db_table}"'
HAS_TAGS = f'EXISTS (SELECT 1 FROM {LINKS} l WHERE l."job_id" = {JOBS}."id")'
# A job's tags as JSON text, ordered by id; null or [] if it has none. One index look-up per job in the same statement,
# so that a list is one query whatever its length.
TAGS_AS_JSON = {
    "sqlite": f"""(SELECT json_group_array(json_object('id', t."id", 'type', t."type", 'name', t."name"))
        FROM (SELECT t.* FROM {LINKS} l JOIN {TAGS} t ON t."id" = l."tag_id"
              WHERE l."job_id" = {JOBS}."id" ORDER BY t."id") t)""",
    "postgresql": f"""(SELECT json_agg(json_build_object('id', t."id", 'type', t."type", 'name', t."name")
        ORDER BY t."id")::text FROM {LINKS} l JOIN {TAGS} t ON t."id" = l."tag_id"
        WHERE l."job_id" = {JOBS}."id")""",
}


def fetch_rows(row_ids: Collection[int]) -> dict[int, Row]:
    """Return jobs by row id, with tags and metadata."""
    places = ", ".join(["%s"] * len(row_ids))
    condition = (f'"id" IN ({places})', list(row_ids))
    parts = select_rows([condition], with_metadata=True, limit=len(row_ids))
    return {row.id: row for part in parts for row in part}


@lru_cache
def select_list(vendor: str, with_metadata: bool) -> str:  # noqa: FBT001
    """Return the select list of a Row; without metadata that column is NULL."""
    computed = {"tags": f"CASE WHEN {HAS_TAGS} THEN {TAGS_AS_JSON[vendor]} END"}
    if not with_metadata:
        computed["meta_data"] = "NULL"
    return ", ".join(computed.get(name, f'{JOBS}."{name}"') for name in Row._fields)


def fetch_row(row_id: int) -> Row | None:
    """Return one job with its tags and metadata."""
    with connection.cursor() as cursor:
        cursor.execute(
            f'SELECT {select_list(connection.vendor, with_metadata=True)} FROM {JOBS} WHERE "id" = %s', [row_id]
        )
        row = cursor.fetchone()
    return None if row is None else Row._make(row)


def select_rows(
    conditions: Sequence[SqlCondition],
    *,
    with_metadata: bool,
    limit: int | None,
    offset: int = 0,
    part: int = 1000,
) -> Iterator[list[Row]]:
    """Yield jobs newest first, in parts of up to `part` rows, with one statement and memory for one part.

    All `conditions` must hold. `limit` None means no limit.
    """
    where = " AND ".join(sql for sql, _ in conditions) or "TRUE"
    parameters = [value for _, values in conditions for value in values]
    sql = f"""
        SELECT {select_list(connection.vendor, with_metadata)} FROM {JOBS}
        WHERE {where} ORDER BY "start_time" DESC, "id" DESC
    """
    if limit is not None:
        sql += " LIMIT %s OFFSET %s"
        parameters += [limit, offset]
    # A server-side cursor costs another round trip, so it is used only if the answer may be large. Behind a pooler it
    # lives no longer than its transaction. In SQLite a transaction would lock the database.
    large = limit is None or limit > part
    held = transaction.atomic() if large and connection.vendor == "postgresql" else contextlib.nullcontext()
    with held, connection.chunked_cursor() if large else connection.cursor() as cursor:
        cursor.execute(sql, parameters)
        while rows := cursor.fetchmany(part):
            yield list(map(Row._make, rows))
            if len(rows) < part:
                return
