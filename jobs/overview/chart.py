"""The charts of the last days: per hour, the jobs that started by outcome, and their node hours by cluster."""

from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from django.utils import timezone

from jobs.overview.days import Day, Hour

HOUR = 3600
OUTCOMES = ("completed", "failed", "other", "running")  # `other`: cancelled, timeout and so on
MOST_CLUSTERS = 6  # colours; if there are more clusters, the smallest ones share one
OTHERS = "other clusters"


@dataclass(frozen=True, slots=True)
class Row:
    """An hour in the table: begin (epoch seconds), jobs by outcome, node hours by cluster."""

    begin: int
    jobs: tuple[int, ...]
    node_hours: tuple[float, ...]

    @property
    def started(self) -> int:
        """Return the number of jobs that started in this hour."""
        return sum(self.jobs)


@dataclass(frozen=True, slots=True)
class Chart:
    """Consecutive hours, oldest first, and series of that length; `offset` is the UTC offset in seconds."""

    begins: tuple[int, ...]
    offset: int
    jobs: dict[str, list[int]]
    node_hours: dict[str, list[float]]

    @property
    def started(self) -> list[int]:
        """Return the number of jobs that started in each hour."""
        return [sum(counts) for counts in zip(*self.jobs.values(), strict=True)]

    @property
    def rows(self) -> list[Row]:
        """Return the table below the charts, newest hour first."""
        jobs = list(zip(*self.jobs.values(), strict=True))
        node_hours = list(zip(*self.node_hours.values(), strict=True)) or [()] * len(self.begins)
        return [Row(*row) for row in zip(self.begins, jobs, node_hours, strict=True)][::-1]

    def as_json(self) -> dict[str, Any]:
        """Return the data for dashboard.js."""
        return {"begins": self.begins, "offset": self.offset, "jobs": self.jobs, "nodeHours": self.node_hours}


def chart_of(days: Sequence[Day], *, now: int) -> Chart:
    """Return the chart of these days until now."""
    first = days[0].begin
    count = max(1, -(-(now - first) // HOUR))
    hours = [hour for day in days for hour in day.hours]
    shown = _clusters(hours)
    jobs = {outcome: [0] * count for outcome in OUTCOMES}
    node_hours = {cluster: [0.0] * count for cluster in dict.fromkeys(shown.values())}
    for hour in hours:
        place = min((hour.begin - first) // HOUR, count - 1)
        outcome = hour.state if hour.state in OUTCOMES else "other"
        jobs[outcome][place] += hour.jobs
        node_hours[shown[hour.cluster]][place] += hour.node_seconds / HOUR
    rounded = {cluster: [round(value, 2) for value in values] for cluster, values in node_hours.items()}
    offset = timezone.localtime(datetime.fromtimestamp(now, UTC)).utcoffset()
    seconds = int(offset.total_seconds()) if offset else 0
    return Chart(tuple(first + place * HOUR for place in range(count)), seconds, jobs, rounded)


def _clusters(hours: Iterable[Hour]) -> dict[str, str]:
    """Return the label of each cluster in the chart; if there are many, the smallest ones share one."""
    sizes: Counter[str] = Counter()
    for hour in hours:
        sizes[hour.cluster] += int(hour.node_seconds) + 1
    large = {name for name, _ in sizes.most_common(MOST_CLUSTERS if len(sizes) <= MOST_CLUSTERS else MOST_CLUSTERS - 1)}
    named = {name: name for name in sorted(large)}
    return named | {name: OTHERS for name in sorted(sizes) if name not in large}
