"""The charts of the last days (UTC): the jobs that started by outcome, and the node hours by cluster, as stacked bars.

Each part of a bar leads to what it counts: jobs to their list, node hours to the page of usage.
"""

from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from urllib.parse import urlencode

from django.urls import reverse

from accounts.formatting import quantity
from jobs.overview.activity import DAY, Activity, Part
from jobs.states import JobState

OUTCOMES = {"completed": "good", "failed": "bad", "other": "warn", "running": "run"}
"""The outcomes with the colours of their bars; `other`: cancelled, timeout and so on."""

MOST_CLUSTERS = 6  # colours; if there are more clusters, the smallest ones share one
OTHERS = "other clusters"

WIDTH, HEIGHT = 1000, 100
"""Of a chart, in its own units."""

_OTHER_STATES = ",".join(state for state in JobState.values if state not in OUTCOMES)


@dataclass(frozen=True, slots=True)
class Series:
    """A number for each day, the colour of its bars, and where each of them leads."""

    name: str
    colour: str
    values: list[float]
    addresses: list[str]


@dataclass(frozen=True, slots=True)
class Bar:
    """A part of a bar: its place and size (from the top, as SVG has it), what it says, where it leads."""

    x: float
    y: float
    width: float
    height: float
    colour: str
    text: str
    address: str


@dataclass(frozen=True, slots=True)
class Chart:
    """Series of consecutive days, oldest first."""

    days: tuple[str, ...]
    jobs: list[Series]
    node_hours: list[Series]

    @property
    def started(self) -> list[int]:
        """Return the number of jobs that started on each day."""
        return [sum(int(series.values[place]) for series in self.jobs) for place in range(len(self.days))]

    @property
    def job_bars(self) -> list[Bar]:
        """Return the bars of the jobs."""
        return _bars(self.days, self.jobs, lambda value: f"{quantity(int(value), 'job')} started")

    @property
    def node_hour_bars(self) -> list[Bar]:
        """Return the bars of the node hours."""
        return _bars(self.days, self.node_hours, lambda value: quantity(value, "node hour"))

    @property
    def most_jobs(self) -> float:
        """Return the height of the chart of jobs."""
        return _most(self.jobs)

    @property
    def most_node_hours(self) -> float:
        """Return the height of the chart of node hours."""
        return _most(self.node_hours)

    @property
    def rows(self) -> list[tuple[str, int, list[tuple[float, str]], list[tuple[float, str]]]]:
        """Return the table below the charts, newest day first: day, jobs started, cells of jobs and of node hours."""
        return [
            (
                day,
                started,
                [(series.values[place], series.addresses[place]) for series in self.jobs],
                [(series.values[place], series.addresses[place]) for series in self.node_hours],
            )
            for place, (day, started) in enumerate(zip(self.days, self.started, strict=True))
        ][::-1]


def iso_day(day: int) -> str:
    """Return a day (since the epoch, UTC) as 2026-11-29."""
    return f"{datetime.fromtimestamp(day * DAY, UTC):%Y-%m-%d}"


def from_day(day: int) -> str:
    """Return the begin of a day (since the epoch, UTC) as the filters of the job list take it, in any zone."""
    return f"{iso_day(day)}T00:00Z"


def chart_of(activity: Activity) -> Chart:
    """Return the chart of these days."""
    days = range(activity.first, activity.end)
    shown = _clusters(activity.parts)
    jobs = {outcome: [0.0] * len(days) for outcome in OUTCOMES}
    node_hours = {name: [0.0] * len(days) for name in dict.fromkeys(shown.values())}
    for part in activity.parts:
        place = part.day - activity.first
        jobs[part.state if part.state in OUTCOMES else "other"][place] += part.started
        node_hours[shown[part.cluster]][place] += part.node_seconds / 3600
    return Chart(
        tuple(map(iso_day, days)),
        [Series(name, OUTCOMES[name], values, [_list_of(name, day) for day in days]) for name, values in jobs.items()],
        [
            Series(name, str(place + 1), values, [_usage_of(name, day) for day in days])
            for place, (name, values) in enumerate(node_hours.items())
        ],
    )


def _list_of(outcome: str, day: int) -> str:
    """Return the address of the list of jobs that started on a day and ended so."""
    which = {"q": f"state:{_OTHER_STATES}"} if outcome == "other" else {"state": outcome}
    times = {"from": from_day(day), "to": from_day(day + 1)}
    return f"{reverse('admin:jobs_job_changelist')}?{urlencode({**which, **times})}"


def _usage_of(cluster: str, day: int) -> str:
    """Return the address of the usage of a cluster on a day."""
    which = {"by": "cluster"} if cluster == OTHERS else {"by": "user", "cluster": cluster}
    return f"{reverse('admin:usage')}?{urlencode({**which, 'from': iso_day(day), 'to': iso_day(day)})}"


def _most(series: Sequence[Series]) -> float:
    """Return the highest bar."""
    return max(map(sum, zip(*(each.values for each in series), strict=True)), default=0.0)


def _bars(days: Sequence[str], series: Sequence[Series], words: Callable[[float], str]) -> list[Bar]:
    most, width = _most(series) or 1.0, WIDTH / len(days)
    bars = []
    for place, day in enumerate(days):
        top = float(HEIGHT)
        for each in series:
            value = each.values[place]
            height = HEIGHT * value / most
            if height <= 0:
                continue
            top -= height
            text = f"{day}: {words(value)}, {each.name}"
            bars.append(Bar(place * width, top, width * 0.85, height, each.colour, text, each.addresses[place]))
    return bars


def _clusters(parts: Iterable[Part]) -> dict[str, str]:
    """Return the label of each cluster in the chart; if there are many, the smallest ones share one."""
    sizes: Counter[str] = Counter()
    for part in parts:
        sizes[part.cluster] += part.node_seconds + 1
    large = {name for name, _ in sizes.most_common(MOST_CLUSTERS if len(sizes) <= MOST_CLUSTERS else MOST_CLUSTERS - 1)}
    named = {name: name for name in sorted(large)}
    return named | {name: OTHERS for name in sorted(sizes) if name not in large}
