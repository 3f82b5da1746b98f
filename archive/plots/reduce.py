"""Reduce samples to the points that a screen can show; keep the extremes and the visible gaps."""

from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from archive.format.statistics import Samples

POINTS = 600
"""Points of a line across a plot, which is about as many pixels wide."""

Positions = npt.NDArray[np.float64]
"""Positions of points, in samples from the first one."""


class Band(NamedTuple):
    """Minimum, mean and maximum over all series at each time step; NaN if there is no sample."""

    min: Samples
    mean: Samples
    max: Samples


def reduce_line(samples: Samples, points: int = POINTS) -> tuple[Positions | None, Samples]:
    """Return the positions (None: all) and values of the samples to draw; missing samples are NaN.

    Keep the minimum and the maximum of each of `points` / 2 intervals, and the first and the last sample. A gap of at
    least an interval keeps its first sample.
    """
    samples = np.where(np.isfinite(samples), samples, np.nan)
    if samples.size <= points:
        return None, samples
    step = -(-samples.size // (points // 2))
    missing = np.isnan(samples)
    firsts = np.arange(0, samples.size, step)
    lowest = _rows(np.where(missing, np.inf, samples), step, np.inf).argmin(axis=1)
    highest = _rows(np.where(missing, -np.inf, samples), step, -np.inf).argmax(axis=1)
    ends = np.array([0, samples.size - 1])
    at = np.unique(np.concatenate([firsts + lowest, firsts + highest, _gaps(missing, step), ends]))
    return at.astype(np.float64), samples[at]


def reduce_band(band: Band, points: int = POINTS) -> tuple[Positions | None, Band]:
    """Return the positions (None: each sample) and values of a band, at most `points`.

    Each interval becomes one point in its middle, with the least minimum, the mean of the means, and the greatest
    maximum; NaN if it has no sample.
    """
    size = band.mean.size
    if size <= points:
        return None, band
    step = -(-size // points)
    firsts = np.arange(0, size, step)
    at = (firsts + np.minimum(firsts + step, size) - 1) / 2
    lowest = np.fmin.reduce(_rows(band.min, step, np.nan), axis=1)
    highest = np.fmax.reduce(_rows(band.max, step, np.nan), axis=1)
    means = _rows(band.mean, step, np.nan)
    present = np.isfinite(means)
    count = present.sum(axis=1)
    total = np.where(present, means, 0.0).sum(axis=1)
    mean = np.divide(total, count, out=np.full(firsts.size, np.nan), where=count > 0)
    return at, Band(lowest, mean, highest)


def _rows(values: Samples, step: int, filler: float) -> Samples:
    """Return values in rows of length `step`; pad the last one with `filler`."""
    rows = -(-values.size // step)
    table = np.full(rows * step, filler)
    table[: values.size] = values
    return table.reshape(rows, step)


def _gaps(missing: npt.NDArray[np.bool_], length: int) -> npt.NDArray[np.intp]:
    """Return the beginnings of the gaps of at least this length."""
    changes = np.diff(np.concatenate([[0], missing.view(np.int8), [0]]))
    begins, ends = np.flatnonzero(changes == 1), np.flatnonzero(changes == -1)
    return begins[ends - begins >= length]
