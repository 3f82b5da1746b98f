"""Passwords that cc-backend has hashed by bcrypt: taken as they are, and hashed anew at the first log-in."""

import re

from django.contrib.auth.hashers import BCryptPasswordHasher

_BCRYPT = re.compile(r"\$2[abxy]\$\d\d\$[./A-Za-z0-9]{53}")
_LONGEST = 72  # bytes that bcrypt reads


class AdoptedPassword(BCryptPasswordHasher):
    """bcrypt without a hash before it, as Go's library has it, which refuses passwords that are longer."""

    def verify(self, password: str, encoded: str) -> bool:
        """Return whether this is the password."""
        return len(password.encode()) <= _LONGEST and super().verify(password, encoded)


def is_bcrypt(text: str) -> bool:
    """Return whether a text is a hash by bcrypt."""
    return _BCRYPT.fullmatch(text) is not None


def adopted(text: str) -> str:
    """Return a hash by bcrypt as Django stores it."""
    return f"{AdoptedPassword.algorithm}${text}"
