"""The figures of the admin site's first page, from the jobs that the user sees."""

from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace

from django.db.models import Count, QuerySet

from accounts.models import Role, User
from archive import root
from jobs.health.hooks import is_quiet
from jobs.health.look import Look
from jobs.models import Job
from jobs.overview.activity import Part, Tally, last_days
from jobs.overview.chart import Chart, chart_of, from_day
from jobs.querysets import JobQuerySet
from jobs.states import JobState, MonitoringStatus

RANGES = (7, 30, 90)
"""Days that the page can show, today included."""

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
    """The last days of a cluster, and for who oversees it its last start and stop (epoch seconds).

    `quiet_for`: seconds since the last event, if that is unusually long.
    """

    name: str
    running: int
    jobs: int
    node_seconds: int
    last_start: int | None = None
    last_stop: int | None = None
    quiet_for: int | None = None


@dataclass(frozen=True, slots=True)
class Owner:
    """A user or project with many node hours, and its share of all node hours (0 to 1)."""

    name: str
    jobs: int
    node_seconds: int
    share: float


@dataclass(frozen=True, slots=True)
class Overview:
    """The figures of the page, of the last `days` days (UTC), today included; times are epoch seconds.

    `since` and `today` are the begins of the first day and of today, as the filters of the job list take them.
    """

    days: int
    since: str
    today: str
    counted_at: int
    is_short: bool
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
    def recent_jobs(self) -> int:
        """Return the number of jobs that started in the last days."""
        return sum(self.chart.started)


def overview(user: User, days: int = RANGES[0], *, now: int) -> Overview:
    """Return the figures for a user at a time (epoch seconds)."""
    jobs = Job.objects.visible_to(user)
    # A user's own jobs do not show the state of the archive or of a cluster.
    oversees = user.has_role(Role.ADMIN, Role.SUPPORT)
    activity = last_days(user, days, now=now)
    running = _running(Job.objects.visible_to(user, by_index=False))
    clusters = _clusters(activity.parts, running)
    return Overview(
        days=days,
        since=from_day(activity.first),
        today=from_day(activity.end - 1),
        counted_at=activity.counted_at,
        is_short=activity.is_short,
        running=running.total(),
        started_today=sum(part.started for part in activity.today),
        finished_today=sum(part.ended for part in activity.today),
        failed_today=sum(part.ended for part in activity.today if part.state == JobState.FAILED),
        ended=_ended(activity.parts),
        archiving=_archiving(jobs) if oversees else None,
        clusters=_watched(clusters, Look(now)) if oversees else clusters,
        users=_top(activity.users),
        projects=_top(activity.projects),
        chart=chart_of(activity),
        oversees=oversees,
        has_jobs=bool(activity.parts) or running.total() > 0 or jobs.exists(),
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


def _ended(parts: Iterable[Part]) -> tuple[EndState, ...]:
    """Return the states of the ended jobs that started on these days, the most frequent first.

    Include failed if any job ended.
    """
    counts: Counter[str] = Counter()
    for part in parts:
        if part.state != JobState.RUNNING and part.started:
            counts[part.state] += part.started
    total = counts.total()
    if total:
        counts[JobState.FAILED.value] += 0
    return tuple(
        EndState(state, state.replace("_", " "), count, count / total) for state, count in counts.most_common()
    )


def _clusters(parts: Sequence[Part], running: Counter[str]) -> tuple[Cluster, ...]:
    """Return the clusters with jobs on these days or running jobs, sorted by name."""
    started: Counter[str] = Counter()
    node_seconds: Counter[str] = Counter()
    for part in parts:
        started[part.cluster] += part.started
        node_seconds[part.cluster] += part.node_seconds
    return tuple(
        Cluster(name, running[name], started[name], node_seconds[name]) for name in sorted({*started, *running})
    )


def _watched(active: Sequence[Cluster], look: Look) -> tuple[Cluster, ...]:
    """Return the active and the configured clusters, with their last events and whether they are quiet."""
    by_name = {name: Cluster(name, 0, 0, 0) for name in root.registry().names()}
    by_name.update({cluster.name: cluster for cluster in active})
    for events in look.events:
        cluster = by_name.get(events.cluster)
        if cluster is None:
            continue
        last = max((event for event in (events.last_start, events.last_stop) if event is not None), default=None)
        quiet = is_quiet(last_event=last, events=events.starts, span=events.span, now=look.now)
        by_name[events.cluster] = replace(
            cluster,
            last_start=events.last_start,
            last_stop=events.last_stop,
            quiet_for=look.now - last if quiet and last is not None else None,
        )
    return tuple(by_name[name] for name in sorted(by_name))


def _top(tallies: dict[str, Tally]) -> tuple[Owner, ...]:
    """Return those with the most node hours; jobs without a project count only for the shares."""
    total = sum(tally.node_seconds for tally in tallies.values())
    named = sorted(
        ((name, tally) for name, tally in tallies.items() if name), key=lambda item: (-item[1].node_seconds, item[0])
    )
    return tuple(
        Owner(name, tally.jobs, tally.node_seconds, tally.node_seconds / total if total else 0.0)
        for name, tally in named[:TOP]
    )
