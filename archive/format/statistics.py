"""Statistics of samples: per series, over the series of a metric, and per job; without missing samples.

Samples that METRIC_BLANKS names stand for missing ones: DCGM has a large number for "no value", and three more, counted
up from it, for "not found", "not supported" and "not permitted" (dcgm_structs.h).
"""

import math
from collections.abc import Iterable, Sequence
from functools import lru_cache
from typing import NamedTuple

import numpy as np
import numpy.typing as npt
from django.conf import settings

Samples = npt.NDArray[np.float64]

_BLANK_WIDTH = 2e-9  # of a blank: covers the three after DCGM's smallest one, 2,147,483,632, but not 2**31

_BLOCK = 64  # series per call of numpy, whose overhead dominates on a single one


class Statistics(NamedTuple):
    """Minimum, average and maximum."""

    min: float
    avg: float
    max: float


def series_statistics(series: Sequence[Samples]) -> list[Statistics | None]:
    """Return the statistics of each series, None if no sample is finite."""
    result: list[Statistics | None] = []
    for first in range(0, len(series), _BLOCK):
        part = series[first : first + _BLOCK]
        if len(part) == 1 or any(samples.size != part[0].size for samples in part):
            tables = [samples[np.newaxis] for samples in part]
        else:
            tables = [np.stack(part)]
        for table in tables:
            result += _rows(table)
    return result


def blank_mask(samples: npt.NDArray[np.float64]) -> npt.NDArray[np.bool_]:
    """Return which samples are blanks."""
    mask = np.zeros(samples.shape, dtype=bool)
    for blank in settings.METRIC_BLANKS:
        mask |= np.abs(samples - blank) <= abs(blank) * _BLANK_WIDTH
    return mask


def may_have_blanks(lowest: Samples, highest: Samples) -> bool:
    """Return whether the range from the least minimum to the greatest maximum reaches that of the blanks."""
    least, greatest = _range_of_blanks(settings.METRIC_BLANKS)
    return bool(np.fmax.reduce(highest) >= least and np.fmin.reduce(lowest) <= greatest)


@lru_cache(maxsize=4)
def _range_of_blanks(blanks: tuple[float, ...]) -> tuple[float, float]:
    """Return the least and the greatest value that is a blank; an empty range if there are none."""
    ends = [blank + sign * abs(blank) * _BLANK_WIDTH for blank in blanks for sign in (-1, 1)]
    return min(ends, default=math.inf), max(ends, default=-math.inf)


def _rows(table: npt.NDArray[np.float64]) -> list[Statistics | None]:
    """Return the statistics of each row."""
    present = np.isfinite(table)
    count = present.sum(axis=1)
    if present.all():
        total = table.sum(axis=1)
    else:
        total = np.where(present, table, 0.0).sum(axis=1)
        table = np.where(present, table, np.nan)
    if not table.shape[1]:
        return [None] * len(table)
    lowest, highest = np.fmin.reduce(table, axis=1), np.fmax.reduce(table, axis=1)
    if may_have_blanks(lowest, highest) and (blank := blank_mask(table)).any():
        return _rows(np.where(blank, np.nan, table))
    average = np.divide(total, count, out=np.zeros(len(table)), where=count > 0)
    # Rounding errors of the sum can push the average past the extremes.
    average = np.clip(average, lowest, highest)
    numbers = zip(count.tolist(), lowest.tolist(), average.tolist(), highest.tolist(), strict=True)
    return [Statistics(*values) if size else None for size, *values in numbers]


def statistics_series(series: Sequence[Samples]) -> dict[str, Samples]:
    """Return minimum, mean and maximum over all series at each time step.

    Series may differ in length; the result is as long as the longest one. Steps without any sample are NaN. The memory
    needed grows with the length of the series, not with their number.
    """
    length = max((samples.size for samples in series), default=0)
    lowest, highest = np.full(length, np.nan), np.full(length, np.nan)
    total, count = np.zeros(length), np.zeros(length)
    block = np.empty((min(len(series), _BLOCK), length))
    for first in range(0, len(series), _BLOCK):
        part = series[first : first + _BLOCK]
        for row, samples in zip(block, part, strict=False):
            row[: samples.size] = samples
            row[samples.size :] = np.nan
        values = block[: len(part)]
        present = np.isfinite(values)
        values[~present] = np.nan
        least, greatest = np.fmin.reduce(values), np.fmax.reduce(values)
        if length and may_have_blanks(least, greatest):
            present &= ~blank_mask(values)
            values[~present] = np.nan
            least, greatest = np.fmin.reduce(values), np.fmax.reduce(values)
        np.fmin(lowest, least, out=lowest)
        np.fmax(highest, greatest, out=highest)
        values[~present] = 0.0
        total += values.sum(axis=0)
        count += present.sum(axis=0)
    mean = np.divide(total, count, out=np.full(length, np.nan), where=count > 0)
    # Rounding errors of the sum can push the mean past the extremes.
    return {"min": lowest, "mean": np.clip(mean, lowest, highest), "max": highest}


def combined_statistics(parts: Iterable[Statistics | None]) -> Statistics | None:
    """Combine the statistics of several series with equal weights, leaving out those without samples."""
    present = [part for part in parts if part is not None]
    if not present:
        return None
    average = float(np.mean([part.avg for part in present]))
    return _statistics(min(part.min for part in present), average, max(part.max for part in present))


def _statistics(lowest: float, average: float, highest: float) -> Statistics:
    """Return the statistics with the average within the extremes, against rounding errors."""
    return Statistics(lowest, min(max(average, lowest), highest), highest)
