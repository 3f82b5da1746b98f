"""What the page of one job shows beside its fields."""

from dataclasses import dataclass
from typing import Any

import msgspec
from django.urls import reverse

from jobs.admin.display import NOTHING, archiving, duration, moment, number, ranges, state
from jobs.models import Job

# A job script may be several MB; more than this of one text (characters) helps nobody on a page.
MOST_TEXT = 100_000
_KNOWN_TEXTS = {"jobName": "Job name", "jobScript": "Job script", "slurmInfo": "Scheduler info"}


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
