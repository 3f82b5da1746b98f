"""Sets of jobs: who sees which, and which wait for what."""

from collections.abc import Iterable
from typing import TYPE_CHECKING, Any

from django.db import connection, models
from django.db.models import BooleanField, Q
from django.db.models.expressions import RawSQL

from accounts.models import Role, User
from archive.layout import JobKey
from jobs.states import JobState, MonitoringStatus

if TYPE_CHECKING:
    from jobs.models import Job  # noqa: F401  the name in the quotes below


class JobQuerySet(models.QuerySet["Job"]):
    """Rules about sets of jobs."""

    def visible_to(self, user: Any) -> "JobQuerySet":
        """Return the jobs that a user may see; the only place that decides it.

        admin, support and api see all; managers the jobs of their projects and their own; users their own.
        """
        if not isinstance(user, User) or not user.is_active:
            return self.none()
        if user.has_role(Role.ADMIN, Role.SUPPORT, Role.API):
            return self
        seen = Q(pk=None)
        if user.has_role(Role.MANAGER):
            seen |= Q(project__in=user.projects)
        if user.has_role(Role.USER, Role.MANAGER):
            seen |= Q(user=user.username)
        return self.filter(seen)

    def running(self) -> "JobQuerySet":
        """Return jobs that have not been stopped."""
        return self.filter(job_state=JobState.RUNNING)

    def awaiting_archive(self) -> "JobQuerySet":
        """Return finished jobs that the archive worker has yet to write."""
        return self.filter(~Q(job_state=JobState.RUNNING), monitoring_status=MonitoringStatus.ARCHIVING)

    def archived(self) -> "JobQuerySet":
        """Return jobs that the archive holds."""
        return self.filter(monitoring_status=MonitoringStatus.ARCHIVED)

    def busy(self) -> "JobQuerySet":
        """Return jobs that run, and those that the archive worker has yet to write."""
        return self.filter(Q(job_state=JobState.RUNNING) | Q(monitoring_status=MonitoringStatus.ARCHIVING))

    def among(self, column: str, numbers: Iterable[int]) -> "JobQuerySet":
        """Return jobs whose column has one of many numbers; `__in` is slow there, a parameter for each."""
        if connection.vendor == "postgresql":
            found = RawSQL(f'"jobs_job"."{column}" = ANY(%s)', [list(numbers)], output_field=BooleanField())  # noqa: S611
        else:
            array = f"[{','.join(map(str, numbers))}]"
            one_of = f'"jobs_job"."{column}" IN (SELECT value FROM json_each(%s))'  # noqa: S608  a name of ours
            found = RawSQL(one_of, [array], output_field=BooleanField())  # noqa: S611
        return self.filter(found)

    def ids_of(self, keys: Iterable[JobKey]) -> dict[JobKey, int]:
        """Return which of these jobs have a row, with its id."""
        wanted = set(keys)
        if not wanted:
            return {}
        rows = self.among("job_id", {key.job_id for key in wanted}).order_by()
        found = rows.values_list("pk", "cluster", "job_id", "start_time")
        known = {JobKey(cluster, job_id, start_time): pk for pk, cluster, job_id, start_time in found}
        return {key: pk for key, pk in known.items() if key in wanted}
