"""Generate, recognise and hash API tokens.

A token is `ccb_`, 40 random letters and digits (238 bits), and a CRC-32 over these, six digits of base 62.
The fixed prefix lets secret scanners find a leaked token; the checksum reveals a typo without a query. The stored hash
is plain SHA-256: a secret of 238 random bits needs neither salt nor stretching, and a hash without SECRET_KEY survives
a change of that key.
"""

import hashlib
import re
import secrets
import string
import zlib

_ALPHABET = string.digits + string.ascii_uppercase + string.ascii_lowercase
_PREFIX = "ccb_"
_RANDOM_LENGTH = 40
_CHECKSUM_LENGTH = 6
VISIBLE_LENGTH = len(_PREFIX) + 8
_FORM = re.compile(rf"{_PREFIX}[0-9A-Za-z]{{{_RANDOM_LENGTH + _CHECKSUM_LENGTH}}}")


def _checksum(text: str) -> str:
    number = zlib.crc32(text.encode())
    digits = []
    for _ in range(_CHECKSUM_LENGTH):
        number, digit = divmod(number, len(_ALPHABET))
        digits.append(_ALPHABET[digit])
    return "".join(digits)


def generate() -> str:
    """Return a new secret token."""
    body = _PREFIX + "".join(secrets.choice(_ALPHABET) for _ in range(_RANDOM_LENGTH))
    return body + _checksum(body)


def is_well_formed(token: str) -> bool:
    """Return whether a text has the form and checksum of a token, without looking it up."""
    return _FORM.fullmatch(token) is not None and _checksum(token[:-_CHECKSUM_LENGTH]) == token[-_CHECKSUM_LENGTH:]


def visible_prefix(token: str) -> str:
    """Return the first characters, which lists show and `revoke_token` takes."""
    return token[:VISIBLE_LENGTH]


def digest(token: str) -> str:
    """Return the SHA-256 of a token as 64 hexadecimal digits, the form that is stored."""
    return hashlib.sha256(token.encode()).hexdigest()
