"""The cached look-up of tokens that every API call makes."""

import logging
import time
from dataclasses import dataclass
from datetime import datetime, timedelta

from django.conf import settings
from django.db import OperationalError
from django.db.models import Q
from django.utils import timezone
from django.utils.module_loading import import_string

from accounts import tokens
from accounts.addresses import is_listed
from accounts.exceptions import AddressRefusedError, InvalidTokenError
from accounts.models import ApiToken, User

logger = logging.getLogger(__name__)
without_waiting = import_string(settings.DATABASE_WITHOUT_WAITING)

CACHED = 15
"""Seconds for which a process caches a look-up, which costs 4 queries.

Revoking a token or deactivating a user takes effect within this time in every process.
"""

_UNKNOWN_FOR = 5.0  # seconds until a token works that was tried before it was created
_MAX_ENTRIES = 10_000
_USE_INTERVAL = timedelta(minutes=1)  # write last_used_at at most this often


@dataclass(frozen=True, slots=True)
class _Entry:
    until: float
    user: User | None
    refusal: str
    networks: tuple[str, ...] = ()
    label: str = ""


_entries: dict[str, _Entry] = {}


def clear_cache() -> None:
    """Empty the cache of this process, so that it sees a change at once."""
    _entries.clear()


def user_of(token: str, address: str) -> tuple[User, str]:
    """Return the user of a token, with roles and projects loaded, and the token's label (prefix and name).

    `address` is that of the client (see accounts.addresses). Raise InvalidTokenError with the reason if the token is
    not valid or its user is inactive, AddressRefusedError if it may not be used from this address.
    """
    digest = tokens.digest(token)
    entry = _entries.get(digest)
    if entry is None or entry.until < time.monotonic():
        if not tokens.is_well_formed(token):
            raise InvalidTokenError("malformed token: it is cut, mistyped, or not a token of this server")
        entry = _look_up(digest)
        if len(_entries) >= _MAX_ENTRIES:
            _entries.clear()
        _entries[digest] = entry
    if entry.user is None:
        raise InvalidTokenError(entry.refusal)
    if entry.networks and not is_listed(address, entry.networks):
        raise AddressRefusedError(f"this token may not be used from address {address}")
    return entry.user, entry.label


def _store_use(token: ApiToken, now: datetime) -> None:
    """Store the time of use, unless the database is locked: it is not worth delaying the call."""
    stale = Q(last_used_at=None) | Q(last_used_at__lt=now - _USE_INTERVAL)
    try:
        with without_waiting():
            ApiToken.objects.filter(stale, pk=token.pk).update(last_used_at=now)
    except OperationalError:
        logger.info("last use of token %s not stored: the database is locked", token.prefix)


def _look_up(digest: str) -> _Entry:
    now = timezone.now()
    token = ApiToken.objects.select_related("user").filter(digest=digest).first()
    if token is None:
        return _Entry(time.monotonic() + _UNKNOWN_FOR, None, "unknown token")
    status = token.status_at(now)
    if status != "active":
        refusal = f"user {token.user.username} is inactive" if status == "user inactive" else f"token {status}"
        return _Entry(time.monotonic() + _UNKNOWN_FOR, None, refusal)
    if token.last_used_at is None or token.last_used_at < now - _USE_INTERVAL:
        _store_use(token, now)
    user = User.objects.with_access().get(pk=token.user_id)
    lifetime: float = CACHED
    if token.expires_at is not None:
        lifetime = min(lifetime, (token.expires_at - now).total_seconds())
    _ = (user.roles, user.projects)  # cached properties: fill them before threads share the user
    return _Entry(time.monotonic() + lifetime, user, "", tuple(token.networks), str(token))
