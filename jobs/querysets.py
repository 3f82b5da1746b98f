"""Sets of jobs: who sees which, and which wait for what."""

from collections.abc import Iterable
from typing import TYPE_CHECKING, Any

from django.db import models
from django.db.models import Q

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

    def ids_of(self, keys: Iterable[JobKey]) -> dict[JobKey, int]:
        """Return which of these jobs have a row, with its id."""
        wanted = set(keys)
        rows = self.filter(job_id__in={key.job_id for key in wanted}).order_by()
        found = rows.values_list("pk", "cluster", "job_id", "start_time")
        known = {JobKey(cluster, job_id, start_time): pk for pk, cluster, job_id, start_time in found}
        return {key: pk for key, pk in known.items() if key in wanted}
