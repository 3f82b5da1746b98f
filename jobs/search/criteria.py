"""Find jobs among millions: which index answers a question, and how far back to look for what no index answers.

A list shows the newest jobs that fit. Conditions that an index keeps in the order of start times cost nothing however
many jobs there are. All others are tried on one job after the other; so that no view does that to the whole table, only
the newest jobs of the best index are looked at, and the list says from when on.
"""

import json
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from functools import reduce
from operator import or_
from typing import Any

from django.db.models import Exists, F, Func, Lookup, OuterRef, Q, Subquery, TextField
from django.db.models.lookups import Contains, Exact, GreaterThan, IContains

from jobs.models import Job, JobTag, Tag
from jobs.querysets import JobQuerySet, Plain, any_of, seen_by
from jobs.states import JobState, MonitoringStatus

REACH = 50_000
"""Jobs that are looked at for what no index answers."""

FURTHER = (250_000, 1_000_000)
"""What somebody may ask for instead, who is willing to wait."""

_MOST_HOSTS = 32  # of a job whose neighbours are looked for
_FEW_TAGGED = 20_000  # jobs with a tag that are looked up one by one

# How well an index narrows a list down, best first.
_BY_JOB_ID, _BY_ARCHIVING, _BY_TAG, _BY_USER, _BY_PROJECT, _RUNNING, _BY_SIGHT, _BY_CLUSTER, _BY_NOTHING = range(9)


class JobName(Func):
    """The job name in the metadata, read by the database; null where there is none."""

    output_field = TextField()
    template = "JSON_EXTRACT(%(expressions)s, '$.jobName')"
    arity = 1

    def as_postgresql(self, compiler: Any, connection: Any, **context: Any) -> tuple[str, Any]:
        """Return it as PostgreSQL reads JSON."""
        return self.as_sql(compiler, connection, template="(%(expressions)s::json ->> 'jobName')", **context)


@dataclass(frozen=True)
class Condition:
    """What a job must be: as it is tried on one job, and as an index answers it (parts that an index keeps in order).

    With `few` the index leaves so few jobs that all of them can be looked at.
    """

    tried: "Q | Lookup[Any] | Exists"
    parts: tuple[Q, ...] = ()
    rank: int = _BY_NOTHING
    few: bool = False


NOTHING = Condition(Q(pk=None), (Q(pk=None),), rank=-1, few=True)
"""No job at all."""


@dataclass
class Criteria:
    """What somebody looks for; times are epoch seconds, both ends included."""

    conditions: list[Condition] = field(default_factory=list)
    since: int | None = None
    until: int | None = None
    problems: list[str] = field(default_factory=list)

    def add(self, *conditions: Condition) -> None:
        """Ask for more."""
        self.conditions += conditions

    def between(self, since: int | None = None, until: int | None = None) -> None:
        """Ask for starts in a time range, within the one asked for already."""
        self.since = max((each for each in (self.since, since) if each is not None), default=None)
        self.until = min((each for each in (self.until, until) if each is not None), default=None)


@dataclass(frozen=True)
class Found:
    """The jobs that fit, newest first; `looked_since`: only starts from then on were looked at (epoch seconds)."""

    jobs: JobQuerySet
    looked_since: int | None


def find(*, user: Any, criteria: Criteria, reach: int = REACH) -> Found:
    """Return the jobs that a user sees and that fit."""
    newest_first = Job.objects.order_by("-start_time", "-pk")
    if criteria.problems:
        return Found(newest_first.none(), None)
    in_range = newest_first.filter(_started(criteria.since, criteria.until))
    conditions = [*criteria.conditions, *_sight(user)]
    best = min(conditions, key=lambda condition: condition.rank, default=None)
    if best is None or not best.parts:
        best = Condition(Q(), (Q(),))
    tried = [condition.tried for condition in conditions if condition is not best]
    looked_since = None
    if not best.few and (tried or len(best.parts) > 1):
        looked_since = _looked_since(in_range, best.parts, reach)
    jobs = in_range.filter(reduce(or_, best.parts)).filter(_started(looked_since, None)).filter(*tried)
    return Found(jobs, looked_since)


def _started(since: int | None, until: int | None) -> Q:
    return (Q() if since is None else Q(start_time__gte=since)) & (Q() if until is None else Q(start_time__lte=until))


def _looked_since(jobs: JobQuerySet, parts: Sequence[Q], reach: int) -> int | None:
    """Return the start (epoch seconds) from which on `reach` jobs started; None where there are not so many.

    One query of one look into an index for each part.
    """
    each = reach // len(parts)
    starts = [Subquery(jobs.filter(part).values("start_time")[each : each + 1]) for part in parts]
    rows = Job.objects.order_by().values_list(*starts)[:1]
    return max((start for row in rows for start in row if start is not None), default=None)


def _sight(user: Any) -> list[Condition]:
    """Return the condition that a job may be seen, none for who sees all."""
    seen = seen_by(user)
    if seen is None:
        return []
    if not seen:
        return [NOTHING]
    return [Condition(any_of(seen, by_index=False), tuple(Q(pair) for pair in seen), _BY_SIGHT)]


def _equal(column: str, value: Any, rank: int, *, few: bool = False) -> Condition:
    return Condition(Exact(Plain(F(column)), value), (Q((column, value)),), rank, few)


def by_job_id(job_id: int) -> Condition:
    """Runs of a job id."""
    return _equal("job_id", job_id, _BY_JOB_ID, few=True)


def by_user(user: str) -> Condition:
    """Jobs of a user."""
    return _equal("user", user, _BY_USER)


def by_project(project: str) -> Condition:
    """Jobs of a project."""
    return _equal("project", project, _BY_PROJECT)


def by_cluster(cluster: str) -> Condition:
    """Jobs of a cluster."""
    return _equal("cluster", cluster, _BY_CLUSTER)


def by_state(state: str) -> Condition:
    """Jobs in a state; an index keeps the running ones."""
    if state == JobState.RUNNING:
        return Condition(Q(job_state=state), (Q(job_state=state),), _RUNNING)
    return Condition(Q(job_state=state))


def by_archiving(word: str) -> Condition:
    """Jobs on their way into the archive: waiting, failed, archived or disabled; indexes keep the first two."""
    if word == "waiting":
        waiting = Q(monitoring_status=MonitoringStatus.ARCHIVING) & ~Q(job_state=JobState.RUNNING)
        # By way of the keys, so that the small index of waiting jobs is used and not the one of the list's order.
        keys = Q(pk__in=Job.objects.awaiting_archive().order_by().values("pk"))
        return Condition(waiting, (keys,), _BY_ARCHIVING)
    status = {"failed": MonitoringStatus.FAILED, "archived": MonitoringStatus.ARCHIVED}.get(
        word, MonitoringStatus.DISABLED
    )
    condition = Q(monitoring_status=status)
    return Condition(condition, (condition,), _BY_ARCHIVING) if word == "failed" else Condition(condition)


def by_tag(tag: Tag) -> Condition:
    """Jobs with a tag; its jobs are looked up one by one where it is on few."""
    links = JobTag.objects.filter(tag=tag)
    tried = Exists(links.filter(job_id=OuterRef("pk")))
    if links[: _FEW_TAGGED + 1].count() > _FEW_TAGGED:
        return Condition(tried)
    return Condition(tried, (Q(pk__in=links.values("job_id")),), _BY_TAG, few=True)


def with_value(**lookups: Any) -> Condition:
    """Jobs whose columns fit Django look-ups that no index answers."""
    return Condition(Q(**lookups))


def on_hosts(hosts: Iterable[str]) -> Condition:
    """Jobs that have a node of one of these names."""
    return Condition(reduce(or_, (Q(Contains(F("resources"), json.dumps(host))) for host in hosts)))


def named(part: str) -> Condition:
    """Jobs with this text in their name, whatever the case."""
    return Condition(Q(IContains(JobName(F("meta_data")), part)))


def beside(job: Job) -> tuple[Condition, ...]:
    """Other jobs that ran at the same time as a job on a node of the same name; ask for starts until its end, too."""
    ended = GreaterThan(F("start_time") + F("duration"), job.start_time)
    hosts = [str(node.get("hostname")) for node in job.nodes[:_MOST_HOSTS]]
    at_the_time = Condition(Q(job_state=JobState.RUNNING) | Q(ended))
    return by_cluster(job.cluster), Condition(~Q(pk=job.pk)), at_the_time, on_hosts(hosts)
