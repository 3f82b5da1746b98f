"""The queue of the archive's work on jobs: claims, leases, retries and edits, all kept in the database.

The job's own row records that it waits (finished, monitoringStatus 1). A worker claims it with a row of ArchiveTask, a
lease that it renews while it works. If it dies, the lease runs out and another worker takes the job. An edit of a job
that is archived or being archived increments `edits` in the transaction of the edit: if the count has changed when a
claim ends, the row stays and meta.json is written once more. The job's row is locked before its task is changed, so
that an edit and a claim cannot miss each other.

Words: a task is *claimed* by one worker, *released* for others to claim at once, *failed* when an attempt did, and
*given up* when no attempt is to follow. docs/architecture.md has the picture.
"""

import contextlib
import logging
import os
import secrets
import socket
import threading
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import timedelta
from typing import Any, NamedTuple

from django.db import Error, connection, transaction
from django.db.models import DateTimeField, ExpressionWrapper, F, Value
from django.db.models.expressions import Combinable
from django.db.models.functions import Coalesce, Now

from jobs.archiving import trouble
from jobs.ledger.books import ENTRY_COLUMNS, Entry, book
from jobs.ledger.footprint import Footprint
from jobs.models import ArchiveTask, Job
from jobs.querysets import ArchiveTaskQuerySet
from jobs.states import JobState, MonitoringStatus, TaskPurpose
from jobs.tag_rules.applying import tag_archived

logger = logging.getLogger(__name__)

# A dead worker's job is free again after LEASE at the latest; a living one renews it several times before.
LEASE = timedelta(seconds=8)
RENEW_EVERY = 2.0  # seconds

# Pauses after failed attempts double from the first to the last; then the job is marked as failed.
_FIRST_PAUSE = timedelta(minutes=1)
_LONGEST_PAUSE = timedelta(hours=6)
_MOST_ATTEMPTS = 12
_DEATHS_WITHOUT_PAUSE = 3
_FREED_AT_ONCE = 100


@dataclass(frozen=True, slots=True)
class Claim:
    """A job that a worker has claimed, with its edits and failed attempts at that moment."""

    row_id: int
    edits: int
    attempts: int = 0


class Written(NamedTuple):
    """What was written of a job: its statistics as JSON text and its footprint, which is None if only meta.json was."""

    statistics: str
    footprint: Footprint | None = Footprint()


def worker_name() -> str:
    """Return a name that no other worker has: host, process, and a random part for a reused process number."""
    return f"{socket.gethostname()}:{os.getpid()}:{secrets.token_hex(3)}"


def _after(pause: timedelta) -> Combinable:
    """Return 'now plus pause' by the database's clock, which all hosts share."""
    return ExpressionWrapper(Now() + pause, output_field=DateTimeField())


# The database's clock, and the end of a lease that begins now, in the form in which a DateTimeField is stored.
_NOW = {"sqlite": "STRFTIME('%%Y-%%m-%%d %%H:%%M:%%f', 'NOW')", "postgresql": "STATEMENT_TIMESTAMP()"}
_LEASE_END = {
    "sqlite": f"STRFTIME('%%Y-%%m-%%d %%H:%%M:%%f', 'NOW', '+{LEASE.seconds} seconds')",
    "postgresql": f"STATEMENT_TIMESTAMP() + INTERVAL '{LEASE.seconds} seconds'",
}
_JOBS = f'"{Job._meta.db_table}"'
_TASKS = f'"{ArchiveTask._meta.db_table}"'
_ENTRY = ", ".join(f'"{name}"' for name in ENTRY_COLUMNS)

# The named states of jobs/querysets.py in SQL, with constants, so that the planner can use the partial index
# jobs_to_archive: its condition is AWAITS_ARCHIVE.
_RUNNING = f"""j."job_state" = '{JobState.RUNNING.value}'"""
_AWAITS_ARCHIVE = f"""j."monitoring_status" = {MonitoringStatus.ARCHIVING.value} AND NOT ({_RUNNING})"""
_ARCHIVED = f"""j."monitoring_status" = {MonitoringStatus.ARCHIVED.value}"""
_IDLE = f"""NOT (j."monitoring_status" = {MonitoringStatus.ARCHIVING.value}) AND NOT ({_RUNNING})"""  # not busy()
_EDITED, _TRIED, _UNTRIED = 't."edits" > 0', 't."attempts" > 0', 't."attempts" = 0'

# Waiting jobs without and with a failed attempt, archived jobs whose meta.json has to follow an edit, and jobs with
# nothing to write. The queries for tried and edited jobs begin with the tasks, because there are few: the plus keeps
# SQLite, which has no statistics, from scanning all jobs and looking up the task of each.
_UNTRIED_JOBS = f"""FROM {_JOBS} j LEFT JOIN {_TASKS} t ON t."job_id" = j."id"
    WHERE {_AWAITS_ARCHIVE} AND j."cluster" = %s AND (t."job_id" IS NULL OR ({_UNTRIED} AND {{free}}))"""
_TRIED_JOBS = f"""FROM {_TASKS} t JOIN {_JOBS} j ON j."id" = +t."job_id"
    WHERE {_AWAITS_ARCHIVE} AND j."cluster" = %s AND {_TRIED} AND {{free}}"""
_EDITED_JOBS = f"""FROM {_TASKS} t JOIN {_JOBS} j ON j."id" = +t."job_id"
    WHERE {_ARCHIVED} AND {_EDITED} AND {{free}}"""
_IDLE_JOBS = f"""FROM {_JOBS} j LEFT JOIN {_TASKS} t ON t."job_id" = j."id"
    WHERE {_IDLE} AND (t."job_id" IS NULL OR {{free}})"""

# A job that has just stopped waits and has no task.
_HAS_STOPPED = f"""
    SELECT 1 FROM {_JOBS} j WHERE {_AWAITS_ARCHIVE}
    AND NOT EXISTS (SELECT 1 FROM {_TASKS} t WHERE t."job_id" = j."id") LIMIT 1
"""

# One index look-up per cluster, however many of its jobs wait.
_WAITING_CLUSTERS = f"""
    WITH RECURSIVE next(cluster) AS (
        SELECT (SELECT MIN(j."cluster") FROM {_JOBS} j WHERE {_AWAITS_ARCHIVE})
        UNION ALL
        SELECT (SELECT MIN(j."cluster") FROM {_JOBS} j WHERE {_AWAITS_ARCHIVE} AND j."cluster" > next.cluster)
        FROM next WHERE next.cluster IS NOT NULL
    ) SELECT cluster FROM next WHERE cluster IS NOT NULL
"""


def has_stopped() -> bool:
    """Return whether a job waits that nobody has claimed or tried yet: the cheapest look for work."""
    with connection.cursor() as cursor:
        cursor.execute(_HAS_STOPPED)
        return cursor.fetchone() is not None


def waiting_clusters() -> list[str]:
    """Return the clusters with jobs that wait for the archive, claimed ones included."""
    with connection.cursor() as cursor:
        cursor.execute(_WAITING_CLUSTERS)
        return [cluster for (cluster,) in cursor.fetchall()]


def claim_waiting(
    worker: str,
    cluster: str,
    limit: int,
    *,
    only: Collection[int] | None = None,
    newest: bool = False,
    retries: int | None = None,
) -> list[Claim]:
    """Claim up to `limit` finished jobs of a cluster that are due; workers on other hosts claim others meanwhile.

    `only` limits it to these row ids. Untried jobs come first, then at most `retries` (None: any number) jobs that
    failed before; both oldest first, or `newest` first.
    """
    claims = _claim(worker, limit, _UNTRIED_JOBS, [cluster], only, newest=newest)
    left = limit - len(claims) if retries is None else min(limit - len(claims), retries)
    if left > 0:
        claims += _claim(worker, left, _TRIED_JOBS, [cluster], only, row_id='t."job_id"', newest=newest)
    return claims


def claim_edited(worker: str, limit: int, *, only: Collection[int] | None = None, newest: bool = False) -> list[Claim]:
    """Claim up to `limit` archived jobs whose meta.json has to follow an edit."""
    return _claim(worker, limit, _EDITED_JOBS, [], only, row_id='t."job_id"', newest=newest)


def claim_for_removal(worker: str, row_ids: Collection[int]) -> list[Claim]:
    """Claim these jobs to take them out of the archive, except those that run or wait."""
    return _claim(worker, len(row_ids), _IDLE_JOBS, [], row_ids, purpose=TaskPurpose.REMOVE)


def _free(table: str) -> str:
    """Return the condition that a task is unclaimed and that the pause after a failure is over."""
    return f"""{table}."worker" = '' AND {table}."not_before" <= {_NOW[connection.vendor]}"""


def _claim(
    worker: str,
    limit: int,
    source: str,
    parameters: list[Any],
    only: Collection[int] | None,
    *,
    row_id: str = 'j."id"',
    newest: bool = False,
    purpose: TaskPurpose = TaskPurpose.WRITE,
) -> list[Claim]:
    """Claim jobs in one statement, which delays the writers of the API by a fraction of a millisecond.

    It runs only if a query without a write lock finds work, since an idle worker asks five times a second. The last
    condition is for two workers at once: it leaves out jobs that the other claimed after this statement began.
    `row_id` is the id column of the table that `source` begins with, so that the oldest or `newest` jobs are found
    without sorting all of them.
    """
    source = source.format(free=_free("t"))
    if only is not None:
        source += f""" AND {row_id} IN ({", ".join(["%s"] * len(only)) or "NULL"})"""
        parameters = [*parameters, *only]
    order = f"{row_id} DESC" if newest else row_id
    skip = "FOR UPDATE OF j SKIP LOCKED" if connection.vendor == "postgresql" else ""
    sql = f"""
        INSERT INTO {_TASKS} ("job_id", "worker", "purpose", "not_before", "edits", "attempts", "error")
        SELECT j."id", %s, %s, {_LEASE_END[connection.vendor]}, 0, 0, '' {source} ORDER BY {order} LIMIT %s {skip}
        ON CONFLICT ("job_id") DO UPDATE SET
            "worker" = excluded."worker", "purpose" = excluded."purpose", "not_before" = excluded."not_before"
        WHERE {_free(_TASKS)} RETURNING "job_id", "edits", "attempts"
    """
    with connection.cursor() as cursor:
        cursor.execute(f"SELECT 1 {source} LIMIT 1", parameters)
        if not cursor.fetchall():
            return []
        cursor.execute(sql, [worker, purpose.value, *parameters, limit])
        return [Claim(*row) for row in cursor.fetchall()]


def reclaim_expired() -> None:
    """Free the jobs whose leases have ended: at once, but after several deaths with a pause as after a failure.

    The pause keeps a job that kills each worker that claims it (one too large for the memory, say) from delaying the
    others. A claim for removal was not an attempt to write: it is dropped, and the job is as it was before.
    """
    if not ArchiveTask.objects.exists():  # nearly always, if nobody works
        return
    if (paused := ArchiveTask.objects.paused_too_long(2 * _LONGEST_PAUSE)).exists():
        paused.update(not_before=Now())
    expired = ArchiveTask.objects.expired()
    tasks = list(expired[:_FREED_AT_ONCE])
    if any(task.purpose == TaskPurpose.REMOVE for task in tasks):
        _drop_claims(expired.for_removal())
    for task in tasks:
        if task.purpose == TaskPurpose.WRITE:
            reason = f"the worker {task.worker} did not live to finish it"
            fail(task.worker, Claim(task.pk, task.edits), reason, killed=True, expired=True)


def _drop_claims(claims: ArchiveTaskQuerySet) -> None:
    """End claims as if they had not been made; delete rows that hold nothing but the claim."""
    claims.blank()._raw_delete(using="default")
    claims.update(worker="", not_before=Now())


def clear_backoff(*, only: Collection[int] | None = None) -> None:
    """End the pauses after failed attempts, for all jobs or for `only`; claims stay."""
    paused = ArchiveTask.objects.unclaimed()
    (paused if only is None else paused.filter(pk__in=only)).update(not_before=Now())


def renew(worker: str) -> None:
    """Renew the leases of all jobs that a worker has claimed."""
    ArchiveTask.objects.claimed_by(worker).update(not_before=_after(LEASE))


def release(worker: str, *, only: Collection[int] | None = None, but: Collection[int] = ()) -> None:
    """Release a worker's claims, all or `only` these, `but` not those, so that others can claim the jobs at once."""
    claimed = ArchiveTask.objects.claimed_by(worker).exclude(pk__in=but)
    (claimed if only is None else claimed.filter(pk__in=only)).update(worker="", not_before=Now())


@contextlib.contextmanager
def renewing(worker: str, has_claims: Callable[[], object]) -> Iterator[None]:
    """Renew a worker's leases from a thread of its own, whenever `has_claims` is true."""
    finished = threading.Event()

    def renew_until_finished() -> None:
        while not finished.wait(RENEW_EVERY):
            if has_claims():
                try:
                    renew(worker)
                except Error as error:
                    trouble.log_away(logger, error)
                    connection.close()
        connection.close()

    renewal = threading.Thread(target=renew_until_finished, name="lease", daemon=True)
    renewal.start()
    try:
        yield
    finally:
        finished.set()
        renewal.join()


def finish(worker: str, written: Sequence[tuple[Claim, Written]]) -> None:
    """Record that jobs are in the archive, with their statistics, book them, tag them by rules, and drop the claims.

    A job that was edited meanwhile, or that has got a tag, stays due, so that its meta.json follows.
    """
    by_statistics: dict[str, list[int]] = {}
    footprints: dict[int, Footprint] = {}
    for done, of_job in written:
        if of_job.footprint is not None:
            by_statistics.setdefault(of_job.statistics, []).append(done.row_id)
            footprints[done.row_id] = of_job.footprint
    entries: list[Entry] = []
    claims = [value for done, _ in written for value in (done.row_id, done.edits)]
    with transaction.atomic(), connection.cursor() as cursor:
        for statistics, row_ids in by_statistics.items():
            places = ", ".join(["%s"] * len(row_ids))
            cursor.execute(
                f"""UPDATE {_JOBS} SET "monitoring_status" = {MonitoringStatus.ARCHIVED.value}, "statistics" = %s,
                "is_booked" = TRUE
                WHERE "id" IN ({places}) AND "monitoring_status" = {MonitoringStatus.ARCHIVING.value}
                RETURNING {_ENTRY}""",
                [statistics, *row_ids],
            )
            entries += [Entry.of(values, footprints[values[0]]) for values in cursor.fetchall()]
        places = ", ".join(["(%s, %s)"] * len(written))
        cursor.execute(
            f"""DELETE FROM {_TASKS} WHERE "worker" = %s AND ("job_id", "edits") IN (VALUES {places})""",
            [worker, *claims],
        )
        if cursor.rowcount < len(written):
            left = ArchiveTask.objects.claimed_by(worker).filter(pk__in=[done.row_id for done, _ in written])
            left.update(worker="", not_before=Now(), attempts=0, error="")
        if entries:
            book(entries)
            if tagged := tag_archived([entry.row_id for entry in entries]):
                record_edit(tagged)


def fail(
    worker: str,
    claim: Claim,
    reason: str,
    *,
    permanent: bool = False,
    of_source: bool = False,
    killed: bool = False,
    expired: bool = False,
) -> None:
    """Record a failed attempt: the job is tried again after a growing pause, or given up.

    `permanent`: no later attempt can succeed. `of_source`: the metric source was the reason. `killed`: the worker or
    one of its processes was, by this job or by anything else; the first few times that causes no pause. `expired`: only
    if the lease has ended, too.
    """
    with transaction.atomic():
        job = Job.objects.select_for_update().filter(pk=claim.row_id).only("pk").first()
        claimed = ArchiveTask.objects.claimed_by(worker).filter(pk=claim.row_id)
        task = (claimed.expired() if expired else claimed).first()
        if job is None or task is None:
            return
        if permanent or task.attempts + 1 >= _MOST_ATTEMPTS:
            _give_up(claim.row_id)
        is_free = killed and task.attempts < _DEATHS_WITHOUT_PAUSE
        ArchiveTask.objects.filter(pk=task.pk).update(
            worker="",
            not_before=Now() if is_free else _after(_pause(task.attempts, killed=killed)),
            attempts=F("attempts") + 1,
            error=reason,
            of_source=of_source,
        )


def _pause(failed_before: int, *, killed: bool) -> timedelta:
    """Return the pause after a failure, by the number of earlier ones.

    Jobs that were killed together come back apart: otherwise one that kills its worker would take the same ones with it
    each time.
    """
    doublings = failed_before - (_DEATHS_WITHOUT_PAUSE if killed else 0)
    pause: timedelta = min(_FIRST_PAUSE * 2**doublings, _LONGEST_PAUSE)
    return pause * (1 + secrets.randbelow(100) / 200) if killed else pause


def _give_up(row_id: int) -> None:
    """End a job's wait, in the caller's transaction: mark it as failed, or as archived if the archive had it before.

    An edit that meta.json has yet to follow is never given up.
    """
    job = Job.objects.filter(pk=row_id)
    job.awaiting_rewrite().update(monitoring_status=MonitoringStatus.ARCHIVED)
    job.awaiting_first_archive().update(monitoring_status=MonitoringStatus.FAILED)


def retire(worker: str, row_ids: Collection[int]) -> dict[int, int]:
    """Record that the archive no longer has these jobs (monitoringStatus 0); no edit is written to it from then on.

    Return the previous monitoringStatus by row id, for `reinstate`. A job is left out, and stays as it is, if its claim
    was lost or its meta.json has yet to follow an edit.
    """
    with transaction.atomic():
        jobs = Job.objects.select_for_update().filter(pk__in=row_ids).order_by("pk")
        before = dict(jobs.values_list("pk", "monitoring_status"))
        claimed = ArchiveTask.objects.claimed_by(worker).filter(pk__in=before).values_list("pk", "edits")
        retired = {
            row_id: before[row_id]
            for row_id, edits in claimed
            if edits == 0 or before[row_id] != MonitoringStatus.ARCHIVED
        }
        Job.objects.archived().filter(pk__in=retired).update(monitoring_status=MonitoringStatus.DISABLED)
    return retired


def reinstate(retired: Mapping[int, int]) -> None:
    """Undo `retire` for jobs whose files could not be taken out after all."""
    archived = [row_id for row_id, status in retired.items() if status == MonitoringStatus.ARCHIVED]
    Job.objects.filter(pk__in=archived).update(monitoring_status=MonitoringStatus.ARCHIVED)


def end_removal(worker: str, removed: Collection[int]) -> None:
    """End a worker's claims for removal; delete the tasks of the jobs that it removed from the archive."""
    claimed = ArchiveTask.objects.claimed_by(worker)
    claimed.filter(pk__in=removed)._raw_delete(using="default")
    _drop_claims(claimed)


def retry_failed(*, only: Iterable[int] | None = None) -> int:
    """Let jobs that were given up wait again; return how many."""
    given_up = Job.objects.given_up()
    if only is not None:
        given_up = given_up.filter(pk__in=list(only))
    with transaction.atomic():
        row_ids = list(given_up.select_for_update().values_list("pk", flat=True))
        ArchiveTask.objects.filter(pk__in=row_ids).update(attempts=0, worker="", not_before=Now())
        return Job.objects.filter(pk__in=row_ids).update(monitoring_status=MonitoringStatus.ARCHIVING)


def write_again(row_ids: Sequence[int]) -> None:
    """Let archived, unclaimed jobs wait to be rewritten, inside the transaction that locked their rows.

    Their statistics distinguish them from jobs that wait for the first time (see AWAITS_REWRITE): files in the archive
    must not be replaced by ones with fewer samples.
    """
    ArchiveTask.objects.filter(pk__in=row_ids).update(attempts=0, error="", not_before=Now())
    jobs = Job.objects.archived().filter(pk__in=row_ids)
    jobs.update(monitoring_status=MonitoringStatus.ARCHIVING, statistics=Coalesce("statistics", Value("{}")))


def record_edit(row_ids: Sequence[int]) -> None:
    """Record that jobs were edited, inside the transaction that changes them and after it has locked their rows.

    Only jobs in the archive and claimed ones need it: a job that waits for the first time is written with the edit
    anyway. One that waits to be rewritten may end up keeping its files.
    """
    ArchiveTask.objects.filter(pk__in=row_ids).update(edits=F("edits") + 1)
    clear_backoff(only=row_ids)
    without_task = Job.objects.in_archive().filter(pk__in=row_ids, archive_task=None)
    ArchiveTask.objects.bulk_create(
        [ArchiveTask(job_id=row_id, not_before=Now(), edits=1) for row_id in without_task.values_list("pk", flat=True)],
        ignore_conflicts=True,
    )
