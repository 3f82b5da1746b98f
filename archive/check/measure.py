"""Measure a data.json: check its structure, and compute the statistics of each series from its samples."""

import math
from collections.abc import Iterator, Sequence
from itertools import islice
from typing import NamedTuple

import msgspec
import numpy as np
import numpy.typing as npt

from archive.format.data_document import (
    Document,
    StoredSeries,
    StoredStatistics,
    iter_series,
    read_document,
    steps_of,
)
from archive.format.statistics import (
    Samples,
    Statistics,
    blank_mask,
    combined_statistics,
    may_have_blanks,
    series_statistics,
)

_BLOCK = 64  # series whose statistics are computed together

_NO_SAMPLES = Statistics(math.nan, math.nan, math.nan)


class Numbers(NamedTuple):
    """Minimum, average and maximum of the samples of each series; NaN if none is a number."""

    min: Samples
    avg: Samples
    max: Samples


class MeasuredMetric(NamedTuple):
    """One metric in one scope.

    `timestep` is in seconds, `begin` and `end` delimit its series, `statistics_lengths` are those of min, mean and
    max per time step (empty without these). `overall` combines the statistics of its series; a series without samples
    does not count.
    """

    name: str
    scope: str
    timestep: int
    begin: int
    end: int
    statistics_lengths: tuple[int, ...]
    overall: Statistics | None


class MeasuredData(NamedTuple):
    """A data.json: its metrics, and all their series one after the other.

    For each series: the number of samples (`length`) and of blanks among them, their statistics (`measured`), and those
    in the file (`stored`).
    """

    metrics: list[MeasuredMetric]
    series: list[StoredSeries]
    length: npt.NDArray[np.int64]
    blanks: npt.NDArray[np.int64]
    measured: Numbers
    stored: Numbers


def measure(raw: bytes) -> MeasuredData:
    """Read a data.json (plain JSON); raise DocumentError that names the place and the expectation."""
    document = read_document(raw)
    series = [each for scopes in document.values() for metric in scopes.values() for each in metric.series]
    lengths: list[int] = []
    blanks: list[int] = []
    measured: list[Statistics | None] = []
    stored: list[StoredStatistics] = []
    decoded = iter_series(document)
    while block := list(islice(decoded, _BLOCK)):
        lengths += (len(each.samples) for each in block)
        blanks += (_count_blanks(each.samples) for each in block)
        measured += series_statistics([each.samples for each in block])
        stored += (each.statistics for each in block)
    return MeasuredData(
        list(_measured_metrics(document, measured)),
        series,
        np.array(lengths, dtype=np.int64),
        np.array(blanks, dtype=np.int64),
        _numbers([each or _NO_SAMPLES for each in measured]),
        _numbers([msgspec.structs.astuple(each) for each in stored]),
    )


def _count_blanks(samples: Samples) -> int:
    return int(blank_mask(samples).sum()) if samples.size and may_have_blanks(samples, samples) else 0


def _numbers(rows: Sequence[tuple[float | None, ...]]) -> Numbers:
    """Return rows of min, avg and max as columns."""
    return Numbers(*np.array(rows, dtype=np.float64).reshape(-1, 3).T)


def _measured_metrics(document: Document, measured: Sequence[Statistics | None]) -> Iterator[MeasuredMetric]:
    end = 0
    for name, scopes in document.items():
        for scope, metric in scopes.items():
            begin, end = end, end + len(metric.series)
            steps = steps_of(name, scope, metric)
            lengths = () if steps is None else (len(steps.min), len(steps.middle), len(steps.max))
            yield MeasuredMetric(
                name, scope, metric.timestep, begin, end, lengths, combined_statistics(measured[begin:end])
            )
