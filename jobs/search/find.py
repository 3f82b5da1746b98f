"""Find jobs among millions, the newest first: by the best index, and in steps where jobs must be tested one by one.

A criterion whose index is ordered by start time is answered at once, for any number of jobs. For all others, the jobs
of the best index are tested step by step, from the newest on, until there are enough or the time is over; whoever asks
learns how far back that went, and can go on from there.
"""

import time
from collections.abc import Collection, Iterator, Sequence
from functools import reduce
from operator import or_
from typing import Any, NamedTuple

from django.db.models import OrderBy, Q, Subquery

from jobs.models import Job
from jobs.querysets import JobQuerySet
from jobs.search.criteria import NOTHING, Criteria, Criterion, Path, started, visibility

BUDGET = 0.1
"""Seconds in which a page tests jobs one by one; the last step may take longer."""

FIRST_STEP = 2_000
"""Jobs of the best index that the first step tests; the following ones are as long as the time allows.

So few that a page is not late if each of them must be read from the disk.
"""

_MOST_STEPS = 5  # within the budget
_LEAST_GROWTH = 0.25  # a shorter step is not worth its queries
_GROWTH = 4  # of a step compared with the one before, whose rows may have been in a faster cache than those to come
_PART = 40  # times FIRST_STEP: the jobs that are tested at once where no page waits


class Searched(NamedTuple):
    """What an earlier search of the same criteria tested: jobs that started in a range, ends included (epoch seconds).

    `found` are the row ids that matched.
    """

    since: int
    until: int
    found: Sequence[int]


class Place(NamedTuple):
    """The place in all matching jobs after which to go on: the start (epoch seconds) and row id of a job."""

    start_time: int
    row_id: int


class Found(NamedTuple):
    """The row ids of matching jobs, the newest start first.

    Jobs that started before `since` (epoch seconds) have not been tested; None if all were, or enough were found.
    """

    ids: list[int]
    since: int | None


class Stretch(NamedTuple):
    """The matching jobs that started within a range (epoch seconds, both ends included; None for no end)."""

    jobs: JobQuerySet
    since: int | None
    until: int | None
    is_last: bool


class Search:
    """The jobs that match criteria and are visible."""

    def __init__(self, *, seen: Collection[tuple[str, str]] | None, criteria: Criteria) -> None:
        """Choose the index; `seen` are the pairs of `jobs.querysets.seen_by`, None for all jobs.

        For somebody who does not see all jobs, only the index of the visible ones is walked through: how far a step
        gets says how many jobs there are.
        """
        required = [*criteria.required, *visibility(seen)] if not criteria.problems else [NOTHING]
        usable = [each for each in required if each.paths and (seen is None or each.few or each is required[-1])]
        best = min(usable, key=lambda each: each.rank, default=Criterion(Q(), (Path(),)))
        self.since, self.until = criteria.since, criteria.until
        self.is_of_all = not required
        """Whether each job of the range of start times matches."""
        self._paths = best.paths
        self._all_tests = [each.test for each in required]
        self._tests = [each.test for each in required if each is not best]
        self._walked = [path for path in self._paths if not path.few]
        is_index = len(self._paths) == 1 and self._paths[0].is_plain and not self._tests
        self._in_steps = not (best.few or is_index) and len(self._walked) > 0

    @property
    def jobs(self) -> JobQuerySet:
        """Return all matching jobs, the newest first; to read them may take long."""
        return self._between(None, None)

    def among(self, row_ids: Sequence[int]) -> JobQuerySet:
        """Return those of some jobs that match, the newest first."""
        in_range = Job.objects.order_by("-start_time", "-pk").filter(started(self.since, self.until))
        return in_range.among("id", row_ids).filter(*self._all_tests)

    def newest(self, limit: int, *, seconds: float | None = None, tested: Searched | None = None) -> Found:
        """Return the first `limit` jobs, or as many as are found within some seconds and by few queries.

        Go on where an earlier search ended, and include what has started since.
        """
        if tested is None:
            return self._walk(limit, self.until, seconds)
        newer = self._walk(limit, self.until, None, since=tested.until + 1)
        same = self.among(tested.found).values_list("pk", flat=True)
        older = self._walk(limit, tested.since - 1, seconds)
        return Found(list(dict.fromkeys([*newer.ids, *same, *older.ids]))[:limit], older.since)

    def sorted(self, ids: Sequence[int], order: Any, *, descending: bool) -> list[int]:
        """Return row ids in the order of an expression, unknown values last, the newest first among equals."""
        by = OrderBy(order, descending=descending, nulls_last=True)
        return list(Job.objects.among("id", ids).order_by(by, "-start_time", "-pk").values_list("pk", flat=True))

    def count(self, *, seconds: float) -> int | None:
        """Return the number of all matching jobs; None if they cannot be counted within some seconds.

        What an index alone answers is counted whatever it takes, which is below a second for ten million jobs.
        """
        begin, total = time.perf_counter(), 0
        for part in self.parts():
            if time.perf_counter() - begin > seconds:
                return None
            total += part.order_by().count()
        return total

    def parts(self) -> Iterator[JobQuerySet]:
        """Yield all matching jobs in parts, each read by an index or by testing a bounded number of jobs."""
        until = self.until
        while True:
            lower = self._start_after(FIRST_STEP * _PART, until) if self._in_steps else None
            yield self._between(lower, until)
            if lower is None:
                return
            until = lower - 1

    def stretch(self, number: int, until: int | None) -> Stretch:
        """Return the matching ones of about the newest `number` jobs of the index that started by `until`."""
        lower = self._start_after(number, until) if self._walked else None
        return Stretch(self._between(lower, until), *self._within(lower, until), is_last=lower is None)

    def next_values(self, *columns: str, most: int, after: Place | None) -> tuple[list[tuple[Any, ...]], Place | None]:
        """Return row ids, with columns, of the next of all matching jobs, newest first, and the place to go on from.

        Up to `most` jobs are returned, and a bounded number tested. The place is None at the end. Jobs that start later
        than the first one that was returned are left out.
        """
        until = self.until if after is None else after.start_time
        lower = self._start_after(FIRST_STEP * _PART, until) if self._in_steps else None
        jobs = self._between(lower, until)
        if after is not None:
            jobs = jobs.filter(Q(start_time__lt=after.start_time) | Q(pk__lt=after.row_id))
        rows = list(jobs.values_list("start_time", "pk", *columns)[:most])
        if len(rows) == most:
            place: Place | None = Place(*rows[-1][:2])
        else:
            place = None if lower is None else Place(lower, 0)
        return [row[1:] for row in rows], place

    def _between(self, since: int | None, until: int | None) -> JobQuerySet:
        """Return the matching jobs that started within a range, the newest first."""
        since, until = self._within(since, until)
        if all(path.is_plain for path in self._paths):
            paths = reduce(or_, (path.condition for path in self._paths))
        else:  # a union, since SQLite would answer alternatives by testing each job of the range
            first, *others = [path.row_ids(since, until) for path in self._paths]
            paths = Q(pk__in=first.union(*others, all=True) if others else first)
        in_range = Job.objects.order_by("-start_time", "-pk").filter(started(since, until))
        return in_range.filter(paths).filter(*self._tests)

    def _within(self, since: int | None, until: int | None) -> tuple[int | None, int | None]:
        """Return the part of a range of start times that is in that of the criteria."""
        return (
            max((each for each in (since, self.since) if each is not None), default=None),
            min((each for each in (until, self.until) if each is not None), default=None),
        )

    def _walk(self, limit: int, until: int | None, seconds: float | None, *, since: int | None = None) -> Found:
        def take(lower: int | None, upper: int | None, most: int) -> list[int]:
            return list(self._between(lower, upper).values_list("pk", flat=True)[:most])

        if not self._in_steps:
            return Found(take(since, until, limit), None)
        clock = time.perf_counter
        begin = clock()
        ids: list[int] = []
        size, steps = FIRST_STEP, 0
        while True:
            step_began = clock()
            lower = self._start_after(size, until, since)
            ids += take(since if lower is None else lower, until, limit - len(ids))
            steps += 1
            if lower is None or len(ids) >= limit:
                return Found(ids, None)
            until = lower - 1
            if seconds is None:
                size = min(size * _GROWTH, FIRST_STEP * _PART)
                continue
            left = seconds - (clock() - begin)
            growth = min(_GROWTH, left / (clock() - step_began))
            if growth < _LEAST_GROWTH or steps >= _MOST_STEPS:
                return Found(ids, lower)
            size = int(size * growth)

    def _start_after(self, number: int, until: int | None, since: int | None = None) -> int | None:
        """Return the start time since which about `number` jobs of the index started; None if there are fewer.

        This is a single query, with one look-up in an index per alternative.
        """
        in_range = self._within(since, until)
        each = max(1, number // len(self._walked))
        starts = [path.starts(*in_range)[each : each + 1] for path in self._walked]
        if len(starts) == 1:
            return next((row["start_time"] for row in starts[0]), None)
        rows = Job.objects.order_by().values_list(*[Subquery(start) for start in starts])[:1]
        return max((start for row in rows for start in row if start is not None), default=None)
