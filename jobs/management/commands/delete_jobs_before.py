"""Delete jobs that started before a time."""

from typing import Any

from django.core.management.base import CommandError, CommandParser
from django.db import DatabaseError
from django.db.models import Count

from accounts.console import INTERRUPTED, ServerCommand, printable
from jobs.console import confirm, count, parse_when, progress, require_answer, shown_time
from jobs.deletion.services import delete_jobs_before, jobs_before
from jobs.querysets import JobQuerySet


class Command(ServerCommand):
    """Say what would go, ask, and call the service."""

    help = (
        "Delete the jobs that started before a time from the database, running ones and those that wait for the "
        "archive too: it says how many of each before it asks. The archive keeps its files, tags stay. Interrupted, "
        "it keeps what it has done; run again, it goes on."
    )

    def add_arguments(self, parser: CommandParser) -> None:
        """Declare the options."""
        parser.add_argument(
            "when",
            metavar="WHEN",
            type=parse_when,
            help="Epoch seconds, or an ISO date or time such as 2024-07-01 or 2024-07-01T06:00+02:00; without a zone "
            "it counts in TIME_ZONE. Jobs that started at that very second stay.",
        )
        parser.add_argument("--omit-tagged", action="store_true", help="Keep jobs that have a tag.")
        parser.add_argument("--cluster", metavar="C", help="Only jobs of this cluster.")
        parser.add_argument("--dry-run", action="store_true", help="Say what would be deleted, and delete nothing.")
        parser.add_argument("--yes", action="store_true", help="Do not ask; needed where there is no terminal.")

    def handle(self, *args: Any, **options: Any) -> None:
        """Count, ask, delete, and say how many."""
        if not options["dry_run"]:
            require_answer(yes=options["yes"])
        which = {
            "start_time": options["when"],
            "omit_tagged": options["omit_tagged"],
            "cluster": options["cluster"],
        }
        jobs = jobs_before(**which)
        total, remarks = self._describe(jobs, shown_time(options["when"]))
        if options["dry_run"]:
            self.say(f"Dry run: {count(total, 'job')} would be deleted, 0 were.")
            return
        question = f"Delete {count(total, 'job')} from the database ({remarks})?"
        if total and not confirm(question, yes=options["yes"]):
            raise CommandError("Cancelled: 0 jobs deleted.")
        deleted = self._delete(which, total) if total else 0
        self.say(f"{count(deleted, 'job')} deleted.")

    def _describe(self, jobs: JobQuerySet, when: str) -> tuple[int, str]:
        """Print how many jobs of which clusters and states are meant; return how many, and what to be warned of."""
        rows = list(
            jobs.order_by("cluster", "job_state").values_list("cluster", "job_state").annotate(number=Count("pk"))
        )
        total = sum(number for _, _, number in rows)
        running = sum(number for _, state, number in rows if state == "running")
        remarks = f"{running} running, {jobs.awaiting_archive().count()} waiting for the archive"
        self.say(f"{count(total, 'job')} started before {when}: {remarks}")
        for cluster, state, number in rows:
            self.say(f"  {printable(cluster)}  {state}  {number}")
        return total, remarks

    def _delete(self, which: dict[str, Any], total: int) -> int:
        with progress(total=total, unit="job", verbosity=self.verbosity) as bar:
            deleted = 0

            def told(number: int) -> None:
                nonlocal deleted
                deleted += number
                bar.update(number)

            try:
                return delete_jobs_before(**which, progress=told)
            except KeyboardInterrupt:
                done = f"Interrupted: {count(deleted, 'job')} of {total} deleted; run it again to go on."
                raise CommandError(done, returncode=INTERRUPTED) from None
            except DatabaseError as error:
                raise CommandError(
                    f"{error}\n{count(deleted, 'job')} of {total} deleted; run it again to go on."
                ) from error
