"""Create a user from the shell."""

import getpass
import sys
from typing import Any

from django.core.management.base import CommandError, CommandParser

from accounts import services
from accounts.console import BAD_USAGE, ServerCommand, on_terminal
from accounts.exceptions import AccountError, InvalidAccountError
from accounts.models import Role

_TRIES = 3


class Command(ServerCommand):
    """Parse, ask for the password, call the service."""

    help = (
        "Create a user with its roles. On a terminal the password is asked for, twice; elsewhere give "
        "--password-stdin or --no-password. A user of the REST API needs the role api and then a token: see "
        "create_token."
    )

    def add_arguments(self, parser: CommandParser) -> None:
        """Declare the options."""
        roles = "; ".join(Role.labels)
        parser.add_argument("username", metavar="NAME", help="What the user logs in with.")
        parser.add_argument(
            "--role",
            dest="roles",
            metavar="ROLE",
            nargs="+",
            action="extend",
            required=True,
            choices=Role.values,
            help=f"One or several of: {roles}.",
        )
        parser.add_argument(
            "--project",
            dest="projects",
            metavar="P",
            nargs="+",
            action="extend",
            default=[],
            help="Projects that a manager manages; a manager needs at least one.",
        )
        parser.add_argument("--email", default="", help="Where the user can be reached.")
        parser.add_argument("--name", default="", help="The user's full name.")
        password = parser.add_mutually_exclusive_group()
        password.add_argument(
            "--password-stdin", action="store_true", help="Read the password from the first line of the standard input."
        )
        password.add_argument(
            "--no-password", action="store_true", help="No log-in by password: the user works with tokens alone."
        )

    def handle(self, *args: Any, **options: Any) -> None:
        """Create the user and say which."""
        try:
            user = services.create_user(
                username=options["username"],
                roles=options["roles"],
                password=self._password(options),
                projects=options["projects"],
                name=options["name"],
                email=options["email"],
            )
        except InvalidAccountError as error:
            raise CommandError(str(error), returncode=BAD_USAGE) from error
        except AccountError as error:
            raise CommandError(str(error)) from error
        managed = f" and {_count(len(user.projects), 'project')}" if user.projects else ""
        self.say(
            f"User {user.username} created with {_count(len(user.roles), 'role')} ({', '.join(user.roles)}){managed}."
        )

    def _password(self, options: dict[str, Any]) -> str | None:
        if options["no_password"]:
            return None
        if options["password_stdin"]:
            return sys.stdin.readline().rstrip("\r\n")
        if not on_terminal():
            raise CommandError(
                "There is no terminal to ask for a password on: give --password-stdin or --no-password.",
                returncode=BAD_USAGE,
            )
        for _ in range(_TRIES):
            password = getpass.getpass(f"Password for {options['username']}: ")
            if password == getpass.getpass("Password (again): "):
                return password
            self.stderr.write("The two differ.")
        raise CommandError(f"The two passwords differed {_TRIES} times: no user was created.", returncode=BAD_USAGE)


def _count(number: int, noun: str) -> str:
    return f"{number} {noun}" if number == 1 else f"{number} {noun}s"
