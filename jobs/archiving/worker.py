"""The archive worker: claim finished jobs as they come and write them, several at a time."""

import contextlib
import logging
import threading
import time
from collections.abc import Collection, Iterator, Sequence
from concurrent.futures import ALL_COMPLETED, BrokenExecutor, Executor, Future, ThreadPoolExecutor, wait
from dataclasses import dataclass, field

from django.db import Error, connection

from archive.exceptions import ArchiveVersionError, SourceError
from archive.processes import prepared
from jobs.archiving import queue, trouble, writing
from jobs.archiving.heartbeat import Heartbeat
from jobs.ledger import backlog
from jobs.models import RefusedCall
from jobs.records import NodeChange
from jobs.rows.columns import Row
from jobs.rows.select import fetch_rows

logger = logging.getLogger(__name__)

# Seconds between an idle worker's looks for any work, such as retries that come due, and for jobs that have stopped.
# The pause before the latter is a thousandth of the time without a job; if they are slow, as among many jobs that pause
# after failures, they take a tenth of the time at most.
_IDLE = 0.5
_LOOK, _LONGEST_LOOK = 0.03, 0.2
_SHARE_OF_QUIET, _SHARE_OF_LOOKS = 0.001, 0.1
_COLLECT = 0.05  # seconds of finished work that one transaction records
_AT_ONCE = 4  # jobs of a cluster written at once; they spend half the time waiting for the disk or a metric store
_CLAIMED = 32  # jobs of a cluster claimed at once
_RETRIES = _AT_ONCE // 2  # of these, jobs that failed before: if they hang again, the others still make progress
_TIDY_EVERY, _DROP_EVERY = 1.0, 60.0  # seconds
_BOOKED_AT_ONCE = 50  # jobs that ended without being archived, or before there were books
_AFTER_TROUBLE = 2.0  # seconds until the next query after the database did not answer

# A job in work for longer than _SLOW times the usual, within these bounds (seconds), but longer than usual, probably
# waits for a metric store that does not answer. If half of the jobs written at once do, the cluster gets another
# executor for the others, up to a limit.
_SLOW = 5.0
_SLOW_AT_LEAST, _SLOW_AT_MOST = 0.5, 5.0
_MOST_EXECUTORS = 6

# If this many attempts of a cluster fail in a row, and not through the fault of the jobs, its metric source or the
# archive is in doubt: one job at a time, the newest untried one, probes whether it works again. The pauses (seconds)
# grow slowly, so that a dozen bad jobs before the first good one delay it by 5 s. The others lose no attempt, and go on
# after the first success.
_FAILURES_UNTIL_DOUBT = _AT_ONCE
_FIRST_PAUSE, _GROWTH, _LONGEST_PAUSE = 0.1, 1.2, 30.0
_DRAIN_FAILURES = 10  # in a row, after which drain leaves the cluster's other jobs waiting

_KILLED = "a process that writes jobs was killed (is memory short?)"


@dataclass
class Backoff:
    """A cluster's consecutive failed attempts that were not the fault of the jobs, and the pause after them.

    `failed_at` is when the last of them ended (monotonic seconds; 0: none did).
    """

    failures: int = 0
    failed_at: float = 0.0

    @property
    def in_doubt(self) -> bool:
        """Return whether the metric source or the archive seems to fail, rather than single jobs."""
        return self.failures >= _FAILURES_UNTIL_DOUBT

    def is_older_than_failure(self, begun: float) -> bool:
        """Return whether an attempt began (monotonic seconds) before the last failure: if it fails, that is no news."""
        return begun < self.failed_at

    def add_failure(self, *, certain: bool) -> None:
        """Count a failed attempt; `certain`: the cluster is in doubt at once."""
        self.failures = max(self.failures + 1, _FAILURES_UNTIL_DOUBT if certain else 0)
        self.failed_at = time.monotonic()

    def pause(self) -> float:
        """Return the seconds until the next attempt; 0 or less if it is due."""
        tries = self.failures - _FAILURES_UNTIL_DOUBT
        length = 0 if tries < 1 else min(_FIRST_PAUSE * _GROWTH ** min(tries, 100), _LONGEST_PAUSE)
        return self.failed_at + length - time.monotonic()


@dataclass(eq=False)
class ClusterPool:
    """A cluster's part of a worker, with its own executor, so that a source that hangs delays no other cluster.

    `retries` is how many jobs that failed before are written at once, `usual` how long a job is in work (seconds, an
    average of the last ones), `finished` when the last one succeeded (monotonic seconds).
    """

    executor: Executor
    backoff: Backoff = field(default_factory=Backoff)
    retries: int = _RETRIES
    usual: float = 0.0
    finished: float = 0.0

    @property
    def slow(self) -> float:
        """Return the seconds in work from which on a job is slow."""
        if not self.usual:
            return _SLOW_AT_MOST
        return max(_SLOW_AT_LEAST, min(_SLOW * self.usual, _SLOW_AT_MOST), self.usual)

    def record_success(self, begun: float) -> None:
        """Record that a job succeeded that was submitted at `begun` (monotonic seconds), and end the doubt."""
        self.backoff.failures = 0
        now = time.monotonic()
        # A job may wait for others in the executor; then the time between two ends tells how long one takes.
        took = min(now - begun, _AT_ONCE * (now - self.finished))
        self.usual += (0.05 if self.usual else 1) * (took - self.usual)
        self.finished = now


@dataclass(slots=True)
class Work:
    """A claimed job that was submitted to an executor of a cluster's pool at `begun`, and seen in work at `started`.

    Times are monotonic seconds.
    """

    pool: ClusterPool
    claim: queue.Claim
    executor: Executor
    begun: float
    started: float | None = None


@dataclass
class Counts:
    """The numbers of jobs that a worker archived, and of attempts that failed.

    `seconds` is how long the archived jobs were in work, summed.
    """

    archived: int = 0
    failed: int = 0
    seconds: float = 0.0


@dataclass
class ArchiveWorker:
    """Drain finished jobs into the archive. Any number may run, on any number of hosts.

    `only` limits it to these row ids; `at_once` ends the pauses after failures before it drains. With `in_processes`
    jobs are written by processes, on all cores, and a job that needs too much memory kills only its own process;
    otherwise by threads of this process.
    """

    only: Collection[int] | None = None
    at_once: bool = False
    in_processes: bool = False
    name: str = field(default_factory=queue.worker_name)
    counts: Counts = field(default_factory=Counts)
    stopping: threading.Event = field(default_factory=threading.Event)
    _next_tidying: float = 0.0
    _next_dropping: float = 0.0
    _worked: float = 0.0  # monotonic seconds
    _pools: dict[str | None, ClusterPool] = field(default_factory=dict)  # None: edits
    _in_work: dict[Future[queue.Written], Work] = field(default_factory=dict)

    @property
    def hangs(self) -> bool:
        """Return whether released jobs are still being written: Python would wait for them before it ends."""
        return bool(self._in_work)

    def drain(self) -> Counts:
        """Archive all jobs that are due now and return the counts; a job that fails is not tried again.

        If a metric source or the archive goes on failing, the jobs that need it are left waiting.
        """
        with self._working():
            if self.at_once:
                queue.clear_backoff(only=self.only)
            queue.reclaim_expired()
            while not self.stopping.is_set():
                self._take(draining=True)
                if not self._in_work:
                    break
                self._collect()
        return self.counts

    def run(self) -> Counts:
        """Archive jobs as they come, until `stopping` is set; jobs in work then are finished or released."""
        heartbeat = Heartbeat(self.name)
        with self._working():
            if self.in_processes:  # let the fork server load everything now, not when the first job comes
                self._pools[None] = ClusterPool(self._new_executor())
                self._pools[None].executor.submit(time.monotonic)
            in_trouble, is_away = False, False
            while not self.stopping.is_set():
                try:
                    if in_trouble:  # release jobs that were claimed just before and never submitted
                        queue.release(self.name, but=[work.claim.row_id for work in self._in_work.values()])
                        if is_away:
                            logger.warning("the database answers again")
                        in_trouble, is_away = False, False
                    self._tidy()
                    if heartbeat.is_due:
                        self._beat(heartbeat)
                    self._take()
                    if self._in_work:
                        self._collect()
                        self._worked = time.monotonic()
                    else:
                        self._wait_for_stop()
                except Error as error:
                    trouble.log_away(logger, error)
                    connection.close()
                    in_trouble, is_away = True, True
                    self.stopping.wait(_AFTER_TROUBLE)
                except (OSError, EOFError) as error:
                    logger.error("no process could be started, trying again: %s", repr(error))
                    in_trouble = True
                    self.stopping.wait(_AFTER_TROUBLE)
        heartbeat.end()
        return self.counts

    def _wait_for_stop(self) -> None:
        """Wait until a job has stopped, or for _IDLE seconds."""
        now, took = time.monotonic(), 0.0
        end = now + _IDLE
        while now < end:
            pause = max(_LOOK, _SHARE_OF_QUIET * (now - self._worked), took / _SHARE_OF_LOOKS)
            if self.stopping.wait(min(pause, _LONGEST_LOOK)):
                return
            begun = time.monotonic()
            if queue.has_stopped():
                return
            now = time.monotonic()
            took = now - begun

    def _beat(self, heartbeat: Heartbeat) -> None:
        """Give a sign of life, with the last success and failure of each cluster in epoch seconds."""
        clock = time.time() - time.monotonic()
        clusters = {
            cluster: {
                "success": int(clock + pool.finished) if pool.finished else None,
                "failure": int(clock + pool.backoff.failed_at) if pool.backoff.failed_at else None,
            }
            for cluster, pool in self._pools.items()
            if cluster is not None
        }
        counts = self.counts
        heartbeat.beat(archived=counts.archived, failed=counts.failed, seconds=counts.seconds, clusters=clusters)

    def _tidy(self) -> None:
        """Once a second free the jobs of dead workers, and checkpoint SQLite's log so that no request has to.

        Then some jobs are booked, too, that ended without being archived.

        Once a minute delete old refused calls and changes of nodes: while no more come, nobody else does.
        """
        if time.monotonic() >= self._next_tidying:
            self._next_tidying = time.monotonic() + _TIDY_EVERY
            queue.reclaim_expired()
            backlog.book_next(_BOOKED_AT_ONCE)
            if connection.vendor == "sqlite":
                with connection.cursor() as cursor:
                    cursor.execute("PRAGMA wal_checkpoint(PASSIVE)")
        if time.monotonic() >= self._next_dropping:
            self._next_dropping = time.monotonic() + _DROP_EVERY
            RefusedCall.objects.drop_old()
            NodeChange.objects.drop_old()

    @contextlib.contextmanager
    def _working(self) -> Iterator[None]:
        with queue.renewing(self.name, lambda: self._in_work):
            try:
                yield
            finally:
                self._cancel_queued(self._pools.values())
                self._finish_or_release()
                for pool in self._pools.values():
                    pool.executor.shutdown(wait=not self.hangs)

    def _take(self, *, draining: bool = False) -> None:
        """Claim jobs for each pool with no more than half of its share in work."""
        for cluster in (None, *queue.waiting_clusters()):
            if cluster not in self._pools:
                self._pools[cluster] = ClusterPool(self._new_executor())
            pool = self._pools[cluster]
            self._make_way(pool)
            limit = self._room(pool, draining=draining)
            if not limit:
                continue
            newest = pool.backoff.in_doubt
            if cluster is None:
                claims = queue.claim_edited(self.name, limit, only=self.only, newest=newest)
            else:
                retries = pool.retries - sum(work.claim.attempts > 0 for work in self._works_of(pool))
                claims = queue.claim_waiting(self.name, cluster, limit, only=self.only, newest=newest, retries=retries)
            rows = fetch_rows([claim.row_id for claim in claims]) if claims else {}
            for claim in claims:
                if claim.row_id in rows:  # else it has just been deleted
                    future = self._submit(pool, rows[claim.row_id])
                    self._in_work[future] = Work(pool, claim, pool.executor, time.monotonic())

    def _make_way(self, pool: ClusterPool) -> None:
        """Give a pool another executor if slow jobs hold half of the present one; release the jobs behind them."""
        now = time.monotonic()
        slow, executors = 0, set()
        for future, work in self._in_work.items():
            if work.pool is pool:
                executors.add(work.executor)
                if work.started is None and future.running():
                    work.started = now
                is_slow = work.started is not None and now - work.started > pool.slow
                slow += is_slow and work.executor is pool.executor
        if slow < _AT_ONCE // 2 or len(executors) >= _MOST_EXECUTORS:
            return
        queue.release(self.name, only=self._cancel_queued([pool]))
        pool.executor.shutdown(wait=False)
        pool.executor = self._new_executor()

    def _new_executor(self) -> Executor:
        return prepared(_AT_ONCE, "jobs.archiving.preload") if self.in_processes else ThreadPoolExecutor(_AT_ONCE)

    def _submit(self, pool: ClusterPool, row: Row) -> Future[queue.Written]:
        try:
            return pool.executor.submit(writing.write, row)
        except BrokenExecutor:  # a process was killed while it had nothing to do
            pass
        except (OSError, EOFError):  # or while it was being started
            pool.executor.shutdown(wait=False)
        pool.executor = self._new_executor()
        return pool.executor.submit(writing.write, row)

    def _room(self, pool: ClusterPool, *, draining: bool) -> int:
        """Return how many jobs a pool may take now: while its cluster is in doubt, one at a time after a pause."""
        backoff = pool.backoff
        if backoff.in_doubt:
            trying = any(not backoff.is_older_than_failure(work.begun) for work in self._works_of(pool))
            is_pausing = backoff.failures >= _DRAIN_FAILURES if draining else backoff.pause() > 0
            return 0 if trying or is_pausing else 1
        waiting = sum(work.executor is pool.executor for work in self._works_of(pool))
        return 0 if waiting > _CLAIMED // 2 else _CLAIMED - waiting

    def _works_of(self, pool: ClusterPool) -> list[Work]:
        return [work for work in self._in_work.values() if work.pool is pool]

    def _collect(self, timeout: float = _COLLECT) -> None:
        """Wait a moment for jobs in work and record the finished ones."""
        done, _ = wait(self._in_work, timeout=timeout, return_when=ALL_COMPLETED)
        written: list[tuple[queue.Claim, queue.Written]] = []
        killed: dict[Executor, list[Work]] = {}
        seconds, now = 0.0, time.monotonic()
        for future in [future for future in self._in_work if future in done]:  # in the order of their submission
            work = self._in_work[future]
            error = future.exception()
            if error is None:
                written.append((work.claim, future.result()))
                seconds += now - work.begun
                work.pool.record_success(work.begun)
            elif isinstance(error, BrokenExecutor):
                killed.setdefault(work.executor, []).append(work)
            elif isinstance(error, Exception):
                self._failed(work, error)
        for works in killed.values():
            self._killed(works)
        if written:
            queue.finish(self.name, written)
            self.counts.archived += len(written)
            self.counts.seconds += seconds
        for future in done:
            self._forget(future)

    def _failed(self, work: Work, error: Exception) -> None:
        """Record a failure; if it began before the failure that put its cluster in doubt, release the job instead."""
        backoff, own = work.pool.backoff, _is_of_the_job(error)
        if not own and backoff.in_doubt and backoff.is_older_than_failure(work.begun):
            queue.release(self.name, only=[work.claim.row_id])
            return
        reason = writing.describe(error)
        logger.error("archiving job %s failed: %s", work.claim.row_id, reason)
        of_source = isinstance(error, SourceError)
        permanent = isinstance(error, SourceError) and not error.transient
        queue.fail(self.name, work.claim, reason, permanent=permanent, of_source=of_source)
        self.counts.failed += 1
        if not own:
            self._doubt(work.pool)

    def _killed(self, works: Sequence[Work]) -> None:
        """Record that one of an executor's processes was killed, which ends all of them and fails these jobs.

        Any of those that were being written may be the cause; the others, behind them in the order of submission, are
        released.
        """
        pool = works[0].pool
        for work in works[:_AT_ONCE]:
            logger.error("archiving job %s failed: %s", work.claim.row_id, _KILLED)
            queue.fail(self.name, work.claim, _KILLED, killed=True)
            self.counts.failed += 1
        queue.release(self.name, only=[work.claim.row_id for work in works[_AT_ONCE:]])
        if works[0].executor is pool.executor:
            pool.executor = self._new_executor()
        pool.retries = 1  # one that kills its process each time must not take the same other one with it
        self._doubt(pool, certain=True)

    def _doubt(self, pool: ClusterPool, *, certain: bool = False) -> None:
        """Count a failure that was not the fault of the job; once the cluster is in doubt, release what is queued."""
        pool.backoff.add_failure(certain=certain)
        if pool.backoff.in_doubt:
            queue.release(self.name, only=self._cancel_queued([pool]))

    def _cancel_queued(self, pools: Collection[ClusterPool]) -> list[int]:
        """Cancel the jobs that these pools have not started; return their row ids."""
        cancelled = [future for future, work in self._in_work.items() if work.pool in pools and future.cancel()]
        return [self._forget(future).claim.row_id for future in cancelled]

    def _forget(self, future: Future[queue.Written]) -> Work:
        return self._in_work.pop(future)

    def _finish_or_release(self) -> None:
        """Record the jobs that are finished within some seconds, and release the others."""
        deadline = time.monotonic() + 5
        try:
            while self._in_work and time.monotonic() < deadline:
                self._collect(timeout=0.2)
            queue.release(self.name)
        except Error:
            logger.exception("could not release jobs; other workers take them when the lease ends")


def _is_of_the_job(error: Exception) -> bool:
    """Return whether the job itself caused the failure, so that other jobs need not fail too."""
    if isinstance(error, SourceError):
        return not error.source_failed
    return not isinstance(error, OSError | ArchiveVersionError | BrokenExecutor)
