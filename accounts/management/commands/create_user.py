"""Create a user from the shell."""

import getpass
import sys
from typing import Any

from django.core.management.base import CommandError, CommandParser

from accounts import services
from accounts.console import BAD_USAGE, ServerCommand, on_terminal
from accounts.formatting import quantity
from accounts.management.shared import add_access_arguments, refusals
from accounts.models import User

_TRIES = 3


class Command(ServerCommand):
    """Create a user, asking for the password if necessary."""

    help = (
        "Create a user with its roles. On a terminal, the command asks for the password twice; otherwise, give "
        "--password-stdin or --no-password. A user of the REST API needs the role api and a token: see create_token."
    )

    def add_arguments(self, parser: CommandParser) -> None:
        """Declare the options."""
        parser.add_argument("username", metavar="NAME", help="The name with which the user logs in.")
        add_access_arguments(parser)
        parser.add_argument("--email", default="", help="The user's e-mail address.")
        parser.add_argument("--name", default="", help="The user's full name.")
        password = parser.add_mutually_exclusive_group()
        password.add_argument(
            "--password-stdin", action="store_true", help="Read the password from the first line of standard input."
        )
        password.add_argument(
            "--no-password", action="store_true", help="Create a user without a password, who works with tokens only."
        )

        parser.add_argument(
            "--exists-ok", action="store_true", help="Leave a user of this name as it is, and end with status 0."
        )

    def handle(self, *args: Any, **options: Any) -> None:
        """Create the user and print its roles."""
        if options["exists_ok"] and User.objects.filter(username=options["username"]).exists():
            self.say(f"User {options['username']} is there already; nothing was changed.")
            return
        with refusals():
            user = services.create_user(
                username=options["username"],
                roles=options["roles"],
                password=self._password(options),
                projects=options["projects"],
                name=options["name"],
                email=options["email"],
            )
        managed = f" and {quantity(len(user.projects), 'project')}" if user.projects else ""
        roles = f"{quantity(len(user.roles), 'role')} ({', '.join(user.roles)})"
        self.say(f"User {user.username} created with {roles}{managed}.")

    def _password(self, options: dict[str, Any]) -> str | None:
        if options["no_password"]:
            return None
        if options["password_stdin"]:
            try:
                return sys.stdin.readline().rstrip("\r\n")
            except UnicodeDecodeError:
                raise CommandError("standard input: expected UTF-8", returncode=BAD_USAGE) from None
        if not on_terminal():
            raise CommandError(
                "There is no terminal to ask for a password on: give --password-stdin or --no-password.",
                returncode=BAD_USAGE,
            )
        for _ in range(_TRIES):
            password = getpass.getpass(f"Password for {options['username']}: ")
            if password == getpass.getpass("Password (again): "):
                return password
            self.stderr.write("The passwords differ.")
        raise CommandError(f"The two passwords differed {_TRIES} times: no user was created.", returncode=BAD_USAGE)
