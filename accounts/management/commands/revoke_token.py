"""Take an API token out of use."""

from typing import Any

from django.core.management.base import CommandError, CommandParser
from django.utils import timezone

from accounts import tokens
from accounts.console import BAD_USAGE, ServerCommand, printable
from accounts.models import ApiToken

_LEAST = 8


class Command(ServerCommand):
    """Find one token by its beginning and revoke it."""

    help = (
        "Take a token out of use, named by its beginning as list_tokens shows it, or by the whole token. Each worker "
        "of the server refuses it within 30 seconds. It stays listed, as revoked."
    )

    def add_arguments(self, parser: CommandParser) -> None:
        """Declare the options."""
        parser.add_argument(
            "prefix", metavar="PREFIX", help=f"At least {_LEAST} characters of the token's beginning, such as ccb_x7Qd."
        )

    def handle(self, *args: Any, **options: Any) -> None:
        """Revoke the token and say what was revoked."""
        token = _find(options["prefix"].strip())
        described = f"{token.prefix}… ({printable(token.name) or 'unnamed'}) of {token.user.username}"
        if token.revoked_at is not None or not token.revoke():
            since = f" since {timezone.localtime(token.revoked_at):%Y-%m-%d %H:%M %Z}" if token.revoked_at else ""
            self.say(f"Token {described} was revoked already{since}; 0 tokens revoked.")
        else:
            self.say(f"1 token revoked: {described}. Every worker of the server refuses it within 30 seconds.")


def _find(text: str) -> ApiToken:
    """Return the only token that begins like this; raise CommandError where there is none or more than one."""
    rows = ApiToken.objects.select_related("user")
    if tokens.is_well_formed(text):
        found = list(rows.filter(digest=tokens.digest(text)))
    else:
        prefix = text.rstrip("….")  # as lists and the admin show it
        if len(prefix) < _LEAST:
            raise CommandError(f"{text!r}: expected at least {_LEAST} characters of the token", returncode=BAD_USAGE)
        # SQLite compares without regard to case here.
        found = [token for token in rows.filter(prefix__startswith=prefix) if token.prefix.startswith(prefix)]
    if not found:
        raise CommandError(f"no token begins with {text[:12]!r}; list_tokens shows all")
    if len(found) > 1:
        names = ", ".join(token.prefix for token in found[:5])
        raise CommandError(f"{len(found)} tokens begin with {text!r}: {names}; give more of it", returncode=BAD_USAGE)
    return found[0]
