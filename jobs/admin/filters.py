"""What the job list filters by. Values come from settings and small tables, never from a DISTINCT over all jobs."""

import time
from abc import ABC, abstractmethod
from datetime import timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any

from django.conf import settings
from django.contrib.admin import SimpleListFilter
from django.contrib.admin.options import IncorrectLookupParameters
from django.core.paginator import Paginator
from django.db.models import Q, QuerySet
from django.http import HttpRequest
from django.utils import timezone
from django.utils.functional import cached_property

from archive.clusters import registry_for
from jobs.listing import is_whole
from jobs.models import Job, JobTag, Tag
from jobs.querysets import JobQuerySet
from jobs.states import JobState, MonitoringStatus

if TYPE_CHECKING:
    JobPaginator = Paginator[Job]
else:
    JobPaginator = Paginator

# The list counts no further; a selection of all pages is not offered beyond, and refused.
MOST_COUNTED = 10_000

# The sidebar names no more tags than this.
_MOST_TAGS = 200

Choices = list[tuple[str, str]]


class CappedPaginator(JobPaginator):
    """Count at most MOST_COUNTED rows: the last pages of millions are reached by filters, not by counting."""

    limit = MOST_COUNTED

    @cached_property
    def _found(self) -> int:
        jobs: Any = self.object_list
        return int(jobs.order_by().values("pk")[: self.limit + 1].count())

    @property
    def is_capped(self) -> bool:
        """Tell whether there are more rows than were counted."""
        return self._found > self.limit

    @cached_property
    def count(self) -> int:
        """Return the number of rows, `limit` where there are more."""
        return min(self._found, self.limit)


class JobFilter(SimpleListFilter, ABC):
    """Base: choices that do not look at the jobs, and a condition for the chosen one."""

    def __init__(self, request: HttpRequest, params: dict[str, Any], model: Any, model_admin: Any) -> None:
        """Refuse a value that is no choice: showing all jobs instead would invite actions on all of them."""
        super().__init__(request, params, model, model_admin)
        value = self.value()
        if value is not None and value not in {str(key) for key, _ in self.lookup_choices}:
            raise IncorrectLookupParameters(f"{self.parameter_name}={value!r}")

    @abstractmethod
    def lookups(self, request: HttpRequest, model_admin: Any) -> Choices:
        """Return the choices as (value in the URL, label)."""

    @abstractmethod
    def chosen(self, jobs: JobQuerySet, value: str) -> JobQuerySet:
        """Return the jobs of a choice."""

    def queryset(self, request: HttpRequest, queryset: Any) -> QuerySet[Job]:
        """Limit the list to the chosen jobs."""
        value = self.value()
        return queryset if value is None else self.chosen(queryset, value)


class StateFilter(JobFilter):
    """By the scheduler's state."""

    title = "state"
    parameter_name = "state"

    def lookups(self, request: HttpRequest, model_admin: Any) -> Choices:
        """Return the states."""
        return [(value, str(value).replace("_", " ")) for value in JobState.values]

    def chosen(self, jobs: JobQuerySet, value: str) -> JobQuerySet:
        """Return the jobs in this state."""
        return jobs.running() if value == JobState.RUNNING else jobs.filter(job_state=value)


class ClusterFilter(JobFilter):
    """By cluster, as the archive configures them."""

    title = "cluster"
    parameter_name = "cluster"

    def lookups(self, request: HttpRequest, model_admin: Any) -> Choices:
        """Return the configured clusters, and the one asked for: jobs of a cluster that is gone stay to be found."""
        names = set(registry_for(Path(settings.ARCHIVE_ROOT)).names())
        names |= {name for name in [self.value()] if name}
        return [(name, name) for name in sorted(names)]

    def chosen(self, jobs: JobQuerySet, value: str) -> JobQuerySet:
        """Return the cluster's jobs."""
        return jobs.filter(cluster=value)


class ArchivingFilter(JobFilter):
    """By the way into the archive."""

    title = "archiving"
    parameter_name = "archiving"

    def lookups(self, request: HttpRequest, model_admin: Any) -> Choices:
        """Return the archiving states of finished jobs."""
        return [("waiting", "waiting"), ("failed", "failed"), ("archived", "archived"), ("disabled", "disabled")]

    def chosen(self, jobs: JobQuerySet, value: str) -> JobQuerySet:
        """Return the jobs in this archiving state."""
        if value == "waiting":
            # By way of the keys, so that the small index of waiting jobs is used and not the one of the list's order.
            return jobs.filter(pk__in=Job.objects.awaiting_archive().order_by().values("pk"))
        if value == "archived":
            return jobs.archived()
        status = MonitoringStatus.FAILED if value == "failed" else MonitoringStatus.DISABLED
        return jobs.filter(monitoring_status=status)


class StartFilter(JobFilter):
    """By start time."""

    title = "start"
    parameter_name = "started"

    def lookups(self, request: HttpRequest, model_admin: Any) -> Choices:
        """Return the presets."""
        return [("today", "today"), ("7d", "last 7 days"), ("30d", "last 30 days")]

    def chosen(self, jobs: JobQuerySet, value: str) -> JobQuerySet:
        """Return the jobs that started since then."""
        if value == "today":
            since = timezone.localtime().replace(hour=0, minute=0, second=0, microsecond=0).timestamp()
        else:
            since = time.time() - timedelta(days=int(value.removesuffix("d"))).total_seconds()
        return jobs.filter(start_time__gte=int(since))


class TagFilter(JobFilter):
    """By tag; who may not see all tags is offered those of the jobs that it sees."""

    title = "tag"
    parameter_name = "tag"

    def lookups(self, request: HttpRequest, model_admin: Any) -> Choices:
        """Return the first tags by name, and the one asked for."""
        tags = Tag.objects.order_by("type", "name")
        if not request.user.has_perm("jobs.view_tag"):
            jobs = Job.objects.visible_to(request.user)
            tags = tags.filter(pk__in=JobTag.objects.filter(job__in=jobs.values("pk")).values("tag_id"))
        found = list(tags[:_MOST_TAGS])
        value = self.value() or ""
        if is_whole(value) and value not in {str(tag.pk) for tag in found}:
            found += tags.filter(pk=int(value))
        return [(str(tag.pk), str(tag)) for tag in found]

    def chosen(self, jobs: JobQuerySet, value: str) -> JobQuerySet:
        """Return the jobs with this tag."""
        return jobs.filter(pk__in=JobTag.objects.filter(tag_id=int(value)).values("job_id"))


class _ValueFilter(JobFilter):
    """By the value of a column that has too many to list: shown only while a link has chosen one."""

    def lookups(self, request: HttpRequest, model_admin: Any) -> Choices:
        """Return the value in use, so that the page names it and offers to drop it."""
        value = self.value()
        return [(value, value)] if value else []

    def chosen(self, jobs: JobQuerySet, value: str) -> JobQuerySet:
        """Return the jobs with this value."""
        return jobs.filter(**{str(self.parameter_name): value})


class UserFilter(_ValueFilter):
    """By user, from links."""

    title = "user"
    parameter_name = "user"


class ProjectFilter(_ValueFilter):
    """By project, from links."""

    title = "project"
    parameter_name = "project"


class ArrayFilter(_ValueFilter):
    """By array job, from links."""

    title = "array job"
    parameter_name = "array_job_id"

    def lookups(self, request: HttpRequest, model_admin: Any) -> Choices:
        """Return the array in use, if it is a number."""
        return [choice for choice in super().lookups(request, model_admin) if is_whole(choice[0])]


FILTERS = (StateFilter, UserFilter, ProjectFilter, ArrayFilter, StartFilter, ClusterFilter, ArchivingFilter, TagFilter)

SEARCH_HELP = "Job id, user or project, each in full; user:alice and project:bio say which. Several words narrow down."


def search(jobs: JobQuerySet, text: str) -> tuple[JobQuerySet, list[str]]:
    """Return the jobs that all words of a search describe, and the words that mean nothing here."""
    unknown = []
    for word in text.replace("\0", "").split():
        key, colon, value = word.partition(":")
        if colon and key in ("user", "project") and value:
            jobs = jobs.filter(**{key: value})
        elif colon:
            unknown.append(word)
        elif word.isascii() and word.isdecimal():
            jobs = jobs.filter(job_id=int(word)) if is_whole(word) else jobs.none()
        else:
            # An index finds a user's jobs; none finds a project's, so it is asked for only where no user is meant.
            known = Job.objects.filter(user=word).exists()
            jobs = jobs.filter(Q(user=word) if known else Q(project=word))
    return (jobs.none() if unknown else jobs), unknown
