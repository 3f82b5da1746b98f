"""The SQL that reads jobs as rows, with tags and metadata in the same statement."""

import contextlib
from collections.abc import Collection, Iterable, Iterator, Sequence
from functools import lru_cache
from typing import Any

from django.db import connection, transaction

from jobs.models import Job, JobTag, Tag
from jobs.rows.columns import Row

PART_BYTES = 4 << 20
"""Bytes of resources and metadata after which a part of a list ends, so that its memory is bounded."""

LARGE = 1 << 16  # of a column (PostgreSQL: bytes, SQLite: characters) that is read one job at a time
_MANY = 1000  # jobs before a page
PASSED_THROUGH = ("resources", "meta_data")  # the columns that clients can make large

SqlCondition = tuple[str, Sequence[Any]]
"""A part of a query in SQL with %s placeholders, usually a condition, and its parameters."""

JOBS = f'"{Job._meta.db_table}"'
LINKS = f'"{JobTag._meta.db_table}"'
TAGS = f'"{Tag._meta.db_table}"'
_LINK = f'SELECT 1 FROM {LINKS} l WHERE l."job_id" = {JOBS}."id"'
HAS_TAGS = {
    "sqlite": f"EXISTS ({_LINK})",
    # With OFFSET it looks for each job's tags; otherwise it would read all links first, even for a short list.
    "postgresql": f"EXISTS ({_LINK} LIMIT 1 OFFSET 0)",
}
# A job's tags as JSON text, ordered by id; null or [] if it has none. One index look-up per job in the same statement,
# so that a list is one query whatever its length.
TAGS_AS_JSON = {
    "sqlite": f"""(SELECT json_group_array(json_object('id', t."id", 'type', t."type", 'name', t."name"))
        FROM (SELECT t.* FROM {LINKS} l JOIN {TAGS} t ON t."id" = l."tag_id"
              WHERE l."job_id" = {JOBS}."id" ORDER BY t."id") t)""",
    # Texts take half of the time of json_agg.
    "postgresql": f"""(SELECT '[' || string_agg(
            concat('{{"id":', t."id", ',"type":', to_json(t."type"), ',"name":', to_json(t."name"), '}}'),
            ',' ORDER BY t."id") || ']'
        FROM {LINKS} l JOIN {TAGS} t ON t."id" = l."tag_id" WHERE l."job_id" = {JOBS}."id")""",
}


def with_values(sql: str, parameters: Sequence[Any]) -> tuple[str, Sequence[Any] | None]:
    """Return a query of a list and its parameters, on PostgreSQL with the values in its text.

    A prepared statement gets one plan for all values there, and the plan for a frequent partition reads the whole table
    for an unknown one.
    """
    if connection.vendor == "postgresql":
        return connection.with_values(sql, parameters), None  # type: ignore[attr-defined]
    return sql, parameters


def run(*statements: SqlCondition, briefly: bool = False) -> list[tuple[Any, ...]]:
    """Run the statements of a short call, in a transaction of their own if none is open; return the rows of the last.

    On PostgreSQL that is one round trip; see the engine, ccbackend.postgresql. In the main loop of a server those that
    are to be run `briefly` raise WouldWait after some milliseconds of work.
    """
    rows: list[tuple[Any, ...]] = connection.run(*statements, briefly=briefly)  # type: ignore[attr-defined]  # of our engines
    return rows


def fetch_rows(row_ids: Collection[int]) -> dict[int, Row]:
    """Return jobs by row id, with tags and metadata."""
    places = ", ".join(["%s"] * len(row_ids))
    condition = (f'"id" IN ({places})', list(row_ids))
    parts = select_rows([condition], with_metadata=True, limit=len(row_ids))
    return {row.id: row for part in parts for row in part}


@lru_cache
def select_list(vendor: str, with_metadata: bool, whole: bool = True) -> str:  # noqa: FBT001, FBT002
    """Return the select list of a Row; without metadata that column is NULL.

    Unless `whole`, large columns are empty texts, for statements whose rows are all in memory. None is ever empty
    otherwise, and PostgreSQL's octet_length does not read it.
    """
    computed = {"tags": f"CASE WHEN {HAS_TAGS[vendor]} THEN {TAGS_AS_JSON[vendor]} END"}
    if not whole:
        length = "octet_length" if vendor == "postgresql" else "length"
        computed |= {
            name: f'CASE WHEN {length}({JOBS}."{name}") > {LARGE} THEN \'\' ELSE {JOBS}."{name}" END'
            for name in PASSED_THROUGH
        }
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


def from_page(conditions: Sequence[SqlCondition], *, limit: int | None, offset: int = 0) -> SqlCondition:
    """Return the clauses from FROM on that choose the jobs of a page, newest first, and their parameters."""
    where = " AND ".join(sql for sql, _ in conditions) or "TRUE"
    parameters = [value for _, values in conditions for value in values]
    source = f'FROM {JOBS} WHERE {where} ORDER BY "start_time" DESC, "id" DESC'
    if limit is not None:
        source += " LIMIT %s OFFSET %s"
        parameters += [limit, offset]
    if offset and connection.vendor == "postgresql":
        # Otherwise it would compute the select list, tags included, of each job before the page. Of many jobs it need
        # not even read the rows, but their ids in an index alone.
        if offset < _MANY:
            source = f"""FROM (SELECT * {source}) {JOBS}"""
        else:
            source = f"""FROM (SELECT "id" AS "row_id" {source}) page JOIN {JOBS} ON "id" = "row_id" """
        source += ' ORDER BY "start_time" DESC, "id" DESC'
    return source, parameters


def select_rows(
    conditions: Sequence[SqlCondition],
    *,
    with_metadata: bool,
    limit: int | None,
    offset: int = 0,
    part: int = 1000,
) -> Iterator[list[Row]]:
    """Yield jobs newest first, in parts of up to `part` rows and about PART_BYTES, with memory for one part.

    It is one statement, plus one for each large job on PostgreSQL.

    All `conditions` must hold. `limit` None means no limit.
    """
    source, parameters = from_page(conditions, limit=limit, offset=offset)
    sql = f"SELECT {select_list(connection.vendor, with_metadata, whole=connection.vendor == 'sqlite')} {source}"
    query = with_values(sql, parameters)
    # A server-side cursor costs another round trip, so it is used only if the answer may be large. Behind a pooler it
    # lives no longer than its transaction. In SQLite a transaction would lock the database.
    large = limit is None or limit > part
    held = transaction.atomic() if large and connection.vendor == "postgresql" else contextlib.nullcontext()
    with held, connection.chunked_cursor() if large else connection.cursor() as cursor:
        cursor.execute(*query)
        if connection.vendor == "sqlite":
            yield from _in_parts(cursor, part)
            return
        while fetched := cursor.fetchmany(part):
            rows = list(map(Row._make, fetched))
            if any(row.resources == "" or row.meta_data == "" for row in rows):
                yield from _with_large(rows, with_metadata=with_metadata)
            else:
                yield rows
            if len(rows) < part:
                return


def without_large(row: Row) -> Row:
    """Return a row without what is large in it, so that many can be kept; `whole` reads that again."""
    large: dict[str, Any] = {name: "" for name in PASSED_THROUGH if len(getattr(row, name) or "") > LARGE}
    return row._replace(**large) if large else row


def whole(row: Row) -> Row:
    """Return a row with what `select_list` or `without_large` left out; nothing is there if the job is gone by now."""
    if row.resources != "" and row.meta_data != "":
        return row
    found = fetch_row(row.id) or row._replace(resources="[]", meta_data=None)
    left_out: dict[str, Any] = {name: getattr(found, name) for name in PASSED_THROUGH if getattr(row, name) == ""}
    return row._replace(**left_out)


def _in_parts(cursor: Iterable[Any], part: int) -> Iterator[list[Row]]:
    rows, size = [], 0
    for values in cursor:
        row = Row._make(values)
        rows.append(row)
        size += len(row.resources) + len(row.meta_data or "")
        if len(rows) == part or size > PART_BYTES:
            yield rows
            rows, size = [], 0
    if rows:
        yield rows


def _with_large(rows: list[Row], *, with_metadata: bool) -> Iterator[list[Row]]:
    """Yield jobs in parts, each large one by itself."""
    small: list[Row] = []
    for row in rows:
        if row.resources != "" and row.meta_data != "":
            small.append(row)
            continue
        if small:
            yield small
            small = []
        whole = fetch_row(row.id)
        if whole is not None:  # else it has just been deleted
            yield [whole if with_metadata else whole._replace(meta_data=None)]
    if small:
        yield small
