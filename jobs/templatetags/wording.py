"""Filters for templates: values as the admin site writes them (see jobs.admin.display)."""

from datetime import UTC, datetime
from functools import lru_cache

from django import template
from django.utils.html import format_html
from django.utils.safestring import SafeString

from jobs.admin import display

register = template.Library()

register.filter("moment", display.moment)
register.filter("duration", display.duration)
register.filter("number", display.number)
register.filter("ranges", display.ranges)

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
    utc = datetime.fromtimestamp(seconds, UTC)
    text = f"{display.duration(age)} ago"
    return format_html(
        '<time datetime="{}" title="{} UTC">{}</time>', utc.isoformat(), f"{utc:%Y-%m-%d %H:%M:%S}", text
    )


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
