"""What happened on the last days, summed up in the database and remembered for a while: the numbers of the dashboard.

Nothing indexes when a job ended, so a day is the jobs that started on it. Such a day is read by way of the start's
index; the older it is, the less it changes, and the longer it is remembered.
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

# How long the numbers of a day stay as they are (seconds): today's, yesterday's, those of the days before.
MOST_AGE = (60, 300) + (600,) * (DAYS - 2)

_KEPT = 3600  # seconds: what is due is shown on while one request counts anew
_LONGEST_COUNT = 60  # seconds until another request may count where one that began to was killed
_WAIT = 0.05  # seconds between two looks for what another request counts
_HOUR = 3600


# None of these has slots: out of the cache, which pickles, thousands of them would come several times as slowly.


@dataclass(frozen=True)
class Hour:
    """Jobs of one cluster that started within an hour and are in the same state; `begin` is in epoch seconds."""

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
    """What a user or a project ran."""

    jobs: int
    node_seconds: float

    def __add__(self, other: "Tally") -> "Tally":
        """Return both together."""
        return Tally(self.jobs + other.jobs, self.node_seconds + other.node_seconds)


@dataclass(frozen=True)
class Day:
    """The jobs that started on one day, as counted at a moment; times are epoch seconds."""

    begin: int
    counted_at: int
    hours: tuple[Hour, ...]
    users: dict[str, Tally]
    projects: dict[str, Tally]


def midnights(now: int) -> list[int]:
    """Return when each of the last days began in the zone of TIME_ZONE, oldest first, and when today ends."""
    zone = timezone.get_current_timezone()
    today = datetime.fromtimestamp(now, UTC).astimezone(zone).date()
    dates = [today - timedelta(days=back) for back in range(DAYS - 1, -2, -1)]
    return [int(datetime.combine(date, datetime.min.time(), tzinfo=zone).timestamp()) for date in dates]


def last_days(jobs: JobQuerySet, *, now: int) -> tuple[Day, ...]:
    """Return the last days of these jobs, oldest first, counted anew only as far as they are due.

    While one request counts, the others get the older numbers; where there are none they wait, instead of all reading
    the same rows at once.
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
    """Return a text that is the same only for the same days of jobs that the same condition chooses.

    It is made of the condition itself: who sees other jobs gets other numbers, whatever the rules of visibility are.
    """
    try:
        condition: Any = jobs.order_by().values("pk").query.sql_with_params()
    except EmptyResultSet:
        condition = None
    return hashlib.sha256(repr((condition, bounds)).encode()).hexdigest()


def _is_due(day: Day, back: int, now: int) -> bool:
    """Tell whether a day so many days ago has to be counted anew; an empty one soon, as it costs nothing.

    So jobs that are imported show up on days of which it was known that there were none.
    """
    return not 0 <= now - day.counted_at < MOST_AGE[back if day.hours else 0]


def _count(jobs: JobQuerySet, spans: Sequence[tuple[int, int]], *, today: int, now: int) -> list[Day]:
    """Count days, given as (begin, end), oldest first, in two queries over these parts of the start's index."""
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
    """Return the same time in fewer spans: a database reads one range faster than two."""
    joined: list[tuple[int, int]] = []
    for begin, end in spans:
        if joined and joined[-1][1] == begin:
            joined[-1] = (joined[-1][0], end)
        else:
            joined.append((begin, end))
    return joined


def _by_hour(jobs: Any, begin: int, today: int, now: int) -> Iterable[tuple[Any, ...]]:
    """Yield (day, hour, and what follows `begin` in Hour) of these jobs; hours count from `begin`."""
    has_ended = ~Q(job_state=JobState.RUNNING)
    hour = (F("start_time") - _whole(begin)) / _whole(_HOUR)
    grouped = jobs.annotate(hour=hour).values_list("day", "hour", "cluster", "job_state")
    yield from grouped.annotate(
        count=Count("pk"),
        node_seconds=_node_seconds(now),
        ended_today=Count("pk", filter=has_ended & Q(start_time__gte=_whole(today) - F("duration"))),
        last_start=Max("start_time"),
        # An end in the future is a mistake, and must not hide that nothing happens any more.
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
    """Return nodes times seconds; a running job counts until now. As floats, whose sum cannot overflow."""
    until_now = Greatest(_whole(now) - F("start_time"), _whole(0), output_field=BigIntegerField())
    ran = Case(When(job_state=JobState.RUNNING, then=until_now), default=F("duration"))
    return Sum(Cast("num_nodes", FloatField()) * Cast(ran, FloatField()))
