"""Filters for templates: numbers and times as the admin site writes them (see jobs.admin.display)."""

from datetime import UTC, datetime
from functools import lru_cache

from django import template
from django.utils import timezone
from django.utils.safestring import SafeString

from jobs import history
from jobs.admin import display
from jobs.overview.dashboard import MOST_COUNTED

register = template.Library()

register.filter("moment", display.moment)
register.filter("duration", display.duration)
register.filter("number", display.number)
register.filter("ranges", display.ranges)
register.filter("history_text", history.text_of)

# Slurm's words for a node's state by what they mean for the node; others are neither good nor bad news.
_NODE_KINDS = {
    "good": ("IDLE",),
    "run": ("ALLOCATED", "MIXED", "COMPLETING"),
    "warn": ("DRAIN", "DRAINED", "DRAINING", "MAINTENANCE", "MAINT", "RESERVED", "PLANNED", "BLOCKED", "stale"),
    "bad": ("DOWN", "FAIL", "FAILING", "ERROR", "NOT_RESPONDING", "INVALID_REG"),
}
_KIND_OF = {word: kind for kind, words in _NODE_KINDS.items() for word in words}


@register.filter
@lru_cache(maxsize=256)  # a page has the same few words and times a thousand times
def node_word(word: str) -> SafeString:
    """Return a word for a node's state, coloured by what it means."""
    return display.pill(word.replace("_", " ").lower(), _KIND_OF.get(word, "quiet"))


@register.filter
@lru_cache(maxsize=256)
def ago(seconds: int, age: int) -> SafeString:
    """Return how long ago a time of this server's clock (epoch seconds) was, with UTC on hover."""
    return display.timed(seconds, f"{display.duration(age)} ago")


@register.filter
def mebibytes(count: int) -> str:
    """Return MiB, Slurm's unit of memory, as '0', '512 MiB', '3.5 GiB' or '1.2 TiB'."""
    if not count:
        return "0"
    value: float = count
    for unit in ("MiB", "GiB"):
        if value < 1024:
            return f"{display.number(round(value, 1))} {unit}"
        value /= 1024
    return f"{display.number(round(value, 1))} TiB"


@register.filter
def grouped(number: int) -> str:
    """Return a whole number with its thousands apart."""
    return f"{number:,}"


@register.filter
def capped(number: int) -> str:
    """Return a number that was counted to one beyond MOST_COUNTED at the furthest."""
    return f"more than {MOST_COUNTED:,}" if number > MOST_COUNTED else f"{number:,}"


@register.filter
def clock(seconds: int) -> SafeString:
    """Return the time of day of epoch seconds, to the second, with UTC on hover."""
    return display.timed(seconds, f"{_local(seconds):%H:%M:%S}")


@register.filter
def day(seconds: int) -> str:
    """Return the day of epoch seconds, as a filter of the job list takes it."""
    return f"{_local(seconds):%Y-%m-%d}"


def _local(seconds: int) -> datetime:
    return timezone.localtime(datetime.fromtimestamp(seconds, UTC))


@register.filter
def hours(number: float) -> str:
    """Return hours, with a decimal where there are few."""
    return f"{number:,.0f}" if number >= 100 or number == 0 else f"{number:,.1f}"


@register.filter
def as_hours(seconds: float) -> str:
    """Return seconds as hours."""
    return hours(seconds / 3600)


@register.filter
def percent(share: float) -> str:
    """Return a share of 0 to 1 in per cent."""
    return f"{share * 100:.1f} %"
