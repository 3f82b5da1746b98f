"""The filters of the job list. Choices come from settings and small queries, never from a DISTINCT over all jobs."""

from datetime import datetime, timedelta
from typing import Any

from django.http import HttpRequest
from django.utils import timezone

from archive import root
from jobs.admin.filter_types import ChoiceFilter, Choices, FormFilter
from jobs.models import Job, JobTag, Tag
from jobs.querysets import seen_by
from jobs.search.criteria import (
    NOTHING,
    Criteria,
    Criterion,
    by_archiving,
    by_array,
    by_cluster,
    by_partition,
    by_project,
    by_state,
    by_tag,
    by_user,
)
from jobs.search.fields import elapsed, nodes
from jobs.search.find import Search
from jobs.search.hosts import concurrent_with
from jobs.search.values import Range, period, seconds
from jobs.states import JobState, searched_state
from jobs.text import is_whole

_MOST_TAGS = 200  # in the sidebar
_NEWEST = 2_000  # jobs in which partitions and tags are looked for


class StateFilter(ChoiceFilter):
    """Filter by the scheduler's state."""

    title = "state"
    parameter_name = "state"
    is_open = True

    def lookups(self, request: HttpRequest, model_admin: Any) -> Choices:
        """Return the states, and the chosen one if it is another word that a stop takes."""
        chosen = self.value()
        other = [chosen] if chosen and chosen not in JobState.values and searched_state(chosen) else []
        return [(value, str(value).replace("_", " ")) for value in [*JobState.values, *other]]

    def chosen(self, value: str) -> Criterion:
        """Match the jobs in this state."""
        found = searched_state(value)
        return by_state(*found) if found else NOTHING


class ClusterFilter(ChoiceFilter):
    """Filter by cluster."""

    title = "cluster"
    parameter_name = "cluster"
    is_open = True

    def lookups(self, request: HttpRequest, model_admin: Any) -> Choices:
        """Return the configured clusters and the chosen one, which may have been removed from the archive."""
        names = set(root.registry().names())
        names |= {name for name in [self.value()] if name}
        return [(name, name) for name in sorted(names)]

    def chosen(self, value: str) -> Criterion:
        """Match the jobs of the cluster."""
        return by_cluster(value)


class PartitionFilter(ChoiceFilter):
    """Filter by partition, of which no setting has a list."""

    title = "partition"
    parameter_name = "partition"

    def lookups(self, request: HttpRequest, model_admin: Any) -> Choices:
        """Return the partitions of the newest jobs that the user sees, and the chosen one."""
        newest = Search(seen=seen_by(request.user), criteria=Criteria()).newest(_NEWEST).ids
        of_newest = Job.objects.among("id", newest).order_by().values_list("partition", flat=True)
        names = {*of_newest, self.value()}
        return [(name, name) for name in sorted(name for name in names if name)]

    def chosen(self, value: str) -> Criterion:
        """Match the jobs of the partition."""
        return by_partition(value)


class ArchivingFilter(ChoiceFilter):
    """Filter by archiving state."""

    title = "archiving"
    parameter_name = "archiving"

    def lookups(self, request: HttpRequest, model_admin: Any) -> Choices:
        """Return the archiving states of finished jobs."""
        return [(word, word) for word in ("waiting", "failed", "archived", "disabled")]

    def chosen(self, value: str) -> Criterion:
        """Match the jobs in this archiving state."""
        return by_archiving(value)


class TagFilter(ChoiceFilter):
    """Filter by tag; users who may not see all tags get those of the newest jobs that they see."""

    title = "tag"
    parameter_name = "tag"

    def lookups(self, request: HttpRequest, model_admin: Any) -> Choices:
        """Return the first tags by name, and the chosen one."""
        tags = Tag.objects.order_by("type", "name")
        if not request.user.has_perm("jobs.view_tag"):
            newest = Job.objects.visible_to(request.user).values("pk")[:_NEWEST]
            tags = tags.filter(pk__in=JobTag.objects.filter(job__in=newest).values("tag_id"))
        found = list(tags[:_MOST_TAGS])
        value = self.value() or ""
        if is_whole(value) and value not in {str(tag.pk) for tag in found}:
            found += tags.filter(pk=int(value))
        self._tags = {str(tag.pk): tag for tag in found}
        return [(value, str(tag)) for value, tag in self._tags.items()]

    def chosen(self, value: str) -> Criterion:
        """Match the jobs with this tag."""
        return by_tag(self._tags[value])


class ArrayFilter(ChoiceFilter):
    """Filter by array job; shown only after a link on a job page has set it."""

    title = "array job"
    parameter_name = "array_job_id"

    def lookups(self, request: HttpRequest, model_admin: Any) -> Choices:
        """Return the chosen array job, so that the page shows it."""
        value = self.value() or ""
        return [(value, value)] if is_whole(value) else []

    def chosen(self, value: str) -> Criterion:
        """Match the jobs of the array."""
        return by_array(int(value))


class ConcurrentFilter(ChoiceFilter):
    """Filter by a job with which others shared nodes; shown only after a link on its page has set it."""

    title = "same nodes and time"
    parameter_name = "beside"

    def lookups(self, request: HttpRequest, model_admin: Any) -> Choices:
        """Return the chosen job, if the user sees it."""
        value = self.value() or ""
        jobs = Job.objects.visible_to(request.user).defer("statistics", "meta_data")
        self._job = jobs.filter(pk=int(value)).first() if is_whole(value) else None
        return [(value, f"job {self._job.job_id}")] if self._job else []

    def chosen(self, value: str) -> Criterion:
        """Match the jobs of the same cluster; `narrow` adds the rest."""
        assert self._job is not None
        return by_cluster(self._job.cluster)

    def narrow(self, criteria: Criteria) -> None:
        """Add the criteria for jobs that ran on the same nodes at the same time."""
        if self.value() is not None:
            assert self._job is not None
            criteria.add(*concurrent_with(self._job))
            criteria.between(until=self._job.stop_time)


class StartFilter(FormFilter):
    """Filter by start time: a preset, or from one day to another, both included."""

    title = "start"
    chip_prefix = "started"
    inputs = (("started", ""), ("from", "From"), ("to", "To"))
    kind = "date"
    presets = (
        ("today", ("today", "", "")),
        ("last 24 hours", ("24h", "", "")),
        ("last 7 days", ("7d", "", "")),
        ("last 30 days", ("30d", "", "")),
        ("this month", ("this-month", "", "")),
        ("last month", ("last-month", "", "")),
    )
    is_open = True

    def kind_of(self, text: str) -> str:
        """Return a plain field for a time of day, which one for days cannot show."""
        return self.kind if len(text) in (0, _DATE) else "text"

    def read(self, criteria: Criteria, *values: str) -> None:
        """Add the range of start times."""
        preset, first, last = values
        if preset:
            if preset not in {values[0] for _, values in self.presets}:
                raise ValueError(preset)
            criteria.between(*period(preset))
        if first:
            criteria.between(since=int(_day(first).timestamp()))
        if last:
            moment = _day(last)
            criteria.between(until=int((moment + timedelta(days=1) if len(last) == _DATE else moment).timestamp()) - 1)


_DATE = len("2026-01-31")


def _day(text: str) -> datetime:
    """Parse a date or time, in the current zone unless it has one."""
    moment = datetime.fromisoformat(text)
    return moment if timezone.is_aware(moment) else timezone.make_aware(moment)


class DurationFilter(FormFilter):
    """Filter by duration; that of running jobs is until now."""

    title = chip_prefix = "duration"
    inputs = (("ran_from", "At least"), ("ran_to", "At most"))
    presets = (
        ("up to 2 minutes", ("", "2m")),
        ("2 minutes to 1 hour", ("2m", "1h")),
        ("1 hour to 1 day", ("1h", "1d")),
        ("more than 1 day", ("1d", "")),
    )

    def read(self, criteria: Criteria, *values: str) -> None:
        """Add the criterion for the durations."""
        if any(values):
            least, most = (seconds(value) if value else None for value in values)
            criteria.add(elapsed((Range(least, most),)))


class NodesFilter(FormFilter):
    """Filter by number of nodes."""

    title = chip_prefix = "nodes"
    inputs = (("nodes_from", "At least"), ("nodes_to", "At most"))
    kind = "number"
    presets = (("1", ("1", "1")), ("2 to 8", ("2", "8")), ("9 to 32", ("9", "32")), ("more than 32", ("33", "")))

    def read(self, criteria: Criteria, *values: str) -> None:
        """Add the criteria for the numbers."""
        if not all(value.isascii() and value.isdecimal() and len(value) < 10 for value in values if value):
            raise ValueError(values)
        if any(values):
            least, most = (int(value) if value else None for value in values)
            criteria.add(nodes((Range(least, most),)))


class OwnerFilter(FormFilter):
    """Filter by user and project, in full."""

    title = "user and project"
    inputs = (("user", "User"), ("project", "Project"))
    is_open = True

    def read(self, criteria: Criteria, *values: str) -> None:
        """Add the criteria for both."""
        user, project = (value.replace("\0", "") for value in values)
        if user:
            criteria.add(by_user(user))
        if project:
            criteria.add(by_project(project))


FILTERS: tuple[type[ChoiceFilter] | type[FormFilter], ...] = (
    OwnerFilter,
    StateFilter,
    StartFilter,
    ClusterFilter,
    PartitionFilter,
    DurationFilter,
    NodesFilter,
    TagFilter,
    ArchivingFilter,
    ArrayFilter,
    ConcurrentFilter,
)

PARAMETERS = frozenset(name for each in FILTERS for name in each.parameters())
"""The names of all URL parameters."""
