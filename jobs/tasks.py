"""Who works on which job's archive files: claims, leases, retries and edits, all kept in the database.

A job that waits says so itself (finished, monitoringStatus 1). A worker claims it by a row of ArchiveTask, a lease
that it renews while it works; when it dies the lease runs out and another takes the job. An edit of a job that is
archived or being archived counts up `edits` in the edit's own transaction: a claim that ends with another count than
it began with leaves the row, and meta.json is written once more. Whoever changes these rows has locked the job's row
before, so that an edit and a claim cannot pass each other unseen.
"""

import os
import secrets
import socket
from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass
from datetime import timedelta

from django.db import connection, transaction
from django.db.models import DateTimeField, ExpressionWrapper, F, Q
from django.db.models.expressions import Combinable
from django.db.models.functions import Now

from jobs.models import ArchiveTask, Job
from jobs.querysets import JobQuerySet
from jobs.states import MonitoringStatus

# A dead worker's job is free again after LEASE at the latest; a living one renews it several times before.
LEASE = timedelta(seconds=8)
RENEW_EVERY = 2.0  # seconds

# Pauses after failed attempts double from the first to the last; then the job is marked as failed.
_FIRST_PAUSE = timedelta(minutes=1)
_LONGEST_PAUSE = timedelta(hours=6)
_MOST_ATTEMPTS = 12


@dataclass(frozen=True, slots=True)
class Claim:
    """A job that a worker holds; `edits` is how many edits it had when it was taken."""

    row_id: int
    edits: int


def worker_name() -> str:
    """Return a name that no other worker has: host, process, and a random part for a reused process number."""
    return f"{socket.gethostname()}:{os.getpid()}:{secrets.token_hex(3)}"


def _after(pause: timedelta) -> Combinable:
    """Return 'now plus pause' by the database's clock, which all hosts share."""
    return ExpressionWrapper(Now() + pause, output_field=DateTimeField())


def _free(at_once: bool, prefix: str = "") -> Q:  # noqa: FBT001
    free = Q(**{f"{prefix}not_before__lte": Now()})
    return free | Q(**{f"{prefix}worker": ""}) if at_once else free


def _waiting(only: Collection[int] | None, at_once: bool) -> JobQuerySet:  # noqa: FBT001
    free = Q(archive_task=None) | _free(at_once, "archive_task__")
    jobs = Job.objects.awaiting_archive().filter(free)
    return (jobs if only is None else jobs.filter(pk__in=only)).order_by("pk").only("pk")


def _edited(only: Collection[int] | None, at_once: bool) -> JobQuerySet:  # noqa: FBT001
    jobs = Job.objects.archived().filter(_free(at_once, "archive_task__"), archive_task__isnull=False)
    return (jobs if only is None else jobs.filter(pk__in=only)).order_by("pk").only("pk")


def claim(
    worker: str,
    limit: int,
    *,
    only: Collection[int] | None = None,
    but: Collection[int] = (),
    at_once: bool = False,
) -> list[Claim]:
    """Take up to `limit` jobs that are due; workers on other hosts take others meanwhile.

    `only` limits it to these row ids, `but` leaves some out. `at_once` does not wait for the pauses after failures.
    """
    sets = [jobs.exclude(pk__in=but) if but else jobs for jobs in (_edited(only, at_once), _waiting(only, at_once))]
    # First a look without a transaction: an idle worker asks five times a second, and must hold up nobody.
    return _claim(worker, limit, sets) if any(jobs.exists() for jobs in sets) else []


def claim_edit(worker: str, row_id: int) -> list[Claim]:
    """Take an archived job whose meta.json has to follow an edit; nothing where there is none or somebody has it."""
    return _claim(worker, 1, [_edited([row_id], at_once=True)])


def _claim(worker: str, limit: int, sets: Sequence[JobQuerySet]) -> list[Claim]:
    with transaction.atomic():
        row_ids: list[int] = []
        for jobs in sets:
            if len(row_ids) < limit:
                locked = jobs.select_for_update(skip_locked=True, of=("self",))[: limit - len(row_ids)]
                row_ids += [job.pk for job in locked]
        if not row_ids:
            return []
        held = [ArchiveTask(job_id=row_id, worker=worker, not_before=_after(LEASE)) for row_id in row_ids]
        ArchiveTask.objects.bulk_create(
            held, update_conflicts=True, unique_fields=["job"], update_fields=["worker", "not_before"]
        )
        taken = ArchiveTask.objects.filter(pk__in=row_ids).values_list("pk", "edits").order_by("pk")
        return [Claim(row_id, edits) for row_id, edits in taken]


def renew(worker: str) -> None:
    """Keep what a worker holds."""
    ArchiveTask.objects.filter(worker=worker).update(not_before=_after(LEASE))


def release(worker: str) -> None:
    """Give back what a worker holds, for others to take at once."""
    ArchiveTask.objects.filter(worker=worker).update(worker="", not_before=Now())


def finish(worker: str, written: Sequence[tuple[Claim, str]]) -> None:
    """Record that jobs lie in the archive, each with its statistics as JSON text, and drop the claims.

    A job that was edited meanwhile stays due, so that its meta.json follows.
    """
    table = f'"{Job._meta.db_table}"'
    archived = [(MonitoringStatus.ARCHIVED, statistics, claim.row_id) for claim, statistics in written]
    with transaction.atomic():
        with connection.cursor() as cursor:
            cursor.executemany(
                f'UPDATE {table} SET "monitoring_status" = %s, "statistics" = %s'  # noqa: S608  a table's name
                ' WHERE "id" = %s AND "monitoring_status" = 1',
                archived,
            )
        by_edits: dict[int, list[int]] = {}
        for done, _ in written:
            by_edits.setdefault(done.edits, []).append(done.row_id)
        for edits, row_ids in by_edits.items():
            ArchiveTask.objects.filter(pk__in=row_ids, worker=worker, edits=edits)._raw_delete(using="default")
        left = ArchiveTask.objects.filter(pk__in=[done.row_id for done, _ in written], worker=worker)
        left.update(worker="", not_before=Now(), attempts=0, error="")


def fail(worker: str, claim: Claim, reason: str, *, permanent: bool) -> None:
    """Record a failed attempt: the job is tried again after a growing pause, or marked as failed for good."""
    with transaction.atomic():
        job = Job.objects.select_for_update().filter(pk=claim.row_id).only("pk").first()
        task = ArchiveTask.objects.filter(pk=claim.row_id, worker=worker).first()
        if job is None or task is None:
            return
        pause = min(_FIRST_PAUSE * 2**task.attempts, _LONGEST_PAUSE)
        if permanent or task.attempts + 1 >= _MOST_ATTEMPTS:
            waiting = Job.objects.awaiting_archive().filter(pk=claim.row_id)
            waiting.update(monitoring_status=MonitoringStatus.FAILED)
        ArchiveTask.objects.filter(pk=task.pk).update(
            worker="", not_before=_after(pause), attempts=F("attempts") + 1, error=reason
        )


def retry_failed(*, only: Iterable[int] | None = None) -> int:
    """Let jobs whose archiving failed for good wait again; return how many."""
    failed = Job.objects.filter(monitoring_status=MonitoringStatus.FAILED)
    if only is not None:
        failed = failed.filter(pk__in=list(only))
    with transaction.atomic():
        row_ids = list(failed.select_for_update().values_list("pk", flat=True))
        ArchiveTask.objects.filter(pk__in=row_ids).update(attempts=0, worker="", not_before=Now())
        return Job.objects.filter(pk__in=row_ids).update(monitoring_status=MonitoringStatus.ARCHIVING)


def record_edit(row_ids: Sequence[int]) -> None:
    """Note that jobs changed, inside the transaction that changes them and after it locked their rows.

    Only what is archived or being archived needs it: a job that still waits is written with the edit anyway.
    """
    ArchiveTask.objects.filter(pk__in=row_ids).update(edits=F("edits") + 1)
    archived = Job.objects.archived().filter(pk__in=row_ids, archive_task=None).values_list("pk", flat=True)
    ArchiveTask.objects.bulk_create(
        [ArchiveTask(job_id=row_id, not_before=Now(), edits=1) for row_id in archived], ignore_conflicts=True
    )
