"""Conditions on jobs, each in a form to test job by job and in a form that an index answers."""

from collections.abc import Collection, Sequence
from dataclasses import dataclass, field
from functools import reduce
from operator import or_
from typing import Any

from django.db.models import BooleanField, Exists, F, Func, Lookup, OuterRef, Q, QuerySet, TextField, Value
from django.db.models.functions import Coalesce
from django.db.models.lookups import Exact, IContains, In, IStartsWith

from jobs.models import Job, JobTag, Tag
from jobs.querysets import USUAL_STATES, Plain, any_of
from jobs.search.expressions import FirstWordOfState, JobName
from jobs.search.values import Names
from jobs.states import JobState, MonitoringStatus

FEW = 20_000
"""Rows of another table, such as that of tags, or jobs that are yet to be booked, that are looked up one by one."""

MOST_PATHS = 20  # alternatives of a condition that are looked up in an index

# Ranks of the indexes, the most selective first.
(
    _BY_JOB_ID,
    _BY_ARCHIVING,
    _BY_LINKS,
    BY_HOST,
    _BY_USER,
    _BY_PROJECT,
    _RUNNING,
    _BY_STATE,
    _BY_VISIBILITY,
    BY_FOOTPRINT,
    _BY_PARTITION,
    _BY_CLUSTER,
    _BY_NOTHING,
) = range(13)

_USUAL = ", ".join(f"'{state.value}'" for state in USUAL_STATES)
IS_RARE = Func(F("job_state"), template=f"NOT (%(expressions)s IN ({_USUAL}))", output_field=BooleanField())
"""As the index of other states has it: SQLite uses a partial index only for its own words."""
_IN_ARRAY = Q(Func(F("array_job_id"), template="%(expressions)s > 0", output_field=BooleanField()))


def started(since: int | None, until: int | None) -> Q:
    """Return the condition that a job started in a range of times (epoch seconds, both ends included)."""
    return (Q() if since is None else Q(start_time__gte=since)) & (Q() if until is None else Q(start_time__lte=until))


@dataclass(frozen=True)
class Path:
    """A way to jobs by an index in the order of start times: a condition on jobs, or rows that name jobs.

    Such rows have a `job_id` and the job's `start_time`. `walked` are the rows of which an index has the start times in
    order; without them the jobs of the condition. `few`: so few jobs, in any order, that a step looks at all of them.
    """

    condition: Q = field(default_factory=Q)
    rows: "QuerySet[Any] | None" = None
    walked: "QuerySet[Any] | None" = None
    few: bool = False

    @property
    def is_plain(self) -> bool:
        """Return whether the path is a condition on jobs alone, in the order of an index."""
        return self.rows is None and not self.few

    def row_ids(self, since: int | None, until: int | None) -> "QuerySet[Any]":
        """Return the row ids of jobs that started within a range (epoch seconds, both ends included)."""
        if self.rows is not None:
            return self.rows.filter(started(since, until)).order_by().values("job_id")
        return Job.objects.filter(self.condition, started(since, until)).order_by().values("pk")

    def starts(self, since: int | None, until: int | None) -> "QuerySet[Any]":
        """Return the start times within a range, the newest first."""
        rows = Job.objects.filter(self.condition) if self.walked is None else self.walked
        return rows.filter(started(since, until)).order_by("-start_time").values("start_time")


@dataclass(frozen=True)
class Criterion:
    """A condition on jobs, in a form to test job by job and in a form for an index.

    `paths` are alternatives, each in the order of an index; empty without an index. `few`: the index selects so few
    jobs that all of them can be tested at once.
    """

    test: "Q | Lookup[Any] | Exists"
    paths: tuple[Path, ...] = ()
    rank: int = _BY_NOTHING
    few: bool = False

    def inverted(self) -> "Criterion":
        """Match the other jobs. The test must not be null for any job."""
        return Criterion(~Q(self.test))


EVERYTHING = Criterion(Q())
"""A criterion that each job matches."""

NOTHING = Criterion(Q(pk=None), (Path(Q(pk=None)),), rank=-1, few=True)
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


def visibility(seen: Collection[tuple[str, str]] | None) -> list[Criterion]:
    """Return the criterion that a job is among those seen (see `jobs.querysets.seen_by`); none if all jobs are."""
    if seen is None:
        return []
    if not seen:
        return [NOTHING]
    return [Criterion(any_of(seen, by_index=False), tuple(Path(Q(pair)) for pair in seen), _BY_VISIBILITY)]


def any_criterion(criteria: Sequence[Criterion]) -> Criterion:
    """Match the jobs that match at least one of some criteria; by indexes if each has one."""
    if len(criteria) <= 1:
        return criteria[0] if criteria else NOTHING
    test = reduce(or_, (Q(each.test) for each in criteria))
    paths = tuple(path for each in criteria for path in each.paths)
    if not all(each.paths for each in criteria) or len(paths) > MOST_PATHS:
        return Criterion(test)
    return Criterion(test, paths, max(each.rank for each in criteria), all(each.few for each in criteria))


def _equal(column: str, value: Any, rank: int, *, few: bool = False) -> Criterion:
    return Criterion(Exact(Plain(F(column)), value), (Path(Q((column, value))),), rank, few)


def by_job_id(job_id: int) -> Criterion:
    """Match the runs of a job id."""
    return _equal("job_id", job_id, _BY_JOB_ID, few=True)


def by_array(array_job_id: int) -> Criterion:
    """Match the jobs of an array."""
    condition = Q(array_job_id=array_job_id)
    return Criterion(condition, (Path(condition & _IN_ARRAY),), _BY_JOB_ID, few=True)


def by_user(user: str) -> Criterion:
    """Match the jobs of a user."""
    return _equal("user", user, _BY_USER)


def by_project(project: str) -> Criterion:
    """Match the jobs of a project."""
    return _equal("project", project, _BY_PROJECT)


def by_cluster(cluster: str) -> Criterion:
    """Match the jobs of a cluster."""
    return _equal("cluster", cluster, _BY_CLUSTER)


def by_sub_cluster(sub_cluster: str) -> Criterion:
    """Match the jobs of a subcluster."""
    return _equal("sub_cluster", sub_cluster, _BY_PARTITION)


def by_partition(partition: str) -> Criterion:
    """Match the jobs of a partition."""
    return _equal("partition", partition, _BY_PARTITION)


def by_state(state: str, own_words: Sequence[str] = ()) -> Criterion:
    """Match the jobs in a state, and with one of the scheduler's own words if there are any; see `searched_state`."""
    condition = Q(job_state=state)
    if state == JobState.RUNNING:
        return Criterion(condition, (Path(condition),), _RUNNING, few=True)
    own = Coalesce(FirstWordOfState(F("meta_data")), Value("", output_field=TextField()))
    test = condition & Q(In(own, own_words)) if own_words else condition
    if state in USUAL_STATES:
        return Criterion(test)
    return Criterion(test, (Path(test & Q(IS_RARE)),), _BY_STATE)


def by_archiving(word: str) -> Criterion:
    """Match the jobs with an archiving state: waiting, failed (both have an index), archived or disabled."""
    if word == "waiting":
        waiting = Q(monitoring_status=MonitoringStatus.ARCHIVING) & ~Q(job_state=JobState.RUNNING)
        # A subquery of keys, so that the database uses the small index of waiting jobs, not that of start times.
        keys = Q(pk__in=Job.objects.awaiting_archive().order_by().values("pk"))
        return Criterion(waiting, (Path(keys),), _BY_ARCHIVING)
    status = {"failed": MonitoringStatus.FAILED, "archived": MonitoringStatus.ARCHIVED}.get(
        word, MonitoringStatus.DISABLED
    )
    condition = Q(monitoring_status=status)
    return Criterion(condition, (Path(condition),), _BY_ARCHIVING) if word == "failed" else Criterion(condition)


def by_links(links: "QuerySet[Any]") -> Criterion:
    """Match the jobs of rows of another table, whose `job_id` is a job's row id; look up few one by one."""
    tried = Exists(links.filter(job_id=OuterRef("pk")))
    if links[: FEW + 1].count() > FEW:
        return Criterion(tried)
    return Criterion(tried, (Path(Q(pk__in=links.values("job_id"))),), _BY_LINKS, few=True)


def by_tag(*tags: Tag) -> Criterion:
    """Match the jobs with one of these tags."""
    return by_links(JobTag.objects.filter(tag__in=tags)) if tags else NOTHING


def with_value(**lookups: Any) -> Criterion:
    """Match the jobs that satisfy Django look-ups without an index."""
    return Criterion(Q(**lookups))


def has_name(found: Names) -> Q:
    """Return the condition that a job's name contains one of some texts, or begins with one, ignoring case."""
    name = Coalesce(JobName(F("meta_data")), Value("", output_field=TextField()))
    tests = [Q(IContains(name, part)) for part in found.exact]
    return reduce(or_, [*tests, *(Q(IStartsWith(name, part)) for part in found.beginnings)])
