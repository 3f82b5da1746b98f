"""Compare usage with the jobs."""

from datetime import UTC, datetime
from typing import Any

from django.core.management.base import CommandError, CommandParser
from django.db import DatabaseError

from accounts.console import INTERRUPTED, ServerCommand, printable
from accounts.formatting import quantity
from jobs.ledger import audit, backlog
from jobs.ledger.usage import DAY, Amounts

_SHOWN = 20  # differences that are printed


class Command(ServerCommand):
    """Check usage."""

    help = (
        "Compare the sums of usage with those that plain SQL makes of the jobs, deleted ones included, and print each "
        "row that differs. With --repair, set them right. The exit status is 1 if there are differences that were not "
        "repaired. It reads all jobs."
    )
    requires_system_checks = "__all__"

    def add_arguments(self, parser: CommandParser) -> None:
        """Declare the options."""
        parser.add_argument("--repair", action="store_true", help="Set the rows that differ right.")

    def handle(self, *args: Any, **options: Any) -> None:
        """Compare, and print the differences."""
        try:
            found = list(audit.differences())
            marks = audit.misplaced_marks()
            for each in found[:_SHOWN]:
                self.stdout.write(printable(_line(each)))
            if len(found) > _SHOWN:
                self.stdout.write(f"... and {len(found) - _SHOWN:,} more")
            if options["repair"]:
                audit.repair(found)
            waiting = backlog.waiting()
        except KeyboardInterrupt:
            raise CommandError("Interrupted.", returncode=INTERRUPTED) from None
        except DatabaseError as error:
            raise CommandError(f"The check did not end: {error}") from error
        if waiting:
            self.say(f"{quantity(waiting, 'ended job')} not in it yet: run index_jobs.")
        if marks:
            raise CommandError(f"{quantity(marks, 'job')} marked as booked without a footprint, or the reverse.")
        closing = f"{quantity(len(found), 'row')} of usage differed from the jobs"
        if found and not options["repair"]:
            raise CommandError(f"{closing}.")
        self.say(f"{closing}, repaired." if found else "Usage is what the jobs say.")


def _line(each: audit.Difference) -> str:
    date = datetime.fromtimestamp(each.day * DAY, UTC).date()
    amounts = ", ".join(
        f"{name} {wrong} instead of {right}"
        for name, wrong, right in zip(Amounts._fields, each.found, each.expected, strict=True)
        if wrong != right
    )
    return f"{date} {' '.join(word or '-' for word in each.kind)}: {amounts}"
