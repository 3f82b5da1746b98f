"""How templates write numbers and times: `{% load figures %}`, the same forms as in jobs.admin.display."""

from datetime import UTC, datetime

from django import template
from django.utils import timezone
from django.utils.html import format_html
from django.utils.safestring import SafeString

from jobs.admin import display
from jobs.dashboard import MOST_COUNTED

register = template.Library()
register.filter("moment", display.moment)
register.filter("duration", display.duration)


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
    utc = datetime.fromtimestamp(seconds, UTC)
    return format_html(
        '<time datetime="{}" title="{} UTC">{}</time>',
        utc.isoformat(),
        f"{utc:%Y-%m-%d %H:%M:%S}",
        f"{timezone.localtime(utc):%H:%M:%S}",
    )


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
