"""Paths to jobs by what is written down of ended ones, and to those of which nothing is written down yet."""

from collections.abc import Sequence
from functools import reduce
from operator import or_

from django.db.models import Exists, OuterRef, Q, QuerySet

from jobs.models import Job
from jobs.querysets import TO_BOOK, JobQuerySet
from jobs.records import JobFootprint
from jobs.search.criteria import BY_FOOTPRINT, FEW, Criterion, Path, has_name
from jobs.search.values import Names
from jobs.states import JobState


def by_footprint(condition: Q) -> Criterion:
    """Match the ended jobs whose footprint satisfies a condition."""
    return Criterion(Exists(_rows(condition).filter(job=OuterRef("pk"))), (_by_footprints(condition),), BY_FOOTPRINT)


def by_name(found: Names) -> Criterion:
    """Match the jobs whose name contains one of some texts, or begins with one, ignoring case."""
    test = has_name(found)
    parts = [Q(name__icontains=part) for part in found.exact]
    written_down = reduce(or_, [*parts, *(Q(name__istartswith=part) for part in found.beginnings)])
    in_metadata = Q(name=None) & Q(Exists(Job.objects.filter(test, pk=OuterRef("job"))))
    return of_all(test, [_by_footprints(written_down | in_metadata)], BY_FOOTPRINT)


def by_number(test: Q, condition: Q) -> Criterion:
    """Match the jobs that pass a test; for those with a footprint, that says the same as a condition on it.

    A page of the database holds several times as many footprints as jobs.
    """
    return of_all(test, [_by_footprints(condition)], BY_FOOTPRINT)


def of_all(test: Q, written_down: Sequence[Path], rank: int) -> Criterion:
    """Match the jobs that pass a test, by paths to what is written down of them, and to the others.

    While many have yet to be booked, as in a rebuild, all jobs are tested, in steps.
    """
    others = not_yet(test)
    return Criterion(test) if others is None else Criterion(test, (*written_down, *others), rank)


def not_yet(test: Q) -> list[Path] | None:
    """Return the paths to jobs that run, wait for the archive, or have yet to be booked, and pass a test.

    Return None if more than FEW have yet to be booked.
    """
    paths = [Path(Q(job_state=JobState.RUNNING) & test, few=True), _of_keys(Job.objects.awaiting_archive(), test)]
    # In the order of their index: PostgreSQL, as long as it believes that many wait, would look for one in the table.
    to_book = Job.objects.filter(TO_BOOK).order_by("pk")
    if not to_book[:1].exists():
        return paths
    return None if to_book[FEW:].exists() else [*paths, _of_keys(to_book, test)]


def _of_keys(jobs: JobQuerySet, test: Q) -> Path:
    # A subquery of keys, so that the database uses the small index of these jobs, not that of start times.
    return Path(Q(pk__in=jobs.order_by().values("pk")) & test, few=True)


def _rows(condition: Q) -> QuerySet[JobFootprint]:
    return JobFootprint.objects.filter(condition)


def _by_footprints(condition: Q) -> Path:
    return Path(rows=_rows(condition), walked=JobFootprint.objects.all())
