"""Book the ended jobs that are not booked yet: the work of index_jobs, and the end of that of rebuild_jobs."""

import contextlib
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor

from django.core.management.base import CommandError
from django.db import DatabaseError, connection

from accounts.console import INTERRUPTED, ServerCommand
from accounts.formatting import quantity
from archive.processes import collecting_rarely, uninterrupted
from jobs.console import Bar, progress
from jobs.ledger import backlog
from jobs.rows.insert import gather_statistics, use_little_memory

_BATCH = 500  # jobs in one transaction: other writers wait some 50 ms for it on SQLite
_GO_ON = "Run index_jobs to go on; an archive worker does, too."


def index(command: ServerCommand) -> None:
    """Book all jobs that wait for it, newest first, with a bar; say how many.

    Raises CommandError with their number if it is interrupted, or if the database fails.
    """
    use_little_memory()
    indexing = _Indexing()
    try:
        with (
            collecting_rarely(),
            progress(total=backlog.waiting(), unit="job", verbosity=command.verbosity) as bar,
            indexing.helped(bar),
        ):
            indexing.work(bar)
        if indexing.done:
            gather_statistics()  # those of before may say that very many jobs are not booked
    except KeyboardInterrupt:
        raise CommandError(f"Interrupted. {indexing} {_GO_ON}", returncode=INTERRUPTED) from None
    except DatabaseError as error:
        raise CommandError(f"It could not go on: {error}\n{indexing} {_GO_ON}") from error
    command.say(str(indexing))


class _Indexing:
    """The booking of jobs in one or two threads; `done` is the number of jobs that are committed."""

    def __init__(self) -> None:
        self.done = 0
        self._counting = threading.Lock()
        self._is_over = threading.Event()

    def __str__(self) -> str:
        return f"{quantity(self.done, 'job')} indexed."

    def work(self, bar: Bar) -> None:
        """Book batches until there is none, or the other thread has found none; raise DatabaseError."""
        below: int | None = None
        while not self._is_over.is_set():
            with uninterrupted():
                booked = backlog.book_next(_BATCH, below=below)
                with self._counting:
                    self.done += len(booked)
                    bar.update(len(booked))
            if not booked and below is None:
                break
            below = booked[-1] if booked else None  # what came meanwhile is newer

    @contextlib.contextmanager
    def helped(self, bar: Bar) -> Iterator[None]:
        """Let another thread book, too, while this one waits for PostgreSQL; SQLite has one writer at a time."""
        if connection.vendor != "postgresql":
            yield
            return
        with ThreadPoolExecutor(1) as threads:
            help_ = threads.submit(self._help, bar)
            try:
                yield
            finally:
                self._is_over.set()
            help_.result()

    def _help(self, bar: Bar) -> None:
        try:
            self.work(bar)
        finally:
            connection.close()
