"""What the job list filters by. Values come from settings and small tables, never from a DISTINCT over all jobs."""

import re
import time
from datetime import datetime, timedelta
from typing import Any

from django.db.models import Q
from django.http import HttpRequest
from django.utils import timezone

from archive import root
from jobs.admin.filter_types import ChoiceFilter, Choices, FormFilter
from jobs.models import Job, JobTag, Tag
from jobs.search.criteria import (
    Condition,
    Criteria,
    beside,
    by_archiving,
    by_cluster,
    by_project,
    by_state,
    by_tag,
    by_user,
    find,
    with_value,
)
from jobs.states import JobState
from jobs.text import is_whole

# The sidebar names no more tags than this, and partitions of no more jobs.
_MOST_TAGS = 200
_NEWEST = 2_000


class StateFilter(ChoiceFilter):
    """By the scheduler's state."""

    title = "state"
    parameter_name = "state"
    is_open = True

    def lookups(self, request: HttpRequest, model_admin: Any) -> Choices:
        """Return the states."""
        return [(value, str(value).replace("_", " ")) for value in JobState.values]

    def chosen(self, value: str) -> Condition:
        """Return the jobs in this state."""
        return by_state(value)


class ClusterFilter(ChoiceFilter):
    """By cluster, as the archive configures them."""

    title = "cluster"
    parameter_name = "cluster"
    is_open = True

    def lookups(self, request: HttpRequest, model_admin: Any) -> Choices:
        """Return the configured clusters, and the one asked for: jobs of a cluster that is gone stay to be found."""
        names = set(root.registry().names())
        names |= {name for name in [self.value()] if name}
        return [(name, name) for name in sorted(names)]

    def chosen(self, value: str) -> Condition:
        """Return the cluster's jobs."""
        return by_cluster(value)


class PartitionFilter(ChoiceFilter):
    """By partition: those of the newest jobs, for no setting has them all."""

    title = "partition"
    parameter_name = "partition"

    def lookups(self, request: HttpRequest, model_admin: Any) -> Choices:
        """Return the partitions of the newest jobs that the user sees, and the one asked for."""
        newest = find(user=request.user, criteria=Criteria(), reach=_NEWEST).jobs
        names = set(newest.values_list("partition", flat=True)[:_NEWEST]) | {self.value()}
        return [(name, name) for name in sorted(name for name in names if name)]

    def chosen(self, value: str) -> Condition:
        """Return the partition's jobs."""
        return with_value(partition=value)


class ArchivingFilter(ChoiceFilter):
    """By the way into the archive."""

    title = "archiving"
    parameter_name = "archiving"

    def lookups(self, request: HttpRequest, model_admin: Any) -> Choices:
        """Return the archiving states of finished jobs."""
        return [(word, word) for word in ("waiting", "failed", "archived", "disabled")]

    def chosen(self, value: str) -> Condition:
        """Return the jobs in this archiving state."""
        return by_archiving(value)


class TagFilter(ChoiceFilter):
    """By tag; who may not see all tags is offered those of the newest jobs that it sees."""

    title = "tag"
    parameter_name = "tag"

    def lookups(self, request: HttpRequest, model_admin: Any) -> Choices:
        """Return the first tags by name, and the one asked for."""
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

    def chosen(self, value: str) -> Condition:
        """Return the jobs with this tag."""
        return by_tag(self._tags[value])


class ArrayFilter(ChoiceFilter):
    """By array job: shown only while a link of a job's page has chosen one."""

    title = "array job"
    parameter_name = "array_job_id"

    def lookups(self, request: HttpRequest, model_admin: Any) -> Choices:
        """Return the array in use, so that the page names it and offers to drop it."""
        value = self.value() or ""
        return [(value, value)] if is_whole(value) else []

    def chosen(self, value: str) -> Condition:
        """Return the array's jobs."""
        return with_value(array_job_id=int(value))


class BesideFilter(ChoiceFilter):
    """By a job with which others shared nodes: shown only while a link of its page has chosen it."""

    title = "same nodes and time"
    parameter_name = "beside"

    def lookups(self, request: HttpRequest, model_admin: Any) -> Choices:
        """Return the job in use, if the user sees it."""
        value = self.value() or ""
        jobs = Job.objects.visible_to(request.user).defer("statistics", "meta_data")
        self._job = jobs.filter(pk=int(value)).first() if is_whole(value) else None
        return [(value, f"job {self._job.job_id}")] if self._job else []

    def chosen(self, value: str) -> Condition:
        """Return the jobs of the same cluster; `narrow` adds the rest."""
        assert self._job is not None
        return by_cluster(self._job.cluster)

    def narrow(self, criteria: Criteria) -> None:
        """Ask for the jobs that ran beside it."""
        if self.value() is not None:
            assert self._job is not None
            criteria.add(*beside(self._job))
            criteria.between(until=self._job.stop_time)


class StartFilter(FormFilter):
    """By start time: usual ranges, or from one day to another, both included."""

    title = "start"
    boxes = (("started", ""), ("from", "From"), ("to", "To"))
    kind = "date"
    usual = (
        ("today", ("today", "", "")),
        ("last 24 hours", ("24h", "", "")),
        ("last 7 days", ("7d", "", "")),
        ("last 30 days", ("30d", "", "")),
    )
    is_open = True

    def read(self, criteria: Criteria, *values: str) -> None:
        """Ask for starts in the range."""
        preset, first, last = values
        if preset == "today":
            criteria.between(since=int(timezone.localtime().replace(hour=0, minute=0, second=0).timestamp()))
        elif preset:
            criteria.between(since=int(time.time()) - _SECONDS[preset])
        if first:
            criteria.between(since=int(_day(first).timestamp()))
        if last:
            moment = _day(last)
            criteria.between(until=int((moment + timedelta(days=1) if len(last) == _DATE else moment).timestamp()) - 1)


_SECONDS = {"24h": 86_400, "7d": 7 * 86_400, "30d": 30 * 86_400}
_DATE = len("2026-01-31")


def _day(text: str) -> datetime:
    """Return the beginning of a day, or a time, in the zone of the page."""
    moment = datetime.fromisoformat(text)
    return moment if timezone.is_aware(moment) else timezone.make_aware(moment)


class DurationFilter(FormFilter):
    """By duration, also that of running jobs until now."""

    title = "duration"
    boxes = (("ran_from", "At least"), ("ran_to", "At most"))
    usual = (
        ("up to 2 minutes", ("", "2m")),
        ("2 minutes to 1 hour", ("2m", "1h")),
        ("1 hour to 1 day", ("1h", "1d")),
        ("more than 1 day", ("1d", "")),
    )

    def read(self, criteria: Criteria, *values: str) -> None:
        """Ask for durations in the range."""
        least, most = (_seconds(value) for value in values)
        if least is None and most is None:
            return
        now = int(time.time())
        ended, runs = ~Q(job_state=JobState.RUNNING), Q(job_state=JobState.RUNNING)
        if least is not None:
            ended &= Q(duration__gte=least)
            runs &= Q(start_time__lte=now - least)
        if most is not None:
            ended &= Q(duration__lte=most)
            runs &= Q(start_time__gte=now - most)
        criteria.add(Condition(ended | runs))


def _seconds(text: str) -> int | None:
    """Read '90', '90s', '15m', '2h' or '1d'; no text is None."""
    if not text:
        return None
    found = re.fullmatch(r"([0-9]{1,9})\s*([smhd]?)", text)
    if found is None:
        raise ValueError(text)
    return int(found[1]) * {"m": 60, "h": 3600, "d": 86_400}.get(found[2], 1)


class NodesFilter(FormFilter):
    """By number of nodes."""

    title = "nodes"
    boxes = (("nodes_from", "At least"), ("nodes_to", "At most"))
    kind = "number"
    usual = (("1", ("1", "1")), ("2 to 8", ("2", "8")), ("9 to 32", ("9", "32")), ("more than 32", ("33", "")))

    def read(self, criteria: Criteria, *values: str) -> None:
        """Ask for numbers in the range."""
        for lookup, value in zip(("num_nodes__gte", "num_nodes__lte"), values, strict=True):
            if value:
                if not (value.isascii() and value.isdecimal() and len(value) < 10):
                    raise ValueError(value)
                criteria.add(with_value(**{lookup: int(value)}))


class WhoseFilter(FormFilter):
    """By user and project, in full."""

    title = "user and project"
    boxes = (("user", "User"), ("project", "Project"))
    is_open = True

    def read(self, criteria: Criteria, *values: str) -> None:
        """Ask for the jobs of both."""
        user, project = (value.replace("\0", "") for value in values)
        if user:
            criteria.add(by_user(user))
        if project:
            criteria.add(by_project(project))


FILTERS: tuple[type[ChoiceFilter] | type[FormFilter], ...] = (
    WhoseFilter,
    StateFilter,
    StartFilter,
    ClusterFilter,
    PartitionFilter,
    DurationFilter,
    NodesFilter,
    TagFilter,
    ArchivingFilter,
    ArrayFilter,
    BesideFilter,
)

PARAMETERS = frozenset(name for each in FILTERS for name in each.parameters())
"""All names in the URL."""
