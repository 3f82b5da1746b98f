"""Who used how much: sums of the usage of whole days (UTC), as far as a user may see it."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from django.db.models import QuerySet, Sum

from jobs.querysets import any_of, seen_by
from jobs.records import Usage
from jobs.states import JobState

GROUPS = {
    "user": "User",
    "project": "Project",
    "cluster": "Cluster",
    "sub_cluster": "Subcluster",
    "partition": "Partition",
    "job_state": "State",
}
"""What usage can be summed up by, and filtered by."""

_SUMS = {
    name: Sum(name) for name in ("jobs", "node_seconds", "core_seconds", "acc_seconds", "energy", "waiting_seconds")
}
_HOUR, _KWH = 3600, 3_600_000


@dataclass(frozen=True)
class Days:
    """Days from `first` up to, and without, `end`, counted from the epoch in UTC."""

    first: int
    end: int

    @property
    def before(self) -> "Days":
        """The same number of days right before."""
        return Days(2 * self.first - self.end, self.first)


@dataclass(frozen=True)
class Line:
    """The usage of one user, project, ...: hours, kilowatt hours, and the mean wait of a job in hours.

    `before` has the node hours of the days before.
    """

    name: str
    jobs: int
    node_hours: float
    core_hours: float
    accelerator_hours: float
    energy: float
    mean_wait: float
    before: float


def visible_usage(user: Any) -> QuerySet[Usage]:
    """Return the usage that a user may see: that of the jobs that the user may see."""
    seen = seen_by(user)
    usage = Usage.objects.all()
    if seen is None:
        return usage
    return usage.filter(any_of(seen, by_index=True)) if seen else usage.none()


def usage_by(user: Any, by: str, days: Days, chosen: Mapping[str, str]) -> list[Line]:
    """Return the usage of some days by one of GROUPS, most node hours first; `chosen` are values of other groups.

    What was used on the days before alone is not in it.
    """
    usage = visible_usage(user).filter(**chosen).order_by()
    sums = usage.filter(day__gte=days.first, day__lt=days.end).values(by).annotate(**_SUMS)
    earlier = usage.filter(day__gte=days.before.first, day__lt=days.first).values_list(by)
    before = dict(earlier.annotate(seconds=Sum("node_seconds")))
    lines = [_line(row, by, before.get(row[by], 0)) for row in sums]
    return sorted(lines, key=lambda line: (-line.node_hours, line.name))


def _line(row: Mapping[str, Any], by: str, before: int) -> Line:
    name = str(JobState(row[by]).label).lower() if by == "job_state" and row[by] in JobState.values else row[by]
    return Line(
        name=name,
        jobs=row["jobs"],
        node_hours=row["node_seconds"] / _HOUR,
        core_hours=row["core_seconds"] / _HOUR,
        accelerator_hours=row["acc_seconds"] / _HOUR,
        energy=row["energy"] / _KWH,
        mean_wait=row["waiting_seconds"] / _HOUR / row["jobs"] if row["jobs"] else 0.0,
        before=before / _HOUR,
    )


def usage_per_day(user: Any, days: Days, chosen: Mapping[str, str]) -> list[float]:
    """Return the node hours of each day."""
    usage = visible_usage(user).filter(**chosen, day__gte=days.first, day__lt=days.end).order_by()
    found = dict(usage.values_list("day").annotate(Sum("node_seconds")))
    return [found.get(day, 0) / _HOUR for day in range(days.first, days.end)]
