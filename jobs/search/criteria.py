"""Find jobs among millions: choose an index, and limit how far back a search without an index goes.

A list shows the newest matching jobs. A criterion whose index is ordered by start time is fast for any number of jobs.
All others are tested job by job. To keep that from scanning the whole table, a search tests only the newest jobs of the
best index, and the list shows how far back it went.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from functools import reduce
from operator import or_
from typing import Any

import msgspec
from django.db.models import Exists, F, Func, Lookup, OuterRef, Q, Subquery, TextField
from django.db.models.lookups import Contains, Exact, GreaterThan, IContains, In

from jobs.models import Job, JobTag, Tag
from jobs.querysets import JobQuerySet, Plain, any_of, seen_by
from jobs.states import JobState, MonitoringStatus

REACH = 50_000
"""The number of jobs that a search without an index tests."""

FURTHER = (250_000, 1_000_000)
"""Larger numbers, which users may choose if they are willing to wait."""

_MOST_HOSTS = 32  # of a job, to search for other jobs on them
_FEW_TAGGED = 20_000  # up to this many jobs of a tag are looked up one by one

# Ranks of the indexes, the most selective first.
_BY_JOB_ID, _BY_ARCHIVING, _BY_TAG, _BY_USER, _BY_PROJECT, _RUNNING, _BY_VISIBILITY, _BY_CLUSTER, _BY_NOTHING = range(9)


FIRST_WORD_OF_STATE = {
    "sqlite": (
        "(SELECT substr(text, 1, instr(text, ' ') - 1)"
        " FROM (SELECT lower(JSON_EXTRACT(%(expressions)s, '$.schedulerState')) || ' ' AS text))"
    ),
    "postgresql": "split_part(lower(%(expressions)s::json ->> 'schedulerState'), ' ', 1)",
}
"""The SQL of the first word of the scheduler's own text for the state; null if the metadata has none."""


class FirstWordOfState(Func):
    """The first word of the scheduler's own text for the state, in lower case, extracted by the database."""

    output_field = TextField()
    template = FIRST_WORD_OF_STATE["sqlite"]
    arity = 1

    def as_postgresql(self, compiler: Any, connection: Any, **context: Any) -> tuple[str, Any]:
        """Return the SQL for PostgreSQL."""
        return self.as_sql(compiler, connection, template=FIRST_WORD_OF_STATE["postgresql"], **context)


class JobName(Func):
    """The job name in the metadata, extracted by the database; null if there is none."""

    output_field = TextField()
    template = "JSON_EXTRACT(%(expressions)s, '$.jobName')"
    arity = 1

    def as_postgresql(self, compiler: Any, connection: Any, **context: Any) -> tuple[str, Any]:
        """Return the SQL for PostgreSQL."""
        return self.as_sql(compiler, connection, template="(%(expressions)s::json ->> 'jobName')", **context)


@dataclass(frozen=True)
class Criterion:
    """A condition on jobs, in a form to test job by job and in a form for an index.

    `indexed` are alternatives, each in the order of an index; empty without an index. `few`: the index selects so few
    jobs that all of them can be tested.
    """

    test: "Q | Lookup[Any] | Exists"
    indexed: tuple[Q, ...] = ()
    rank: int = _BY_NOTHING
    few: bool = False


NOTHING = Criterion(Q(pk=None), (Q(pk=None),), rank=-1, few=True)
"""A criterion that no job matches."""


@dataclass
class Criteria:
    """The criteria of a search, and the range of start times (epoch seconds, both ends included)."""

    required: list[Criterion] = field(default_factory=list)
    since: int | None = None
    until: int | None = None
    problems: list[str] = field(default_factory=list)

    def add(self, *criteria: Criterion) -> None:
        """Require more criteria."""
        self.required += criteria

    def between(self, since: int | None = None, until: int | None = None) -> None:
        """Narrow the range of start times."""
        self.since = max((each for each in (self.since, since) if each is not None), default=None)
        self.until = min((each for each in (self.until, until) if each is not None), default=None)


@dataclass(frozen=True)
class SearchResult:
    """The matching jobs, newest first; if `searched_since` (epoch seconds) is set, of those that started since."""

    jobs: JobQuerySet
    searched_since: int | None


def find(*, user: Any, criteria: Criteria, reach: int = REACH) -> SearchResult:
    """Return the jobs that match the criteria and are visible to a user."""
    newest_first = Job.objects.order_by("-start_time", "-pk")
    if criteria.problems:
        return SearchResult(newest_first.none(), None)
    in_range = newest_first.filter(_started(criteria.since, criteria.until))
    required = [*criteria.required, *_visibility(user)]
    best = min(required, key=lambda criterion: criterion.rank, default=None)
    if best is None or not best.indexed:
        best = Criterion(Q(), (Q(),))
    tests = [criterion.test for criterion in required if criterion is not best]
    searched_since = None
    if not best.few and (tests or len(best.indexed) > 1):
        searched_since = _start_of_newest(in_range, best.indexed, reach)
    jobs = in_range.filter(reduce(or_, best.indexed)).filter(_started(searched_since, None)).filter(*tests)
    return SearchResult(jobs, searched_since)


def _started(since: int | None, until: int | None) -> Q:
    return (Q() if since is None else Q(start_time__gte=since)) & (Q() if until is None else Q(start_time__lte=until))


def _start_of_newest(jobs: JobQuerySet, indexed: Sequence[Q], reach: int) -> int | None:
    """Return the start time (epoch seconds) since which about `reach` jobs started; None if there are fewer.

    This is a single query, with one look-up in an index per alternative.
    """
    each = reach // len(indexed)
    starts = [Subquery(jobs.filter(part).values("start_time")[each : each + 1]) for part in indexed]
    rows = Job.objects.order_by().values_list(*starts)[:1]
    return max((start for row in rows for start in row if start is not None), default=None)


def _visibility(user: Any) -> list[Criterion]:
    """Return the criterion that a job is visible to the user; none if the user sees all jobs."""
    seen = seen_by(user)
    if seen is None:
        return []
    if not seen:
        return [NOTHING]
    return [Criterion(any_of(seen, by_index=False), tuple(Q(pair) for pair in seen), _BY_VISIBILITY)]


def _equal(column: str, value: Any, rank: int, *, few: bool = False) -> Criterion:
    return Criterion(Exact(Plain(F(column)), value), (Q((column, value)),), rank, few)


def by_job_id(job_id: int) -> Criterion:
    """Match the runs of a job id."""
    return _equal("job_id", job_id, _BY_JOB_ID, few=True)


def by_user(user: str) -> Criterion:
    """Match the jobs of a user."""
    return _equal("user", user, _BY_USER)


def by_project(project: str) -> Criterion:
    """Match the jobs of a project."""
    return _equal("project", project, _BY_PROJECT)


def by_cluster(cluster: str) -> Criterion:
    """Match the jobs of a cluster."""
    return _equal("cluster", cluster, _BY_CLUSTER)


def by_state(state: str, own_words: Sequence[str] = ()) -> Criterion:
    """Match the jobs in a state, and with one of the scheduler's own words if there are any; see `searched_state`.

    Only running jobs have an index.
    """
    condition = Q(job_state=state)
    if state == JobState.RUNNING:
        return Criterion(condition, (condition,), _RUNNING)
    return Criterion(condition & Q(In(FirstWordOfState(F("meta_data")), own_words)) if own_words else condition)


def by_archiving(word: str) -> Criterion:
    """Match the jobs with an archiving state: waiting, failed (both have an index), archived or disabled."""
    if word == "waiting":
        waiting = Q(monitoring_status=MonitoringStatus.ARCHIVING) & ~Q(job_state=JobState.RUNNING)
        # A subquery of keys, so that the database uses the small index of waiting jobs, not that of start times.
        keys = Q(pk__in=Job.objects.awaiting_archive().order_by().values("pk"))
        return Criterion(waiting, (keys,), _BY_ARCHIVING)
    status = {"failed": MonitoringStatus.FAILED, "archived": MonitoringStatus.ARCHIVED}.get(
        word, MonitoringStatus.DISABLED
    )
    condition = Q(monitoring_status=status)
    return Criterion(condition, (condition,), _BY_ARCHIVING) if word == "failed" else Criterion(condition)


def by_tag(*tags: Tag) -> Criterion:
    """Match the jobs with one of these tags; look up the jobs of a rare tag one by one."""
    links = JobTag.objects.filter(tag__in=tags)
    tried = Exists(links.filter(job_id=OuterRef("pk")))
    if links[: _FEW_TAGGED + 1].count() > _FEW_TAGGED:
        return Criterion(tried)
    return Criterion(tried, (Q(pk__in=links.values("job_id")),), _BY_TAG, few=True)


def with_value(**lookups: Any) -> Criterion:
    """Match the jobs that satisfy Django look-ups without an index."""
    return Criterion(Q(**lookups))


def on_hosts(hosts: Iterable[str]) -> Criterion:
    """Match the jobs that have one of these hosts."""
    return Criterion(reduce(or_, (Q(Contains(F("resources"), msgspec.json.encode(host).decode())) for host in hosts)))


def name_contains(part: str) -> Criterion:
    """Match the jobs whose name contains a text, ignoring case."""
    return Criterion(Q(IContains(JobName(F("meta_data")), part)))


def concurrent_with(job: Job) -> tuple[Criterion, ...]:
    """Match other jobs that ran on a host of the job and ended after its start; the caller limits their starts."""
    ended = GreaterThan(F("start_time") + F("duration"), job.start_time)
    hosts = [str(node.get("hostname")) for node in job.nodes[:_MOST_HOSTS]]
    at_the_time = Criterion(Q(job_state=JobState.RUNNING) | Q(ended))
    return by_cluster(job.cluster), Criterion(~Q(pk=job.pk)), at_the_time, on_hosts(hosts)
