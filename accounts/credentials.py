"""Who a token acts for: the look-up that every API call makes, with its cache."""

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

# How long a worker believes what it read (seconds): revoking and deactivating take effect within the first, a token
# made after somebody tried it works within the second. A look-up is 4 queries, a hit none.
_KNOWN_FOR = 15.0
_UNKNOWN_FOR = 5.0
_MAX_ENTRIES = 10_000
_USED_STEP = timedelta(minutes=1)  # last_used_at is written at most this often per token


@dataclass(frozen=True, slots=True)
class _Entry:
    until: float
    user: User | None
    refusal: str
    networks: tuple[str, ...] = ()
    label: str = ""


_entries: dict[str, _Entry] = {}


def forget_all() -> None:
    """Empty this process's cache, so that a change is seen at once."""
    _entries.clear()


def user_of(token: str, address: str) -> tuple[User, str]:
    """Return the active user that a token acts for, with roles and projects loaded, and the token's name and prefix.

    `address` is the client's (see accounts.addresses). Raises InvalidTokenError that says why the token is refused,
    AddressRefusedError when it may not be used from there.
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


def _note_use(token: ApiToken, now: datetime) -> None:
    """Write when the token was used; not worth waiting for a locked database, let alone refusing the call."""
    stale = Q(last_used_at=None) | Q(last_used_at__lt=now - _USED_STEP)
    try:
        with without_waiting():
            ApiToken.objects.filter(stale, pk=token.pk).update(last_used_at=now)
    except OperationalError:
        logger.info("last use of token %s not noted: the database is locked", token.prefix)


def _look_up(digest: str) -> _Entry:
    now = timezone.now()
    token = ApiToken.objects.select_related("user").filter(digest=digest).first()
    if token is None:
        return _Entry(time.monotonic() + _UNKNOWN_FOR, None, "unknown token")
    status = token.status_at(now)
    if status != "active":
        refusal = f"user {token.user.username} is inactive" if status == "user inactive" else f"token {status}"
        return _Entry(time.monotonic() + _UNKNOWN_FOR, None, refusal)
    if token.last_used_at is None or token.last_used_at < now - _USED_STEP:
        _note_use(token, now)
    user = User.objects.with_access().get(pk=token.user_id)
    lifetime = _KNOWN_FOR
    if token.expires_at is not None:
        lifetime = min(lifetime, (token.expires_at - now).total_seconds())
    _ = (user.roles, user.projects)  # read now, so that requests share one finished object
    return _Entry(time.monotonic() + lifetime, user, "", tuple(token.networks), str(token))
