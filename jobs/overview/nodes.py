"""What the nodes of clusters do now: what the scheduler last said of them, and which jobs run there."""

import time
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass, field
from itertools import islice
from typing import Any

import msgspec
from django.db import connection
from django.db.models import Count, Max, Q, Value
from django.db.models.functions import Coalesce

from archive.format.cluster_json import Cluster
from jobs.models import Job, NodeState
from jobs.querysets import JobQuerySet

STALE = 300  # seconds: adapters report each minute
MOST_HOSTS = 20_000  # of a cluster's node lists that are looked at; a list of more is taken for a typing error
MOST_RUNNING = 20_000  # jobs of a cluster that are looked at

NO_REPORT = "no report"
IS_STALE = "stale"


@dataclass(frozen=True)
class RunningJob:
    """A running job that the viewer may see."""

    row_id: int
    job_id: int
    user: str


@dataclass
class Node:
    """A node with its last report, the running jobs that the viewer may see, and how many others there are."""

    hostname: str
    subcluster: str
    report: NodeState | None = None
    age: int = 0  # seconds since the report
    jobs: list[RunningJob] = field(default_factory=list)
    others: int = 0
    words: list[str] = field(default_factory=list)

    @property
    def is_stale(self) -> bool:
        """Tell whether the report is too old to be believed."""
        return self.report is not None and self.age > STALE

    @property
    def marks(self) -> list[str]:
        """Return what the node can be counted and chosen by: the scheduler's words, and what is odd of its report."""
        if self.report is None:
            return [NO_REPORT]
        return [*self.words, IS_STALE] if self.is_stale else self.words

    @property
    def contradicts(self) -> bool:
        """Tell whether a fresh report has another number of running jobs than the job table."""
        return (
            self.report is not None and not self.is_stale and self.report.jobs_running != len(self.jobs) + self.others
        )


@dataclass
class Load:
    """What a cluster does, in numbers; times in epoch seconds."""

    running: int = 0
    running_seen: int = 0
    states: Counter[str] = field(default_factory=Counter)
    last_report: int | None = None
    last_start: int | None = None

    @property
    def marks(self) -> list[tuple[str, int]]:
        """Return by what the nodes can be counted and chosen, see Node.marks, with their numbers."""
        return sorted(self.states.items())


class _Resource(msgspec.Struct):
    """Of a job's resources, the host alone."""

    hostname: str = ""


_RESOURCES = msgspec.json.Decoder(list[_Resource])
_WORDS = msgspec.json.Decoder(list[str])


def nodes_of(*, name: str, cluster: Cluster | None, user: Any) -> list[Node]:
    """Return a cluster's nodes: those of its cluster.json, then others that were reported or that a job runs on."""
    nodes: dict[str, Node] = {}
    for subcluster in cluster.subclusters if cluster else ():
        hosts = () if subcluster.nodes.matches_all else islice(subcluster.nodes.hosts(), MOST_HOSTS)
        for host in hosts:
            nodes.setdefault(host, Node(host, subcluster.name))
    reports = {report.hostname: report for report in NodeState.objects.filter(cluster=name)}
    jobs, others = _running_by_host(name, user)
    for host in sorted((reports.keys() | jobs.keys() | others.keys()) - nodes.keys()):
        found = cluster.subcluster_of(host) if cluster else None
        nodes[host] = Node(host, found.name if found else "")
    now = int(time.time())
    for host, node in nodes.items():
        node.jobs, node.others = jobs.get(host, []), others[host]
        node.report = reports.get(host)
        if node.report:
            node.words = _WORDS.decode(node.report.states)
            node.age = max(0, now - node.report.reported_at)
    return list(nodes.values())


def _running_by_host(cluster: str, user: Any) -> tuple[dict[str, list[RunningJob]], Counter[str]]:
    """Return the running jobs that a user may see, and how many others there are, by host.

    Of the others nothing but the hosts is read.
    """
    jobs: dict[str, list[RunningJob]] = {}
    others: Counter[str] = Counter()
    running = _by_cluster(Job.objects.running()).filter(place=cluster)
    seen = running.filter(pk__in=_running_seen(user))
    for row_id, job_id, owner, resources in seen.values_list("pk", "job_id", "user", "resources")[:MOST_RUNNING]:
        job = RunningJob(row_id, job_id, owner)
        for host in _hosts(resources):
            jobs.setdefault(host, []).append(job)
    hidden = running.exclude(pk__in=_running_seen(user))
    for resources in hidden.values_list("resources", flat=True)[:MOST_RUNNING]:
        others.update(_hosts(resources))
    return jobs, others


def _running_seen(user: Any) -> Any:
    return Job.objects.visible_to(user, by_index=False).running().order_by().values("pk")


def _by_cluster(jobs: JobQuerySet) -> Any:
    """Add the cluster as `place`, by which a query cannot walk the index of all the cluster's jobs.

    SQLite would, past every job that ever ran, in place of the small index of running jobs.
    """
    return jobs.order_by().annotate(place=Coalesce("cluster", Value("")))


def _hosts(resources: str) -> set[str]:
    """Return the hosts of a job; none where an imported job's resources have another form."""
    try:
        return {resource.hostname for resource in _RESOURCES.decode(resources) if resource.hostname}
    except msgspec.MsgspecError:
        return set()


def loads_of(*, names: Iterable[str], user: Any) -> dict[str, Load]:
    """Return what each of these clusters does, by five queries whatever their number."""
    loads = {name: Load() for name in names}
    other = Load()  # of clusters that are not asked for
    running = _by_cluster(Job.objects.running())
    for name, count in _counts(running):
        loads.get(name, other).running = count
    for name, count in _counts(running.filter(pk__in=_running_seen(user))):
        loads.get(name, other).running_seen = count
    fresh = Count("pk", filter=Q(reported_at__gte=int(time.time()) - STALE))
    groups = NodeState.objects.values_list("cluster", "states").order_by()
    for name, states, last, count, count_fresh in groups.annotate(Max("reported_at"), nodes=Count("pk"), fresh=fresh):
        load = loads.get(name, other)
        load.states.update(dict.fromkeys(_WORDS.decode(states), count))
        load.states.update({IS_STALE: count - count_fresh} if count > count_fresh else {})
        load.last_report = max(load.last_report or 0, last)
    for name, start in _last_starts(list(loads)):
        loads[name].last_start = start
    return loads


def _counts(jobs: Any) -> Any:
    return jobs.values_list("place").annotate(Count("pk"))


# One look at the end of each cluster's part of the index of starts.
_LAST_STARTS = """
    SELECT name, (SELECT max("start_time") FROM "jobs_job" WHERE "cluster" = name) FROM {names}
"""
_NAMES = {
    "sqlite": "(SELECT value AS name FROM json_each(%s)) AS names",
    "postgresql": "json_array_elements_text(%s) AS names(name)",
}


def _last_starts(names: list[str]) -> list[tuple[str, int | None]]:
    with connection.cursor() as cursor:
        cursor.execute(_LAST_STARTS.format(names=_NAMES[connection.vendor]), [msgspec.json.encode(names).decode()])
        found: list[tuple[str, int | None]] = cursor.fetchall()
    return found
