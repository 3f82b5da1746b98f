"""Values as clients send them: numbers written out, times that cannot be, characters that a database refuses."""

import re
from datetime import UTC, datetime

from jobs.exceptions import InvalidJobError

_WHOLE = re.compile(r"-?[0-9]{1,19}")
MAX_BIGINT = 2**63 - 1

LATEST_TIME = 32_535_215_999
"""The last second of the year 3000, as epoch seconds. Later times are mistakes, usually milliseconds."""

TOO_LATE = "expected epoch seconds up to the year 3000 (seconds, not milliseconds?)"


def clean_text(text: str) -> str:
    """Remove NUL, which PostgreSQL refuses, and put U+FFFD for lone surrogates, which are no text."""
    return text.replace("\0", "").encode("utf-16", "surrogatepass").decode("utf-16", "replace")


def is_whole(text: str) -> bool:
    """Return whether a text is a whole number of 64 bit."""
    return _WHOLE.fullmatch(text) is not None and -(2**63) <= int(text) <= MAX_BIGINT


def check_time(name: str, seconds: int) -> None:
    """Raise InvalidJobError, naming the field, for a time (epoch seconds) after the year 3000."""
    if seconds > LATEST_TIME:
        raise InvalidJobError(f"field {name!r}: {TOO_LATE}, got {seconds}")


def utc_time(seconds: int) -> str:
    """Return epoch seconds as a time in UTC, or as they are where no calendar has them."""
    try:
        return f"{datetime.fromtimestamp(seconds, UTC):%Y-%m-%d %H:%M:%S} UTC"
    except (OverflowError, ValueError, OSError):
        return f"{seconds} s after 1970"


def pairs_of(text: str) -> list[tuple[str, str]]:
    """Return the pairs of type and name that `type:name` may mean: each of the two may contain colons itself."""
    colons = [place for place, character in enumerate(text) if character == ":"]
    return [(text[:place], text[place + 1 :]) for place in colons if 0 < place < len(text) - 1]
