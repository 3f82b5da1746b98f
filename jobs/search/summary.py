"""Statistics of the jobs of a search: states, sums and histograms, of the newest jobs as far as the time goes.

The figures of ended jobs are those of their footprints. If all jobs of a range of times are asked for, their rows are
not even read: a row of a job may be as large as a page of the database.
"""

import time
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt
from django.db.models import BigIntegerField, Case, Count, F, Q, Value, When

from jobs.ledger.slots import slots
from jobs.models import Job
from jobs.querysets import USUAL_STATES, JobQuerySet
from jobs.records import PER_MILLE, JobFootprint
from jobs.search.booked import not_yet
from jobs.search.criteria import IS_RARE, Path, started
from jobs.search.expressions import Joined, elapsed_until
from jobs.search.find import Search, Stretch
from jobs.states import JobState

FIRST_STEP = 2_000
"""Jobs of the index that are counted first; the next ones are as many as the time allows."""

_LEAST_GROWTH = 0.25  # a shorter step is not worth its queries
_GROWTH = 4  # of a step compared with the one before

DURATIONS = (60, 300, 900, 3600, 4 * 3600, 12 * 3600, 86_400, 2 * 86_400, 4 * 86_400)
"""Where the bars of durations begin, but for the first (seconds)."""

NODES = (2, 3, 5, 9, 17, 33, 65, 129, 257, 513, 1025)
"""Where the bars of numbers of nodes begin, but for the first."""

SHARES = tuple(range(PER_MILLE // 10, PER_MILLE + 1, PER_MILLE // 10))
"""Where the bars of shares begin, but for the first (per mille)."""

Numbers = npt.NDArray[Any]


@dataclass
class Summary:
    """Statistics of jobs; those that started before `since` (epoch seconds) were not counted, None if all were.

    `bars` has the number of jobs for each bar: of `duration`, of `nodes`, and of `limit`, the share of the walltime;
    `metrics` those of the averages as shares of the peak. The sums, in seconds and kWh, are of the jobs that have ended
    and have a footprint, but for node seconds; `waited` and `measured` jobs have a known waiting time, and energy.
    """

    jobs: int = 0
    since: int | None = None
    states: Counter[str] = field(default_factory=Counter)
    bars: dict[str, list[int]] = field(default_factory=dict)
    metrics: dict[str, list[int]] = field(default_factory=dict)
    ended: int = 0
    waited: int = 0
    measured: int = 0
    node_seconds: float = 0
    core_seconds: float = 0
    accelerator_seconds: float = 0
    waiting: float = 0
    energy: float = 0


class Budget(NamedTuple):
    """How long jobs may be counted: in seconds, and in steps of a few queries each; the last may take longer."""

    seconds: float
    steps: int


def summarise(search: Search, budget: Budget, *, now: int) -> Summary:
    """Return the statistics of the newest jobs of a search, of as many as a budget allows."""
    clock = time.perf_counter
    begin, found, metrics = clock(), Summary(), slots()
    others = not_yet(Q()) if search.is_of_all else None
    size, until, steps = FIRST_STEP, None, 0
    while True:
        step_began = clock()
        stretch = search.stretch(size, until)
        if others is not None:
            _add_booked(found, stretch, metrics)
        else:
            answer = _of_jobs(stretch.jobs, metrics, now)
            found.states.update(_states(answer))
            _take(found, answer, metrics)
        steps += 1
        if stretch.is_last or stretch.since is None:
            break
        growth = min(_GROWTH, (budget.seconds - (clock() - begin)) / (clock() - step_began))
        if growth < _LEAST_GROWTH or steps >= budget.steps:
            found.since = stretch.since
            break
        until = stretch.since - 1
        size = int(size * growth)
    if others is not None:
        _add_others(found, others, stretch.since, search.until, metrics, now)
    return found


def _add_booked(found: Summary, stretch: Stretch, metrics: Mapping[str, int]) -> None:
    """Add the jobs of a stretch that are booked, by their footprints alone and without their states."""
    columns = {"elapsed": "duration", "nodes": "num_nodes", "limit": "walltime_share", **_of_footprint(metrics)}
    booked = JobFootprint.objects.filter(started(stretch.since, stretch.until)).order_by()
    _take(found, booked.aggregate(count=Count("pk"), **_joined(columns)), metrics)


def _add_others(
    found: Summary, paths: Sequence[Path], since: int | None, until: int | None, metrics: Mapping[str, int], now: int
) -> None:
    """Add the jobs of a range of times that are not booked, to which these paths lead, and the states of all."""
    in_range = started(since, until)
    first, *others = [path.row_ids(since, until) for path in paths]
    not_booked = Job.objects.filter(in_range, pk__in=first.union(*others, all=True), is_booked=False)
    answer = _of_jobs(not_booked, metrics, now)
    _take(found, answer, metrics)
    found.states.update(_rare(in_range))
    found.states[JobState.RUNNING.value] = _states(answer)[JobState.RUNNING]
    found.states[JobState.COMPLETED.value] = max(0, found.jobs - found.states.total())


def _rare(in_range: Q) -> dict[str, int]:
    """Return how many jobs are in each of the states that have an index."""
    rare = Job.objects.filter(in_range, Q(IS_RARE)).order_by().values_list("job_state").annotate(count=Count("pk"))
    first, *others = [rare.filter(job_state=state) for state in JobState.values if state not in USUAL_STATES]
    return dict(first.union(*others, all=True))


def _of_jobs(jobs: JobQuerySet, metrics: Mapping[str, int], now: int) -> dict[str, Any]:
    elapsed = elapsed_until(now)
    used = elapsed * Value(PER_MILLE, output_field=BigIntegerField()) / F("walltime")
    columns = {
        "states": F("job_state"),
        "elapsed": elapsed,
        "nodes": F("num_nodes"),
        "limit": Case(When(walltime__gt=0, then=used), output_field=BigIntegerField()),
    }
    columns |= {name: F(f"footprint__{column}") for name, column in _of_footprint(metrics).items()}
    return jobs.order_by().aggregate(count=Count("pk"), **_joined(columns))


def _of_footprint(metrics: Mapping[str, int]) -> dict[str, str]:
    """Return the columns of footprints that are read, by our names for them."""
    names = ("duration", "cores", "accelerators", "waiting", "energy")
    return {name: name for name in names} | {f"metric_{slot}": f"avg_share_{slot}" for slot in metrics.values()}


def _joined(columns: Mapping[str, Any]) -> dict[str, Joined]:
    return {f"joined_{name}": Joined(column) for name, column in columns.items()}  # no names of columns


def _states(answer: Mapping[str, Any]) -> Counter[str]:
    return Counter(filter(None, (answer["joined_states"] or "").split(",")))


def _take(found: Summary, answer: Mapping[str, Any], metrics: Mapping[str, int]) -> None:
    """Add what a statement answered, but for the states."""
    given: dict[str, Numbers] = {
        name.removeprefix("joined_"): _numbers(text or "", whole=name != "joined_energy")
        for name, text in answer.items()
        if name not in ("count", "joined_states")
    }
    found.jobs += answer["count"]
    found.ended += len(given["duration"])
    found.waited += int(np.count_nonzero(given["waiting"]))
    found.measured += len(given["energy"])
    found.node_seconds += float((given["elapsed"] * given["nodes"]).sum())
    found.core_seconds += float((given["duration"] * given["cores"]).sum())
    found.accelerator_seconds += float((given["duration"] * given["accelerators"]).sum())
    found.waiting += float(given["waiting"].sum())
    found.energy += float(given["energy"].sum())
    _count(found.bars, "duration", given["elapsed"], DURATIONS)
    _count(found.bars, "nodes", given["nodes"], NODES)
    _count(found.bars, "limit", given["limit"], SHARES)
    for name, slot in metrics.items():
        _count(found.metrics, name, given[f"metric_{slot}"], SHARES)


def _numbers(text: str, *, whole: bool) -> Numbers:
    return np.fromstring(text, dtype=np.int64 if whole else np.float64, sep=",").astype(np.float64)


def _count(bars: dict[str, list[int]], name: str, numbers: Numbers, edges: Sequence[int]) -> None:
    counts = np.bincount(np.searchsorted(edges, numbers, side="right"), minlength=len(edges) + 1)
    before = bars.get(name, [0] * len(counts))
    bars[name] = [int(one + other) for one, other in zip(before, counts, strict=True)]
