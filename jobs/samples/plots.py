"""The plots of a job's page, or the reason why there are none."""

import contextlib
import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import UTC, datetime

from django.utils import timezone

from archive import root
from archive.exceptions import READ_ERRORS, SourceError
from archive.exceptions import reason as reason_of
from archive.format.data_document import read_document
from archive.plots.hosts import Host, hosts
from archive.plots.plots import Plot, PlotRequest, choose, draw, naming_data_json
from archive.plots.roofline import BANDWIDTH, FLOPS, Roofline, roofline
from jobs.exceptions import NoSamplesError
from jobs.rows.columns import Row
from jobs.samples.load import data_document
from jobs.samples.rules import Finding, findings
from jobs.states import JobState, MonitoringStatus

MOST_BYTES = 256 * 1024 * 1024
"""Limit for a job's samples as JSON: 500 nodes for two days. More would take too much memory and time."""

YOUNG = 180
"""Seconds of run time below which missing samples are expected: sources have them a minute late."""

# Archived jobs in memory at once in one process of the server, which has more threads than that. jobs.samples.load
# limits loads from metric sources, which may hang.
_MOST_AT_ONCE = 2
_WAIT = 10.0  # seconds
_places = threading.BoundedSemaphore(_MOST_AT_ONCE)


@dataclass(slots=True)
class JobPlots:
    """The plots of a page; times in epoch seconds, `offset` of the page's time zone from UTC in seconds.

    `findings`, `hosts` (with statistics in the order of `metrics`) and `roofline` are of the whole time, and left out
    if a part of it is drawn. `reason` is why there are no plots. `archived`: a part of the time is cheap to load;
    `failed`: a retry may help.
    """

    start: int
    end: int
    zone: str
    offset: int
    archived: bool
    scope: str
    scopes: list[str] = field(default_factory=list)
    metrics: list[Plot] = field(default_factory=list)
    findings: list[Finding] = field(default_factory=list)
    hosts: list[Host] = field(default_factory=list)
    roofline: Roofline | None = None
    reason: str = ""
    failed: bool = False


def job_plots(*, row: Row, scope: str, part: tuple[int, int] | None = None) -> JobPlots:
    """Return the plots of a job, from the archive or the metric source; metrics without `scope` use their coarsest.

    `part` is begin and end (epoch seconds) of the time to draw, None for all of it. If samples are missing or cannot be
    loaded, nothing is raised: the result has the reason.
    """
    running, archived = row.job_state == JobState.RUNNING, row.monitoring_status == MonitoringStatus.ARCHIVED
    elapsed = max(0, int(time.time()) - row.start_time) if running else row.duration
    zone, offset = _zone(row.start_time)
    seconds = (part[0] - row.start_time, part[1] - row.start_time) if part else None
    made = JobPlots(row.start_time, row.start_time + elapsed, zone, offset, archived, scope)
    try:
        with _place() if archived else contextlib.nullcontext():
            raw = data_document(row, None, MOST_BYTES)
            request = PlotRequest(scope, root.registry().get(row.cluster), row.sub_cluster, seconds)
            with naming_data_json():
                _fill(made, raw, request, row)
    except NoSamplesError as error:
        made.reason = str(error)
    except READ_ERRORS as error:
        made.reason, made.failed = f"The samples could not be loaded: {str(error) or reason_of(error)}", True
    if not made.metrics and not made.reason:
        made.reason = _why_nothing(elapsed, running=running, archived=archived)
    return made


def _fill(made: JobPlots, raw: bytes, request: PlotRequest, row: Row) -> None:
    """Draw the samples of a data.json; raise one of DECODE_ERRORS."""
    document = read_document(raw)
    found = draw(document, request)
    if request.part is None:
        drawn = {plot.name for plot in found.metrics}
        chosen = [metric for metric in choose(document, request) if metric[0] in drawn]
        made.hosts = hosts(chosen, request.cluster)
        made.findings = findings(document, found.metrics, row, made.end - made.start)
        rates = {name: metric for name, _, metric in chosen if name in (FLOPS, BANDWIDTH)}
        if len(rates) == 2:
            sub_cluster = request.cluster.subcluster(row.sub_cluster) if request.cluster is not None else None
            made.roofline = roofline(rates[FLOPS], rates[BANDWIDTH], sub_cluster)
    made.scopes, made.metrics = found.scopes, found.metrics


def _why_nothing(elapsed: int, *, running: bool, archived: bool) -> str:
    """Return why a job that could have samples has none; `elapsed` is in seconds."""
    if archived:
        return "The archive has no sample of this job."
    if elapsed < YOUNG:
        so_far = "has been running for" if running else "ran for only"
        return f"The job {so_far} {elapsed} s; the first samples are there after two or three minutes."
    return "The metric source has no sample of this job's nodes in the time that it ran."


@contextlib.contextmanager
def _place() -> Iterator[None]:
    """Wait until the samples of one more job may be in memory; raise SourceError if that takes too long."""
    if not _places.acquire(timeout=_WAIT):
        raise SourceError("the plots of other jobs are being made; try again in a moment.", transient=True)
    try:
        yield
    finally:
        _places.release()


def _zone(start: int) -> tuple[str, int]:
    """Return the page's zone and its offset from UTC (seconds) at the job's start; UTC if that is out of range."""
    try:
        offset = timezone.localtime(datetime.fromtimestamp(start, UTC)).utcoffset()
    except (OverflowError, ValueError, OSError):
        return "UTC", 0
    return timezone.get_current_timezone_name(), int(offset.total_seconds()) if offset else 0
