"""Ghosts: jobs that run here and probably nowhere else, since their stop was lost, and when they probably ended."""

from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import msgspec
from django.core.cache import cache
from django.db.models import Count, F, Min, Q, Sum, TextChoices, Value
from django.db.models.functions import Coalesce

from accounts.formatting import quantity
from archive import root
from jobs.health.hooks import REACHED, STALE
from jobs.health.look import Look
from jobs.health.report import Finding, State, span
from jobs.models import Job, NodeState

WALLTIME = "walltimes"

GRACE = 3600
"""Seconds beyond the requested time after which a running job is probably a ghost."""

MOST_RUNNING = 20_000
"""Running jobs that are looked at, those that began first."""

MARGIN = 60
"""Seconds after its start in which the report of a node may not have a job yet."""

_CACHED, _KEPT = "health:without-node", 60  # seconds

_MOST_HOSTS = 20_000  # of a node list; a longer one is probably a typo

_EMPTY = frozenset({"IDLE", "DOWN", "DRAINED", "POWERED_DOWN", "POWERING_DOWN", "FAIL"})
_BUSY = frozenset({"ALLOCATED", "MIXED", "COMPLETING"})

# A difference between the number of jobs here and the scheduler's count that a stop on its way can make.
_SPARE, _SPARE_SHARE = 5, 0.02


class Basis(TextChoices):
    """What a proposed end rests on."""

    REPORT = "report", "the last report that still had it"
    WALLTIME = "walltime", "start and requested time"
    ABSENCE = "absence", "a report without it"
    NOW = "now", "now"


@dataclass(frozen=True, slots=True)
class Ghost:
    """A running job, why it is probably none, and its proposed end (epoch seconds).

    It is not `is_likely` if its nodes still count it, or if only some of the jobs on a node can be gone. It
    `is_without_node` if the scheduler runs no job on one of its nodes.
    """

    job: Job
    reasons: tuple[str, ...]
    stop_time: int
    basis: Basis
    is_likely: bool
    is_without_node: bool

    @property
    def duration(self) -> int:
        """Return how long the job would have run (seconds)."""
        return self.stop_time - self.job.start_time


class _Resource(msgspec.Struct):
    hostname: str = ""


_RESOURCES = msgspec.json.Decoder(list[_Resource])
_WORDS = msgspec.json.Decoder(frozenset[str])


@dataclass(slots=True)
class _Seen:
    """What the reports of a job's nodes say: the last that had it, the first without it, and in which words."""

    last_with: int | None = None
    first_without: int | None = None
    words: tuple[str, ...] = ()
    perhaps: tuple[str, ...] = ()


@dataclass(slots=True)
class _Report:
    """The report of a node: its words, when it came, and how many jobs run there, by the scheduler's word and ours."""

    hostname: str
    words: frozenset[str]
    reported_at: int
    theirs: int
    ours: int = 0

    @property
    def is_empty(self) -> bool:
        """Return whether the scheduler calls the node idle or down."""
        return bool(self.words & _EMPTY) and not self.words & _BUSY and not self.theirs

    @property
    def counts(self) -> bool:
        """Return whether the number of jobs was reported: an adapter may leave it out."""
        return bool(self.theirs) or not self.words & _BUSY


def find(now: int) -> list[Ghost]:
    """Return the ghosts of all clusters at a time (epoch seconds), the likely ones first, the oldest first."""
    columns = ("job_id", "cluster", "user", "start_time", "walltime", "num_nodes", "resources", "job_state")
    jobs = list(Job.objects.running().only(*columns).order_by("start_time", "pk")[:MOST_RUNNING])
    rows = NodeState.objects.values_list("cluster", "hostname", "states", "reported_at", "jobs_running")
    reports = {(row[0], row[1]): _Report(row[1], _WORDS.decode(row[2]), *row[3:]) for row in rows}
    of_jobs = []
    for job in jobs:
        named = [report for host in _hosts_of(job) if (report := reports.get((job.cluster, host)))]
        own = [report for report in named if report.reported_at > job.start_time + MARGIN]
        for report in own:
            report.ours += 1
        of_jobs.append((job, own))
    found = [ghost for job, own in of_jobs if (ghost := _ghost(job, _seen(own, now), now))]
    return sorted(found, key=lambda ghost: not ghost.is_likely)


def _hosts_of(job: Job) -> set[str]:
    try:
        return {resource.hostname for resource in _RESOURCES.decode(job.resources) if resource.hostname}
    except msgspec.MsgspecError:  # of an imported job
        return set()


def _seen(reports: list[_Report], now: int) -> _Seen:
    """Return what the reports of a job's nodes say of it."""
    seen = _Seen()
    for report in reports:
        if report.counts and report.theirs >= report.ours:
            seen.last_with = max(seen.last_with or 0, report.reported_at)
        elif now - report.reported_at > STALE or not report.counts:
            continue
        elif not report.theirs:
            seen.first_without = min(seen.first_without or now, report.reported_at)
            state = " ".join(sorted(report.words)).lower() if report.is_empty else "without jobs"
            seen.words = (*seen.words, f"{report.hostname} is {state}")
        else:
            text = f"{report.hostname} runs {report.theirs} of {report.ours} jobs"
            seen.perhaps = (*seen.perhaps, text)
    return seen


def _ghost(job: Job, seen: _Seen, now: int) -> Ghost | None:
    """Return the ghost that a job is by what was seen; None if it probably runs."""
    late = now - job.start_time - job.walltime if job.walltime else 0
    is_late = late > GRACE
    if not (is_late or seen.words or seen.perhaps):
        return None
    is_counted = seen.last_with is not None and now - seen.last_with <= STALE and not seen.words
    reasons = [f"{span(late)} beyond its requested time"] if is_late else []
    reasons += _first(seen.words) + _first(seen.perhaps)
    if is_counted:
        reasons.append("but its nodes still count it")
    stop_time, basis = _proposed_end(job, seen, now)
    is_likely = bool(seen.words) or (is_late and not is_counted)
    stop_time = max(job.start_time, min(stop_time, now))
    return Ghost(job, tuple(reasons), stop_time, basis, is_likely, is_without_node=bool(seen.words))


def _first(words: tuple[str, ...]) -> list[str]:
    """Return the first of the words about nodes, and how many more there are."""
    return [*words[:2], *([f"and {len(words) - 2} more nodes"] if len(words) > 2 else [])]


def _proposed_end(job: Job, seen: _Seen, now: int) -> tuple[int, Basis]:
    """Return when a ghost probably ended: as the last report that still had it says, else after its requested time."""
    latest = now if seen.first_without is None else seen.first_without
    if seen.last_with is not None and seen.last_with <= latest:
        return seen.last_with, Basis.REPORT
    if job.walltime and job.start_time + job.walltime <= latest:
        return job.start_time + job.walltime, Basis.WALLTIME
    return (latest, Basis.ABSENCE) if seen.first_without is not None else (now, Basis.NOW)


def _configured(name: str) -> int:
    """Return how many nodes cluster.json lists for a cluster; 0 without one, and if it matches any host."""
    cluster = root.registry().get(name)
    hosts = cluster.hosts_of(_MOST_HOSTS).values() if cluster else ()
    return 0 if None in hosts else sum(len(each or ()) for each in hosts)


def _running_by_cluster() -> Any:
    """Return the names of the clusters of running jobs, to be grouped by.

    They are an expression, for which SQLite cannot walk through the index of clusters, and so of all jobs.
    """
    return Job.objects.running().order_by().annotate(place=Coalesce("cluster", Value(""))).values_list("place")


def miscounted(now: int) -> Iterator[tuple[str, int, int]]:
    """Yield the clusters on whose nodes clearly more jobs run here than the scheduler counts: name, ours, theirs.

    A job on three nodes counts three times. Only clusters are looked at whose nodes are all reported, as many as
    cluster.json has if it lists them, with numbers of jobs.
    """
    ours = dict(_running_by_cluster().filter(start_time__lt=now - STALE).annotate(Sum("num_nodes")))
    counts = {
        "nodes": Count("pk"),
        "reported": Count("pk", filter=Q(reported_at__gte=now - STALE)),
        "busy": Count("pk", filter=Q(states__contains='"ALLOCATED"') | Q(states__contains='"MIXED"')),
        "theirs": Sum("jobs_running"),
    }
    rows = NodeState.objects.order_by("cluster").values_list("cluster").annotate(**counts)
    for cluster, nodes, reported, busy, theirs in rows:
        if reported == max(nodes, _configured(cluster)) and (theirs or not busy):
            count = ours.get(cluster, 0)
            if count - theirs > max(_SPARE, _SPARE_SHARE * theirs):
                yield cluster, count, theirs


def _without_node(now: int) -> dict[str, int]:
    """Return how many jobs of each cluster have a node without jobs; the running jobs are read once a minute."""
    known: dict[str, int] | None = cache.get(_CACHED)
    if known is None:
        known = Counter(ghost.job.cluster for ghost in find(now) if ghost.is_without_node)
        cache.set(_CACHED, known, _KEPT)
    return known


def check_walltime(look: Look) -> Iterator[Finding]:
    """Yield how many jobs have run for longer than they may, on nodes without jobs, or beyond the scheduler's count."""
    now = look.now
    late = _running_by_cluster().filter(walltime__gt=0, start_time__lt=now - GRACE - F("walltime"))
    rows = sorted(late.annotate(Count("pk"), Min("start_time")))
    is_good = True
    cure = (
        f"Their stops were probably lost. {REACHED} Stop them on the page Ghost jobs, or by manage.py reconcile_jobs."
    )
    for cluster, jobs, first in rows:
        is_good = False
        some = f"{quantity(jobs, 'job')} {'has' if jobs == 1 else 'have'}"
        sentence = f"{some} run for more than {span(GRACE)} beyond the requested time; the first began"
        yield Finding(WALLTIME, State.WARNING, f"Cluster {cluster}: {sentence} {span(now - first)} ago.", cure, first)
    for cluster, jobs in sorted(_without_node(now).items()):
        is_good = False
        sentence = (
            f"{quantity(jobs, 'job')} {'has' if jobs == 1 else 'have'} a node that is idle or down by its report."
        )
        yield Finding(WALLTIME, State.WARNING, f"Cluster {cluster}: {sentence}", cure)
    for cluster, ours, theirs in miscounted(now):
        is_good = False
        sentence = f"on its nodes {ours:,} jobs run here, and the scheduler counts {theirs:,}, node by node."
        yield Finding(WALLTIME, State.WARNING, f"Cluster {cluster}: {sentence}", cure)
    if is_good:
        sentence = f"No job has run for more than {span(GRACE)} beyond the requested time, or on an idle node."
        yield Finding(WALLTIME, State.OK, sentence)
