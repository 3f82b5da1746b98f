"""The jobs of the last days, aggregated in the database and cached, for the dashboard.

There is no index of end times, so a day consists of the jobs that started on it, which have an index. The older a day
is, the less it changes, and the longer it is cached.
"""

import hashlib
import time
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from functools import reduce
from itertools import pairwise
from operator import or_
from typing import Any

from django.core.cache import cache
from django.core.exceptions import EmptyResultSet
from django.db.models import (
    BigIntegerField,
    Case,
    Count,
    F,
    FloatField,
    IntegerField,
    Max,
    Q,
    Sum,
    Value,
    When,
)
from django.db.models.functions import Cast, Greatest
from django.utils import timezone

from jobs.querysets import JobQuerySet
from jobs.states import JobState

DAYS = 7  # today and the six days before it

# Seconds for which a day is cached: today, yesterday, the days before.
MOST_AGE = (60, 300) + (600,) * (DAYS - 2)

_KEPT = 3600  # seconds in the cache: outdated days are used while a request counts them again
_LONGEST_COUNT = 60  # seconds until another request may count, in case the first one was killed
_WAIT = 0.05  # seconds between checks for the result of another request
_HOUR = 3600


# These classes have no slots: the cache pickles them, and unpickling objects with slots takes several times as long.


@dataclass(frozen=True)
class Hour:
    """The jobs of a cluster that started within an hour and are in the same state; times are epoch seconds."""

    begin: int
    cluster: str
    state: str
    jobs: int
    node_seconds: float
    ended_today: int
    last_start: int
    last_stop: int | None


@dataclass(frozen=True)
class Tally:
    """The jobs of a user or project."""

    jobs: int
    node_seconds: float

    def __add__(self, other: "Tally") -> "Tally":
        """Return the sum of both."""
        return Tally(self.jobs + other.jobs, self.node_seconds + other.node_seconds)


@dataclass(frozen=True)
class Day:
    """The jobs that started on a day, counted at `counted_at`; times are epoch seconds."""

    begin: int
    counted_at: int
    hours: tuple[Hour, ...]
    users: dict[str, Tally]
    projects: dict[str, Tally]


def midnights(now: int) -> list[int]:
    """Return the begins of the last days in the current zone, oldest first, and the end of today."""
    zone = timezone.get_current_timezone()
    today = datetime.fromtimestamp(now, UTC).astimezone(zone).date()
    dates = [today - timedelta(days=back) for back in range(DAYS - 1, -2, -1)]
    return [int(datetime.combine(date, datetime.min.time(), tzinfo=zone).timestamp()) for date in dates]


def last_days(jobs: JobQuerySet, *, now: int) -> tuple[Day, ...]:
    """Return the last days of these jobs, oldest first; count only those that are not cached or outdated.

    While one request counts, the others get the outdated days or, if there are none, wait, so that they do not all read
    the same rows.
    """
    bounds = midnights(now)
    spans = list(pairwise(bounds))
    key = f"activity:{_fingerprint(jobs, bounds)}"
    while True:
        known: tuple[Day, ...] = cache.get(key, ())
        due = [place for place in range(DAYS) if not known or _is_due(known[place], DAYS - 1 - place, now)]
        if not due:
            return known
        if cache.add(f"{key}:counting", 1, _LONGEST_COUNT):
            break
        if known:
            return known
        time.sleep(_WAIT)
    try:
        counted = _count(jobs, [spans[place] for place in due], today=bounds[-2], now=now)
        renewed = dict(zip(due, counted, strict=True))
        days = tuple(renewed[place] if place in renewed else known[place] for place in range(DAYS))
        cache.set(key, days, _KEPT)
    finally:
        cache.delete(f"{key}:counting")
    return days


def _fingerprint(jobs: JobQuerySet, bounds: Sequence[int]) -> str:
    """Return a cache key for these days and jobs.

    It is made from the SQL condition, so that users who see different jobs never share figures, whatever the rules of
    visibility are.
    """
    try:
        condition: Any = jobs.order_by().values("pk").query.sql_with_params()
    except EmptyResultSet:
        condition = None
    return hashlib.sha256(repr((condition, bounds)).encode()).hexdigest()


def _is_due(day: Day, back: int, now: int) -> bool:
    """Return whether to count the day `back` days ago again; an empty day, which is fast, as often as today.

    So jobs that are imported into empty days show up soon.
    """
    return not 0 <= now - day.counted_at < MOST_AGE[back if day.hours else 0]


def _count(jobs: JobQuerySet, spans: Sequence[tuple[int, int]], *, today: int, now: int) -> list[Day]:
    """Count days, given as (begin, end), oldest first, with two queries on these ranges of start times."""
    dated = jobs.order_by().filter(start_time__gte=spans[0][0], start_time__lt=spans[-1][1])
    parts = _joined(spans)
    if len(parts) > 1:
        dated = dated.filter(reduce(or_, (Q(start_time__gte=begin, start_time__lt=end) for begin, end in parts)))
    dated = dated.annotate(
        day=Case(
            *(When(start_time__lt=end, then=Value(place)) for place, (_, end) in enumerate(spans)),
            output_field=IntegerField(),
        )
    )
    hours: list[list[Hour]] = [[] for _ in spans]
    for day, hour, *rest in _by_hour(dated, spans[0][0], today, now):
        hours[day].append(Hour(spans[0][0] + hour * _HOUR, *rest))
    users: list[dict[str, Tally]] = [{} for _ in spans]
    projects: list[dict[str, Tally]] = [{} for _ in spans]
    for day, user, project, *numbers in _by_owner(dated, now):
        tally = Tally(*numbers)
        for tallies, name in ((users[day], user), (projects[day], project)):
            tallies[name] = tallies[name] + tally if name in tallies else tally
    return [
        Day(begin, now, tuple(hours[place]), users[place], projects[place]) for place, (begin, _) in enumerate(spans)
    ]


def _joined(spans: Sequence[tuple[int, int]]) -> list[tuple[int, int]]:
    """Join adjacent spans: a database reads one range faster than two."""
    joined: list[tuple[int, int]] = []
    for begin, end in spans:
        if joined and joined[-1][1] == begin:
            joined[-1] = (joined[-1][0], end)
        else:
            joined.append((begin, end))
    return joined


def _by_hour(jobs: Any, begin: int, today: int, now: int) -> Iterable[tuple[Any, ...]]:
    """Yield (day, hour, and the fields of Hour after `begin`) of these jobs; hours count from `begin`."""
    has_ended = ~Q(job_state=JobState.RUNNING)
    hour = (F("start_time") - _whole(begin)) / _whole(_HOUR)
    grouped = jobs.annotate(hour=hour).values_list("day", "hour", "cluster", "job_state")
    yield from grouped.annotate(
        count=Count("pk"),
        node_seconds=_node_seconds(now),
        ended_today=Count("pk", filter=has_ended & Q(start_time__gte=_whole(today) - F("duration"))),
        last_start=Max("start_time"),
        # An end in the future is an error, and must not hide that a cluster is quiet.
        last_stop=Max(
            F("start_time") + F("duration"), filter=has_ended & Q(duration__lte=_whole(now) - F("start_time"))
        ),
    )


def _by_owner(jobs: Any, now: int) -> Iterable[tuple[Any, ...]]:
    """Yield (day, user, project, jobs, node seconds) of these jobs."""
    grouped = jobs.values_list("day", "user", "project")
    yield from grouped.annotate(count=Count("pk"), node_seconds=_node_seconds(now))


def _whole(number: int) -> Value:
    return Value(number, output_field=BigIntegerField())


def _node_seconds(now: int) -> Sum:
    """Return the sum of nodes times seconds, until now for running jobs, as floats, which cannot overflow."""
    until_now = Greatest(_whole(now) - F("start_time"), _whole(0), output_field=BigIntegerField())
    duration = Case(When(job_state=JobState.RUNNING, then=until_now), default=F("duration"))
    return Sum(Cast("num_nodes", FloatField()) * Cast(duration, FloatField()))
