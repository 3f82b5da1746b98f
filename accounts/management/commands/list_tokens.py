"""List API tokens from the shell."""

from collections import Counter
from datetime import datetime
from typing import Any

from django.core.management.base import CommandError, CommandParser
from django.utils import timezone

from accounts.console import ServerCommand, printable, table
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
        parser.add_argument("--json", action="store_true", help="Print one JSON list, with times in UTC.")

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
        if options["json"]:
            self.print_json([_described(token, now) for token in found])
        elif found:
            for line in table([_HEADS, *(_row(token, now) for token in found)]):
                self.stdout.write(line)
        by_status = Counter(token.status_at(now) for token in found)
        counts = ", ".join(f"{number} {status}" for status, number in sorted(by_status.items()))
        self.note(quantity(len(found), "token") + (f": {counts}" if counts else ""))


def _described(token: ApiToken, now: datetime) -> dict[str, Any]:
    """Return a token for JSON, without its hash; times in ISO 8601."""
    times = {"created": token.created_at, "expires": token.expires_at, "lastUsed": token.last_used_at}
    return {
        "prefix": token.prefix,
        "user": token.user.username,
        "name": token.name,
        "status": token.status_at(now),
        "scope": token.scope,
        "clusters": token.clusters,
        **{name: None if when is None else when.isoformat() for name, when in times.items()},
        "networks": token.networks,
    }


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
