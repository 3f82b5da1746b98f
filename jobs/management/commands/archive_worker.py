"""Run the background worker of the archive."""

import os
from typing import Any

from django.conf import settings
from django.core.management.base import CommandError, CommandParser

from accounts.console import ServerCommand
from jobs.archiving.worker import ArchiveWorker
from jobs.checks import archive_problem
from jobs.console import count, leave_now, stop_on_signals

_NICENESS = 10  # below the server, which shares the machine


class Command(ServerCommand):
    """Check the archive, run the worker until a signal comes, say what it did."""

    help = (
        "Write stopped jobs to the archive as they come. Any number of workers may run, on any number of hosts; what "
        "a killed one held is taken up by another within 10 seconds. SIGTERM or Ctrl-C: it finishes or gives back "
        "what it has begun and leaves within 10 seconds. It goes on by itself after the database was away."
    )
    requires_system_checks = "__all__"

    def add_arguments(self, parser: CommandParser) -> None:
        """Declare the options."""
        parser.add_argument(
            "--once",
            action="store_true",
            help="Archive what is due now and leave; exit status 1 when an attempt failed. archive_jobs also takes "
            "jobs that pause after a failure.",
        )

    def handle(self, *args: Any, **options: Any) -> None:
        """Run the worker."""
        if problem := archive_problem():
            raise CommandError(problem)
        os.nice(_NICENESS)
        worker = ArchiveWorker(in_processes=not options["once"])
        self.say(f"Archive worker {worker.name} writes to {settings.ARCHIVE_ROOT}.")
        with stop_on_signals(worker.stopping):
            counts = worker.drain() if options["once"] else worker.run()
            failures = "failed attempt" if counts.failed == 1 else "failed attempts"
            self.say(f"Archive worker stopped: {count(counts.archived, 'job')} archived, {counts.failed} {failures}.")
            status = 1 if options["once"] and counts.failed else 0
            if worker.hangs:
                leave_now(status)
        if status:
            raise CommandError(
                f"{counts.failed} {failures}; the jobs are tried again by themselves.", returncode=status
            )
