"""Check the samples of one job: series longer than the job, samples that cannot be; move shifted series back.

Earlier releases asked cc-metric-store for padded lists. If the store began later than the job, it filled the list from
the start of the job on with as many nulls as it had no samples, and gave the time of its first sample as the beginning;
the same number of nulls was then added once more, and every sample is late by that many steps.
"""

from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
import orjson

from archive.check.findings import Code
from archive.check.measure import MeasuredData
from archive.format.cluster_json import MetricConfig
from archive.format.statistics import Samples, statistics_series

_PEAKS = 10  # a sample above so many times the peak cannot be
_NEVER_NEGATIVE = frozenset({"W", "J", "B", "B/s", "F/s", "Flops/s", "Hz"})  # bases of units

Chosen = npt.NDArray[np.bool_]
"""Which series of a file a finding is about."""


def check_lengths(data: MeasuredData, duration: int) -> Iterator[tuple[Code, Chosen, str]]:
    """Yield a finding for shifted series and one for others that are longer than a job of `duration` seconds.

    Without a duration (0) there are none.
    """
    shifted, too_long = np.zeros((2, len(data.series)), dtype=bool)
    for metric in data.metrics if duration > 0 else ():
        here = np.arange(metric.begin, metric.end)
        for place in here[data.length[metric.begin : metric.end] > duration / metric.timestep + 1]:
            moved = shift(data.series[place].samples(), metric.timestep, duration)
            (shifted if moved else too_long)[place] = True
    for code, chosen, why in (
        (Code.SHIFTED, shifted, "every sample is late, by half of the missing ones at its begin"),
        (Code.TOO_LONG, too_long, "the samples may be late, or the job's duration wrong"),
    ):
        if chosen.any():
            first = int(np.argmax(chosen))
            metric = next(metric for metric in data.metrics if first < metric.end)
            most = int(duration / metric.timestep + 1)
            yield code, chosen, f"{data.length[first]} samples; expected at most {most} for the first; {why}"


def shift(samples: Samples, timestep: int, duration: int) -> int:
    """Return by how many steps a series was shifted; 0 if the missing samples at its begin do not prove it.

    They are those of the store and as many again (one less if the job did not begin with a step); without the latter,
    the series is as long as the job, but for one step at an end.
    """
    present = np.flatnonzero(np.isfinite(samples))
    steps = int(present[0]) // 2 if present.size else 0
    return steps if abs(samples.size - steps - duration / timestep) <= 1 else 0


def shift_back(document: dict[str, dict[str, Any]], duration: int) -> int:
    """Move the shifted series of a decoded data.json back, in place; return their number.

    Statistics of series do not change by that; statistics per step are computed anew.
    """
    count = 0
    for metric in (metric for scopes in document.values() for metric in scopes.values()):
        timestep, before = int(metric["timestep"]), count
        for series in metric["series"]:
            samples = np.array(series["data"], dtype=np.float64)
            if samples.size > duration / timestep + 1 and (steps := shift(samples, timestep, duration)):
                del series["data"][:steps]
                count += 1
        if count > before and metric.get("statisticsSeries"):
            rows = [np.array(series["data"], dtype=np.float64) for series in metric["series"]]
            metric["statisticsSeries"] |= statistics_series(rows)
    return count


def encoded(document: dict[str, dict[str, Any]]) -> bytes:
    """Return a data.json that `shift_back` changed."""
    return orjson.dumps(document, option=orjson.OPT_SERIALIZE_NUMPY)


def check_values(data: MeasuredData, configs: Sequence[MetricConfig | None]) -> Iterator[tuple[Chosen, str]]:
    """Yield which series have samples that cannot be, one kind after the other; `configs` has a value per metric."""
    if (blank := data.blanks > 0).any():
        yield blank, "samples that stand for no value (METRIC_BLANKS), left out of statistics"
    negative, above = np.zeros((2, len(data.series)), dtype=bool)
    for metric, config in zip(data.metrics, configs, strict=True):
        if config is None:
            continue
        here = slice(metric.begin, metric.end)
        if config.unit.get("base") in _NEVER_NEGATIVE or "power" in config.name:
            negative[here] = data.measured.min[here] < 0
        # The peak of a metric of accelerators is that of one, and a node may have several.
        is_of_several = config.scope == "accelerator" and metric.scope == "node" and config.aggregation == "sum"
        if config.peak > 0 and not is_of_several:
            above[here] = data.measured.max[here] > _PEAKS * config.peak
    if negative.any():
        yield negative, f"{data.measured.min[int(np.argmax(negative))]:.6g} is below zero"
    if above.any():
        yield above, f"{data.measured.max[int(np.argmax(above))]:.6g} is above {_PEAKS} times the peak"
