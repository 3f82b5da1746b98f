"""Counts and times as pages and commands show them."""

from datetime import UTC, datetime

from django.utils import timezone
from django.utils.html import format_html
from django.utils.safestring import SafeString


def quantity(number: int, noun: str) -> str:
    """Return '1 job' or '1,234 jobs'."""
    return f"{number:,} {noun}" if number == 1 else f"{number:,} {noun}s"


def local_time(when: datetime) -> str:
    """Return a time in the current zone, to the minute."""
    return f"{timezone.localtime(when):%Y-%m-%d %H:%M}"


def time_element(when: datetime, text: str = "") -> SafeString:
    """Return a `<time>` element that shows `text`, or else the local time, and UTC on hover."""
    utc = when.astimezone(UTC)
    return format_html(
        '<time datetime="{}" title="{} UTC">{}</time>',
        utc.isoformat(),
        f"{utc:%Y-%m-%d %H:%M:%S}",
        text or local_time(when),
    )
