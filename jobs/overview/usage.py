"""Who used how much: sums of the usage of whole days (UTC), as far as a user may see it."""

import time
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import date, timedelta
from typing import Any, NamedTuple

from django.db.models import QuerySet, Sum
from msgspec import Struct
from msgspec import field as named

from jobs.querysets import any_of, seen_by
from jobs.records import Usage

_SUMS = {
    name: Sum(name)
    for name in ("jobs", "node_seconds", "core_seconds", "acc_seconds", "energy", "waited", "waiting_seconds")
}
_HOUR, _KWH = 3600, 3_600_000
EPOCH = date(1970, 1, 1)


class Group(NamedTuple):
    """What usage can be summed up by, and filtered by: its column, and its label on pages."""

    column: str
    label: str


GROUPS = {
    "user": Group("user", "User"),
    "project": Group("project", "Project"),
    "cluster": Group("cluster", "Cluster"),
    "sub-cluster": Group("sub_cluster", "Subcluster"),
    "partition": Group("partition", "Partition"),
    "state": Group("job_state", "State"),
}
"""The groups by the words of addresses."""


@dataclass(frozen=True)
class Days:
    """Days from `first` up to, and without, `end`, counted from the epoch in UTC."""

    first: int
    end: int

    @property
    def before(self) -> "Days":
        """As many days right before as have begun of these, so that a month that goes on is compared fairly."""
        begun = min(self.end, int(time.time()) // 86_400 + 1) - self.first
        return Days(self.first - (begun if begun > 0 else self.end - self.first), self.first)

    @property
    def dates(self) -> tuple[date, date]:
        """The first and the last day."""
        return EPOCH + timedelta(self.first), EPOCH + timedelta(self.end - 1)


@dataclass(frozen=True)
class Question:
    """Which usage is asked for: of some days, by one of GROUPS, of jobs with the chosen values of GROUPS.

    Of these, only those on some `clusters` if there are any.
    """

    days: Days
    by: str
    chosen: Mapping[str, str] = field(default_factory=dict)
    clusters: Collection[str] = ()


class UsageLine(Struct, rename="camel", frozen=True):
    """The usage of one user, project, ...: hours, energy in kWh, and the mean wait in hours.

    The mean is over the jobs whose wait is known, and null if there are none. nodeHoursBefore has the node hours of as
    many days before as have begun of these.
    """

    name: str
    jobs: int
    node_hours: float
    core_hours: float
    accelerator_hours: float
    energy: float
    mean_wait: float | None
    node_hours_before: float


class GetUsageApiResponse(Struct, rename="camel", frozen=True):
    """The usage of jobs that ended, from one day to another (UTC, both included), most node hours first."""

    first: str = named(name="from")
    last: str = named(name="to")
    by: str
    node_hours_per_day: list[float]
    usage: list[UsageLine]


def visible_usage(user: Any) -> QuerySet[Usage]:
    """Return the usage that a user may see: that of the jobs that the user may see."""
    seen = seen_by(user)
    usage = Usage.objects.all()
    if seen is None:
        return usage
    return usage.filter(any_of(seen, by_index=True)) if seen else usage.none()


def usage_of(user: Any, question: Question) -> GetUsageApiResponse:
    """Return the usage that a user asks for and may see, as the page shows it and the API answers it."""
    first, last = question.days.dates
    return GetUsageApiResponse(
        str(first), str(last), question.by, usage_per_day(user, question), usage_by(user, question)
    )


def usage_by(user: Any, question: Question) -> list[UsageLine]:
    """Return the usage by the group, most node hours first; without what was used on the days before alone."""
    usage, days, column = _asked(user, question), question.days, GROUPS[question.by].column
    sums = usage.filter(day__gte=days.first, day__lt=days.end).values(column).annotate(**_SUMS)
    earlier = usage.filter(day__gte=days.before.first, day__lt=days.first).values_list(column)
    before = dict(earlier.annotate(seconds=Sum("node_seconds")))
    lines = [_line(row, row[column], before.get(row[column], 0)) for row in sums]
    return sorted(lines, key=lambda line: (-line.node_hours, line.name))


def with_shares(lines: Sequence[UsageLine]) -> list[tuple[UsageLine, float]]:
    """Return lines, each with its share of the node hours of all of them (0 to 1)."""
    total = sum(line.node_hours for line in lines)
    return [(line, line.node_hours / total if total else 0.0) for line in lines]


def usage_per_day(user: Any, question: Question) -> list[float]:
    """Return the node hours of each day."""
    days = question.days
    usage = _asked(user, question).filter(day__gte=days.first, day__lt=days.end)
    found = dict(usage.values_list("day").annotate(Sum("node_seconds")))
    return [found.get(day, 0) / _HOUR for day in range(days.first, days.end)]


def _asked(user: Any, question: Question) -> QuerySet[Usage]:
    usage = visible_usage(user).filter(**{GROUPS[name].column: value for name, value in question.chosen.items()})
    return (usage.filter(cluster__in=question.clusters) if question.clusters else usage).order_by()


def _line(row: Mapping[str, Any], name: str, before: int) -> UsageLine:
    return UsageLine(
        name=name,
        jobs=row["jobs"],
        node_hours=row["node_seconds"] / _HOUR,
        core_hours=row["core_seconds"] / _HOUR,
        accelerator_hours=row["acc_seconds"] / _HOUR,
        energy=row["energy"] / _KWH,
        mean_wait=row["waiting_seconds"] / _HOUR / row["waited"] if row["waited"] else None,
        node_hours_before=before / _HOUR,
    )
