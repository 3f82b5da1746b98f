"""Times, durations, states and numbers as the admin site shows them."""

from collections.abc import Iterable
from datetime import UTC, datetime
from itertools import pairwise
from typing import Any

from django.urls import reverse
from django.utils.html import format_html, format_html_join
from django.utils.safestring import SafeString

from accounts.formatting import NOTHING, duration, time_element
from jobs.models import Job, Tag
from jobs.states import MonitoringStatus


def walltime_used(job: Job) -> SafeString | str:
    """Return the share of the requested time that a job has used, in per cent; empty if none was requested."""
    if not job.walltime:
        return ""
    return format_html(
        '<span class="number quiet small" title="of {} requested">{} %</span>',
        duration(job.walltime),
        f"{100 * job.elapsed / job.walltime:,.0f}",
    )


def moment(seconds: int | None) -> SafeString | str:
    """Return epoch seconds as local time with UTC on hover, or the number if it is out of range."""
    if seconds is None:
        return NOTHING
    try:
        return time_element(datetime.fromtimestamp(seconds, UTC))
    except (OverflowError, ValueError, OSError):
        return f"{seconds} (no valid time)"


def pill(word: str, kind: str) -> SafeString:
    """Return a word in the colour of its kind (see admin.css)."""
    return format_html('<span class="pill pill-{}">{}</span>', kind, word)


def state(job: Job) -> SafeString:
    """Return the job's state as a coloured word."""
    return pill(str(job.get_job_state_display()).lower(), job.job_state)


def archiving_word(job: Job) -> str:
    """Return the archiving state of a job: disabled, waiting, failed, archived, or empty while it runs."""
    if job.monitoring_status == MonitoringStatus.ARCHIVING:
        return "" if job.is_running else "waiting"
    return {MonitoringStatus.DISABLED: "disabled", MonitoringStatus.FAILED: "failed"}.get(
        MonitoringStatus(job.monitoring_status), "archived"
    )


def archiving(job: Job) -> SafeString | str:
    """Return the archiving state as a coloured word."""
    word = archiving_word(job)
    return pill(word, f"archive-{word}") if word else NOTHING


def chips(tags: Iterable[Tag]) -> SafeString | str:
    """Return tags in a row."""
    return format_html_join(" ", '<span class="chip">{}</span>', ((str(tag),) for tag in tags)) or NOTHING


def node_address(cluster: str, host: str) -> str:
    """Return the address of the page of a node; empty if a name cannot be part of an address."""
    names = (cluster, host)
    return "" if any(not name or "/" in name for name in names) else reverse("admin:node", args=names)


def ranges(numbers: Iterable[Any]) -> str:
    """Return integers as ranges: '0-2, 5' for [0, 1, 2, 5]."""
    ordered = sorted({number for number in numbers if isinstance(number, int)})
    if not ordered:
        return ""
    parts, begin = [], ordered[0]
    for last, following in pairwise([*ordered, None]):
        if last is not None and following != last + 1:
            parts.append(str(begin) if begin == last else f"{begin}-{last}")
            begin = following or 0
    return ", ".join(parts)
