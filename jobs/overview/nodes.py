"""The current state of nodes: the last report of the scheduler, and the running jobs."""

import time
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any

import msgspec
from django.db import connection
from django.db.models import Count, Max, Q, Value
from django.db.models.functions import Coalesce

from archive.format.cluster_json import Cluster
from jobs.health.hooks import STALE
from jobs.models import Job, NodeState
from jobs.querysets import JobQuerySet

MOST_HOSTS = 20_000  # of a node list; a longer one is probably a typo
MOST_RUNNING = 20_000  # running jobs of a cluster

NO_REPORT = "no report"
IS_STALE = "stale"


@dataclass(frozen=True)
class RunningJob:
    """A running job that the user may see."""

    row_id: int
    job_id: int
    user: str


@dataclass
class Node:
    """A node, its last report, the running jobs that the user may see, and the number of others."""

    hostname: str
    subcluster: str
    report: NodeState | None = None
    age: int = 0  # seconds since the report
    jobs: list[RunningJob] = field(default_factory=list)
    others: int = 0
    words: list[str] = field(default_factory=list)

    @property
    def is_stale(self) -> bool:
        """Return whether the report is too old."""
        return self.report is not None and self.age > STALE

    @property
    def marks(self) -> list[str]:
        """Return the words to count and filter the node by: its states, or that its report is missing or stale."""
        if self.report is None:
            return [NO_REPORT]
        return [*self.words, IS_STALE] if self.is_stale else self.words

    @property
    def contradicts(self) -> bool:
        """Return whether a recent report has another number of running jobs than the database."""
        return (
            self.report is not None and not self.is_stale and self.report.jobs_running != len(self.jobs) + self.others
        )


@dataclass
class Load:
    """The load of a cluster; times in epoch seconds."""

    running: int = 0
    running_seen: int = 0
    states: Counter[str] = field(default_factory=Counter)
    last_report: int | None = None
    last_start: int | None = None

    @property
    def marks(self) -> list[tuple[str, int]]:
        """Return the numbers of nodes by mark, see Node.marks."""
        return sorted(self.states.items())


class _Resource(msgspec.Struct):
    """A resource of a job, decoded only to the host."""

    hostname: str = ""


_RESOURCES = msgspec.json.Decoder(list[_Resource])
_WORDS = msgspec.json.Decoder(list[str])


def nodes_of(*, name: str, cluster: Cluster | None, user: Any) -> list[Node]:
    """Return the nodes of a cluster: those in cluster.json, then others with a report or a running job."""
    nodes: dict[str, Node] = {}
    for subcluster, hosts in cluster.hosts_of(MOST_HOSTS).items() if cluster else ():
        nodes |= {host: Node(host, subcluster) for host in hosts or ()}
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
    """Return the running jobs that a user may see, and the number of others, by host.

    Only the hosts of the others are read.
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


def used_nodes(*, before: int) -> dict[str, list[str]]:
    """Return the hosts of all running jobs that started before a time (epoch seconds), sorted, by cluster."""
    used: dict[str, set[str]] = {}
    running = Job.objects.running().filter(start_time__lt=before).order_by()
    for cluster, resources in running.values_list("cluster", "resources"):
        used.setdefault(cluster, set()).update(_hosts(resources))
    return {cluster: sorted(hosts) for cluster, hosts in sorted(used.items()) if hosts}


def _running_seen(user: Any) -> Any:
    return Job.objects.visible_to(user, by_index=False).running().order_by().values("pk")


def _by_cluster(jobs: JobQuerySet) -> Any:
    """Annotate the cluster as `place`, for which the index of clusters cannot be used.

    SQLite would use it, and read all jobs of the cluster, instead of the small index of running jobs.
    """
    return jobs.order_by().annotate(place=Coalesce("cluster", Value("")))


def _hosts(resources: str) -> set[str]:
    """Return the hosts of a job; none if the resources, of an imported job, have another form."""
    try:
        return {resource.hostname for resource in _RESOURCES.decode(resources) if resource.hostname}
    except msgspec.MsgspecError:
        return set()


def loads_of(*, names: Iterable[str], user: Any) -> dict[str, Load]:
    """Return the load of each of these clusters, in five queries."""
    loads = {name: Load() for name in names}
    other = Load()  # of other clusters, and ignored
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


# One look-up per cluster, at the end of its part of the index of start times. With an equality PostgreSQL would go back
# through the starts of all clusters, to the first job if a cluster has none.
_LAST_STARTS = """
    SELECT name, (SELECT "start_time" FROM "jobs_job" WHERE "cluster" >= name AND "cluster" <= name
                  ORDER BY "cluster" DESC, "start_time" DESC LIMIT 1) FROM {names}
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
