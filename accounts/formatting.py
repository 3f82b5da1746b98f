"""Counts, times and measured values as pages and commands show them."""

import re
from datetime import UTC, datetime
from typing import Any

from django.utils import timezone
from django.utils.html import format_html
from django.utils.safestring import SafeString

NOTHING = "\N{EN DASH}"
"""What stands for an unknown value."""

_PREFIXES = ["", "k", "M", "G", "T", "P", "E"]
_POWERS = {prefix: power for power, prefix in enumerate(_PREFIXES)} | {"K": 1}
# Bases that take a prefix; the others (%, degrees, counts) are shown as they are.
_SCALED = frozenset({"B", "B/s", "F/s", "Flops/s", "W", "J", "Wh", "Hz", "bit/s"})


# The start of what a spreadsheet may take for a formula: a sign, also a full-width one, after any white space.
_FORMULA = re.compile(r"[\s\x00-\x1f\u200b\ufeff]*[=+\-@\uff1d\uff0b\uff0d\uff20\u2212]|[\t\r\n]")


def spreadsheet_text(text: str) -> str:
    """Return a text for a cell of CSV, with a quote before what a spreadsheet would run as a formula."""
    return f"'{text}" if _FORMULA.match(text) else text


def quantity(number: float, noun: str) -> str:
    """Return '1 job', '1,234 jobs' or '0.4 node hours'."""
    text = f"{number:,}" if isinstance(number, int) else figure(number)
    return f"{text} {noun}" if text == "1" else f"{text} {noun}s"


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


def scaled(value: float, *, prefix: str = "", base: str = "") -> str:
    """Return a value with its unit, with the SI prefix that leaves one to three digits before the point: '1.2 TB/s'.

    `prefix` is that of the unit in which `value` is. A unit that takes no prefix stays as it is. The same rules are in
    jobs/figures.js.
    """
    power = _POWERS.get(prefix)
    if power is None or base not in _SCALED:
        return f"{figure(value)} {prefix}{base}".rstrip()
    while abs(value) >= 999.5 and power < len(_PREFIXES) - 1:
        value, power = value / 1000, power + 1
    while value and abs(value) < 0.9995 and power > 0:
        value, power = value * 1000, power - 1
    return f"{figure(value)} {_PREFIXES[power]}{base}"


def unprefixed(value: float, prefix: str) -> float:
    """Return a value in its unit without the prefix: 2,000 for 2 of k."""
    return float(value * 1000 ** _POWERS.get(prefix, 0))


def figure(value: float) -> str:
    """Return a number with three significant digits, or all before the point, with grouped thousands."""
    size = abs(value)
    if size and (size < 1e-3 or size >= 1e15):
        return f"{value:.2e}"
    decimals = 0 if size >= 99.95 else 1 if size >= 9.995 else 2 if size >= 0.9995 else 3
    text = f"{value:,.{decimals}f}"
    return text.rstrip("0").rstrip(".") if "." in text else text


def number(value: Any) -> str:
    """Return a number with up to two decimals and grouped thousands, or in scientific notation."""
    if not isinstance(value, int | float):
        return NOTHING
    if value == 0 or 0.01 <= abs(value) < 1e9:
        return f"{value:,.2f}".rstrip("0").rstrip(".")
    return f"{value:.3e}"


def share(value: float) -> str:
    """Return a share as per cent: '8 %', '0.4 %'."""
    percent = 100 * value
    return f"{percent:.0f} %" if percent >= 0.95 or percent == 0 else f"{percent:.1g} %"


def duration(seconds: int) -> str:
    """Return seconds as '2 d 03:04:05', '3:04:05', '4:05' or '5 s'."""
    minutes, rest = divmod(max(0, seconds), 60)
    hours, minutes = divmod(minutes, 60)
    days, hours = divmod(hours, 24)
    if days:
        return f"{days} d {hours:02}:{minutes:02}:{rest:02}"
    if hours:
        return f"{hours}:{minutes:02}:{rest:02}"
    return f"{minutes}:{rest:02}" if minutes else f"{rest} s"


def clock_time(seconds: int, beside: int) -> str:
    """Return epoch seconds as a local time to the minute, with the day if that of `beside` is another."""
    try:
        when, other = (timezone.localtime(datetime.fromtimestamp(each, UTC)) for each in (seconds, beside))
    except (OverflowError, ValueError, OSError):
        return f"{seconds} s after 1970"
    return f"{when:%H:%M}" if when.date() == other.date() else f"{when:%d %b %H:%M}"
