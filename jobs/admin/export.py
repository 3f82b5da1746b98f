"""Export the job list as CSV (for spreadsheets) or NDJSON (for programs), streamed in constant memory."""

import csv
import io
from collections.abc import Iterable, Iterator
from datetime import UTC, datetime
from typing import Any

import orjson
from django.db.models import F, Prefetch, Q
from django.http import StreamingHttpResponse

from accounts.formatting import spreadsheet_text
from jobs.admin.changelist import BIG
from jobs.admin.display import archiving_word
from jobs.models import Job, Tag
from jobs.search.expressions import JobName
from jobs.search.find import Search

_PART = 2_000  # jobs per query

KINDS = ("csv", "ndjson")

Row = dict[str, Any]


def response(search: Search, kind: str) -> StreamingHttpResponse:
    """Return the jobs of a search as a download of one of KINDS.

    The last line has their number: a file without it is truncated.
    """
    rows = _rows(search)
    if kind == "csv":
        return _download(_as_csv(rows), "text/csv; charset=utf-8", "jobs.csv")
    return _download(_as_ndjson(rows), "application/x-ndjson", "jobs.ndjson")


def _download(lines: Iterable[bytes], content_type: str, name: str) -> StreamingHttpResponse:
    headers = {"Content-Disposition": f'attachment; filename="{name}"', "Cache-Control": "no-store"}
    return StreamingHttpResponse(lines, content_type=content_type, headers=headers)


def _rows(search: Search) -> Iterator[list[Row]]:
    """Yield the jobs in parts, newest first.

    Each part is a query that continues after the previous one, so that a slow download keeps no transaction open.
    """
    tags = Prefetch("tags", Tag.objects.order_by("type", "name"))
    for found in search.parts():
        jobs = found.defer(*BIG).annotate(name=JobName(F("meta_data"))).prefetch_related(tags)
        part = list(jobs[:_PART])
        while part:
            yield [_row(job) for job in part]
            last = part[-1]
            further = Q(start_time=last.start_time, pk__lt=last.pk) | Q(start_time__lt=last.start_time)
            # The first condition, redundant by itself, lets the database use an index.
            after = jobs.filter(start_time__lte=last.start_time).filter(further)
            part = list(after[:_PART]) if len(part) == _PART else []


def _row(job: Job) -> Row:
    return {
        "id": job.pk,
        "jobId": job.job_id,
        "name": getattr(job, "name", None) or "",
        "user": job.user,
        "project": job.project,
        "cluster": job.cluster,
        "subCluster": job.sub_cluster,
        "partition": job.partition,
        "arrayJobId": job.array_job_id,
        "numNodes": job.num_nodes,
        "numHwthreads": job.num_hwthreads,
        "numAcc": job.num_acc,
        "jobState": job.job_state,
        "startTime": job.start_time,
        "start": _iso(job.start_time),
        "duration": job.elapsed,
        "walltime": job.walltime,
        "archiving": archiving_word(job),
        "tags": [str(tag) for tag in job.tags.all()],
    }


def _iso(seconds: int) -> str:
    """Return epoch seconds as a time in UTC, empty if they are out of range."""
    try:
        return f"{datetime.fromtimestamp(seconds, UTC):%Y-%m-%dT%H:%M:%SZ}"
    except (OverflowError, ValueError, OSError):
        return ""


def _as_csv(parts: Iterator[list[Row]]) -> Iterator[bytes]:
    text = io.StringIO()
    writer = csv.writer(text)
    count = 0
    for part in parts:
        if not count:
            writer.writerow(part[0])
        writer.writerows([_cell(value) for value in row.values()] for row in part)
        count += len(part)
        yield text.getvalue().encode()
        text.seek(0)
        text.truncate()
    yield f"# {count} jobs\r\n".encode()


def _cell(value: Any) -> Any:
    """Return the value of a cell; put a quote before a text that a spreadsheet would take for a formula."""
    if isinstance(value, list):
        value = " ".join(value)
    return spreadsheet_text(value) if isinstance(value, str) else value


def _as_ndjson(parts: Iterator[list[Row]]) -> Iterator[bytes]:
    count = 0
    for part in parts:
        yield b"".join(orjson.dumps(row, option=orjson.OPT_APPEND_NEWLINE) for row in part)
        count += len(part)
    yield orjson.dumps({"count": count}, option=orjson.OPT_APPEND_NEWLINE)
