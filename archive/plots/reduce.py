"""Fewer points than samples, as many as a screen shows: extremes stay, and so do gaps that would be seen."""

from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from archive.format.statistics import Samples

POINTS = 600
"""Points of a line across a plot; a plot on the job page is about as many pixels wide."""

Positions = npt.NDArray[np.float64]
"""Where points lie, counted in samples from the first one."""


class Band(NamedTuple):
    """Least, mean and greatest value over all series at each step; NaN where none has a sample."""

    min: Samples
    mean: Samples
    max: Samples


def reduce_line(samples: Samples, points: int = POINTS) -> tuple[Positions | None, Samples]:
    """Return which samples to draw (None: all), and these; missing ones are NaN.

    Of each of `points` / 2 parts of the time stay the least and the greatest sample, where they are; of the whole the
    first and the last one. A gap stays where it is as long as such a part, by the first of its samples.
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
    """Return where the values of a band are to be drawn (None: at each sample), and these, at most `points`.

    Each part of the time gives the least of its minima, the mean of its means and the greatest of its maxima, drawn
    in its middle; NaN where the whole part has no sample.
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
    """Return values in rows of `step`, the last one filled up."""
    rows = -(-values.size // step)
    table = np.full(rows * step, filler)
    table[: values.size] = values
    return table.reshape(rows, step)


def _gaps(missing: npt.NDArray[np.bool_], length: int) -> npt.NDArray[np.intp]:
    """Return where the gaps of at least this length begin."""
    changes = np.diff(np.concatenate([[0], missing.view(np.int8), [0]]))
    begins, ends = np.flatnonzero(changes == 1), np.flatnonzero(changes == -1)
    return begins[ends - begins >= length]
