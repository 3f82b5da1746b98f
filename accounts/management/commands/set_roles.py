"""Set the roles and projects of a user from the shell."""

from typing import Any

from django.core.management.base import CommandParser

from accounts import services
from accounts.console import ServerCommand
from accounts.management.commands.list_users import described
from accounts.management.shared import add_access_arguments, refusals


class Command(ServerCommand):
    """Replace roles and projects, and print them."""

    help = (
        "Give a user exactly these roles and projects, in place of those before. The last active administrator keeps "
        "the role admin."
    )

    def add_arguments(self, parser: CommandParser) -> None:
        """Declare the options."""
        parser.add_argument("username", metavar="USER", help="The name with which the user logs in.")
        add_access_arguments(parser)
        parser.add_argument("--json", action="store_true", help="Print the user as JSON.")

    def handle(self, *args: Any, **options: Any) -> None:
        """Set them, and print what the user has now."""
        with refusals():
            user = services.set_access(
                username=options["username"], roles=options["roles"], projects=options["projects"]
            )
        if options["json"]:
            self.print_json(described(user))
        else:
            projects = f", and manages {', '.join(user.projects)}" if user.projects else ""
            self.say(f"User {user.username} has the roles {', '.join(user.roles)}{projects}.")
