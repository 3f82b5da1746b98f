"""Encode jobs as JSON: the JobMeta of lists, stops and meta.json, and the Job of tag_job and jobs/{id}.

This is the hot path of every answer. JSON columns (resources, statistics, tags, metadata) pass through as text,
unparsed: encoding a job takes about 2 µs, and a thousand jobs with 2 kB scripts never become Python objects.
"""

import time
from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Any

from msgspec import UNSET, Raw, Struct, defstruct
from msgspec.json import Encoder

from jobs.rows.columns import COLUMNS, Column, Row
from jobs.states import JobState

CONCURRENT_JOBS_KEY = "concurrentJobs"
NO_CONCURRENT_JOBS = '{"items":null,"count":0}'

_RUNNING = JobState.RUNNING.value
_NO_CONCURRENT_JOBS = Raw(NO_CONCURRENT_JOBS)

# Positions among the values of a row; that of concurrentJobs, which is not a column, is one among the keys.
_SENT = len(COLUMNS)
_DURATION = Row._fields.index("duration")
_JSON_COLUMNS = tuple(position for position, column in enumerate(COLUMNS) if column.is_json)
_CONCURRENT_JOBS = Row._fields.index("start_time")


def _field(column: Column) -> tuple[str, Any, Any]:
    """Return a field of the document; msgspec omits a value equal to the default, and none equals an Ellipsis."""
    if not column.optional:
        return column.name, Any, ...
    return column.name, Any, None if column.is_json else column.type()


_fields = [_field(column) for column in COLUMNS]
_fields.insert(_CONCURRENT_JOBS, ("concurrent_jobs", Any, ...))
_Document: Any = defstruct("_Document", _fields, rename="camel", omit_defaults=True)
_encoder = Encoder()

KEYS: tuple[str, ...] = _Document.__struct_encode_fields__
"""The keys of JobMeta, in the order of the contract."""

REQUIRED_KEYS = frozenset(KEYS) - {column.key for column in COLUMNS if column.optional}


def job_meta(row: Row, now: int | None = None) -> Struct:
    """Return a job as JobMeta, ready to be encoded: startTime in epoch seconds, statistics or null.

    `now` (epoch seconds) is the time up to which a running job's duration is counted.
    """
    values: list[Any] = [*row[:_SENT]]
    if row.job_state == _RUNNING:
        values[_DURATION] = max(0, (int(time.time()) if now is None else now) - row.start_time)
    for position in _JSON_COLUMNS:
        text = values[position]
        if text is not None:
            values[position] = Raw(text)
    values.insert(_CONCURRENT_JOBS, _NO_CONCURRENT_JOBS)
    return _Document(*values)  # type: ignore[no-any-return]


def job(row: Row) -> Struct:
    """Return a job as Job, ready to be encoded: startTime as RFC 3339 in UTC, no statistics."""
    document: Any = job_meta(row)
    document.start_time = _rfc3339(row.start_time)
    document.statistics = UNSET
    return document  # type: ignore[no-any-return]


def _rfc3339(seconds: int) -> str:
    try:
        return datetime.fromtimestamp(seconds, UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
    except (OverflowError, ValueError, OSError):  # a start beyond the year 9999, which the contract allows
        return datetime.max.strftime("%Y-%m-%dT%H:%M:%SZ")


def encode(document: Any) -> bytes:
    """Encode an answer as JSON, with a newline at the end for readers on a terminal."""
    return _encoder.encode(document) + b"\n"


def encode_part(rows: Sequence[Row]) -> bytes:
    """Encode jobs as the inside of a JSON array, for an answer that is sent in parts."""
    now = int(time.time())
    return _encoder.encode([job_meta(row, now) for row in rows])[1:-1]
