"""The figures of the admin site's first page, from the jobs that the user sees."""

from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from typing import Any

from django.db.models import Count, QuerySet, Subquery

from accounts.models import Role, User
from archive import root
from jobs.health.hooks import is_quiet
from jobs.models import Job
from jobs.overview.chart import Chart, chart_of
from jobs.overview.days import Day, Hour, Tally, last_days
from jobs.querysets import JobQuerySet
from jobs.states import JobState, MonitoringStatus

MOST_COUNTED = 10_000  # limit of the counts on this page
TOP = 10  # number of users and projects in the tables


@dataclass(frozen=True, slots=True)
class Archiving:
    """The numbers of finished jobs that wait for the archive and of those whose archiving failed, see MOST_COUNTED."""

    waiting: int
    failed: int


@dataclass(frozen=True, slots=True)
class EndState:
    """The number of jobs of the last days that ended in a state, and their share of all ended jobs (0 to 1)."""

    state: str
    word: str
    jobs: int
    share: float


@dataclass(frozen=True, slots=True)
class Cluster:
    """The last days of a cluster; `quiet_for`: seconds since the last event, if that is unusually long."""

    name: str
    running: int
    jobs: int
    node_seconds: float
    last_start: int | None
    last_stop: int | None
    quiet_for: int | None = None


@dataclass(frozen=True, slots=True)
class Owner:
    """A user or project with many node hours, and its share of all node hours (0 to 1)."""

    name: str
    jobs: int
    node_seconds: float
    share: float


@dataclass(frozen=True, slots=True)
class Overview:
    """The figures of the page; times are epoch seconds, `since` is the begin of the first of the last days."""

    since: int
    counted_at: int
    running: int
    started_today: int
    finished_today: int
    failed_today: int
    ended: tuple[EndState, ...]
    archiving: Archiving | None
    clusters: tuple[Cluster, ...]
    users: tuple[Owner, ...]
    projects: tuple[Owner, ...]
    chart: Chart
    oversees: bool
    has_jobs: bool

    @property
    def finished(self) -> int:
        """Return the number of jobs of the last days that have ended."""
        return sum(entry.jobs for entry in self.ended)

    @property
    def failed(self) -> EndState | None:
        """Return the failed jobs of the last days; None if no job has ended."""
        return next((entry for entry in self.ended if entry.state == JobState.FAILED), None)

    @property
    def quiet(self) -> list[Cluster]:
        """Return the clusters that are quiet."""
        return [cluster for cluster in self.clusters if cluster.quiet_for is not None]

    @property
    def recent_jobs(self) -> int:
        """Return the number of jobs that started in the last days."""
        return sum(self.chart.started)


def overview(user: User, *, now: int) -> Overview:
    """Return the figures for a user at a time (epoch seconds)."""
    jobs = Job.objects.visible_to(user)
    # A user's own jobs do not show the state of the archive or of a cluster.
    oversees = user.has_role(Role.ADMIN, Role.SUPPORT)
    days = last_days(jobs, now=now)
    hours = [hour for day in days for hour in day.hours]
    ended_today = [hour for hour in hours if hour.ended_today]
    running = _running(Job.objects.visible_to(user, by_index=False))
    recent = bool(hours) or running.total() > 0
    return Overview(
        since=days[0].begin,
        counted_at=days[-1].counted_at,
        running=running.total(),
        started_today=sum(hour.jobs for hour in days[-1].hours),
        finished_today=sum(hour.ended_today for hour in ended_today),
        failed_today=sum(hour.ended_today for hour in ended_today if hour.state == JobState.FAILED),
        ended=_ended(hours),
        archiving=_archiving(jobs) if oversees else None,
        clusters=_watched(jobs, _clusters(hours, running), days, now) if oversees else _clusters(hours, running),
        users=_top(day.users for day in days),
        projects=_top(day.projects for day in days),
        chart=chart_of(days, now=now),
        oversees=oversees,
        has_jobs=recent or jobs.exists(),
    )


def _running(jobs: JobQuerySet) -> Counter[str]:
    """Count the running jobs by cluster, with a subquery of keys that uses the small index of running jobs."""
    keys = Job.objects.running().order_by().values("pk")
    counts = jobs.filter(pk__in=keys).order_by().values("cluster").annotate(count=Count("pk"))
    return Counter(dict(counts.values_list("cluster", "count")))


def _archiving(jobs: JobQuerySet) -> Archiving:
    failed = jobs.filter(monitoring_status=MonitoringStatus.FAILED)
    return Archiving(waiting=_capped(jobs.awaiting_archive()), failed=_capped(failed))


def _capped(jobs: QuerySet[Job]) -> int:
    """Count jobs up to MOST_COUNTED + 1."""
    return jobs.order_by().values("pk")[: MOST_COUNTED + 1].count()


def _ended(hours: Iterable[Hour]) -> tuple[EndState, ...]:
    """Return the states in which jobs ended, the most frequent first; include failed if any job ended."""
    counts: Counter[str] = Counter()
    for hour in hours:
        if hour.state != JobState.RUNNING:
            counts[hour.state] += hour.jobs
    total = counts.total()
    if total:
        counts[JobState.FAILED.value] += 0
    return tuple(
        EndState(state, state.replace("_", " "), count, count / total) for state, count in counts.most_common()
    )


def _clusters(hours: Sequence[Hour], running: Counter[str]) -> tuple[Cluster, ...]:
    """Return the clusters with jobs in the last days or running jobs, sorted by name."""
    by_cluster: dict[str, list[Hour]] = {name: [] for name in running}
    for hour in hours:
        by_cluster.setdefault(hour.cluster, []).append(hour)
    return tuple(
        Cluster(
            name=name,
            running=running[name],
            jobs=sum(hour.jobs for hour in part),
            node_seconds=sum(hour.node_seconds for hour in part),
            last_start=max((hour.last_start for hour in part), default=None),
            last_stop=max((hour.last_stop for hour in part if hour.last_stop is not None), default=None),
        )
        for name, part in sorted(by_cluster.items())
    )


def _watched(jobs: JobQuerySet, active: Sequence[Cluster], days: Sequence[Day], now: int) -> tuple[Cluster, ...]:
    """Return the active and the configured clusters, with their current last start and whether they are quiet."""
    by_name = {cluster.name: cluster for cluster in active}
    for name in root.registry().names():
        by_name.setdefault(name, Cluster(name, 0, 0, 0.0, None, None))
    last_starts = _last_starts(jobs, sorted(by_name), now)
    found = []
    for name, cluster in sorted(by_name.items()):
        last_start = last_starts.get(name)
        last_event = max((event for event in (last_start, cluster.last_stop) if event is not None), default=None)
        quiet = is_quiet(last_event=last_event, events=cluster.jobs, span=now - days[0].begin, now=now)
        quiet_for = now - last_event if quiet and last_event is not None else None
        found.append(replace(cluster, last_start=last_start, quiet_for=quiet_for))
    return tuple(found)


def _last_starts(jobs: JobQuerySet, clusters: Sequence[str], now: int) -> dict[str, int | None]:
    """Return the last start of each cluster, in one query with one look-up in the index per cluster."""
    begun = jobs.filter(start_time__lte=now).order_by("-cluster", "-start_time").values("start_time")
    # Not by equality: PostgreSQL would go back through the starts of all clusters, see jobs.overview.nodes.
    looks: dict[str, Any] = {
        f"last_{place}": Subquery(begun.filter(cluster__gte=name, cluster__lte=name)[:1])
        for place, name in enumerate(clusters)
    }
    row = jobs.order_by().annotate(**looks).values_list(*looks).first() if looks else None
    return dict(zip(clusters, row, strict=True)) if row else {}


def _top(days: Iterable[dict[str, Tally]]) -> tuple[Owner, ...]:
    """Return those with the most node hours in the last days; jobs without a project count only for the shares."""
    tallies: dict[str, Tally] = {}
    for day in days:
        for name, tally in day.items():
            tallies[name] = tallies[name] + tally if name in tallies else tally
    total = sum(tally.node_seconds for tally in tallies.values())
    named = sorted(
        ((name, tally) for name, tally in tallies.items() if name), key=lambda item: (-item[1].node_seconds, item[0])
    )
    return tuple(
        Owner(name, tally.jobs, tally.node_seconds, tally.node_seconds / total if total else 0.0)
        for name, tally in named[:TOP]
    )
