"""Who works on which job's archive files: claims, leases, retries and edits, all kept in the database.

A job that waits says so itself (finished, monitoringStatus 1). A worker claims it by a row of ArchiveTask, a lease
that it renews while it works; when it dies the lease runs out and another takes the job. An edit of a job that is
archived or being archived counts up `edits` in the edit's own transaction: a claim that ends with another count than
it began with leaves the row, and meta.json is written once more. Whoever changes these rows has locked the job's row
before, so that an edit and a claim cannot pass each other unseen.
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
from typing import Any

from django.db import Error, connection, transaction
from django.db.models import DateTimeField, ExpressionWrapper, F, Q, Value
from django.db.models.expressions import Combinable
from django.db.models.functions import Coalesce, Now

from jobs.models import ArchiveTask, Job
from jobs.states import MonitoringStatus

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
    """A job that a worker holds; `edits` is how many edits it had when it was taken, `attempts` how many had failed."""

    row_id: int
    edits: int
    attempts: int = 0


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

# Jobs that wait and were not tried, those that were, and archived ones whose meta.json has to follow an edit. The first
# names the terms of the partial index jobs_to_archive, as constants. The others begin with the tasks, of which there
# are few: the plus keeps SQLite, which has no statistics, from going through all jobs and looking for the task of each.
_WAITS = """j."monitoring_status" = 1 AND NOT (j."job_state" = 'running')"""
_UNTRIED = f"""FROM {_JOBS} j LEFT JOIN {_TASKS} t ON t."job_id" = j."id"
    WHERE {_WAITS} AND j."cluster" = %s AND (t."job_id" IS NULL OR (t."attempts" = 0 AND {{free}}))"""
_TRIED = f"""FROM {_TASKS} t JOIN {_JOBS} j ON j."id" = +t."job_id"
    WHERE {_WAITS} AND j."cluster" = %s AND t."attempts" > 0 AND {{free}}"""
_EDITED = f"""FROM {_TASKS} t JOIN {_JOBS} j ON j."id" = +t."job_id"
    WHERE j."monitoring_status" = 3 AND t."edits" > 0 AND {{free}}"""

# Jobs for which nothing is to be written any more. A claim of one has no edit: when its holder dies, no worker takes it
# for an edit that meta.json has to follow.
_SETTLED = f"""FROM {_JOBS} j LEFT JOIN {_TASKS} t ON t."job_id" = j."id"
    WHERE NOT (j."monitoring_status" = 1) AND NOT (j."job_state" = 'running') AND (t."job_id" IS NULL OR {{free}})"""

# Each name is one look into the index, however many jobs of that cluster wait.
_WAITING_CLUSTERS = f"""
    WITH RECURSIVE next(cluster) AS (
        SELECT (SELECT MIN(j."cluster") FROM {_JOBS} j WHERE {_WAITS})
        UNION ALL
        SELECT (SELECT MIN(j."cluster") FROM {_JOBS} j WHERE {_WAITS} AND j."cluster" > next.cluster)
        FROM next WHERE next.cluster IS NOT NULL
    ) SELECT cluster FROM next WHERE cluster IS NOT NULL
"""


def waiting_clusters() -> list[str]:
    """Return the clusters that have jobs which wait, those included that somebody holds."""
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
    """Take up to `limit` finished jobs of a cluster that are due; workers on other hosts take others meanwhile.

    `only`: of these row ids. Untried jobs come first, then at most `retries` (None: any number) of those that failed
    before; of both the oldest, or the `newest`, first.
    """
    claims = _claim(worker, limit, _UNTRIED, [cluster], only, newest=newest)
    left = limit - len(claims) if retries is None else min(limit - len(claims), retries)
    if left > 0:
        claims += _claim(worker, left, _TRIED, [cluster], only, row_id='t."job_id"', newest=newest)
    return claims


def claim_edited(worker: str, limit: int, *, only: Collection[int] | None = None, newest: bool = False) -> list[Claim]:
    """Take up to `limit` archived jobs whose meta.json has to follow an edit and that nobody holds."""
    return _claim(worker, limit, _EDITED, [], only, row_id='t."job_id"', newest=newest)


def claim_settled(worker: str, row_ids: Collection[int]) -> list[Claim]:
    """Take those of these jobs that neither run nor wait and that nobody has, to take them out of the archive."""
    return _claim(worker, len(row_ids), _SETTLED, [], row_ids)


def _free(table: str) -> str:
    """Return the condition that nobody holds a task and that the pause after a failure is over."""
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
) -> list[Claim]:
    """Take jobs in one statement, which holds up the writers of the API for a fraction of a millisecond.

    It is asked only where there is work, without a write lock, since an idle worker asks five times a second. The last
    condition is for two workers at once: what the other took after this statement began is left to it. `row_id` is the
    column of the table that the statement begins with, so that the oldest or `newest` are found without sorting all.
    """
    source = source.format(free=_free("t"))
    if only is not None:
        source += f""" AND {row_id} IN ({", ".join(["%s"] * len(only)) or "NULL"})"""
        parameters = [*parameters, *only]
    order = f"{row_id} DESC" if newest else row_id
    skip = "FOR UPDATE OF j SKIP LOCKED" if connection.vendor == "postgresql" else ""
    sql = f"""
        INSERT INTO {_TASKS} ("job_id", "worker", "not_before", "edits", "attempts", "error")
        SELECT j."id", %s, {_LEASE_END[connection.vendor]}, 0, 0, '' {source} ORDER BY {order} LIMIT %s {skip}
        ON CONFLICT ("job_id") DO UPDATE SET "worker" = excluded."worker", "not_before" = excluded."not_before"
        WHERE {_free(_TASKS)} RETURNING "job_id", "edits", "attempts"
    """
    with connection.cursor() as cursor:
        cursor.execute(f"SELECT 1 {source} LIMIT 1", parameters)
        if not cursor.fetchall():
            return []
        cursor.execute(sql, [worker, *parameters, limit])
        return [Claim(*row) for row in cursor.fetchall()]


def reclaim_expired() -> None:
    """Free what workers held whose leases have ended: at once, but after some deaths with a pause as after a failure.

    A job that kills each worker which takes it (too large for the memory, say) so leaves the others alone.
    """
    dead = ArchiveTask.objects.exclude(worker="").filter(not_before__lte=Now())
    tasks = list(dead[:_FREED_AT_ONCE])
    if tasks:
        # Those of a killed retain_archive: nothing is to be written of these jobs.
        dead.filter(edits=0, attempts=0).exclude(job__in=Job.objects.awaiting_archive()).delete()
    for task in tasks:
        reason = f"the worker {task.worker} did not live to finish it"
        fail(task.worker, Claim(task.pk, task.edits), reason, permanent=False, died=True)


def clear_backoff(*, only: Collection[int] | None = None) -> None:
    """Let jobs whose archiving failed be tried again now, all or these; what a worker holds stays held."""
    paused = ArchiveTask.objects.filter(worker="")
    (paused if only is None else paused.filter(pk__in=only)).update(not_before=Now())


def renew(worker: str) -> None:
    """Keep what a worker holds."""
    ArchiveTask.objects.filter(worker=worker).update(not_before=_after(LEASE))


def release(worker: str, *, only: Collection[int] | None = None, but: Collection[int] = ()) -> None:
    """Give back what a worker holds, all or these or all but these, for others to take at once."""
    held = ArchiveTask.objects.filter(worker=worker).exclude(pk__in=but)
    (held if only is None else held.filter(pk__in=only)).update(worker="", not_before=Now())


@contextlib.contextmanager
def renewing(worker: str, holds: Callable[[], object]) -> Iterator[None]:
    """Keep what a worker holds, from a thread of its own, whenever `holds` is true."""
    finished = threading.Event()

    def renew_until_finished() -> None:
        while not finished.wait(RENEW_EVERY):
            if holds():
                try:
                    renew(worker)
                except Error:
                    logger.exception("could not renew the lease, trying again")
                    connection.close()
        connection.close()

    renewal = threading.Thread(target=renew_until_finished, name="lease", daemon=True)
    renewal.start()
    try:
        yield
    finally:
        finished.set()
        renewal.join()


def finish(worker: str, written: Sequence[tuple[Claim, str]]) -> None:
    """Record that jobs lie in the archive, each with its statistics as JSON text, and drop the claims.

    A job that was edited meanwhile stays due, so that its meta.json follows.
    """
    by_statistics: dict[str, list[int]] = {}
    for done, statistics in written:
        by_statistics.setdefault(statistics, []).append(done.row_id)
    held = [value for done, _ in written for value in (done.row_id, done.edits)]
    with transaction.atomic(), connection.cursor() as cursor:
        for statistics, row_ids in by_statistics.items():
            places = ", ".join(["%s"] * len(row_ids))
            cursor.execute(
                f"""UPDATE {_JOBS} SET "monitoring_status" = 3, "statistics" = %s
                WHERE "id" IN ({places}) AND "monitoring_status" = 1""",
                [statistics, *row_ids],
            )
        places = ", ".join(["(%s, %s)"] * len(written))
        cursor.execute(
            f"""DELETE FROM {_TASKS} WHERE "worker" = %s AND ("job_id", "edits") IN (VALUES {places})""",
            [worker, *held],
        )
        if cursor.rowcount < len(written):
            left = ArchiveTask.objects.filter(pk__in=[done.row_id for done, _ in written], worker=worker)
            left.update(worker="", not_before=Now(), attempts=0, error="")


def fail(worker: str, claim: Claim, reason: str, *, permanent: bool, died: bool = False) -> None:
    """Record a failed attempt: the job is tried again after a growing pause, or marked as failed for good.

    A job that was to be written again (see `write_again`) is then archived as before, with the reason kept.
    `died`: the worker did, as far as its lease tells, which is no reason for a pause the first times.
    """
    with transaction.atomic():
        job = Job.objects.select_for_update().filter(pk=claim.row_id).only("pk").first()
        held = ArchiveTask.objects.filter(pk=claim.row_id, worker=worker)
        task = (held.filter(not_before__lte=Now()) if died else held).first()
        if job is None or task is None:
            return
        free_at_once = died and task.attempts < _DEATHS_WITHOUT_PAUSE
        pause = min(_FIRST_PAUSE * 2**task.attempts, _LONGEST_PAUSE)
        if permanent or task.attempts + 1 >= _MOST_ATTEMPTS:
            waiting = Job.objects.awaiting_archive().filter(pk=claim.row_id)
            # One that was archived before still is: its files were left as they are.
            if not waiting.filter(statistics__isnull=False).update(monitoring_status=MonitoringStatus.ARCHIVED):
                waiting.update(monitoring_status=MonitoringStatus.FAILED)
        ArchiveTask.objects.filter(pk=task.pk).update(
            worker="",
            not_before=Now() if free_at_once else _after(pause),
            attempts=F("attempts") + 1,
            error=reason,
        )


def retire(worker: str, row_ids: Collection[int]) -> dict[int, int]:
    """Record that the archive no longer has these jobs (monitoringStatus 0); no edit is written to it from then on.

    Returns, by row id, the monitoringStatus that each had, for `reinstate`. What is no longer held, or has an edit that
    meta.json has yet to follow, is left out and stays as it is.
    """
    with transaction.atomic():
        jobs = Job.objects.select_for_update().filter(pk__in=row_ids).order_by("pk")
        before = dict(jobs.values_list("pk", "monitoring_status"))
        held = ArchiveTask.objects.filter(pk__in=before, worker=worker).values_list("pk", "edits")
        retired = {
            row_id: before[row_id]
            for row_id, edits in held
            if edits == 0 or before[row_id] != MonitoringStatus.ARCHIVED
        }
        Job.objects.archived().filter(pk__in=retired).update(monitoring_status=MonitoringStatus.DISABLED)
    return retired


def reinstate(retired: Mapping[int, int]) -> None:
    """Take `retire` back, of jobs whose files could not be taken out after all."""
    archived = [row_id for row_id, status in retired.items() if status == MonitoringStatus.ARCHIVED]
    Job.objects.filter(pk__in=archived).update(monitoring_status=MonitoringStatus.ARCHIVED)


def give_up(worker: str, row_ids: Collection[int]) -> None:
    """Let go of all that a worker holds; of these jobs nothing is left to do, nor of others without an edit."""
    held = ArchiveTask.objects.filter(worker=worker)
    held.filter(Q(pk__in=row_ids) | Q(edits=0, attempts=0))._raw_delete(using="default")
    release(worker)


def retry_failed(*, only: Iterable[int] | None = None) -> int:
    """Let jobs whose archiving failed for good wait again; return how many."""
    failed = Job.objects.filter(monitoring_status=MonitoringStatus.FAILED)
    if only is not None:
        failed = failed.filter(pk__in=list(only))
    with transaction.atomic():
        row_ids = list(failed.select_for_update().values_list("pk", flat=True))
        ArchiveTask.objects.filter(pk__in=row_ids).update(attempts=0, worker="", not_before=Now())
        return Job.objects.filter(pk__in=row_ids).update(monitoring_status=MonitoringStatus.ARCHIVING)


def held(row_ids: Collection[int]) -> list[int]:
    """Return those of these jobs whose files somebody writes at this moment."""
    return list(ArchiveTask.objects.filter(pk__in=row_ids).exclude(worker="").values_list("pk", flat=True))


def write_again(row_ids: Sequence[int]) -> None:
    """Let archived jobs wait for the worker again, inside the transaction that locked their rows and saw them not held.

    That such a job is archived already, and its files must not be replaced by less, is told by its statistics: a job
    that was never archived has none.
    """
    ArchiveTask.objects.filter(pk__in=row_ids).update(attempts=0, error="", not_before=Now())
    jobs = Job.objects.archived().filter(pk__in=row_ids)
    jobs.update(monitoring_status=MonitoringStatus.ARCHIVING, statistics=Coalesce("statistics", Value("{}")))


def record_edit(row_ids: Sequence[int]) -> None:
    """Note that jobs changed, inside the transaction that changes them and after it locked their rows.

    Only what is archived or being archived needs it: a job that waits for the first time is written with the edit
    anyway. One that is to be written again may yet keep the files that it has.
    """
    ArchiveTask.objects.filter(pk__in=row_ids).update(edits=F("edits") + 1)
    clear_backoff(only=row_ids)
    written = Q(monitoring_status=MonitoringStatus.ARCHIVED) | Q(
        monitoring_status=MonitoringStatus.ARCHIVING, statistics__isnull=False
    )
    archived = Job.objects.filter(written, pk__in=row_ids, archive_task=None).values_list("pk", flat=True)
    ArchiveTask.objects.bulk_create(
        [ArchiveTask(job_id=row_id, not_before=Now(), edits=1) for row_id in archived], ignore_conflicts=True
    )
