"""Measure a data.json: check its structure, and compute the statistics of each series from its samples.

The document is decoded in two steps, so that memory stays close to the size of the file: first all but the samples,
then the samples of one series at a time. A decoded sample takes 32 bytes, four times as much as its text.
"""

import math
from collections.abc import Iterator, Sequence
from itertools import islice
from typing import Annotated, NamedTuple

import msgspec
import numpy as np
import numpy.typing as npt

from archive.exceptions import DocumentError
from archive.format.data_json import StoredStatistics, Unit
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
_NOT_STORED = StoredStatistics()


class StoredSeries(msgspec.Struct, gc=False):
    """One series of a file, its samples not yet decoded."""

    hostname: str
    data: msgspec.Raw
    id: str | int | None = None
    statistics: StoredStatistics | None = None


class _StatisticsSeries(msgspec.Struct):
    min: list[float | None]
    mean: list[float | None]
    max: list[float | None]


class _Metric(msgspec.Struct):
    timestep: Annotated[int, msgspec.Meta(gt=0)]
    series: list[StoredSeries]
    unit: Unit | None = None
    statistics_series: _StatisticsSeries | None = msgspec.field(default=None, name="statisticsSeries")


_Document = dict[str, dict[str, _Metric]]

# Not strict: whole floats are accepted as integers.
_DATA = msgspec.json.Decoder(_Document, strict=False)
_SAMPLES = msgspec.json.Decoder(list[float | None], strict=False)


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
    try:
        if not raw.isascii():
            raw.decode()  # msgspec does not check texts that it skips
        document = _DATA.decode(raw)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise DocumentError(f"{error}; expected metric -> scope -> unit, timestep and series of numbers") from error
    series = [each for scopes in document.values() for metric in scopes.values() for each in metric.series]
    lengths: list[int] = []
    blanks: list[int] = []
    measured: list[Statistics | None] = []
    samples = _decode_samples(document)
    while block := list(islice(samples, _BLOCK)):
        lengths += map(len, block)
        blanks += map(_count_blanks, block)
        measured += series_statistics(block)
    return MeasuredData(
        list(_measured_metrics(document, measured)),
        series,
        np.array(lengths, dtype=np.int64),
        np.array(blanks, dtype=np.int64),
        _numbers([each or _NO_SAMPLES for each in measured]),
        _numbers([msgspec.structs.astuple(each.statistics or _NOT_STORED) for each in series]),
    )


def _count_blanks(samples: Samples) -> int:
    return int(blank_mask(samples).sum()) if samples.size and may_have_blanks(samples, samples) else 0


def samples_of(series: StoredSeries) -> Samples:
    """Decode the samples of a measured series, missing ones as NaN."""
    return np.array(_SAMPLES.decode(series.data), dtype=np.float64)


def _decode_samples(document: _Document) -> Iterator[Samples]:
    """Yield the samples of each series, missing ones as NaN; raise DocumentError."""
    for name, scopes in document.items():
        for scope, metric in scopes.items():
            for series in metric.series:
                try:
                    yield samples_of(series)
                except (msgspec.DecodeError, RecursionError) as error:
                    raise DocumentError(
                        f"{name}.{scope} {series.hostname}: data: {error}; expected numbers and nulls"
                    ) from error


def _numbers(rows: Sequence[tuple[float | None, ...]]) -> Numbers:
    """Return rows of min, avg and max as columns."""
    return Numbers(*np.array(rows, dtype=np.float64).reshape(-1, 3).T)


def _measured_metrics(document: _Document, measured: Sequence[Statistics | None]) -> Iterator[MeasuredMetric]:
    end = 0
    for name, scopes in document.items():
        for scope, metric in scopes.items():
            begin, end = end, end + len(metric.series)
            steps = metric.statistics_series
            lengths = () if steps is None else (len(steps.min), len(steps.mean), len(steps.max))
            yield MeasuredMetric(
                name, scope, metric.timestep, begin, end, lengths, combined_statistics(measured[begin:end])
            )
