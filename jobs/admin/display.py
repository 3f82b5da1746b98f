"""How the admin site writes times, durations, states and a job's JSON columns for people."""

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import UTC, datetime
from itertools import pairwise
from typing import Any

import msgspec
from django.urls import reverse
from django.utils import timezone
from django.utils.html import format_html, format_html_join
from django.utils.safestring import SafeString

from jobs.models import Job, Tag
from jobs.states import MonitoringStatus

NOTHING = "\N{EN DASH}"

# A job script may be several MB; more than this of one text (characters) helps nobody on a page.
MOST_TEXT = 100_000

_KNOWN_TEXTS = {"jobName": "Job name", "jobScript": "Job script", "slurmInfo": "Scheduler info"}


def duration(seconds: int) -> str:
    """Return seconds as '2 d 03:04:05', '3:04:05', '4:05' or '5 s'."""
    minutes, rest = divmod(max(0, seconds), 60)
    hours, minutes = divmod(minutes, 60)
    days, hours = divmod(hours, 24)
    if days:
        return f"{days} d {hours:02}:{minutes:02}:{rest:02}"
    if hours:
        return f"{hours}:{minutes:02}:{rest:02}"
    return f"{minutes}:{rest:02}" if minutes else f"{rest} s"


def walltime_used(job: Job) -> SafeString | str:
    """Return how much of the requested time a job has used, in per cent; nothing where none was requested."""
    if not job.walltime:
        return ""
    return format_html(
        '<span class="number quiet small" title="of {} requested">{} %</span>',
        duration(job.walltime),
        f"{100 * job.elapsed / job.walltime:,.0f}",
    )


def moment(seconds: int | None) -> SafeString | str:
    """Return epoch seconds as local time with UTC on hover; a number that is no time of a calendar stays a number."""
    if seconds is None:
        return NOTHING
    try:
        return timed(seconds, f"{timezone.localtime(datetime.fromtimestamp(seconds, UTC)):%Y-%m-%d %H:%M}")
    except (OverflowError, ValueError, OSError):
        return f"{seconds} (no valid time)"


def timed(seconds: int, text: str) -> SafeString:
    """Return a text that stands for a time (epoch seconds), which is shown in UTC on hover."""
    utc = datetime.fromtimestamp(seconds, UTC)
    title = f"{utc:%Y-%m-%d %H:%M:%S}"
    return format_html('<time datetime="{}" title="{} UTC">{}</time>', utc.isoformat(), title, text)


def pill(word: str, kind: str) -> SafeString:
    """Return a word with the colour of its kind (see admin.css)."""
    return format_html('<span class="pill pill-{}">{}</span>', kind, word)


def state(job: Job) -> SafeString:
    """Return the job's state as a coloured word."""
    return pill(str(job.get_job_state_display()).lower(), job.job_state)


def archiving_word(job: Job) -> str:
    """Return where a job stands on its way into the archive: '', disabled, waiting, failed or archived."""
    if job.monitoring_status == MonitoringStatus.ARCHIVING:
        return "" if job.is_running else "waiting"
    return {MonitoringStatus.DISABLED: "disabled", MonitoringStatus.FAILED: "failed"}.get(
        MonitoringStatus(job.monitoring_status), "archived"
    )


def archiving(job: Job) -> SafeString | str:
    """Return the archiving state, coloured where it asks for attention."""
    word = archiving_word(job)
    return pill(word, f"archive-{word}") if word else NOTHING


def chips(tags: Iterable[Tag]) -> SafeString | str:
    """Return tags side by side."""
    return format_html_join(" ", '<span class="chip">{}</span>', ((str(tag),) for tag in tags)) or NOTHING


@dataclass(frozen=True)
class Text:
    """One entry of the metadata; a `block` is shown in a monospaced block of its own."""

    label: str
    text: str
    block: bool
    left_out: int = 0  # characters


@dataclass(frozen=True)
class Node:
    """One node of a job, as it is listed."""

    hostname: str
    hwthreads: str
    accelerators: str
    configuration: str


@dataclass(frozen=True)
class Statistic:
    """One metric's numbers over the whole job, as they are listed."""

    metric: str
    unit: str
    min: str
    avg: str
    max: str


def decoded(text: str | None) -> Any:
    """Return a JSON column decoded; the text itself where it is no JSON."""
    try:
        return msgspec.json.decode(text) if text else None
    except msgspec.DecodeError:
        return text


def job_name(job: Job) -> str:
    """Return the job's name from its metadata, or the empty text."""
    metadata = decoded(job.meta_data)
    return _plain(metadata.get("jobName")) if isinstance(metadata, dict) else ""


def texts(job: Job) -> list[Text]:
    """Return the metadata: name first, then what fits a line, then script, scheduler info and other long texts."""
    metadata = decoded(job.meta_data)
    if not isinstance(metadata, dict):
        metadata = {"metadata": metadata} if metadata else {}
    order = {key: number for number, key in enumerate(_KNOWN_TEXTS)}
    found = []
    for key, value in sorted(metadata.items(), key=lambda item: (order.get(item[0], len(order)), item[0])):
        text = _plain(value)
        block = key in {"jobScript", "slurmInfo"} or len(text) > 200 or "\n" in text.strip()
        label = _KNOWN_TEXTS.get(key, key)
        found.append(Text(label, text[:MOST_TEXT] if text.strip() else NOTHING, block, max(0, len(text) - MOST_TEXT)))
    return sorted(found, key=lambda entry: entry.block)


def _plain(value: Any) -> str:
    if value is None:
        return ""
    return value if isinstance(value, str) else msgspec.json.encode(value).decode()


def nodes(job: Job) -> list[Node]:
    """Return the nodes with what the job uses of them."""
    resources = decoded(job.resources)
    found = []
    for resource in resources if isinstance(resources, list) else []:
        if isinstance(resource, dict):
            accelerators = resource.get("accelerators") or []
            found.append(
                Node(
                    hostname=_plain(resource.get("hostname")),
                    hwthreads=ranges(resource.get("hwthreads") or []),
                    accelerators=", ".join(_plain(accelerator) for accelerator in accelerators),
                    configuration=_plain(resource.get("configuration")),
                )
            )
    return found


def ranges(numbers: Iterable[Any]) -> str:
    """Return whole numbers shortened to ranges: [0, 1, 2, 5] is '0-2, 5'."""
    ordered = sorted({number for number in numbers if isinstance(number, int)})
    if not ordered:
        return ""
    parts, begin = [], ordered[0]
    for last, following in pairwise([*ordered, None]):
        if last is not None and following != last + 1:
            parts.append(str(begin) if begin == last else f"{begin}-{last}")
            begin = following or 0
    return ", ".join(parts)


def statistics(job: Job) -> list[Statistic]:
    """Return the statistics by metric name; none before the job is archived."""
    table = decoded(job.statistics)
    found = []
    for metric, values in sorted(table.items()) if isinstance(table, dict) else []:
        if isinstance(values, dict):
            unit = values.get("unit")
            name = f"{unit.get('prefix') or ''}{unit.get('base') or ''}" if isinstance(unit, dict) else ""
            found.append(Statistic(metric, name, *(number(values.get(key)) for key in ("min", "avg", "max"))))
    return found


def number(value: Any) -> str:
    """Return a sample's number with few digits, thousands grouped."""
    if not isinstance(value, int | float):
        return NOTHING
    if value == 0 or 0.01 <= abs(value) < 1e9:
        return f"{value:,.2f}".rstrip("0").rstrip(".")
    return f"{value:.3e}"


def links(job: Job) -> list[tuple[str, str]]:
    """Return links to lists of related jobs, as (label, address's query)."""
    links = [("Jobs of this user", {"user": job.user})]
    if job.project:
        links.append(("Jobs of this project", {"project": job.project}))
    if job.array_job_id:
        links.append(("Jobs of this array", {"user": job.user, "array_job_id": str(job.array_job_id)}))
    links += [
        ("Runs with this job id", {"q": str(job.job_id)}),
        ("Jobs beside it on its nodes", {"beside": str(job.pk)}),
    ]
    return [(label, reverse("admin:jobs_job_changelist", query=parameters)) for label, parameters in links]


def groups(job: Job) -> list[tuple[str, list[tuple[str, Any]]]]:
    """Return the scheduler's facts in groups, as (heading, (label, value) pairs)."""
    place: list[tuple[str, Any]] = [
        ("Cluster", job.cluster),
        ("Subcluster", job.sub_cluster),
        ("Partition", job.partition),
        ("User", job.user),
        ("Project", job.project),
    ]
    times: list[tuple[str, Any]] = [
        ("State", state(job)),
        ("Started", moment(job.start_time)),
        ("Ended", "still running" if job.is_running else moment(job.stop_time)),
        ("Duration", duration(job.elapsed)),
        ("Requested", duration(job.walltime) if job.walltime else ""),
        ("Archiving", archiving(job)),
    ]
    size: list[tuple[str, Any]] = [
        ("Nodes", f"{job.num_nodes:,}"),
        ("Hardware threads", f"{job.num_hwthreads:,}" if job.num_hwthreads else ""),
        ("Accelerators", f"{job.num_acc:,}" if job.num_acc else ""),
        ("Node use", job.get_exclusive_display()),
        ("SMT", job.smt or ""),
        ("Array job", job.array_job_id or ""),
        ("Database id", job.pk),
    ]
    found = [("Whose and where", place), ("Time and state", times), ("Size", size)]
    return [(heading, [(label, value) for label, value in facts if value != ""]) for heading, facts in found]
