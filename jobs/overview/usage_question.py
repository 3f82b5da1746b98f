"""The parameters of an address that asks for usage, of the page and of the API: days, by what, of whom."""

from collections.abc import Mapping
from datetime import UTC, date, datetime, timedelta

from jobs.exceptions import invalid_parameter
from jobs.overview.usage import EPOCH, GROUPS, Days, Question
from jobs.states import JobState, searched_state

LONGEST = 3700
"""Days that can be asked for at once."""

PARAMETERS = ("month", "from", "to", "by", *GROUPS)

_MONTH, _DAY = "a month as 2026-10", "a day as 2026-10-05"
_STATES = [state for state in JobState.values if state != JobState.RUNNING]


def read_question(parameters: Mapping[str, str], *, by: str = "user") -> Question:
    """Read the parameters, of which an empty one is as a missing one; without any, of this month by `by`.

    Raise InvalidJobError that names the parameter, the value and the expectation.
    """
    given = {name: parameters.get(name, "").replace("\0", "").strip() for name in PARAMETERS}
    chosen = {name: given[name] for name in GROUPS if given[name]}
    if "state" in chosen:
        chosen["state"] = _state(chosen["state"])
    by = given["by"] or by
    if by not in GROUPS:
        raise invalid_parameter("by", by, f"one of {', '.join(GROUPS)}")
    return Question(_days(given["month"], given["from"], given["to"]), by, chosen)


def this_month() -> Days:
    """Return the days of this month in UTC."""
    return _month(f"{datetime.now(UTC):%Y-%m}")


def _days(month: str, begin: str, end: str) -> Days:
    if not (begin or end):
        return _month(month) if month else this_month()
    if month:
        raise invalid_parameter("month", month, "either a month, or days with from and to")
    if not begin:
        raise invalid_parameter("from", begin, _DAY)
    first = _day("from", begin)
    days = Days(first, (_day("to", end) if end else (datetime.now(UTC).date() - EPOCH).days) + 1)
    if not 0 < days.end - days.first <= LONGEST:
        expected = f"{_DAY}, on or after {begin[:10]} and less than {LONGEST:,} days later"
        raise invalid_parameter("to", end or str(days.dates[1]), expected)
    return days


def _month(text: str) -> Days:
    try:
        first = date.fromisoformat(f"{text}-01")
        following = (first + timedelta(31)).replace(day=1)
    except (ValueError, OverflowError):
        raise invalid_parameter("month", text, _MONTH) from None
    return Days((first - EPOCH).days, (following - EPOCH).days)


def _day(name: str, text: str) -> int:
    try:
        return (date.fromisoformat(text) - EPOCH).days
    except ValueError:
        raise invalid_parameter(name, text, _DAY) from None


def _state(text: str) -> str:
    found = searched_state(text)
    if found is None or found[1] or found[0] not in _STATES:
        raise invalid_parameter("state", text, f"one of {', '.join(_STATES)}")
    return found[0]
