"""List API tokens from the shell."""

from collections import Counter
from collections.abc import Sequence
from datetime import datetime
from typing import Any

from django.core.management.base import CommandError, CommandParser
from django.utils import timezone

from accounts.console import ServerCommand, printable
from accounts.formatting import local_time, quantity
from accounts.models import ApiToken, User

_HEADS = ("PREFIX", "USER", "NAME", "STATUS", "SCOPE", "CREATED", "EXPIRES", "LAST USED", "NETWORKS")


class Command(ServerCommand):
    """Print a table of tokens."""

    help = (
        "List the tokens of one user or of all users, including expired and revoked ones. The list shows the first "
        "characters of each token, which revoke_token takes, never the secret. Times are in TIME_ZONE."
    )

    def add_arguments(self, parser: CommandParser) -> None:
        """Declare the options."""
        parser.add_argument("username", metavar="USER", nargs="?", help="List the tokens of this user only.")

    def handle(self, *args: Any, **options: Any) -> None:
        """Print the table to stdout and the counts to stderr."""
        username = options["username"]
        tokens = ApiToken.objects.select_related("user").order_by("user__username", "pk")
        if username is not None:
            if not User.objects.filter(username=username).exists():
                raise CommandError(f"no such user: {username!r}")
            tokens = tokens.filter(user__username=username)
        now = timezone.now()
        found = list(tokens)
        if found:
            for line in _table([_HEADS, *(_row(token, now) for token in found)]):
                self.stdout.write(line)
        by_status = Counter(token.status_at(now) for token in found)
        counts = ", ".join(f"{number} {status}" for status, number in sorted(by_status.items()))
        self.note(quantity(len(found), "token") + (f": {counts}" if counts else ""))


def _row(token: ApiToken, now: datetime) -> tuple[str, ...]:
    return (
        token.prefix,
        token.user.username,
        printable(token.name) or "-",
        token.status_at(now),
        printable(token.reach),
        _time(token.created_at),
        _time(token.expires_at),
        _time(token.last_used_at),
        ",".join(token.networks) or "any",
    )


def _time(when: datetime | None) -> str:
    return "never" if when is None else local_time(when)


def _table(rows: Sequence[tuple[str, ...]]) -> list[str]:
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    return ["  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip() for row in rows]
