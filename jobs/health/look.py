"""One look at the figures of the database that several checks and the metrics share; each is read when it is needed."""

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import NamedTuple

from django.db import connection
from django.db.models import BigIntegerField, Count, DurationField, ExpressionWrapper, F, Min
from django.db.models.functions import Now
from django.db.models.lookups import Exact

from jobs.models import ArchiveTask, CallCount, FreeSpace, Job, RefusedCall, WorkerHeartbeat
from jobs.querysets import Plain
from jobs.states import MonitoringStatus, RefusalState

SILENT = 60
"""Seconds without a sign of life after which a worker counts as dead; it gives one every ten."""

MOST_COUNTED = 10_000

MOST_REFUSED = 1000
"""Refused calls that are looked at, the latest ones."""

MOST_TASKS = 1000
"""Failed attempts that are looked at, the latest ones."""

DAYS = 7 * 86_400
"""Seconds in which the usual interval between events is counted."""

NEWEST = 1000
"""The newest jobs of a cluster, among which its last stop is looked for: there is no index of the ends of jobs."""

_MOST_CLUSTERS = 100

# One look-up in the index jobs_by_cluster for each cluster.
_CLUSTERS = """
    WITH RECURSIVE names(name) AS (
        SELECT min("cluster") FROM "jobs_job"
        UNION ALL
        SELECT (SELECT min("cluster") FROM "jobs_job" WHERE "cluster" > names.name) FROM names
        WHERE names.name IS NOT NULL
    ) SELECT name FROM names WHERE name IS NOT NULL LIMIT %s
"""

# In SQL, because Django takes several times as long to put it together as a database to answer it.
_EVENTS = """
    SELECT count(*), min(start), max(start),
        max(CASE WHEN has_ended AND duration <= %s - start THEN start + duration END),
        count(CASE WHEN start > %s THEN 1 END), count(CASE WHEN has_ended AND start > %s THEN 1 END),
        count(CASE WHEN NOT has_ended THEN 1 END)
    FROM (
        SELECT "start_time" AS start, "duration" AS duration, "job_state" <> 'running' AS has_ended
        FROM "jobs_job" WHERE "cluster" = %s AND "start_time" <= %s ORDER BY "start_time" DESC, "id" DESC LIMIT %s
    ) AS newest
"""


@dataclass(frozen=True, slots=True)
class Worker:
    """An archive worker: host and process, seconds since its last sign of life, its counts since it began.

    `seconds` is how long the archived jobs were in work, summed. `clusters` maps a cluster to the epoch seconds of its
    last success and failure.
    """

    place: str
    age: int
    archived: int
    failed: int
    seconds: float
    clusters: Mapping[str, Mapping[str, int | None]]

    @property
    def lives(self) -> bool:
        """Return whether the worker has given a sign of life recently."""
        return self.age <= SILENT


@dataclass(frozen=True, slots=True)
class Events:
    """The last start and stop of a cluster (epoch seconds), and the numbers of both within the last `span` seconds."""

    cluster: str
    last_start: int | None
    last_stop: int | None
    starts: int
    stops: int
    running: int
    span: int


@dataclass(frozen=True, slots=True)
class Failure:
    """A job that waits, or whose meta.json has to follow an edit, after a failed attempt; the reason of the last one.

    `of_source`: its metric source failed, or has no samples of it.
    """

    cluster: str
    reason: str
    of_source: bool


class CountedCalls(NamedTuple):
    """A row of CallCount, which has many."""

    source: str
    operation: str
    outcome: str
    reason: str
    calls: int
    first_at: int
    last_at: int
    address: str
    message: str


class Refusals(NamedTuple):
    """The refused calls of a sender to an operation that wait to be handled; `last_at` and `reason` are the last one's.

    `source` is the sender as CountedCalls has it.
    """

    source: str
    sender: str
    operation: str
    calls: int
    last_at: int
    reason: str

    @property
    def counted_as(self) -> set[tuple[str, str]]:
        """Return the sources and operations as which such a call may be counted: some are lines of another."""
        return {(self.source, operation) for operation in (self.operation, f"{self.operation}_by_id", "events")}


class Look:
    """The figures at a time (epoch seconds)."""

    def __init__(self, now: int) -> None:
        """Set the time, without access to the database; `is_away` says that it does not answer."""
        self.now = now
        self.is_away = False

    @cached_property
    def workers(self) -> list[Worker]:
        """Return the workers that have not ended as they were told to, by the age of their last sign of life."""
        age = ExpressionWrapper(Now() - F("seen_at"), output_field=DurationField())
        rows = WorkerHeartbeat.objects.annotate(age=age).order_by("-seen_at")
        return [
            Worker(str(row), max(0, int(row.age.total_seconds())), row.archived, row.failed, row.seconds, row.clusters)
            for row in rows
        ]

    @cached_property
    def waiting(self) -> tuple[int, int | None]:
        """Return how many jobs wait for the archive, and when the first of them ended (epoch seconds).

        More than MOST_COUNTED are not looked at.
        """
        end = ExpressionWrapper(F("start_time") + F("duration"), output_field=BigIntegerField())
        some = Job.objects.awaiting_archive().order_by("cluster", "pk").annotate(end=end)
        found = some[: MOST_COUNTED + 1].aggregate(jobs=Count("pk"), first=Min("end"))
        return found["jobs"], found["first"]

    @cached_property
    def failures(self) -> list[Failure]:
        """Return the failed attempts that are to be repeated, the latest first.

        The tasks are read first, because there are few: SQLite would look up the tasks of all jobs.
        """
        tried = ArchiveTask.objects.tried().exclude(error="").order_by("-not_before")
        tasks = list(tried.values_list("pk", "error", "of_source")[:MOST_TASKS])
        jobs = (
            Job.objects.among("id", [row_id for row_id, _, _ in tasks])
            .exclude(monitoring_status=MonitoringStatus.FAILED)
            .order_by()
        )
        edited = set(ArchiveTask.objects.edited().tried().values_list("pk", flat=True)[:MOST_TASKS])
        clusters = {
            row_id: cluster
            for row_id, cluster, status in jobs.values_list("pk", "cluster", "monitoring_status")
            if status == MonitoringStatus.ARCHIVING or row_id in edited
        }
        return [
            Failure(clusters[row_id], error.removeprefix("SourceError: "), of_source)
            for row_id, error, of_source in tasks
            if row_id in clusters
        ]

    @cached_property
    def calls(self) -> list[CountedCalls]:
        """Return the calls of the last day that were counted, and refused log-ins."""
        rows = CallCount.objects.filter(hour__gte=self.now // 3600 - 24).order_by()
        return [CountedCalls(*row) for row in rows.values_list(*CountedCalls._fields)]

    @cached_property
    def refusals(self) -> list[Refusals]:
        """Return the refused calls of the last day that nobody has handled, among the newest MOST_REFUSED of them."""
        is_open = Exact(Plain(F("state")), RefusalState.OPEN)  # the newest are at the end of the primary key
        calls = RefusedCall.objects.filter(is_open, received_at__gte=self.now - 86_400).order_by("-pk")[:MOST_REFUSED]
        found: dict[tuple[str, str, str], Refusals] = {}
        for operation, user, token, at, reason in calls.values_list(
            "operation", "user", "token", "received_at", "reason"
        ):
            source, sender = (token.partition("…")[0], f"{user}, token {token}") if token else (f"user {user}", user)
            first = found.get((operation, user, token))
            found[operation, user, token] = (
                first._replace(calls=first.calls + 1) if first else Refusals(source, sender, operation, 1, at, reason)
            )
        return list(found.values())

    @cached_property
    def space_before(self) -> tuple[int, int] | None:
        """Return the archive's free bytes a day ago, or as long ago as is known, and how long ago (seconds)."""
        hour = self.now // 3600
        first = FreeSpace.objects.filter(hour__gte=hour - 24, hour__lt=hour).order_by("hour").first()
        return None if first is None else (first.free, self.now - first.hour * 3600)

    @cached_property
    def events(self) -> list[Events]:
        """Return the last events of each cluster that has jobs."""
        with connection.cursor() as cursor:
            cursor.execute(_CLUSTERS, [_MOST_CLUSTERS])
            clusters = [name for (name,) in cursor.fetchall()]
        return [_events_of(cluster, self.now) for cluster in clusters]


def _events_of(cluster: str, now: int) -> Events:
    """Return the last events of a cluster, from its NEWEST jobs."""
    week = now - DAYS
    with connection.cursor() as cursor:
        cursor.execute(_EVENTS, [now, week, week, cluster, now, NEWEST])
        jobs, oldest, last_start, last_stop, starts, stops, running = cursor.fetchone()
    since = week if jobs < NEWEST else max(oldest, week)
    return Events(cluster, last_start, last_stop, starts, stops, running, max(1, now - since))
