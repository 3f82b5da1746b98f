"""Querysets of jobs, the archive's tasks and refused calls: what a user may see, and the named states of each.

docs/architecture.md has the picture of the states of archiving.
"""

import time
from collections.abc import Iterable
from datetime import timedelta
from functools import reduce
from operator import or_
from typing import TYPE_CHECKING, Any

from django.conf import settings
from django.db import connection, models, transaction
from django.db.models import BooleanField, ExpressionWrapper, F, Func, Q
from django.db.models.expressions import RawSQL
from django.db.models.functions import Now
from django.db.models.lookups import Exact

from accounts.models import Role, User
from archive.format.layout import JobKey
from jobs.states import JobState, MonitoringStatus, RefusalState, TaskPurpose

if TYPE_CHECKING:
    from jobs.models import ArchiveTask, Job, RefusedCall  # noqa: F401  the names in the quotes below

_LONGER_THAN_A_LEASE = timedelta(seconds=30)

USUAL_STATES = (JobState.RUNNING, JobState.COMPLETED)
"""States that are not worth an index: of running jobs there is one, and most jobs are completed."""

ENDED_STATES = tuple(state for state in JobState if state != JobState.RUNNING)
"""All states but running, as the index of ended jobs has them.

Not as "not running", so that SQLite takes that index only for lists that ask for it: it has no statistics, and would
prefer the newest of several partial indexes.
"""

AWAITS_ARCHIVE = Q(monitoring_status=MonitoringStatus.ARCHIVING) & ~Q(job_state=JobState.RUNNING)
"""A finished job that the archive worker has yet to write."""

AWAITS_FIRST_ARCHIVE = AWAITS_ARCHIVE & Q(statistics__isnull=True)
"""A job that awaits its first archiving: it gets statistics when it is archived, and keeps them."""

AWAITS_REWRITE = AWAITS_ARCHIVE & Q(statistics__isnull=False)
"""A job in the archive whose files are to be replaced by a new load; until then they stay."""

TO_BOOK = ~Q(job_state=JobState.RUNNING) & ~Q(monitoring_status=MonitoringStatus.ARCHIVING) & Q(is_booked=False)
"""An ended job that no worker is to archive, and of which nodes, footprint and usage are not booked yet."""


def seen_by(user: Any) -> list[tuple[str, str]] | None:
    """Return which jobs a user may see: pairs of column and value, at least one of which must match; None for all jobs.

    This is the only place that decides it. The roles admin, support and api see all jobs, managers those of their
    projects and their own, users their own.
    """
    if not isinstance(user, User) or not user.is_active:
        return []
    if user.has_role(Role.ADMIN, Role.SUPPORT, Role.API):
        return None
    return own(user) if user.has_role(Role.USER, Role.MANAGER) else []


def own(user: User) -> list[tuple[str, str]]:
    """Return which jobs are a user's: the own ones, and those of projects that the user manages, as in `seen_by`."""
    managed = user.projects if user.has_role(Role.MANAGER) else []
    return [("user", user.username), *(("project", project) for project in managed)]


class Plain(Func):
    """A column for which SQLite uses no index: without statistics it would often choose the worse of two."""

    template = "+%(expressions)s"
    arity = 1

    def as_postgresql(self, compiler: Any, connection: Any, **context: Any) -> tuple[str, Any]:
        """Return the column as it is: PostgreSQL has statistics."""
        sql, parameters = compiler.compile(self.source_expressions[0])
        return sql, parameters


def any_of(pairs: Iterable[tuple[str, Any]], *, by_index: bool) -> Q:
    """Return the condition that at least one column has its value; see `visible_to` for `by_index`."""
    return reduce(or_, (Q(pair) if by_index else Q(Exact(Plain(F(pair[0])), pair[1])) for pair in pairs))


class JobQuerySet(models.QuerySet["Job"]):
    """Rules about sets of jobs."""

    def visible_to(self, user: Any, *, by_index: bool = True) -> "JobQuerySet":
        """Return the jobs that a user may see, by the rule of `seen_by`.

        Without `by_index` the rule is checked for each job, which is faster if another condition leaves few: SQLite
        would otherwise look up all jobs that a manager may see.
        """
        seen = seen_by(user)
        if seen is None:
            return self
        return self.filter(any_of(seen, by_index=by_index)) if seen else self.none()

    def not_booked(self) -> "list[JobQuerySet]":
        """Return the jobs that are not booked yet, in three sets of which each has a small index.

        They run, wait for the archive, or ended without waiting for it.
        """
        return [self.running(), self.awaiting_archive().filter(is_booked=False), self.filter(TO_BOOK)]

    def with_keys(self, **keys: int | str | None) -> "JobQuerySet":
        """Return the jobs that have all keys that are given (not None), the newest start first."""
        given = {key: value for key, value in keys.items() if value is not None}
        return self.filter(**given).order_by("-start_time")

    def running(self) -> "JobQuerySet":
        """Return jobs that have not been stopped."""
        return self.filter(job_state=JobState.RUNNING)

    def awaiting_archive(self) -> "JobQuerySet":
        """Return finished jobs that the archive worker has yet to write, for the first time or anew."""
        return self.filter(AWAITS_ARCHIVE)

    def awaiting_first_archive(self) -> "JobQuerySet":
        """Return finished jobs that the archive worker has yet to write and that the archive has never had."""
        return self.filter(AWAITS_FIRST_ARCHIVE)

    def awaiting_rewrite(self) -> "JobQuerySet":
        """Return jobs in the archive whose files the archive worker has yet to replace by a new load."""
        return self.filter(AWAITS_REWRITE)

    def archived(self) -> "JobQuerySet":
        """Return jobs that are in the archive and for which no new load has been requested."""
        return self.filter(monitoring_status=MonitoringStatus.ARCHIVED)

    def in_archive(self) -> "JobQuerySet":
        """Return jobs whose files are in the archive: archived ones, and those that wait to be rewritten."""
        return self.filter(Q(monitoring_status=MonitoringStatus.ARCHIVED) | AWAITS_REWRITE)

    def given_up(self) -> "JobQuerySet":
        """Return jobs that were never archived and that the archive worker no longer tries, until it is asked to."""
        return self.filter(monitoring_status=MonitoringStatus.FAILED)

    def busy(self) -> "JobQuerySet":
        """Return jobs that run, and those that the archive worker has yet to write."""
        return self.filter(Q(job_state=JobState.RUNNING) | Q(monitoring_status=MonitoringStatus.ARCHIVING))

    def among(self, column: str, numbers: Iterable[int]) -> "JobQuerySet":
        """Return jobs whose column has one of many numbers; `__in` is slow for many, with a parameter for each.

        PostgreSQL makes a hash table of a list, where it reads many rows, only if it has the type of the column.
        """
        numbers = list(numbers)
        if not numbers:
            return self.none()  # without a query
        if connection.vendor == "postgresql":
            found = RawSQL(f'"jobs_job"."{column}" = ANY(%s::bigint[])', [numbers], output_field=BooleanField())  # noqa: S611
        else:
            array = f"[{','.join(map(str, numbers))}]"
            one_of = f'"jobs_job"."{column}" IN (SELECT value FROM json_each(%s))'  # noqa: S608  a name of ours
            found = RawSQL(one_of, [array], output_field=BooleanField())  # noqa: S611
        return self.filter(found)

    def ids_of(self, keys: Iterable[JobKey]) -> dict[JobKey, int]:
        """Return the row ids of these jobs; jobs without a row are left out."""
        wanted = set(keys)
        if not wanted:
            return {}
        rows = self.among("job_id", {key.job_id for key in wanted}).order_by()
        found = rows.values_list("pk", "cluster", "job_id", "start_time")
        known = {JobKey(cluster, job_id, start_time): pk for pk, cluster, job_id, start_time in found}
        return {key: pk for key, pk in known.items() if key in wanted}


class ArchiveTaskQuerySet(models.QuerySet["ArchiveTask"]):
    """The states of the archive's work on jobs."""

    def claimed(self) -> "ArchiveTaskQuerySet":
        """Return tasks that a worker has claimed, including those of a dead worker until they are freed."""
        return self.exclude(worker="")

    def unclaimed(self) -> "ArchiveTaskQuerySet":
        """Return tasks that any worker may claim once their pause is over."""
        return self.filter(worker="")

    def claimed_by(self, worker: str) -> "ArchiveTaskQuerySet":
        """Return the tasks that this worker has claimed."""
        return self.filter(worker=worker)

    def expired(self) -> "ArchiveTaskQuerySet":
        """Return claimed tasks whose lease has ended: their worker has died, or lost the database.

        A lease that ends later than any can was made before the clock was set back; a living worker renews it.
        """
        impossible = ExpressionWrapper(Now() + _LONGER_THAN_A_LEASE, output_field=models.DateTimeField())
        return self.claimed().filter(Q(not_before__lte=Now()) | Q(not_before__gt=impossible))

    def paused_too_long(self, longest: timedelta) -> "ArchiveTaskQuerySet":
        """Return unclaimed tasks with a pause longer than any: it began before the clock was set back."""
        impossible = ExpressionWrapper(Now() + longest, output_field=models.DateTimeField())
        return self.unclaimed().filter(not_before__gt=impossible)

    def for_removal(self) -> "ArchiveTaskQuerySet":
        """Return tasks whose last claim was made to take the job out of the archive."""
        return self.filter(purpose=TaskPurpose.REMOVE)

    def edited(self) -> "ArchiveTaskQuerySet":
        """Return tasks of jobs with an edit that their meta.json has yet to follow."""
        return self.filter(edits__gt=0)

    def tried(self) -> "ArchiveTaskQuerySet":
        """Return tasks of jobs for which an attempt has failed."""
        return self.filter(attempts__gt=0)

    def blank(self) -> "ArchiveTaskQuerySet":
        """Return tasks without an edit and without a failed attempt: such a row is needed only for its claim."""
        return self.filter(edits=0, attempts=0)


MOST_REFUSED = 100_000
"""Refused calls that are kept."""

DROPPED_AT_ONCE = 1000
"""Refused calls that one statement deletes."""


class RefusedCallQuerySet(models.QuerySet["RefusedCall"]):
    """Calls that were refused."""

    def open(self) -> "RefusedCallQuerySet":
        """Return calls that wait to be replayed or dismissed."""
        return self.filter(state=RefusalState.OPEN)

    def handled(self) -> "RefusedCallQuerySet":
        """Return calls that were replayed or dismissed."""
        return self.filter(state__in=[state for state in RefusalState.values if state != RefusalState.OPEN])

    def drop_old(self) -> int:
        """Delete the oldest calls as far as they are older than INTAKE_LOG_DAYS or beyond MOST_REFUSED.

        Return how many. At most DROPPED_AT_ONCE rows are looked at, at the end of the primary key, so that it takes a
        millisecond whatever there is.
        """
        newest = self.order_by("-pk").values_list("pk", flat=True).first() or 0
        last_day = int(time.time()) - settings.INTAKE_LOG_DAYS * 86_400
        too_old = Q(received_at__lt=last_day) | Q(pk__lte=newest - MOST_REFUSED)
        with transaction.atomic():  # what another process is deleting is left to it
            oldest = self.select_for_update(skip_locked=True).order_by("pk").values("pk")[:DROPPED_AT_ONCE]
            return self.filter(too_old, pk__in=oldest).delete()[0]
