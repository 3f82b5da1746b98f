"""The content of a job page."""

from dataclasses import dataclass
from typing import Any

import msgspec
from django.urls import reverse

from jobs.admin.display import NOTHING, archiving, duration, moment, number, ranges, state
from jobs.models import Job

# Characters of a text that the page shows: a job script may have several MB.
MOST_TEXT = 100_000
_KNOWN_TEXTS = {"jobName": "Job name", "jobScript": "Job script", "slurmInfo": "Scheduler information"}


@dataclass(frozen=True)
class Text:
    """An entry of the metadata; `block`: show it in a monospaced block."""

    label: str
    text: str
    block: bool
    left_out: int = 0  # characters that are not shown


@dataclass(frozen=True)
class Node:
    """A node of a job."""

    hostname: str
    hwthreads: str
    accelerators: str
    configuration: str


@dataclass(frozen=True)
class Statistic:
    """The statistics of a metric over the whole job."""

    metric: str
    unit: str
    min: str
    avg: str
    max: str


def decoded(text: str | None) -> Any:
    """Return the value of a JSON column, or the text itself if it is not valid JSON."""
    try:
        return msgspec.json.decode(text) if text else None
    except msgspec.DecodeError:
        return text


def job_name(job: Job) -> str:
    """Return the name in the metadata of a job, or an empty text."""
    metadata = decoded(job.meta_data)
    return _plain(metadata.get("jobName")) if isinstance(metadata, dict) else ""


def texts(job: Job) -> list[Text]:
    """Return the metadata: the job name and other short entries, then job script and other long texts."""
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
    """Return the nodes and the resources that the job uses on them."""
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
    """Return the statistics, sorted by metric; empty before the job is archived."""
    table = decoded(job.statistics)
    found = []
    for metric, values in sorted(table.items()) if isinstance(table, dict) else []:
        if isinstance(values, dict):
            unit = values.get("unit")
            name = f"{unit.get('prefix') or ''}{unit.get('base') or ''}" if isinstance(unit, dict) else ""
            found.append(Statistic(metric, name, *(number(values.get(key)) for key in ("min", "avg", "max"))))
    return found


def links(job: Job) -> list[tuple[str, str]]:
    """Return links to lists of related jobs, as (label, address)."""
    links = [("Jobs of this user", {"user": job.user})]
    if job.project:
        links.append(("Jobs of this project", {"project": job.project}))
    if job.array_job_id:
        links.append(("Jobs of this array", {"user": job.user, "array_job_id": str(job.array_job_id)}))
    links += [
        ("All runs of this job id", {"q": str(job.job_id)}),
        ("Jobs on the same nodes at the same time", {"beside": str(job.pk)}),
    ]
    return [(label, reverse("admin:jobs_job_changelist", query=parameters)) for label, parameters in links]


def groups(job: Job) -> list[tuple[str, list[tuple[str, Any]]]]:
    """Return the properties of a job in groups, as (heading, (label, value) pairs)."""
    owner: list[tuple[str, Any]] = [
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
    found = [("Cluster and owner", owner), ("Time and state", times), ("Size", size)]
    return [(heading, [(label, value) for label, value in facts if value != ""]) for heading, facts in found]
