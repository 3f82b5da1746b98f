"""Create and change users from a file of comma-separated values."""

import sys
from pathlib import Path
from typing import Any

from django.core.management.base import CommandError, CommandParser

from accounts import user_import
from accounts.console import BAD_USAGE, ServerCommand, printable
from accounts.formatting import quantity
from accounts.management.shared import refusals, shell_user


class Command(ServerCommand):
    """Show what a file would do, do it, and print the result."""

    help = (
        f"Create and change users from a file of comma-separated values (or semicolons, UTF-8) with the columns "
        f"{', '.join(user_import.COLUMNS)}; a column that it lacks is left as it is. Lines that cannot be are left "
        f"out, and the exit status is 1 then. Passwords are neither read nor set."
    )

    def add_arguments(self, parser: CommandParser) -> None:
        """Declare the options."""
        parser.add_argument("file", metavar="FILE", help="The file, or - for standard input.")
        parser.add_argument("--dry-run", action="store_true", help="Only print what would be done.")
        parser.add_argument("--json", action="store_true", help="Print one JSON document.")

    def handle(self, *args: Any, **options: Any) -> None:
        """Read the file, and do what it says."""
        data = _read(options["file"])
        with refusals():
            if options["dry_run"]:
                plan = user_import.plan(data)
            else:
                user, through = shell_user()
                plan = user_import.apply(data, actor=user, through=through)
        if options["json"]:
            self.print_json({"dry_run": options["dry_run"], **plan.document()})
        else:
            self._print(plan, dry_run=options["dry_run"])
        if plan.refused:
            raise CommandError(f"{quantity(len(plan.refused), 'line')} refused.")

    def _print(self, plan: user_import.Plan, *, dry_run: bool) -> None:
        for user in plan.new:
            managed = f", manages {', '.join(user.projects)}" if user.projects else ""
            self.say(printable(f"new: {user.username} ({', '.join(user.roles)}{managed})"))
        for user, changes in plan.changed:
            for change in changes:
                text = f"{change.field}: {change.old or '(empty)'} -> {change.new or '(empty)'}"
                self.say(printable(f"changed: {user.username}: {text}"))
        for refusal in plan.refused:
            text = f"line {refusal.line}: {refusal.field} {refusal.value}: expected {refusal.expected}"
            self.note(printable(f"refused: {text}"))
        numbers = (
            f"{quantity(len(plan.new), 'user')}; changed: {len(plan.changed):,}; as they were: {plan.unchanged:,}."
        )
        self.say(f"{'To be created' if dry_run else 'Created'}: {numbers}")


def _read(name: str) -> bytes:
    """Return the content of a file, no more than is needed to see that it is too large."""
    try:
        if name == "-":
            return sys.stdin.buffer.read(user_import.MOST_BYTES + 1)
        with Path(name).open("rb") as file:
            return file.read(user_import.MOST_BYTES + 1)
    except OSError as error:
        raise CommandError(f"{name[:200]}: {error.strerror}", returncode=BAD_USAGE) from None
