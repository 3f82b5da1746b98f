"""Jobs by host: those that have ended by the table of nodes, the few others by their resources."""

from collections.abc import Collection, Sequence
from functools import reduce
from operator import or_

import msgspec
from django.db.models import F, Q
from django.db.models.lookups import Contains, GreaterThan

from jobs.models import Job
from jobs.records import JobNode, Node
from jobs.search.booked import of_all
from jobs.search.criteria import BY_HOST, Criterion, Path, by_cluster
from jobs.search.values import Names
from jobs.states import JobState

_MOST_NODES = 8  # that are each walked through
_MOST_HOSTS = 32  # of a job, to search for other jobs on them


def nodes_of(found: Names) -> list[int]:
    """Return the ids of the nodes with these hostnames, in any case, and of those with these beginnings."""
    tests = [Q(hostname__iexact=name) for name in found.exact]
    tests += [Q(hostname__istartswith=text) for text in found.beginnings]
    return list(Node.objects.filter(reduce(or_, tests)).values_list("pk", flat=True))


def by_hosts(found: Names, *, node_ids: Collection[int] | None = None) -> Criterion:
    """Match the jobs that ran, or run, on one of these hosts.

    `node_ids` are those of the hosts if they are known already.
    """
    test = on_hosts(found)
    return of_all(test, _written_down(nodes_of(found) if node_ids is None else node_ids), BY_HOST)


def on_hosts(found: Names) -> Q:
    """Return the condition that the resources of a job have one of these hosts."""
    texts = [msgspec.json.encode(name).decode() for name in found.exact]
    texts += [msgspec.json.encode(text).decode()[:-1] for text in found.beginnings]  # without the closing quote
    return reduce(or_, (Q(Contains(F("resources"), text)) for text in texts))


def _written_down(node_ids: Collection[int]) -> list[Path]:
    if len(node_ids) <= _MOST_NODES:
        each = [JobNode.objects.filter(node=node_id) for node_id in node_ids]
        return [Path(rows=rows, walked=rows) for rows in each]
    # In a range of times the index finds the jobs of each node; all jobs tell how long a range is.
    return [Path(rows=JobNode.objects.filter(node__in=node_ids), walked=Job.objects.all())]


def concurrent_with(job: Job) -> tuple[Criterion, ...]:
    """Match other jobs that ran on a host of the job and ended after its start; the caller limits their starts."""
    ended = GreaterThan(F("start_time") + F("duration"), job.start_time)
    hosts: Sequence[str] = [str(node.get("hostname")) for node in job.nodes[:_MOST_HOSTS]]
    ids = list(Node.objects.filter(cluster=job.cluster, hostname__in=hosts).values_list("pk", flat=True))
    at_the_time = Criterion(Q(job_state=JobState.RUNNING) | Q(ended))
    same_hosts = by_hosts(Names(tuple(hosts)), node_ids=ids)
    return by_cluster(job.cluster), Criterion(~Q(pk=job.pk)), at_the_time, same_hosts
