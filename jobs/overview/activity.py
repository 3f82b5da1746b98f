"""What jobs did on the last days (UTC): starts and ends by state, node hours, users and projects, for the first page.

Ended jobs are read from usage, which has their sums by day, however many they are. Those that run, wait for the archive
or have yet to be booked are few, and read one by one.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from django.db.models import Sum

from accounts.models import User
from jobs.ledger.usage import Kind, Share, amounts
from jobs.models import Job
from jobs.overview.recent import recent
from jobs.overview.usage import visible_usage
from jobs.states import JobState

DAY = 86_400

MOST_READ = 10_000
"""Jobs that are read one by one, of those that run, that wait, and that have yet to be booked."""


# These classes have no slots: the cache pickles them, and unpickling objects with slots takes several times as long.


@dataclass(frozen=True)
class Part:
    """The jobs of a cluster in a state on a day (since the epoch): how many started and ended, what they used."""

    day: int
    cluster: str
    state: str
    started: int
    ended: int
    node_seconds: int


@dataclass(frozen=True)
class Tally:
    """The jobs of a user or project that started, and the node seconds that all of its jobs used."""

    jobs: int
    node_seconds: int


@dataclass(frozen=True)
class Activity:
    """Days from `first` up to, and without, `end` (since the epoch), counted at `counted_at` (epoch seconds).

    `is_short` says that there were MOST_READ jobs or more of those that are read one by one.
    """

    first: int
    end: int
    counted_at: int
    parts: tuple[Part, ...]
    users: dict[str, Tally]
    projects: dict[str, Tally]
    is_short: bool

    @property
    def today(self) -> list[Part]:
        """Return the parts of the last day."""
        return [part for part in self.parts if part.day == self.end - 1]


def last_days(user: User, days: int, *, now: int) -> Activity:
    """Return what the jobs that a user may see did today and on the days before, not older than a minute."""
    end = now // DAY + 1
    return recent(f"activity {end - days} {end}", user, lambda: _count(user, end - days, end, now), now=now)[0]


def _count(user: User, first: int, end: int, now: int) -> Activity:
    parts, users, projects = _Sums(3), _Sums(2), _Sums(2)
    usage = visible_usage(user).filter(day__gte=first, day__lt=end).order_by()
    all_three = (Sum("started"), Sum("jobs"), Sum("node_seconds"))
    for day, cluster, state, *numbers in usage.values_list("day", "cluster", "job_state").annotate(*all_three):
        parts.add((day, cluster, state), numbers)
    for sums, column in ((users, "user"), (projects, "project")):
        for name, *numbers in usage.values_list(column).annotate(Sum("started"), Sum("node_seconds")):
            sums.add(name, numbers)
    is_short = False
    for jobs in _not_booked(user):
        is_short |= len(jobs) >= MOST_READ
        for share in jobs:
            is_running = share.kind.job_state == JobState.RUNNING
            if is_running:
                share = share._replace(duration=max(0, now - share.start_time))
            for day, used in amounts(share):
                if first <= day < end:
                    ended = 0 if is_running else used.jobs
                    parts.add((day, share.kind.cluster, share.kind.job_state), (used.started, ended, used.node_seconds))
                    users.add(share.kind.user, (used.started, used.node_seconds))
                    projects.add(share.kind.project, (used.started, used.node_seconds))
    return Activity(
        first=first,
        end=end,
        counted_at=now,
        parts=tuple(Part(*key, *numbers) for key, numbers in sorted(parts.items())),
        users={name: Tally(*numbers) for name, numbers in users.items()},
        projects={name: Tally(*numbers) for name, numbers in projects.items()},
        is_short=is_short,
    )


class _Sums(dict[Any, list[int]]):
    """Lists of numbers that are added up by key."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self._width = width

    def add(self, key: Any, numbers: Any) -> None:
        into = self.setdefault(key, [0] * self._width)
        for place, number in enumerate(numbers):
            into[place] += int(number)


def _not_booked(user: User) -> Iterator[list[Share]]:
    """Yield what the jobs that are not booked would add to usage, at most MOST_READ of each set."""
    names = (*Kind._fields, "start_time", "duration", "num_nodes")
    for part in Job.objects.not_booked():
        keys = part.order_by().values("pk")[:MOST_READ]
        rows = Job.objects.visible_to(user, by_index=False).filter(pk__in=keys).order_by().values_list(*names)
        width = len(Kind._fields)
        yield [Share._make((Kind(*row[:width]), *row[width:], 0, 0, 0, 0)) for row in rows]
