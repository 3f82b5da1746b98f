"""Statistics of a job list as pages show them: sums, and bars that lead to the list of the jobs that they count."""

import re
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Any, NamedTuple

from django.contrib.admin.views.main import SEARCH_VAR
from django.urls import reverse

from accounts.formatting import duration, figure, quantity
from jobs.admin import display
from jobs.admin.changelist import LONGER, JobChangeList
from jobs.search.fields import FIELDS
from jobs.search.find import BUDGET
from jobs.search.summary import NODES, SHARES, Budget, Summary, summarise
from jobs.states import JobState

USUAL, PATIENT = Budget(BUDGET, 5), Budget(5.0, 20)
"""How long the jobs of a list are counted: as long as a search takes, and if somebody asks for more."""

_HOUR = 3600
_DURATIONS = ("1 min", "5 min", "15 min", "1 h", "4 h", "12 h", "1 d", "2 d", "4 d")  # of summary.DURATIONS
_COLOURS = {
    JobState.RUNNING.value: "run",
    JobState.COMPLETED.value: "good",
    JobState.FAILED.value: "bad",
    JobState.OUT_OF_MEMORY.value: "bad",
    JobState.TIMEOUT.value: "warn",
    JobState.PREEMPTED.value: "warn",
}
_FIELD = re.compile(r"[a-z][a-z0-9_.]*")  # a metric with another name is no field of the search box


class Span(NamedTuple):
    """What a bar counts: its label, and the value that the search box takes for it."""

    label: str
    value: str


@dataclass(frozen=True)
class Bar:
    """A bar: `width` in per cent of the longest one; `address` of the list of its jobs, empty if there are none."""

    label: str
    count: int
    width: float
    colour: str
    address: str


@dataclass(frozen=True)
class Chart:
    """The bars of one figure; `unknown` is the number of jobs without it."""

    title: str
    bars: list[Bar]
    unknown: int


class Fact(NamedTuple):
    """A sum, with what it does not cover."""

    label: str
    value: str
    note: str


def context(changelist: JobChangeList, *, longer: bool) -> dict[str, Any]:
    """Return what the template shows."""
    found = summarise(changelist.search, PATIENT if longer else USUAL, now=int(time.time()))
    return {
        "title": "Statistics",
        "found": found,
        "since": display.moment(found.since),
        "longer": "" if longer else _address(changelist, "jobs_job_statistics", {LONGER: "1"}),
        "facts": list(_facts(found)),
        "charts": [chart for chart in _charts(changelist, found) if chart.bars],
        "not_ended": found.jobs - found.ended,
    }


def _facts(found: Summary) -> Iterator[Fact]:
    yield Fact("Jobs", f"{found.jobs:,}", "")
    yield Fact("Node hours", figure(found.node_seconds / _HOUR), "")
    for label, seconds in (("Core hours", found.core_seconds), ("Accelerator hours", found.accelerator_seconds)):
        if seconds:
            yield Fact(label, figure(seconds / _HOUR), "")
    if found.measured:
        yield Fact("Energy", f"{figure(found.energy)} kWh", _covered(found.measured, found))
    if found.waited:
        yield Fact("Mean wait", duration(int(found.waiting / found.waited)), _covered(found.waited, found))


def _covered(known: int, found: Summary) -> str:
    return f"known of {quantity(known, 'job')}" if known < found.ended else ""


def _charts(changelist: JobChangeList, found: Summary) -> Iterator[Chart]:
    states = [(Span(str(state.label).lower(), state.value), found.states[state.value]) for state in JobState]
    yield _chart(changelist, "State", "state", found.jobs, [each for each in states if each[1]])
    for title, field, spans in (
        ("Duration", "duration", _spans(_DURATIONS)),
        ("Nodes", "nodes", _nodes()),
        ("Share of the requested time", "limit", _shares()),
    ):
        yield _chart(changelist, title, field, found.jobs, _trimmed(spans, found.bars.get(field, [])))
    for metric, counts in found.metrics.items():
        field = metric if _FIELD.fullmatch(metric) and metric not in FIELDS else ""
        title = f"{metric}, share of the peak"
        yield _chart(changelist, title, field, found.ended, _trimmed(_shares(), counts))


def _trimmed(spans: Sequence[Span], counts: Sequence[int]) -> list[tuple[Span, int]]:
    """Return the bars from the first to the last that counts anything."""
    places = [place for place, count in enumerate(counts) if count]
    return list(zip(spans, counts, strict=True))[places[0] : places[-1] + 1] if places else []


def _chart(changelist: JobChangeList, title: str, field: str, total: int, counts: list[tuple[Span, int]]) -> Chart:
    most = max((count for _, count in counts), default=1)
    bars = []
    for span, count in counts:
        address = ""
        if count and field:
            condition = f"{field}:{span.value}"
            words = changelist.query.split()
            text = changelist.query if condition in words else f"{changelist.query} {condition}".strip()
            address = _address(changelist, "jobs_job_changelist", {SEARCH_VAR: text})
        colour = _COLOURS.get(span.value, "quiet") if field == "state" else "one"
        bars.append(Bar(span.label, count, round(100 * count / most, 2), colour, address))
    return Chart(title, bars, total - sum(bar.count for bar in bars))


def _address(changelist: JobChangeList, page: str, new: dict[str, str]) -> str:
    return f"{reverse(f'admin:{page}')}{changelist.get_query_string(new)}"


def _spans(edges: Sequence[str]) -> list[Span]:
    """Return the spans between edges such as 5 min or 10 %."""
    typed = [edge.replace(" min", "m").replace(" ", "") for edge in edges]
    between = [
        Span(f"{first.split()[0] if first.split()[1:] == last.split()[1:] else first} to {last}", f"{one}..<{other}")
        for (first, last), (one, other) in zip(pairwise(edges), pairwise(typed), strict=True)
    ]
    return [Span(f"less than {edges[0]}", f"<{typed[0]}"), *between, Span(f"{edges[-1]} or more", f">={typed[-1]}")]


def _shares() -> list[Span]:
    return _spans([f"{share // 10} %" for share in SHARES])


def _nodes() -> list[Span]:
    between = [
        Span(str(first), str(first)) if last == first + 1 else Span(f"{first} to {last - 1}", f"{first}..{last - 1}")
        for first, last in pairwise((1, *NODES))
    ]
    return [*between, Span(f"more than {NODES[-1] - 1:,}", f">{NODES[-1] - 1}")]
