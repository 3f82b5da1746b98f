"""Delete jobs from the database: one, many, or all before a time; the archive keeps its files."""

from collections.abc import Callable, Sequence
from typing import NamedTuple

from django.contrib.admin.models import DELETION
from django.db import transaction
from django.db.models import Exists, OuterRef

from jobs import history
from jobs.exceptions import JobNotFoundError, described
from jobs.history import Actor
from jobs.models import ArchiveTask, Job, JobTag
from jobs.querysets import JobQuerySet

# Jobs per transaction of a large deletion: small enough that a start waits only some milliseconds for one.
_DELETE_BATCH = 500


def delete_job(
    *,
    row_id: int | None = None,
    job_id: int | None = None,
    cluster: str | None = None,
    start_time: int | None = None,
    actor: Actor | None = None,
) -> int:
    """Delete one job from the database and return its row id; the archive keeps its files.

    Of several that match, the newest start. Raises JobNotFoundError, also for the second of two calls at once.
    """
    given = {"pk": row_id, "job_id": job_id, "cluster": cluster or None, "start_time": start_time}
    jobs = Job.objects.filter(**{key: value for key, value in given.items() if value is not None})
    with transaction.atomic():
        found = jobs.order_by("-start_time").values_list("pk", flat=True).first()
        if found is None or not _delete_rows([found], actor):
            raise JobNotFoundError(f"finding job failed: {described(given)}")
    return found


def delete_jobs(*, row_ids: Sequence[int], actor: Actor | None = None) -> int:
    """Delete a selection of jobs from the database; return how many there were."""
    deleted = 0
    for begin in range(0, len(row_ids), _DELETE_BATCH):
        with transaction.atomic():
            deleted += _delete_rows(row_ids[begin : begin + _DELETE_BATCH], actor)
    return deleted


def jobs_before(*, start_time: int, omit_tagged: bool = False, cluster: str | None = None) -> JobQuerySet:
    """Return the jobs whose start lies before `start_time` (epoch seconds), as a JobQuerySet."""
    jobs = Job.objects.filter(start_time__lt=start_time)
    if cluster:
        jobs = jobs.filter(cluster=cluster)
    if omit_tagged:
        jobs = jobs.filter(~Exists(JobTag.objects.filter(job_id=OuterRef("pk"))))
    return jobs


class DeletedBatch(NamedTuple):
    """How many jobs a batch deleted, the start of its last one, and whether no more are to come."""

    deleted: int
    reached: int
    is_last: bool


def delete_next_before(
    *, start_time: int, since: int = 0, omit_tagged: bool = False, cluster: str | None = None
) -> DeletedBatch:
    """Delete the oldest of the jobs that started before a time, one batch of them in one transaction.

    `since`: what the batch before reached; so jobs that stay are passed over once and not by every batch.
    """
    jobs = jobs_before(start_time=start_time, omit_tagged=omit_tagged, cluster=cluster).filter(start_time__gte=since)
    with transaction.atomic():
        batch = list(jobs.order_by("start_time", "pk").values_list("pk", "start_time")[:_DELETE_BATCH])
        count = _delete_rows([row_id for row_id, _ in batch])
    return DeletedBatch(count, batch[-1][1] if batch else since, len(batch) < _DELETE_BATCH)


def delete_jobs_before(
    *,
    start_time: int,
    omit_tagged: bool = False,
    cluster: str | None = None,
    progress: Callable[[int], None] = lambda count: None,
) -> int:
    """Delete jobs that started before a time, oldest first; return how many.

    Each batch is a transaction of its own: memory stays small, other writers get their turn in between, and what was
    deleted stays so when the call is interrupted. `progress` is told the size of each batch.
    """
    deleted = since = 0
    while True:
        batch = delete_next_before(start_time=start_time, since=since, omit_tagged=omit_tagged, cluster=cluster)
        deleted, since = deleted + batch.deleted, batch.reached
        progress(batch.deleted)
        if batch.is_last:
            return deleted


def _delete_rows(row_ids: Sequence[int], actor: Actor | None = None) -> int:
    """Delete jobs with what hangs on them, inside the caller's transaction; tags themselves stay."""
    locked = list(Job.objects.select_for_update().filter(pk__in=row_ids).order_by("pk").values_list("pk", flat=True))
    if not locked:  # somebody else was faster
        return 0
    if actor:
        history.record(actor, locked, "Deleted from the database; the archive keeps its files.", flag=DELETION)
    JobTag.objects.filter(job_id__in=locked)._raw_delete(using="default")
    ArchiveTask.objects.filter(job_id__in=locked)._raw_delete(using="default")
    deleted: int = Job.objects.filter(pk__in=locked)._raw_delete(using="default")
    return deleted
