"""The content of a job page."""

import re
from dataclasses import dataclass
from string import Template
from typing import Any
from urllib.parse import quote

import msgspec
from django.conf import settings
from django.urls import reverse

from accounts.formatting import NOTHING, duration, scaled, unprefixed
from archive import root
from archive.plots.plots import peak
from jobs.admin.display import archiving, moment, node_address, ranges, state
from jobs.models import Job

# Characters of a text that the page shows: a job script may have several MB.
MOST_TEXT = 100_000
_MOST_HOSTS = 200  # in an address
_KNOWN_TEXTS = {"jobName": "Job name", "jobScript": "Job script", "slurmInfo": "Scheduler information"}


@dataclass(frozen=True)
class Text:
    """An entry of the metadata; `block`: show it in a monospaced block."""

    label: str
    whole: str
    block: bool

    @property
    def text(self) -> str:
        """Return what is shown of it."""
        return self.whole[:MOST_TEXT] if self.whole.strip() else NOTHING

    @property
    def left_out(self) -> int:
        """Return how many characters are not shown."""
        return max(0, len(self.whole) - MOST_TEXT)


@dataclass(frozen=True)
class Node:
    """A node of a job."""

    hostname: str
    hwthreads: str
    accelerators: str
    configuration: str


@dataclass(frozen=True)
class Statistic:
    """The statistics of a metric over the whole job, with their units.

    `share` is the average by the peak, `average` the average in the unit without its prefix.
    """

    metric: str
    min: str
    avg: str
    max: str
    share: float | None
    average: float | None


@dataclass(frozen=True)
class Link:
    """A text that leads to a page, or does not if `address` is empty."""

    text: str
    address: str


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
        found.append(Text(label, text, block))
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
    """Return the statistics in the order of the plots, that of cluster.json; empty before the job is archived."""
    table = decoded(job.statistics)
    if not isinstance(table, dict):
        return []
    cluster = root.registry().get(job.cluster)
    order = {metric.name: place for place, metric in enumerate(cluster.metrics if cluster else ())}
    found = []
    for metric, values in sorted(table.items(), key=lambda item: (order.get(item[0], len(order)), item[0])):
        if isinstance(values, dict):
            unit = values.get("unit")
            words = (unit.get("prefix"), unit.get("base")) if isinstance(unit, dict) else ("", "")
            least, mean, most = (_measured(values.get(key), *words) for key in ("min", "avg", "max"))
            top, average = peak(cluster, job.sub_cluster, metric, "node"), values.get("avg")
            part = average / top if top and isinstance(average, int | float) else None
            whole = unprefixed(average, str(words[0] or "")) if isinstance(average, int | float) else None
            found.append(Statistic(metric, least, mean, most, part, whole))
    return found


def _measured(value: Any, prefix: Any, base: Any) -> str:
    """Return a value of the statistics with its unit, whatever stands there."""
    return scaled(value, prefix=str(prefix or ""), base=str(base or "")) if isinstance(value, int | float) else NOTHING


def facts(job: Job) -> list[tuple[str, list[Link]]]:
    """Return what a job is in few words with links to what is like it, as (label, links)."""
    hosts = [Link(node.hostname, node_address(job.cluster, node.hostname)) for node in nodes(job)]
    size = [f"{job.num_hwthreads:,} hardware threads" if job.num_hwthreads else ""]
    size += [f"{job.num_acc:,} accelerator{'s' if job.num_acc > 1 else ''}" if job.num_acc else ""]
    is_known = root.registry().get(job.cluster) is not None
    place = [Link(job.cluster, reverse("admin:cluster", args=[job.cluster]) if is_known else "")]
    place += [Link(word, "") for word in (job.sub_cluster, job.partition) if word]
    found = [
        ("User", [Link(job.user, _list(user=job.user))]),
        ("Project", [Link(job.project, _list(project=job.project))] if job.project else []),
        ("On", place),
        (f"{job.num_nodes:,} node{'' if job.num_nodes == 1 else 's'}", hosts),
        ("With", [Link(word, "") for word in size if word]),
        ("Array", [Link(str(job.array_job_id), _list(user=job.user, array_job_id=str(job.array_job_id)))]
         if job.array_job_id else []),
    ]  # fmt: skip
    return [(label, links) for label, links in found if links]


def links(job: Job) -> list[Link]:
    """Return links to lists of related jobs."""
    found = [
        Link("All runs of this job id", _list(q=str(job.job_id))),
        Link("Jobs on the same nodes at the same time", _list(beside=str(job.pk))),
    ]
    if name := job_name(job):
        found.append(Link("Jobs of this user with this name", _list(user=job.user, q=f"name:{_quoted(name)}")))
    return found


def _list(**parameters: str) -> str:
    """Return the address of the list of jobs with these parameters."""
    return reverse("admin:jobs_job_changelist", query=parameters)


def _quoted(text: str) -> str:
    """Return a text as one word of the search box."""
    return f'"{text.replace(chr(34), chr(34) * 2)}"' if re.search(r'[\s"*,:]', text) else text


def outside(job: Job) -> list[Link]:
    """Return the links of JOB_LINKS for a job; a running job stops now."""
    hosts = [node.hostname for node in nodes(job)]
    facts = {
        "cluster": job.cluster,
        "jobid": job.job_id,
        "user": job.user,
        "start": job.start_time,
        "stop": job.start_time + job.elapsed,
        "hosts": ",".join(hosts[:_MOST_HOSTS]),
    }
    quoted = {name: quote(str(value), safe=",") for name, value in facts.items()}
    return [Link(name, Template(url).substitute(quoted)) for name, url in settings.JOB_LINKS]


def groups(job: Job) -> list[tuple[str, list[tuple[str, Any]]]]:
    """Return the properties of a job in groups, as (heading, (label, value) pairs)."""
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
    found = [("Time and state", times), ("Size", size)]
    return [(heading, [(label, value) for label, value in facts if value != ""]) for heading, facts in found]
