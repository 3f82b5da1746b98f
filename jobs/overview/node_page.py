"""The page of a node: its states over time, the jobs that ran on it, and who was there at a moment."""

import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime
from functools import partial
from typing import Any

from django.contrib import admin
from django.http import Http404, HttpRequest, HttpResponse
from django.template.response import TemplateResponse
from django.urls import reverse
from django.utils import timezone
from django.utils.html import format_html_join
from django.views.decorators.http import require_safe

from accounts.models import User
from archive import root
from jobs.models import Job, NodeState
from jobs.overview.health_page import may_see
from jobs.overview.node_history import DAY, failed_among, failed_of_cluster, jobs_on, lanes, states_of
from jobs.overview.recent import recent
from jobs.records import Node, NodeChange
from jobs.states import JobState

RANGES = (1, 7, 30, 90)  # days
MOST_LANES = 24
MOST_LISTED = 100
_WIDTH, _BELOW_STATES, _LANE = 1000.0, 14, 12  # of the strip, in pixels or parts of its width
_BAD = frozenset({"DOWN", "FAIL", "FAILING", "NOT_RESPONDING", "ERROR", "UNKNOWN"})
_AWAY = frozenset({"DRAIN", "DRAINED", "DRAINING", "MAINT", "RESERVED", "POWERED_DOWN", "REBOOT"})
_BUSY = frozenset({"ALLOCATED", "MIXED", "COMPLETING"})
_JOB_BAR = (
    '<a href="{}" tabindex="-1"><rect class="bar-{}" x="{}" y="{}" width="{}" height="10"><title>{}</title></rect></a>'
)
_KINDS: dict[str, str] = {
    JobState.RUNNING: "run",
    JobState.COMPLETED: "good",
    JobState.CANCELLED: "quiet",
    JobState.STOPPED: "quiet",
}


@dataclass(frozen=True)
class Bar:
    """A part of the strip for states: place and width in its units, colour and text."""

    x: str
    width: str
    kind: str
    text: str


@require_safe
def node_page(request: HttpRequest, name: str, host: str) -> HttpResponse:
    """Show a node of a cluster with the jobs that the user may see."""
    assert isinstance(request.user, User)
    if not _is_known(name, host):
        raise Http404(f"no node {host} of cluster {name}")
    now = int(time.time())
    at, problem = _moment(request.GET.get("at", ""))
    days = next((days for days in RANGES if request.GET.get("days") == str(days)), 7)
    end = min(now, at + days * DAY // 2) if at is not None else now
    begin = end - days * DAY
    visible = Job.objects.visible_to(request.user, by_index=False)
    jobs, is_short = jobs_on(visible, name, host, begin, end)
    rows = lanes(jobs, begin, end)
    then = [] if at is None else jobs_on(visible, name, host, at, at + 1)[0]
    cluster_failed, counted_at = None, now
    if may_see(request.user):
        figures = f"failed {name!r} {begin // DAY} {(end - 1) // DAY}"
        of_cluster = partial(failed_of_cluster, name, begin, end)
        cluster_failed, counted_at = recent(figures, request.user, of_cluster, now=now)
    context = {
        "title": f"Node {host}",
        "name": name,
        "host": host,
        "report": NodeState.objects.filter(cluster=name, hostname=host).first(),
        "days": days,
        "ranges": RANGES,
        "begin": begin,
        "end": end,
        "at": at,
        "at_text": request.GET.get("at", ""),
        "problem": problem,
        "then": then,
        "states_then": states_of(name, host, at, at + 1)[0].words if at is not None else (),
        "states": [_of_states(span, begin, end) for span in states_of(name, host, begin, end)],
        "bars": format_html_join("", _JOB_BAR, _job_bars(rows[:MOST_LANES], begin, end)),
        "height": _BELOW_STATES + _LANE * min(len(rows), MOST_LANES),
        "hidden_lanes": max(0, len(rows) - MOST_LANES),
        "marker": _x(at, begin, end) if at is not None else "",
        "jobs": jobs[:MOST_LISTED],
        "found": len(jobs),
        "is_short": is_short,
        "all_jobs": reverse("admin:jobs_job_changelist", query={"q": f'cluster:"{name}" host:"{host}"'}),
        "here": failed_among(jobs),
        "cluster_failed": cluster_failed,
        "counted_at": counted_at,
    }
    return TemplateResponse(request, "admin/clusters/node.html", {**admin.site.each_context(request), **context})


def _is_known(name: str, host: str) -> bool:
    """Return whether a node is in cluster.json, was reported, or had a job."""
    cluster = root.registry().get(name)
    if cluster is not None and any(part.nodes.names(host) for part in cluster.subclusters):
        return True
    tables = (NodeState, NodeChange, Node)
    if any(table.objects.filter(cluster=name, hostname=host).exists() for table in tables):
        return True
    return bool(jobs_on(Job.objects.running(), name, host, 0, int(time.time()))[0])


def _moment(text: str) -> tuple[int | None, str]:
    """Return the epoch seconds of a local time as a form sends it, or what is wrong with it."""
    if not text:
        return None, ""
    try:
        when = datetime.fromisoformat(text)
        return int((when if when.tzinfo else timezone.make_aware(when)).timestamp()), ""
    except (ValueError, OverflowError):
        return None, f"Moment: expected a time such as 2026-11-29T02:13, got {text[:40]!r}."


def _of_states(span: Any, begin: int, end: int) -> Bar:
    words = set(span.words)
    kind = "unknown" if not words else "bad" if words & _BAD else "warn" if words & _AWAY else "run"
    text = ", ".join(span.words).lower() or "not reported"
    kind = "idle" if kind == "run" and not words & _BUSY else kind
    return Bar(_x(span.begin, begin, end), _width(span.begin, span.end, begin, end), kind, text)


def _job_bars(rows: Sequence[Sequence[tuple[Job, int, int]]], begin: int, end: int) -> Iterator[tuple[Any, ...]]:
    """Yield address, place, size, colour and text of the bar of each job."""
    pages = reverse("admin:jobs_job_changelist")
    for row, parts in enumerate(rows):
        y = _BELOW_STATES + _LANE * row
        for job, first, last in parts:
            kind, text = _KINDS.get(job.job_state, "bad"), f"job {job.job_id} of {job.user}, {job.job_state}"
            yield f"{pages}{job.pk}/change/", kind, _x(first, begin, end), y, _width(first, last, begin, end), text


def _width(first: int, last: int, begin: int, end: int) -> str:
    return f"{max(1.0, (last - first) / (end - begin) * _WIDTH):.2f}"


def _x(moment: int, begin: int, end: int) -> str:
    return f"{(moment - begin) / (end - begin) * _WIDTH:.2f}"
