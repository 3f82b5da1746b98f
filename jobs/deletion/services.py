"""Delete jobs from the database, one or many; the archive keeps its files.

The deletion of everything before a time is in jobs/deletion/steps.py.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

from django.contrib.admin.models import DELETION
from django.db import transaction
from django.db.models import Count, Q

from jobs import history
from jobs.exceptions import JobNotFoundError, described
from jobs.history import Actor
from jobs.ledger import backlog
from jobs.ledger.books import keep_usage
from jobs.models import ArchiveTask, Job, JobTag
from jobs.querysets import AWAITS_FIRST_ARCHIVE, JobQuerySet
from jobs.states import JobState
from jobs.text import check_time

# Jobs per transaction of a large deletion: small enough that a start waits only some milliseconds for one.
_DELETE_BATCH = 500


@dataclass(frozen=True, slots=True)
class Group:
    """The jobs of one cluster and state."""

    cluster: str
    job_state: str
    count: int


@dataclass(frozen=True, slots=True)
class Survey:
    """The jobs that a deletion would delete, by cluster and state, and the losses that the user is warned of.

    `running` still run: their stop will find no job. `waiting` wait for the archive and will never be in it.
    """

    groups: list[Group]
    running: int
    waiting: int

    @property
    def total(self) -> int:
        """Return the number of jobs."""
        return sum(group.count for group in self.groups)


def survey(jobs: JobQuerySet) -> Survey:
    """Count jobs before they are deleted, in one look at them."""
    waiting = Count("pk", filter=Q(AWAITS_FIRST_ARCHIVE))
    rows = list(
        jobs.order_by("cluster", "job_state")
        .values_list("cluster", "job_state")
        .annotate(count=Count("pk"), waiting=waiting)
    )
    return Survey(
        groups=[Group(cluster, state, count) for cluster, state, count, _ in rows],
        running=sum(count for _, state, count, _ in rows if state == JobState.RUNNING),
        waiting=sum(row[-1] for row in rows),
    )


def delete_job(
    *,
    row_id: int | None = None,
    job_id: int | None = None,
    cluster: str | None = None,
    start_time: int | None = None,
    actor: Actor | None = None,
) -> int:
    """Delete one job from the database and return its row id; the archive keeps its files.

    Of several that match, the newest start. Raises JobNotFoundError, also for the second of two calls at once, and
    InvalidJobError if there is no such job and the start cannot be one.
    """
    given = {"pk": row_id, "job_id": job_id, "cluster": cluster or None, "start_time": start_time}
    jobs = Job.objects.with_keys(**given)
    with transaction.atomic():
        found = jobs.values_list("pk", flat=True).first()
        if found is None or not _delete_rows([found], actor):
            check_time("startTime", start_time or 0)
            raise JobNotFoundError(f"finding job failed: {described(given)}")
    return found


def delete_jobs(*, row_ids: Sequence[int], actor: Actor | None = None) -> int:
    """Delete a selection of jobs from the database; return how many there were."""
    deleted = 0
    for begin in range(0, len(row_ids), _DELETE_BATCH):
        with transaction.atomic():
            deleted += _delete_rows(row_ids[begin : begin + _DELETE_BATCH], actor)
    return deleted


class DeletedBatch(NamedTuple):
    """The number of jobs that a batch deleted, the start of its last one, and whether no more are to come."""

    deleted: int
    reached: int
    is_last: bool


def delete_next(jobs: JobQuerySet, *, since: int) -> DeletedBatch:
    """Delete the oldest of these jobs, one batch in one transaction.

    `since`: the start that the batch before reached, so that jobs that stay are passed over once and not by every
    batch.
    """
    with transaction.atomic():
        found = jobs.filter(start_time__gte=since).order_by("start_time", "pk").values_list("pk", "start_time")
        batch = list(found[:_DELETE_BATCH])
        count = _delete_rows([row_id for row_id, _ in batch])
    return DeletedBatch(count, batch[-1][1] if batch else since, len(batch) < _DELETE_BATCH)


def _delete_rows(row_ids: Sequence[int], actor: Actor | None = None) -> int:
    """Delete jobs with all that hangs on them, inside the caller's transaction; tags and usage stay."""
    locked = list(Job.objects.select_for_update().filter(pk__in=row_ids).order_by("pk").values_list("pk", flat=True))
    if not locked:  # another call was faster
        return 0
    if actor:
        history.record(actor, locked, "Deleted from the database; the archive keeps its files.", flag=DELETION)
    backlog.book_ended(locked)
    keep_usage(locked)
    JobTag.objects.filter(job_id__in=locked)._raw_delete(using="default")
    ArchiveTask.objects.filter(job_id__in=locked)._raw_delete(using="default")
    deleted: int = Job.objects.filter(pk__in=locked)._raw_delete(using="default")
    return deleted
