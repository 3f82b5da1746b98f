"""The values that people type: lists of names, and ranges of numbers, durations, shares and times, with their units."""

import re
import time
from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime, timedelta
from functools import reduce
from operator import or_
from typing import Any, NamedTuple

from django.db.models import Q
from django.utils import timezone

MOST_VALUES = 100
"""Values in a list."""

_COMPARISON = re.compile(r"(?P<operator>>=|<=|>|<|=)?(?P<rest>.*)", re.DOTALL)
_LOOKUPS = {">": "gt", ">=": "gte", "<": "lt", "<=": "lte"}
_NUMBER = r"[0-9]{1,18}(?:\.[0-9]{1,9})?"
_PREFIXES = {"": 1.0, "k": 1e3, "m": 1e6, "g": 1e9, "t": 1e12, "p": 1e15, "e": 1e18}
_SECONDS = {"": 1, "s": 1, "m": 60, "h": 3600, "d": 86_400, "w": 7 * 86_400}


class Names(NamedTuple):
    """Names to match as they are, and beginnings."""

    exact: tuple[str, ...]
    beginnings: tuple[str, ...] = ()


def names(text: str, *, quoted: bool = False) -> Names:
    """Parse `alice,bob*`; a quoted text is a single name. Raise ValueError if it is empty or too long a list."""
    if quoted:
        return Names((text,))
    parts = [part for part in text.split(",") if part]
    if not parts or len(parts) > MOST_VALUES or any("*" in part[:-1] or part == "*" for part in parts):
        raise ValueError(text)
    beginnings = [part[:-1] for part in parts if part.endswith("*")]
    return Names(tuple(part for part in parts if not part.endswith("*")), tuple(beginnings))


@dataclass(frozen=True)
class Range:
    """Numbers between two limits, of which either may be missing; an end may be excluded."""

    least: float | None = None
    most: float | None = None
    above: bool = False
    below: bool = False

    def on(self, column: str) -> Q:
        """Return the condition that a column is in the range."""
        found = Q()
        if self.least is not None:
            found &= Q((f"{column}__{'gt' if self.above else 'gte'}", self.least))
        if self.most is not None:
            found &= Q((f"{column}__{'lt' if self.below else 'lte'}", self.most))
        return found


Ranges = tuple[Range, ...]


def ranges(parse: Callable[[str], float]) -> Callable[[str], Ranges]:
    """Return a parser of `>64`, `<=5%`, `8..32`, `8..<32`, `4` and lists of these, whose numbers `parse` reads."""

    def parsed(text: str) -> Ranges:
        parts = [part for part in text.split(",") if part]
        if not parts or len(parts) > MOST_VALUES:
            raise ValueError(text)
        return tuple(_range(part, parse) for part in parts)

    return parsed


def _range(text: str, parse: Callable[[str], float]) -> Range:
    word = _COMPARISON.fullmatch(text)
    assert word is not None  # it matches anything
    operator, rest = word["operator"], word["rest"].strip()
    if operator in (None, "=") and ".." in rest:
        least, _, most = rest.partition("..")
        if not least and not most:
            raise ValueError(text)
        below = most.startswith("<")
        most = most.removeprefix("<")
        return Range(parse(least) if least else None, parse(most) if most or below else None, below=below)
    value = parse(rest)
    if operator in (None, "="):
        return Range(value, value)
    return Range(value, None, above=operator == ">") if ">" in operator else Range(None, value, below=operator == "<")


def any_in(column: str, found: Ranges) -> Q:
    """Return the condition that a column is in one of some ranges."""
    return reduce(or_, (each.on(column) for each in found))


def count(text: str) -> int:
    """Parse a whole number, as `64` or `2k`; raise ValueError."""
    word = re.fullmatch(r"([0-9]{1,12})(k?)", text, re.IGNORECASE)
    if word is None:
        raise ValueError(text)
    return int(word[1]) * (1000 if word[2] else 1)


def seconds(text: str) -> int:
    """Parse `90`, `90s`, `1d12h` or `1:30:00` to seconds; raise ValueError."""
    if word := re.fullmatch(r"(?:([0-9]{1,5})-)?([0-9]{1,6}):([0-5]?[0-9])(?::([0-5]?[0-9]))?", text):
        days, hours, minutes, rest = (int(part or 0) for part in word.groups())
        return ((days * 24 + hours) * 60 + minutes) * 60 + rest
    parts = re.findall(rf"({_NUMBER})\s*([smhdw]?)", text.lower())
    if not parts or not re.fullmatch(rf"(?:{_NUMBER}\s*[smhdw])+|{_NUMBER}", text.lower()):
        raise ValueError(text)
    found = sum(float(number) * _SECONDS[unit] for number, unit in parts)
    if found >= 1e12:
        raise ValueError(text)
    return int(found)


def share(text: str) -> float:
    """Parse `95%` or `0.95` to 0.95; raise ValueError."""
    word = re.fullmatch(rf"({_NUMBER})\s*(%?)", text)
    if word is None:
        raise ValueError(text)
    return float(word[1]) / 100 if word[2] else float(word[1])


def amount(text: str, prefix: str = "", base: str = "") -> float:
    """Parse `200GB`, `1.5T` or `40` to the unit that a prefix and a base make; raise ValueError.

    Without a prefix of its own the number is taken in that unit: `>200` and `>200GB` are the same for a metric in GB.
    """
    word = re.fullmatch(rf"({_NUMBER})\s*(?:([kmgtpe]?)(i?)({re.escape(base)}|b|f|flops|flop/s|b/s|w|hz)?)", text, re.I)
    if word is None:
        raise ValueError(text)
    if not word[2] and not word[4]:
        return float(word[1])
    powers = _PREFIXES if not word[3] else {name: 1024.0**power for power, name in enumerate(_PREFIXES)}
    return float(word[1]) * powers[word[2].lower()] / _PREFIXES[prefix.lower()]


PERIODS = ("today", "yesterday", "this-month", "last-month")
"""The words for a range of times, beside `24h` or `7d` until now."""

_UNTIL_NOW = re.compile(r"[0-9]{1,5}[hdw]")


def period(word: str) -> tuple[int, int]:
    """Return the range (epoch seconds, both ends included) of a period, in the current zone.

    One until now ends with this minute: clocks differ, and the statements of rules are put together once a minute.
    Raise ValueError for another word.
    """
    midnight = timezone.localtime().replace(hour=0, minute=0, second=0, microsecond=0)
    first = midnight.replace(day=1)
    whole: dict[str, tuple[datetime, datetime]] = {
        "today": (midnight, _days_after(midnight, 1)),
        "yesterday": (_days_after(midnight, -1), midnight),
        "this-month": (first, _days_after(first, 32).replace(day=1)),
        "last-month": (_days_after(first, -1).replace(day=1), first),
    }
    if word in whole:
        begin, end = whole[word]
        return int(begin.timestamp()), int(end.timestamp()) - 1
    if not _UNTIL_NOW.fullmatch(word):
        raise ValueError(word)
    now = int(time.time())
    return now - seconds(word), now // 60 * 60 + 59


def _days_after(midnight: datetime, days: int) -> datetime:
    """Return the midnight some days later, also where clocks were changed."""
    return timezone.make_aware(midnight.replace(tzinfo=None) + timedelta(days=days))


def times(text: str) -> tuple[int | None, int | None]:
    """Parse a period, a day `2026-11-01`, `>2026-11-01T08:00` or `2026-11-01..2026-11-07`; raise ValueError.

    Return epoch seconds, both ends included; None for no end.
    """
    word = _COMPARISON.fullmatch(text)
    assert word is not None  # it matches anything
    operator, rest = word["operator"], word["rest"]
    if operator is None and (rest.lower() in PERIODS or _UNTIL_NOW.fullmatch(rest.lower())):
        return period(rest.lower())
    if operator in (None, "="):
        first, dots, last = rest.partition("..")
        if dots and not (first or last):
            raise ValueError(text)
        return _moment(first)[0] if first else None, _moment(last if dots else first)[1] if last or not dots else None
    begin, end = _moment(rest)
    return {">": (end + 1, None), ">=": (begin, None), "<": (None, begin - 1), "<=": (None, end)}[operator]


def _moment(text: str) -> tuple[int, int]:
    """Return the first and last second that a date, a month or a time means."""
    if re.fullmatch(r"[0-9]{4}-[0-9]{2}", text):
        begin = timezone.make_aware(datetime.fromisoformat(f"{text}-01"))
        following = (begin.replace(tzinfo=None) + timedelta(days=32)).replace(day=1)
        return int(begin.timestamp()), int(timezone.make_aware(following).timestamp()) - 1
    try:
        moment = datetime.fromisoformat(text)
        if timezone.is_naive(moment):
            begin = timezone.make_aware(moment)
            if len(text) <= len("2026-01-31"):
                return int(begin.timestamp()), int(timezone.make_aware(moment + timedelta(days=1)).timestamp()) - 1
            moment = begin
        last = int(moment.timestamp()) + (59 if len(text) == len("2026-01-31T08:00") else 0)
        return int(moment.timestamp()), last
    except (OverflowError, OSError):
        raise ValueError(text) from None


def shown(value: Any) -> str:
    """Return a value of a search as an error message quotes it, cut."""
    return repr(str(value)[:80])
