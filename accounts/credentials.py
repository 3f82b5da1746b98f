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

from accounts import bad_tokens, reference_tokens, tokens
from accounts.addresses import is_listed
from accounts.exceptions import AddressRefusedError, InvalidTokenError
from accounts.models import ApiToken, TokenScope, User

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
class Credential:
    """A token with which a call was authenticated: its first characters and name, and what limits it."""

    label: str
    source: str
    """What calls are counted by: the token's first characters, or `user NAME` for a JWT."""
    scope: str = TokenScope.ALL
    clusters: frozenset[str] = frozenset()
    is_limited: bool = False
    """Whether anything but the user's roles limits it; computed once, because each call asks."""

    def __str__(self) -> str:
        """Return the label."""
        return self.label


@dataclass(frozen=True, slots=True)
class _Entry:
    until: float
    user: User | None
    refusal: str
    networks: tuple[str, ...] = ()
    credential: Credential = Credential("", "")


_entries: dict[str, _Entry] = {}
_refusals: dict[str, _Entry] = {}
"""Of bad tokens, apart: whoever invents them must not make the server forget the good ones."""


def clear_cache() -> None:
    """Empty the cache of this process, so that it sees a change at once."""
    _entries.clear()
    _refusals.clear()


def user_of(token: str, address: str) -> tuple[User, Credential]:
    """Return the user of a token, with roles and projects loaded, and what the token is.

    `address` is that of the client (see accounts.addresses). Raise InvalidTokenError with the reason if the token is
    not valid or its user is inactive, AddressRefusedError if it may not be used from this address.
    """
    digest = tokens.digest(token)
    entry = _entries.get(digest)
    if entry is None or entry.until < time.monotonic():
        entry = _new_entry(token, digest)
    if entry.user is None:
        error = InvalidTokenError(entry.refusal)
        error.is_repeated = bad_tokens.note(address)
        raise error
    if entry.networks and not is_listed(address, entry.networks):
        raise AddressRefusedError(f"this token may not be used from address {address}")
    return entry.user, entry.credential


def remembered_user(token: str, address: str) -> tuple[User, Credential] | None:
    """Return what `user_of` returns if that is in the cache; None if `user_of` has to look or to refuse."""
    entry = _entries.get(tokens.digest(token))
    if entry is None or entry.user is None or entry.until < time.monotonic():
        return None
    return None if entry.networks and not is_listed(address, entry.networks) else (entry.user, entry.credential)


def _new_entry(token: str, digest: str) -> _Entry:
    """Look a token up and remember the outcome; of one that cannot be a token there is nothing to remember."""
    entry = _refusals.get(digest)
    if entry is not None and entry.until >= time.monotonic():
        return entry
    if tokens.is_well_formed(token):
        entry = _look_up(digest)
    elif settings.JWT_PUBLIC_KEYS and reference_tokens.is_jwt(token):
        entry = _look_up_jwt(token)
    else:
        return _Entry(0, None, "malformed token: it is cut, mistyped, or not a token of this server")
    remembered = _refusals if entry.user is None else _entries
    if len(remembered) >= _MAX_ENTRIES:
        remembered.clear()
    remembered[digest] = entry
    return entry


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
    clusters = frozenset(token.clusters)
    is_limited = bool(clusters) or token.scope != TokenScope.ALL
    credential = Credential(str(token), token.prefix, token.scope, clusters, is_limited)
    return _Entry(time.monotonic() + lifetime, user, "", tuple(token.networks), credential)


def _look_up_jwt(token: str) -> _Entry:
    """Look up the user of a JWT, who has only those of the roles that the JWT is for."""
    try:
        claims = reference_tokens.read(token, settings.JWT_PUBLIC_KEYS)
    except InvalidTokenError as error:
        return _Entry(time.monotonic() + _UNKNOWN_FOR, None, str(error))
    user = User.objects.with_access().filter(username=claims.username).first()
    if user is None or not user.is_active:
        refusal = f"user {claims.username[:150]!r} of the JWT is {'unknown' if user is None else 'inactive'}"
        return _Entry(time.monotonic() + _UNKNOWN_FOR, None, refusal)
    user.roles = [role for role in user.roles if role in claims.roles]
    _ = user.projects  # see _look_up
    left = CACHED if claims.expires_at is None else claims.expires_at - timezone.now().timestamp()
    credential = Credential(f"JWT of {user.username}", f"user {user.username}")
    return _Entry(time.monotonic() + min(CACHED, left), user, "", (), credential)
