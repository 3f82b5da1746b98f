"""List users from the shell."""

from typing import Any

from django.core.management.base import CommandParser

from accounts.console import ServerCommand, printable, table
from accounts.formatting import local_time, quantity
from accounts.models import Role, User

_HEADS = ("USER", "ROLES", "PROJECTS", "NAME", "EMAIL", "STATUS", "LAST LOG-IN")


class Command(ServerCommand):
    """Print a table of users."""

    help = (
        "List the users with their roles and projects, in the order of their names, including inactive ones. Times are "
        "in TIME_ZONE; --json has them in UTC."
    )

    def add_arguments(self, parser: CommandParser) -> None:
        """Declare the options."""
        parser.add_argument("--role", choices=Role.values, help="List only users with this role.")
        parser.add_argument("--json", action="store_true", help="Print one JSON list instead of a table.")

    def handle(self, *args: Any, **options: Any) -> None:
        """Print the users to stdout and their number to stderr."""
        users = User.objects.with_access().order_by("username")
        if options["role"]:
            users = users.filter(role_set__role=options["role"])
        found = list(users)
        if options["json"]:
            self.print_json([described(user) for user in found])
        elif found:
            for line in table([_HEADS, *map(_row, found)]):
                self.stdout.write(line)
        inactive = sum(not user.is_active for user in found)
        self.note(quantity(len(found), "user") + (f", {inactive:,} inactive" if inactive else ""))


def described(user: User) -> dict[str, Any]:
    """Return a user for JSON; times in ISO 8601."""
    return {
        "username": user.username,
        "name": user.name,
        "email": user.email,
        "roles": user.roles,
        "projects": user.projects,
        "active": user.is_active,
        "lastLogin": user.last_login.isoformat() if user.last_login else None,
    }


def _row(user: User) -> tuple[str, ...]:
    return (
        user.username,
        ",".join(user.roles) or "-",
        printable(",".join(user.projects)) or "-",
        printable(user.name) or "-",
        printable(user.email) or "-",
        "active" if user.is_active else "inactive",
        local_time(user.last_login) if user.last_login else "never",
    )
