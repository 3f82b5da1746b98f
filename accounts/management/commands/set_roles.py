"""Set the roles and projects of a user from the shell."""

from typing import Any

from django.core.management.base import CommandError, CommandParser

from accounts import services
from accounts.console import BAD_USAGE, ServerCommand
from accounts.exceptions import AccountError, InvalidAccountError
from accounts.management.commands.list_users import described
from accounts.models import Role


class Command(ServerCommand):
    """Replace roles and projects, and print them."""

    help = (
        "Give a user exactly these roles and projects, in place of those before. The last active administrator keeps "
        "the role admin."
    )

    def add_arguments(self, parser: CommandParser) -> None:
        """Declare the options."""
        parser.add_argument("username", metavar="USER", help="The name with which the user logs in.")
        parser.add_argument(
            "--role",
            dest="roles",
            metavar="ROLE",
            nargs="+",
            action="extend",
            required=True,
            choices=Role.values,
            help=f"One or more of: {', '.join(Role.values)}.",
        )
        parser.add_argument(
            "--project",
            dest="projects",
            metavar="P",
            nargs="+",
            action="extend",
            default=[],
            help="Projects that the user manages; for the role manager, which needs at least one.",
        )
        parser.add_argument("--json", action="store_true", help="Print the user as JSON.")

    def handle(self, *args: Any, **options: Any) -> None:
        """Set them, and print what the user has now."""
        try:
            user = services.set_access(
                username=options["username"], roles=options["roles"], projects=options["projects"]
            )
        except InvalidAccountError as error:
            raise CommandError(str(error), returncode=BAD_USAGE) from None
        except AccountError as error:
            raise CommandError(str(error)) from None
        if options["json"]:
            self.print_json(described(user))
        else:
            projects = f", and manages {', '.join(user.projects)}" if user.projects else ""
            self.say(f"User {user.username} has the roles {', '.join(user.roles)}{projects}.")
