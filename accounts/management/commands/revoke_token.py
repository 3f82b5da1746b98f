"""Revoke an API token from the shell."""

from typing import Any

from django.core.management.base import CommandError, CommandParser

from accounts import credentials, tokens
from accounts.console import BAD_USAGE, ServerCommand, printable
from accounts.formatting import local_time
from accounts.models import ApiToken

_MIN_LENGTH = 8


class Command(ServerCommand):
    """Find a token by its first characters and revoke it."""

    help = (
        "Revoke a token, given by its first characters, as list_tokens shows them, or in full. All server processes "
        f"refuse it within {credentials.CACHED} seconds. It stays in the list, as revoked."
    )

    def add_arguments(self, parser: CommandParser) -> None:
        """Declare the options."""
        parser.add_argument(
            "prefix",
            metavar="PREFIX",
            help=f"The first {_MIN_LENGTH} or more characters of the token, such as ccb_x7Qd.",
        )

    def handle(self, *args: Any, **options: Any) -> None:
        """Revoke the token and describe it."""
        token = _find(options["prefix"].strip())
        described = f"{token.prefix}… ({printable(token.name) or 'unnamed'}) of {token.user.username}"
        if token.revoked_at is not None or not token.revoke():
            when = f" at {local_time(token.revoked_at)}" if token.revoked_at else ""
            self.say(f"Token {described} was already revoked{when}; 0 tokens revoked.")
        else:
            self.say(
                f"1 token revoked: {described}. All server processes refuse it within {credentials.CACHED} seconds."
            )


def _find(text: str) -> ApiToken:
    """Return the token with this prefix; raise CommandError unless there is exactly one."""
    rows = ApiToken.objects.select_related("user")
    if tokens.is_well_formed(text):
        found = list(rows.filter(digest=tokens.digest(text)))
    else:
        prefix = text.rstrip("….")  # pasted from a list
        if len(prefix) < _MIN_LENGTH:
            message = f"{text!r}: expected at least {_MIN_LENGTH} characters of the token"
            raise CommandError(message, returncode=BAD_USAGE)
        # SQLite's LIKE ignores case.
        found = [token for token in rows.filter(prefix__startswith=prefix) if token.prefix.startswith(prefix)]
    if not found:
        raise CommandError(f"no token begins with {text[:12]!r}; see list_tokens")
    if len(found) > 1:
        names = ", ".join(token.prefix for token in found[:5])
        raise CommandError(
            f"{len(found)} tokens begin with {text!r}: {names}; give more characters", returncode=BAD_USAGE
        )
    return found[0]
