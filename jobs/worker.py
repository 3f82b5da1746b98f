"""The archive worker: takes finished jobs as they come and writes them, several at a time."""

import contextlib
import logging
import threading
import time
from collections.abc import Collection, Iterator
from concurrent.futures import ALL_COMPLETED, Future, ThreadPoolExecutor, wait
from dataclasses import dataclass, field

from django.db import Error, connection

from archive.exceptions import SourceError
from jobs import archiving, tasks

logger = logging.getLogger(__name__)

_IDLE = 0.2  # seconds between two looks for work; an idle worker begins within 0.3 s of a stop
_COLLECT = 0.05  # seconds of finished work that one transaction records
_THREADS = 4  # jobs written at once: mostly they wait for the disk or a metric store
_HELD = 32  # jobs claimed at once
_CHECKPOINT_EVERY = 1.0  # seconds
_AFTER_TROUBLE = 2.0  # seconds until the database is asked again when it did not answer


@dataclass
class Counts:
    """How many jobs a worker archived and how many attempts failed."""

    archived: int = 0
    failed: int = 0


@dataclass
class ArchiveWorker:
    """Drain finished jobs into the archive. Any number may run, on any number of hosts.

    `only` limits it to these row ids; `at_once` ends the pauses after failures before it drains.
    """

    only: Collection[int] | None = None
    at_once: bool = False
    name: str = field(default_factory=tasks.worker_name)
    counts: Counts = field(default_factory=Counts)
    stopping: threading.Event = field(default_factory=threading.Event)
    _next_checkpoint: float = 0.0
    _held: dict[Future[str], tasks.Claim] = field(default_factory=dict)

    def drain(self) -> Counts:
        """Archive all that is due now and return the counts; a job that fails is not tried again."""
        with self._working() as pool:
            if self.at_once:
                tasks.end_pauses(only=self.only)
            while not self.stopping.is_set():
                self._take(pool)
                if not self._held:
                    break
                self._collect()
        return self.counts

    def run(self) -> Counts:
        """Archive jobs as they come, until `stopping` is set; what is begun then is finished or given back."""
        with self._working() as pool:
            while not self.stopping.is_set():
                try:
                    self._tidy_database()
                    self._take(pool)
                    if self._held:
                        self._collect()
                    else:
                        self.stopping.wait(_IDLE)
                except Error:
                    logger.exception("the database did not answer, trying again")
                    connection.close()
                    self.stopping.wait(_AFTER_TROUBLE)
        return self.counts

    def _tidy_database(self) -> None:
        """Move SQLite's write-ahead log into the database file each second, so that no request has to do it."""
        if connection.vendor == "sqlite" and time.monotonic() >= self._next_checkpoint:
            self._next_checkpoint = time.monotonic() + _CHECKPOINT_EVERY
            with connection.cursor() as cursor:
                cursor.execute("PRAGMA wal_checkpoint(PASSIVE)")

    @contextlib.contextmanager
    def _working(self) -> Iterator[ThreadPoolExecutor]:
        pool = ThreadPoolExecutor(_THREADS, thread_name_prefix="archive")
        with tasks.renewing(self.name, lambda: self._held):
            try:
                yield pool
            finally:
                pool.shutdown(wait=False, cancel_futures=True)
                self._held = {future: claim for future, claim in self._held.items() if not future.cancelled()}
                self._finish_or_give_back()

    def _take(self, pool: ThreadPoolExecutor) -> None:
        """Claim jobs while fewer than half of what may be held are in work, and hand them to the threads."""
        if len(self._held) > _HELD // 2:
            return
        claims = tasks.claim(self.name, _HELD - len(self._held), only=self.only)
        rows = archiving.fetch_rows([claim.row_id for claim in claims]) if claims else {}
        for claim in claims:
            if claim.row_id in rows:  # else it was deleted this moment
                self._held[pool.submit(archiving.write, rows[claim.row_id])] = claim

    def _collect(self, timeout: float = _COLLECT) -> None:
        """Wait a moment for jobs in work and record those that are done."""
        done, _ = wait(self._held, timeout=timeout, return_when=ALL_COMPLETED)
        written: list[tuple[tasks.Claim, str]] = []
        for future in done:
            claim = self._held[future]
            error = future.exception()
            if error is None:
                written.append((claim, future.result()))
            elif isinstance(error, Exception):
                self._failed(claim, error)
        if written:
            tasks.finish(self.name, written)
            self.counts.archived += len(written)
        for future in done:
            del self._held[future]

    def _failed(self, claim: tasks.Claim, error: Exception) -> None:
        permanent = isinstance(error, SourceError) and not error.transient
        reason = archiving.describe(error)
        logger.error("archiving job %s failed: %s", claim.row_id, reason)
        tasks.fail(self.name, claim, reason, permanent=permanent)
        self.counts.failed += 1

    def _finish_or_give_back(self) -> None:
        """Record what is done within some seconds, and give the rest back for others."""
        deadline = time.monotonic() + 5
        try:
            while self._held and time.monotonic() < deadline:
                self._collect(timeout=0.2)
            tasks.release(self.name)
        except Error:
            logger.exception("could not give jobs back; others take them when the lease ends")
