"""Run the archive's background worker."""

import os
from typing import Any

from django.conf import settings
from django.core.management.base import CommandError, CommandParser

from accounts.console import ServerCommand
from accounts.formatting import quantity
from jobs.archiving.worker import ArchiveWorker
from jobs.checks import archive_problem
from jobs.console import leave_now, stop_on_signals

_NICENESS = 10  # lower priority than the server, which shares the machine


class Command(ServerCommand):
    """Check the archive, run the worker until a signal comes, and print its counts."""

    help = (
        "Write stopped jobs to the archive as they come. Any number of workers may run, on any number of hosts; if one "
        "is killed, another takes over its jobs within 10 seconds. On SIGTERM or Ctrl-C it finishes or releases its "
        "jobs and ends within 10 seconds. If the database is unreachable, it waits and goes on by itself."
    )
    requires_system_checks = "__all__"

    def add_arguments(self, parser: CommandParser) -> None:
        """Declare the options."""
        parser.add_argument(
            "--once",
            action="store_true",
            help="Archive the jobs that are due now and end; the exit status is 1 if an attempt failed. archive_jobs "
            "also takes jobs that pause after a failure.",
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
            failures = quantity(counts.failed, "failed attempt")
            self.say(f"Archive worker stopped: {quantity(counts.archived, 'job')} archived, {failures}.")
            status = 1 if options["once"] and counts.failed else 0
            if worker.hangs:
                leave_now(status)
        if status:
            raise CommandError(f"{failures}; the jobs are tried again by themselves.", returncode=status)
