"""Measure a data.json: is it what the format says, and what are the statistics of each series; built for speed.

The samples are most of the file, and to make a Python object of each takes five times as long as to unpack it. So they
are cut out and measured by compiled code (see scanning), and what is left, a few per cent, is decoded by msgspec.
Wherever that way is not sure, the whole document is decoded by msgspec, which alone decides what is an error and says
where.
"""

from collections.abc import Iterator
from itertools import chain
from typing import Annotated, Any, Generic, NamedTuple, TypeVar

import msgspec
import numpy as np
import numpy.typing as npt

from archive.documents import Unit
from archive.exceptions import DocumentError
from archive.scanning import KEYS, scan
from archive.statistics import Samples

_Numbers = list[float | None]
_Empty = Annotated[_Numbers, msgspec.Meta(max_length=0)]


class StoredStatistics(msgspec.Struct, gc=False):
    """Statistics as a file has them; what is missing or null is None."""

    min: float | None = None
    avg: float | None = None
    max: float | None = None


class StoredSeries(msgspec.Struct, gc=False):
    """One series of a file, without its samples."""

    hostname: str
    id: str | int | None = None
    statistics: StoredStatistics | None = None


class _CutSeries(StoredSeries, kw_only=True, gc=False):
    data: _Empty


class _WholeSeries(StoredSeries, kw_only=True, gc=False):
    data: _Numbers


_S = TypeVar("_S", bound=StoredSeries)
_L = TypeVar("_L")


class _StatisticsSeries(msgspec.Struct, Generic[_L]):
    min: _L
    mean: _L
    max: _L


class _Metric(msgspec.Struct, Generic[_S, _L]):
    timestep: Annotated[int, msgspec.Meta(gt=0)]
    series: list[_S]
    unit: Unit | None = None
    statistics_series: _StatisticsSeries[_L] | None = msgspec.field(default=None, name="statisticsSeries")


# Not strict: whole floats are taken where an integer belongs.
_CUT = msgspec.json.Decoder(dict[str, dict[str, _Metric[_CutSeries, _Empty]]], strict=False)
_WHOLE = msgspec.json.Decoder(dict[str, dict[str, _Metric[_WholeSeries, _Numbers]]], strict=False)


class Measures(NamedTuple):
    """Number of samples, least, average and greatest one of each series; NaN where none is a number."""

    length: npt.NDArray[np.int64]
    min: Samples
    avg: Samples
    max: Samples


class MeasuredMetric(NamedTuple):
    """One metric in one scope: which series it has, and how long its statistics per time step are."""

    name: str
    scope: str
    begin: int
    end: int
    statistics_lengths: tuple[int, ...]


class MeasuredData(NamedTuple):
    """A data.json: its metrics, and all their series one after the other, as stored and as their samples are."""

    metrics: list[MeasuredMetric]
    series: list[StoredSeries]
    measures: Measures


def measure(raw: bytes) -> MeasuredData:
    """Read a data.json (plain JSON); raise DocumentError that names the place, and what was expected there."""
    try:
        return _short_way(raw) or _long_way(raw)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise DocumentError(f"{error}; expected metric -> scope -> unit, timestep and series of numbers") from error


def _short_way(raw: bytes) -> MeasuredData | None:
    """Measure without a Python object per sample; None where that cannot be relied upon."""
    found = scan(raw)
    if found is None:
        return None
    try:
        if not found.rest.isascii():
            found.rest.decode()  # msgspec passes over texts that nobody asks for
        document = _CUT.decode(found.rest)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        return None
    series, *per_step = ((found.key == place).nonzero()[0] for place in range(len(KEYS)))
    expected = sum(metric.statistics_series is not None for metric in _metrics(document))
    if sum(len(metric.series) for metric in _metrics(document)) != series.size or any(
        part.size != expected for part in per_step
    ):
        return None  # one of the keys also stands elsewhere, or one comes twice
    lengths = zip(*(found.length[part].tolist() for part in per_step), strict=True)
    return _assemble(document, Measures(*(column[series] for column in found[2:])), lengths)


def _long_way(raw: bytes) -> MeasuredData:
    raw.decode()  # msgspec passes over texts that nobody asks for
    document = _WHOLE.decode(raw)
    samples: list[_Numbers] = [series.data for metric in _metrics(document) for series in metric.series]
    measured = [_measured(np.array(numbers, dtype=np.float64)) for numbers in samples]
    columns = np.array(measured, dtype=np.float64).reshape(-1, 3).T
    measures = Measures(np.fromiter(map(len, samples), dtype=np.int64), *columns)
    per_step = [metric.statistics_series for metric in _metrics(document) if metric.statistics_series is not None]
    return _assemble(document, measures, ((len(each.min), len(each.mean), len(each.max)) for each in per_step))


def _measured(samples: Samples) -> tuple[float, float, float]:
    """Return the least, average and greatest of samples, NaN where none of them is a number."""
    present = samples[~np.isnan(samples)]
    if not present.size:
        return np.nan, np.nan, np.nan
    return present.min(), present.sum() / present.size, present.max()


def _metrics(document: dict[str, dict[str, Any]]) -> Iterator[Any]:
    return chain.from_iterable(scopes.values() for scopes in document.values())


def _assemble(
    document: dict[str, dict[str, Any]], measures: Measures, lengths: Iterator[tuple[int, ...]]
) -> MeasuredData:
    """Put together what was read; `lengths` are those of min, mean and max per time step, where a metric has them."""
    metrics: list[MeasuredMetric] = []
    series: list[StoredSeries] = []
    for name, scopes in document.items():
        for scope, metric in scopes.items():
            begin = len(series)
            series += metric.series
            ours = () if metric.statistics_series is None else next(lengths)
            metrics.append(MeasuredMetric(name, scope, begin, len(series), ours))
    return MeasuredData(metrics, series, measures)
