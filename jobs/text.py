"""Text as clients send it: numbers written out, characters that a database refuses."""

import re

_WHOLE = re.compile(r"-?[0-9]{1,19}")
MAX_BIGINT = 2**63 - 1


def clean_text(text: str) -> str:
    """Remove NUL, which PostgreSQL refuses, and put U+FFFD for lone surrogates, which are no text."""
    return text.replace("\0", "").encode("utf-16", "surrogatepass").decode("utf-16", "replace")


def is_whole(text: str) -> bool:
    """Return whether a text is a whole number of 64 bit."""
    return _WHOLE.fullmatch(text) is not None and -(2**63) <= int(text) <= MAX_BIGINT
