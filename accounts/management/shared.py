"""What commands share that work with users: options, refusals, and the account that stands for the shell."""

import contextlib
import os
import pwd
import socket
from collections.abc import Iterator

from django.contrib.auth.hashers import make_password
from django.core.management.base import CommandError, CommandParser

from accounts.console import BAD_USAGE
from accounts.exceptions import AccountError, InvalidAccountError
from accounts.models import Role, User

_COMMANDS_ACCOUNT = "manage.py"


def add_access_arguments(parser: CommandParser) -> None:
    """Declare the options `roles` and `projects`."""
    parser.add_argument(
        "--role",
        dest="roles",
        metavar="ROLE",
        nargs="+",
        action="extend",
        required=True,
        choices=Role.values,
        help=f"One or more of: {'; '.join(Role.labels)}.",
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


@contextlib.contextmanager
def refusals() -> Iterator[None]:
    """Turn a refused change of a user into a message and an exit status."""
    try:
        yield
    except InvalidAccountError as error:
        raise CommandError(str(error), returncode=BAD_USAGE) from error
    except AccountError as error:
        raise CommandError(str(error)) from error


def shell_user() -> tuple[User, str]:
    """Return the account of a command, for the history, and the shell's user and host in words.

    It is the account that has the shell's user name, if there is one. Otherwise it is `manage.py`, which is created
    when it is first needed: inactive, without role and password.
    """
    try:
        name = pwd.getpwuid(os.geteuid()).pw_name
    except KeyError:  # a container's user that has no name
        name = f"uid {os.geteuid()}"
    user = User.objects.filter(username=name).first()
    if user is None:
        nobody = {"is_active": False, "password": make_password(None)}
        user, _ = User.objects.get_or_create(username=_COMMANDS_ACCOUNT, defaults=nobody)
    return user, f"the shell of {name} on {socket.gethostname()}"
