"""What happened on a node in a range of time: its states, and the jobs that ran on it."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import msgspec
from django.db.models import F, Q, Sum, Value
from django.db.models.functions import Coalesce
from django.db.models.lookups import Contains

from jobs.models import Job, NodeState
from jobs.querysets import JobQuerySet
from jobs.records import JobNode, Node, NodeChange, Usage
from jobs.states import ENDED_BADLY

MOST_JOBS = 2000  # of a node in a range of time
_MOST_TESTED = 10_000  # jobs that have yet to be booked, the newest
DAY = 86_400

_WORDS = msgspec.json.Decoder(list[str])


@dataclass(frozen=True)
class Span:
    """A time (epoch seconds) in which a node was in the same states; empty words: they are not known."""

    begin: int
    end: int
    words: tuple[str, ...]


@dataclass(frozen=True)
class Failed:
    """How many of the jobs that ended on some days failed, timed out or ran out of memory."""

    jobs: int
    failed: int

    @property
    def share(self) -> float:
        """Return the share of all, 0 without any."""
        return self.failed / self.jobs if self.jobs else 0.0


def states_of(cluster: str, host: str, begin: int, end: int) -> list[Span]:
    """Return the states of a node from begin to end (epoch seconds), without gaps."""
    changes = NodeChange.objects.filter(cluster=cluster, hostname=host)
    inside = list(changes.filter(at__gte=begin, at__lt=end).order_by("at", "pk"))
    first = changes.filter(at__lt=begin).order_by("-at", "-pk").first()
    known = _known_before(cluster, host, first, inside, changes.filter(at__gte=end).order_by("at", "pk").first())
    spans, since = [], begin
    for change in inside:
        if change.at > since:
            spans.append(Span(since, change.at, known))
        known, since = _words(change.states), max(since, change.at)
    return [*spans, Span(since, end, known)]


def _known_before(
    cluster: str, host: str, first: NodeChange | None, inside: Sequence[NodeChange], later: NodeChange | None
) -> tuple[str, ...]:
    """Return the states at the begin of a range, by the change before it, or else what the next change says of them."""
    if first is not None:
        return _words(first.states)
    following = next(iter(inside), later)
    if following is not None:
        return _words(following.before)
    latest = NodeState.objects.filter(cluster=cluster, hostname=host).values_list("states", flat=True).first()
    return _words(latest or "")


def _words(states: str) -> tuple[str, ...]:
    return tuple(_WORDS.decode(states)) if states else ()


def jobs_on(jobs: JobQuerySet, cluster: str, host: str, begin: int, end: int) -> tuple[list[Job], bool]:
    """Return which of some jobs ran on a node between begin and end (epoch seconds), newest first.

    Also return whether there may be older ones: only the newest MOST_JOBS that ran there are looked at, and of the jobs
    that have yet to be booked, very many in a rebuild, the newest _MOST_TESTED. Those that are booked are found by the
    index of nodes, the others by their resources.
    """
    node = Node.objects.filter(cluster=cluster, hostname=host).values("pk")
    rows = JobNode.objects.filter(node__in=node, start_time__lt=end, end_time__gt=begin).order_by("-start_time")
    row_ids = list(rows.values_list("job_id", flat=True)[:MOST_JOBS])
    found = list(_shown(jobs.among("id", row_ids)))
    named = Contains(F("resources"), msgspec.json.encode(host).decode())

    def there(among: JobQuerySet) -> JobQuerySet:
        # The cluster behind a function: SQLite would use its index, and read all jobs of the cluster.
        few = jobs.filter(Q(pk__in=among.values("pk")), Q(named)).annotate(place=Coalesce("cluster", Value("")))
        return _shown(few.filter(place=cluster, start_time__lt=end))

    running, waiting, to_book = (part.order_by() for part in Job.objects.not_booked())
    found += [*there(running), *there(waiting)]
    is_short = to_book.order_by("pk")[_MOST_TESTED:].exists()
    if is_short:
        found += there(to_book.order_by("-pk")[:_MOST_TESTED]).order_by("-start_time", "-pk")[:MOST_JOBS]
    else:
        found += there(to_book)
    at_the_time = [job for job in {job.pk: job for job in found}.values() if job.is_running or _end(job) > begin]
    newest = sorted(at_the_time, key=lambda job: (-job.start_time, -job.pk))[:MOST_JOBS]
    return newest, is_short or MOST_JOBS in (len(row_ids), len(newest))


def _shown(jobs: JobQuerySet) -> JobQuerySet:
    columns = ("job_id", "user", "project", "job_state", "num_nodes", "start_time", "duration")
    return jobs.order_by().only(*columns)  # all take twice as long, for up to MOST_JOBS


def _end(job: Job) -> int:
    return job.start_time + job.duration


def failed_of_cluster(cluster: str, begin: int, end: int) -> Failed:
    """Return how many jobs of a cluster ended, and failed, on the days (UTC) of a range of time."""
    days = Usage.objects.filter(day__gte=begin // DAY, day__lte=(end - 1) // DAY, cluster=cluster)
    sums = days.order_by().aggregate(all=Sum("jobs"), bad=Sum("jobs", filter=Q(job_state__in=ENDED_BADLY)))
    return Failed(sums["all"] or 0, sums["bad"] or 0)


def failed_among(jobs: Iterable[Job]) -> Failed:
    """Return how many of some jobs have ended, and failed."""
    ended = [job for job in jobs if not job.is_running]
    return Failed(len(ended), sum(job.job_state in ENDED_BADLY for job in ended))


def lanes(jobs: Sequence[Job], begin: int, end: int) -> list[list[tuple[Job, int, int]]]:
    """Return jobs with their begin and end within a range, in as few rows as there were jobs at the same time."""
    rows: list[list[tuple[Job, int, int]]] = []
    for job in sorted(jobs, key=lambda job: job.start_time):
        first, last = max(begin, job.start_time), end if job.is_running else min(end, _end(job))
        row = next((row for row in rows if row[-1][2] <= first), None)
        if row is None:
            row = []
            rows.append(row)
        row.append((job, first, max(last, first + 1)))
    return rows
