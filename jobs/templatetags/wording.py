"""Template filters for numbers and times (see jobs.admin.display)."""

from datetime import UTC, datetime
from functools import lru_cache

from django import template
from django.utils import timezone
from django.utils.safestring import SafeString

from accounts import formatting
from accounts.formatting import time_element
from jobs import history
from jobs.admin import display
from jobs.overview.dashboard import MOST_COUNTED

register = template.Library()

register.filter("moment", display.moment)
register.filter("duration", formatting.duration)
register.filter("number", formatting.number)
register.simple_tag(display.node_address)
register.filter("job_state", display.state)
register.filter("share", formatting.share)
register.filter("ranges", display.ranges)
register.filter("history_text", history.text_of)

# Colours of Slurm's node states; others are neutral.
_NODE_KINDS = {
    "good": ("IDLE",),
    "run": ("ALLOCATED", "MIXED", "COMPLETING"),
    "warn": ("DRAIN", "DRAINED", "DRAINING", "MAINTENANCE", "MAINT", "RESERVED", "PLANNED", "BLOCKED", "stale"),
    "bad": ("DOWN", "FAIL", "FAILING", "ERROR", "NOT_RESPONDING", "INVALID_REG"),
}
_KIND_OF = {word: kind for kind, words in _NODE_KINDS.items() for word in words}


@register.filter
@lru_cache(maxsize=256)  # a page repeats a few words and times thousands of times
def node_word(word: str) -> SafeString:
    """Return a node state as a coloured word."""
    return display.pill(word.replace("_", " ").lower(), _KIND_OF.get(word, "quiet"))


@register.filter
def health_word(word: str) -> SafeString:
    """Return the word of a state of health in its colour."""
    return display.pill(word, {"ok": "good", "warning": "warn"}.get(word, "bad"))


@register.filter
@lru_cache(maxsize=256)
def ago(seconds: int, age: int) -> SafeString:
    """Return an age (seconds) of a time (epoch seconds), such as '4:05 ago', with UTC on hover."""
    return time_element(datetime.fromtimestamp(seconds, UTC), f"{formatting.duration(age)} ago")


@register.filter
def mebibytes(count: int) -> str:
    """Return a number of MiB, Slurm's unit, as '0', '512 MiB', '3.5 GiB' or '1.2 TiB'."""
    if not count:
        return "0"
    value: float = count
    for unit in ("MiB", "GiB"):
        if value < 1024:
            return f"{formatting.number(round(value, 1))} {unit}"
        value /= 1024
    return f"{formatting.number(round(value, 1))} TiB"


@register.filter
def grouped(number: int) -> str:
    """Return an integer with grouped thousands."""
    return f"{number:,}"


@register.filter
def capped(number: int) -> str:
    """Return a count that is limited to MOST_COUNTED + 1."""
    return f"more than {MOST_COUNTED:,}" if number > MOST_COUNTED else f"{number:,}"


@register.filter
def clock(seconds: int) -> SafeString:
    """Return the time of day, to the second, with UTC on hover."""
    return time_element(datetime.fromtimestamp(seconds, UTC), f"{_local(seconds):%H:%M:%S}")


def _local(seconds: int) -> datetime:
    return timezone.localtime(datetime.fromtimestamp(seconds, UTC))


@register.filter
def hours(number: float) -> str:
    """Return hours, with one decimal if there are few."""
    return f"{number:,.0f}" if number >= 100 or number == 0 else f"{number:,.1f}"


@register.filter
def as_hours(seconds: float) -> str:
    """Return seconds as hours."""
    return hours(seconds / 3600)


@register.filter
def percent(share: float) -> str:
    """Return a share (0 to 1) in per cent."""
    return f"{share * 100:.1f} %"
