"""Delete jobs that started before a time."""

from typing import Any

from django.core.management.base import CommandError, CommandParser
from django.db import DatabaseError
from msgspec import structs, to_builtins

from accounts.console import BAD_USAGE, INTERRUPTED, ServerCommand, printable
from accounts.formatting import quantity
from jobs.console import confirm, parse_when, progress, require_answer, require_cluster, shell_actor, shown_time
from jobs.deletion.services import Survey, survey
from jobs.deletion.steps import Plan, delete_jobs_before


class Command(ServerCommand):
    """Print the jobs to delete, ask, and call the service."""

    help = (
        "Delete the jobs that started before a time from the database, including running jobs and jobs that wait for "
        "the archive: their numbers are printed before the confirmation. The archive's files and the tags are kept. "
        "The deletion is entered in the history with the shell's user. If it is interrupted, run it again to go on."
    )

    def add_arguments(self, parser: CommandParser) -> None:
        """Declare the options."""
        parser.add_argument(
            "when",
            metavar="WHEN",
            type=parse_when,
            help="Epoch seconds, or an ISO date or time such as 2024-07-01 or 2024-07-01T06:00+02:00; a time without a "
            "zone is in TIME_ZONE. Jobs that started at exactly that second are kept.",
        )
        parser.add_argument("--omit-tagged", action="store_true", help="Keep jobs that have a tag.")
        parser.add_argument("--cluster", metavar="C", help="Only jobs of this cluster.")
        parser.add_argument(
            "--dry-run", action="store_true", help="Print how many jobs would be deleted, and delete nothing."
        )
        parser.add_argument("--yes", action="store_true", help="Do not ask; required without a terminal.")
        parser.add_argument("--json", action="store_true", help="With --dry-run: print the counts as JSON.")

    def handle(self, *args: Any, **options: Any) -> None:
        """Count the jobs, ask, delete them, and print how many were deleted."""
        if options["json"] and not options["dry_run"]:
            raise CommandError("--json: expected --dry-run beside it", returncode=BAD_USAGE)
        if not options["dry_run"]:
            require_answer(yes=options["yes"])
        if options["cluster"] is not None:
            require_cluster(options["cluster"])
        plan = Plan(options["when"], options["cluster"] or "", options["omit_tagged"])
        found = survey(plan.jobs)
        if options["json"]:
            self.print_json({"total": found.total, **to_builtins(found)})
            return
        remarks = f"{found.running:,} running, {found.waiting:,} waiting for the archive"
        self._describe(found, f"{quantity(found.total, 'job')} started before {shown_time(plan.start_time)}: {remarks}")
        if options["dry_run"]:
            self.say(f"Dry run: {quantity(found.total, 'job')} would be deleted, 0 were.")
            return
        question = f"Delete {quantity(found.total, 'job')} from the database ({remarks})?"
        if found.total and not confirm(question, yes=options["yes"]):
            raise CommandError("Cancelled: 0 jobs deleted.")
        deleted = self._delete(structs.replace(plan, total=found.total)) if found.total else 0
        self.say(f"{quantity(deleted, 'job')} deleted.")

    def _describe(self, found: Survey, summary: str) -> None:
        """Print the number of jobs by cluster and state."""
        self.say(summary)
        for group in found.groups:
            self.say(f"  {printable(group.cluster)}  {group.job_state}  {group.count:,}")

    def _delete(self, plan: Plan) -> int:
        deleted = 0
        with progress(total=plan.total, unit="job", verbosity=self.verbosity) as bar:

            def add(number: int) -> None:
                nonlocal deleted
                deleted += number
                bar.update(number)

            try:
                return delete_jobs_before(plan=plan, actor=shell_actor(), progress=add)
            except KeyboardInterrupt:
                done = f"Interrupted: {quantity(deleted, 'job')} of {plan.total:,} deleted; run it again to go on."
                raise CommandError(done, returncode=INTERRUPTED) from None
            except DatabaseError as error:
                raise CommandError(
                    f"{error}\n{quantity(deleted, 'job')} of {plan.total:,} deleted; run it again to go on."
                ) from error
