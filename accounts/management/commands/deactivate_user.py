"""Deactivate a user from the shell."""

from typing import Any

from django.core.management.base import CommandError, CommandParser

from accounts import credentials, services
from accounts.console import ServerCommand
from accounts.management.commands.list_users import described
from accounts.management.shared import refusals
from accounts.models import User


class Command(ServerCommand):
    """Deactivate or activate a user."""

    help = (
        "Deactivate a user: log-ins and tokens are refused from then on, jobs and history stay. The last active "
        f"administrator stays active. All server processes refuse the tokens within {credentials.CACHED} seconds."
    )

    def add_arguments(self, parser: CommandParser) -> None:
        """Declare the options."""
        parser.add_argument("username", metavar="USER", help="The name with which the user logs in.")
        parser.add_argument("--undo", action="store_true", help="Activate the user again, with the same tokens.")
        parser.add_argument("--json", action="store_true", help="Print the user as JSON.")

    def handle(self, *args: Any, **options: Any) -> None:
        """Change the user, and say so."""
        user = User.objects.with_access().filter(username=options["username"]).first()
        if user is None:
            raise CommandError(f"no such user: {options['username']!r}")
        with refusals():
            services.set_active(user=user, active=options["undo"])
        user.is_active = options["undo"]
        if options["json"]:
            self.print_json(described(user))
        else:
            self.say(f"User {user.username} is {'active' if user.is_active else 'inactive'} now.")
