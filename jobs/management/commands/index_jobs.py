"""Write down nodes, footprint and usage of the ended jobs that have none yet."""

from typing import Any

from django.core.management.base import CommandError
from django.db import DatabaseError

from accounts.console import INTERRUPTED, ServerCommand
from accounts.formatting import quantity
from archive.processes import uninterrupted
from jobs.console import progress
from jobs.ledger import backlog
from jobs.rows.insert import use_little_memory

_BATCH = 500  # jobs in one transaction: other writers wait some 50 ms for it on SQLite


class Command(ServerCommand):
    """Book ended jobs."""

    help = (
        "Write down nodes, footprint and usage of the ended jobs of which that has not been done, newest first: after "
        "an upgrade of all of them. Archive workers do it too, 50 jobs a second. If it is interrupted, run it again to "
        "go on; nothing is counted twice."
    )
    requires_system_checks = "__all__"

    def handle(self, *args: Any, **options: Any) -> None:
        """Book, and print how many."""
        use_little_memory()
        done = 0
        try:
            with progress(total=backlog.waiting(), unit="job", verbosity=self.verbosity) as bar:
                below: int | None = None
                while True:
                    with uninterrupted():
                        booked = backlog.book_next(_BATCH, below=below)
                        done += len(booked)
                    bar.update(len(booked))
                    if not booked and below is None:
                        break
                    below = booked[-1] if booked else None  # what came meanwhile is newer
        except KeyboardInterrupt:
            raise CommandError(
                f"Interrupted. {_closing(done)} Run it again to go on.", returncode=INTERRUPTED
            ) from None
        except DatabaseError as error:
            raise CommandError(f"It could not go on: {error}\n{_closing(done)} Run it again to go on.") from error
        self.say(_closing(done))


def _closing(done: int) -> str:
    return f"{quantity(done, 'job')} indexed."
