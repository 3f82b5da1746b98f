"""Pages of jobs as JSON, in parts; the database itself encodes a short page."""

import sqlite3
import time
from collections.abc import Iterable, Iterator, Sequence
from functools import lru_cache
from typing import Any

from django.db import DataError, connection

from jobs.api.parameters import Listing
from jobs.rows.columns import COLUMNS, Column
from jobs.rows.encoding import CONCURRENT_JOBS_KEY, NO_CONCURRENT_JOBS, encode_part
from jobs.rows.select import (
    HAS_TAGS,
    LARGE,
    PART_BYTES,
    PASSED_THROUGH,
    TAGS_AS_JSON,
    from_page,
    run,
    select_rows,
    with_values,
)

PART = 1000
"""Jobs that are encoded at once; a longer answer is sent in parts of this many."""


def page_at_once(listing: Listing) -> bytes | None:
    """Return the answer to a list; None if it may be long, or one of its jobs is large."""
    page = _at_once(listing)
    return None if page is None else b"".join(framed(page, (), listing.page))


def select_json(listing: Listing) -> Iterator[tuple[int, bytes]]:
    """Yield jobs newest first as the inside of a JSON array, in parts: their number and their text.

    A part has up to PART jobs, and ends after about PART_BYTES.
    """
    page = _at_once(listing)
    if page is not None:
        yield page
        return
    for rows in select_rows(
        listing.conditions,
        with_metadata=listing.with_metadata,
        limit=listing.limit,
        offset=listing.offset,
        part=PART,
    ):
        yield len(rows), encode_part(rows)


def framed(first: tuple[int, bytes], rest: Iterable[tuple[int, bytes]], page: int) -> Iterator[bytes]:
    """Yield a list part by part, with the number of jobs at the end."""
    total, jobs = first
    yield b'{"jobs":[' + jobs
    for count, jobs in rest:
        yield b"," + jobs
        total += count
    yield b'],"items":%d,"page":%d}\n' % (total, page)


def _at_once(listing: Listing) -> tuple[int, bytes] | None:
    """Return the number of jobs on a page and their text; None if it may be long, or one of its jobs is large."""
    if listing.is_empty:
        return 0, b""
    if listing.limit is None or listing.limit > PART:
        return None
    at_once = _at_once_on_sqlite if connection.vendor == "sqlite" else _at_once_on_postgresql
    source, values = from_page(listing.conditions, limit=listing.limit, offset=listing.offset)
    return at_once(source, values, with_metadata=listing.with_metadata)


def _at_once_on_sqlite(source: str, parameters: Sequence[Any], *, with_metadata: bool) -> tuple[int, bytes] | None:
    """Return the number of jobs on a page and their text; None if the text would be larger than PART_BYTES."""
    query = f"""
        SELECT count(*), CAST(group_concat("job") AS BLOB)
        FROM (SELECT {_job_as_json("sqlite", with_metadata)} AS "job" {source}) page
    """
    connection.ensure_connection()
    usual = connection.connection.setlimit(sqlite3.SQLITE_LIMIT_LENGTH, PART_BYTES)
    try:
        ((count, text),) = run((query, [int(time.time()), *parameters]), briefly=True)
    except DataError:
        return None
    finally:
        connection.connection.setlimit(sqlite3.SQLITE_LIMIT_LENGTH, usual)
    return count, text or b""


def _at_once_on_postgresql(source: str, parameters: Sequence[Any], *, with_metadata: bool) -> tuple[int, bytes] | None:
    """Return the number of jobs on a page and their text; None if one of the jobs, or the text, is large."""
    small = " AND ".join(f'coalesce(octet_length("{name}"), 0) <= {LARGE}' for name in PASSED_THROUGH)
    page, _ = with_values(source, parameters)
    query = f"""
        SELECT count(*), count("job"), CASE WHEN sum(octet_length("job")) < {PART_BYTES} THEN string_agg("job", ',') END
        FROM (SELECT CASE WHEN {small} THEN {_job_as_json("postgresql", with_metadata)} END AS "job"
              {page.replace("%", "%%")}) page
    """
    # The time is a parameter, so that the statement can be prepared.
    ((count, encoded, text),) = run((query, [int(time.time())]), briefly=True)
    if count and (encoded < count or text is None):
        return None
    return count, (text or "").encode()


@lru_cache
def _job_as_json(vendor: str, with_metadata: bool) -> str:  # noqa: FBT001
    """Return the SQL with which the database itself encodes a job, as jobs.rows.encoding.job_meta does.

    One text for a page instead of 22 Python objects per job, while other threads go on: a page of 1,000 jobs takes a
    third less time on SQLite. It has one parameter, the current time.
    """
    pieces = ["'{'"]
    for column in COLUMNS:
        if column.name == "start_time":
            pieces.append(f"""',"{CONCURRENT_JOBS_KEY}":{NO_CONCURRENT_JOBS}'""")
        value = _value_as_json(column, vendor, with_metadata=with_metadata)
        if column.optional:
            pieces.append(f"""CASE WHEN {_is_given(column, vendor)} THEN ',"{column.key}":' || {value} ELSE '' END""")
        else:
            comma = "," if len(pieces) > 1 else ""
            pieces += [f"""'{comma}"{column.key}":'""", value]
    return _joined([*pieces, "'}'"], vendor)


def _joined(pieces: Sequence[str], vendor: str) -> str:
    """Return the SQL that joins texts and numbers; older releases of SQLite have printf alone for it."""
    if vendor == "postgresql":
        return f"concat({', '.join(pieces)})"
    return f"printf('{'%%s' * len(pieces)}', {', '.join(pieces)})"


def _value_as_json(column: Column, vendor: str, *, with_metadata: bool) -> str:
    """Return the SQL for the value of a job's key; for the duration it has the current time as a parameter."""
    if column.name == "duration":
        greatest = "max" if vendor == "sqlite" else "greatest"
        return f"""CASE "job_state" WHEN 'running' THEN {greatest}(0, %s - "start_time") ELSE "duration" END"""
    if column.name == "tags":
        return TAGS_AS_JSON[vendor]
    if column.name == "meta_data" and not with_metadata:
        return "'null'"
    if column.name == "job_state":  # needs no escapes
        return """'"' || "job_state" || '"'"""
    if column.type is str:
        return f'json_quote("{column.name}")' if vendor == "sqlite" else f'to_json("{column.name}")'
    return f"""coalesce("{column.name}", 'null')""" if column.nullable else f'"{column.name}"'


def _is_given(column: Column, vendor: str) -> str:
    """Return the condition that an optional key is written."""
    if column.name == "tags":
        return HAS_TAGS[vendor]
    return f""""{column.name}" <> {"''" if column.type is str else 0}"""
