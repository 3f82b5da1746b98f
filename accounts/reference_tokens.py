"""Tokens that a ClusterCockpit cc-backend has made: JWTs signed by EdDSA with one of the keys of JWT_PUBLIC_KEYS.

Their claims are `sub` (the user's name), `roles`, `iat`, and `exp` if they expire. PyJWT is needed for them alone.
"""

import base64
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

from accounts.exceptions import InvalidTokenError

try:
    import jwt
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey
except ImportError:
    IS_INSTALLED = False
else:
    IS_INSTALLED = True


@dataclass(frozen=True, slots=True)
class Claims:
    """What a token says: its user, the roles that it is for, and the end of its life in epoch seconds."""

    username: str
    roles: tuple[str, ...]
    expires_at: int | None


def is_jwt(token: str) -> bool:
    """Return whether a text has the three parts of a JWT."""
    return token.count(".") == 2 and token.startswith("ey")


def read(token: str, keys: Sequence[str]) -> Claims:
    """Return the claims of a token that one of the keys (base64) has signed and that has not expired.

    Raise InvalidTokenError with the reason.
    """
    claims = _verified(token, tuple(keys))
    username, roles, expires_at = claims.get("sub"), claims.get("roles"), claims.get("exp")
    if not isinstance(username, str) or not username:
        raise InvalidTokenError("JWT without a user: expected the claim sub")
    if not isinstance(roles, list) or not all(isinstance(role, str) for role in roles):
        raise InvalidTokenError("JWT without roles: expected a list in the claim roles")
    return Claims(username, tuple(roles), None if expires_at is None else int(expires_at))


def check_key(text: str) -> None:
    """Raise ValueError unless a text is a public key of EdDSA (Ed25519) in base64."""
    try:
        size = len(base64.b64decode(text, validate=True))
    except ValueError:
        size = 0
    if size != 32:
        raise ValueError(f"{text!r}: expected base64 of 32 bytes, as JWT_PUBLIC_KEY in the .env of cc-backend")


@lru_cache(maxsize=16)
def _keys(texts: tuple[str, ...]) -> list[Any]:
    return [Ed25519PublicKey.from_public_bytes(base64.b64decode(text)) for text in texts]


def _verified(token: str, keys: tuple[str, ...]) -> dict[str, Any]:
    for key in _keys(keys):
        try:
            claims: dict[str, Any] = jwt.decode(token, key, algorithms=["EdDSA"], options={"verify_aud": False})
        except jwt.InvalidSignatureError:
            continue
        except jwt.ExpiredSignatureError:
            raise InvalidTokenError("token expired") from None
        except jwt.InvalidTokenError as error:
            raise InvalidTokenError(f"malformed JWT: {type(error).__name__}") from None
        return claims
    raise InvalidTokenError("unknown JWT: none of JWT_PUBLIC_KEYS has signed it")
