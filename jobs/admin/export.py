"""Export the job list as CSV (for spreadsheets), NDJSON or Parquet (for programs), streamed in constant memory."""

import csv
import io
import re
from collections.abc import Iterator
from datetime import UTC, datetime
from typing import Any

import orjson
from django.http import StreamingHttpResponse
from django.utils import timezone

from accounts.formatting import spreadsheet_text
from jobs.admin import export_parquet
from jobs.admin.changelist import JobChangeList
from jobs.admin.export_rows import Column, Row, columns_of, rows

CLOSING = "closing"
"""The URL parameter that asks for a last line with the number of jobs."""

_TYPES = {
    "csv": "text/csv; charset=utf-8",
    "ndjson": "application/x-ndjson",
    "parquet": "application/vnd.apache.parquet",
}
_COUNTING = 5.0  # seconds after which the number of jobs is left out of the headers
_LONGEST_NAME = 100  # characters of a file name before its dates
_NAMED = ("cluster", "subcluster", "partition", "user", "project", "state", "job")
_OF_TIMES = ("started", "start", "end")


def kinds() -> tuple[str, ...]:
    """Return the formats that this server can write."""
    return tuple(kind for kind in _TYPES if kind != "parquet" or export_parquet.is_available())


def response(changelist: JobChangeList, kind: str, *, closing: bool = False) -> StreamingHttpResponse:
    """Return the jobs of a list as a download of one of `kinds`, under a name that says which they are.

    `X-Total-Count` has their number when the download began, unless it takes too long to count them. With `closing`
    the last line of CSV and NDJSON has the number of jobs before it: a file without it is truncated.
    """
    cluster = changelist.params.get("cluster")
    columns = columns_of(cluster)
    parts = rows(changelist.search, columns)
    known = changelist.search.count(seconds=_COUNTING)
    headers = {"Content-Disposition": f'attachment; filename="{_name(changelist)}.{kind}"', "Cache-Control": "no-store"}
    if known is not None:
        headers["X-Total-Count"] = str(known)
    if kind == "parquet":
        lines = export_parquet.as_parquet(columns, parts)
    else:
        lines = (_as_csv if kind == "csv" else _as_ndjson)(columns, parts, closing=closing)
    return StreamingHttpResponse(lines, content_type=_TYPES[kind], headers=headers)


def _name(changelist: JobChangeList) -> str:
    """Return a file name without its ending: what was chosen, and the days: 'jobs_emmy_2026-11-01_2026-11-30'."""
    words = ["jobs"]
    for chip in changelist.chips:
        key, _, value = chip.label.partition(" ")
        if key not in _OF_TIMES:
            words.append(value if key in _NAMED else chip.label)
    safe = "_".join(re.sub(r"[^A-Za-z0-9.]+", "-", word).strip("-.") for word in words)[:_LONGEST_NAME]
    since, until = changelist.search.since, changelist.search.until
    first = "" if since is None else f"_{_day(since)}"
    last = timezone.localdate().isoformat() if until is None else _day(until)
    return f"{safe}{first}_{last}"


def _day(seconds: int) -> str:
    """Return the day of a time, in the zone of the person who reads it; the number if no calendar has it."""
    try:
        return timezone.localtime(datetime.fromtimestamp(seconds, UTC)).date().isoformat()
    except (OverflowError, ValueError, OSError):
        return str(seconds)


def _as_csv(columns: list[Column], parts: Iterator[list[Row]], *, closing: bool) -> Iterator[bytes]:
    text = io.StringIO()
    writer = csv.writer(text)
    writer.writerow([spreadsheet_text(column.name) for column in columns])
    count = 0
    for part in parts:
        writer.writerows([_cell(value) for value in row] for row in part)
        count += len(part)
        yield text.getvalue().encode()
        text.seek(0)
        text.truncate()
    yield text.getvalue().encode() + (f"# {count} jobs\r\n".encode() if closing else b"")


def _cell(value: Any) -> Any:
    """Return the value of a cell; put a quote before a text that a spreadsheet would take for a formula."""
    if isinstance(value, datetime):
        return _iso(value)
    if isinstance(value, list):
        value = " ".join(value)
    return spreadsheet_text(value) if isinstance(value, str) else value


def _iso(moment: datetime) -> str:
    return f"{moment:%Y-%m-%dT%H:%M:%SZ}"


def _as_ndjson(columns: list[Column], parts: Iterator[list[Row]], *, closing: bool) -> Iterator[bytes]:
    names = [column.name for column in columns]
    option = orjson.OPT_APPEND_NEWLINE | orjson.OPT_UTC_Z
    count = 0
    for part in parts:
        yield b"".join(orjson.dumps(dict(zip(names, row, strict=True)), option=option) for row in part)
        count += len(part)
    if closing:
        yield orjson.dumps({"count": count}, option=orjson.OPT_APPEND_NEWLINE)
