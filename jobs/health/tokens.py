"""The health of API tokens: none expires soon without notice."""

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta

from accounts.formatting import local_time
from accounts.models import ApiToken
from jobs.health.look import Look
from jobs.health.report import Finding, State

NAME = "API tokens"

NOTICE = timedelta(days=14)
"""The time before its end from which on a token is named."""

_MOST_NAMED = 20


def check(look: Look) -> Iterator[Finding]:
    """Yield the tokens that expire soon."""
    moment = datetime.fromtimestamp(look.now, UTC)
    ending = ApiToken.objects.filter(
        expires_at__gt=moment, expires_at__lte=moment + NOTICE, revoked_at=None, user__is_active=True
    )
    found = list(ending.select_related("user").order_by("expires_at")[:_MOST_NAMED])
    for token in found:
        assert token.expires_at is not None
        sentence = f"The token {token} of {token.user.username} expires on {local_time(token.expires_at)}."
        cure = "Create another one (`manage.py create_token`), put it in place, and revoke this one."
        yield Finding(NAME, State.WARNING, sentence, cure)
    if not found:
        yield Finding(NAME, State.OK, f"No token expires within {NOTICE.days} days.")
