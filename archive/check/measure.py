"""Measure a data.json: is it what the format says, and what are the statistics of each series; built for speed.

The samples are most of the file, and to make a Python object of each takes five times as long as to unpack it. So they
are cut out and measured by compiled code (see scanning), and what is left, a few per cent, is decoded by msgspec.
Wherever that way is not sure, the whole document is decoded by msgspec, which alone decides what is an error and says
where.
"""

import math
from collections.abc import Callable, Iterator
from itertools import chain, islice
from typing import Annotated, Any, Generic, NamedTuple, TypeVar

import msgspec
import numpy as np
import numpy.typing as npt

from archive.check.scan import MAX_OF, MEAN_OF, MIN_OF, NOT_SURE, scan_into
from archive.exceptions import DocumentError
from archive.format.data_json import StoredStatistics, Unit
from archive.format.statistics import Samples, Statistics, combined_statistics, series_statistics

_MOSTLY_ENOUGH = 4096, 64 * 1024  # series, and bytes of what is left without them
_LEAST = 32  # bytes of a document for each series and list; with less, on the average, it goes the long way

_NOTHING = Statistics(math.nan, math.nan, math.nan)

_Numbers = list[float | None]
_Empty = Annotated[_Numbers, msgspec.Meta(max_length=0)]


class StoredSeries(msgspec.Struct, gc=False):
    """One series of a file."""

    hostname: str
    data: _Numbers
    id: str | int | None = None
    statistics: StoredStatistics | None = None


_S = TypeVar("_S")
_L = TypeVar("_L")


class _StatisticsSeries(msgspec.Struct, Generic[_L]):
    min: _L
    mean: _L
    max: _L


class _Metric(msgspec.Struct, Generic[_S, _L]):
    timestep: Annotated[int, msgspec.Meta(gt=0)]
    series: _S
    unit: Unit | None = None
    statistics_series: _StatisticsSeries[_L] | None = msgspec.field(default=None, name="statisticsSeries")


# Not strict: whole floats are taken where an integer belongs.
_CUT = msgspec.json.Decoder(dict[str, dict[str, _Metric[_Empty, _Empty]]], strict=False)
_WHOLE = msgspec.json.Decoder(dict[str, dict[str, _Metric[list[StoredSeries], _Numbers]]], strict=False)
_ONE = msgspec.json.Decoder(StoredSeries, strict=False)


class Numbers(NamedTuple):
    """Least, average and greatest sample of each series; NaN where none is a number."""

    min: Samples
    avg: Samples
    max: Samples


class MeasuredMetric(NamedTuple):
    """One metric in one scope: which series it has, how long its statistics per time step are, and its samples.

    Of these the least, the average of the series' averages, and the greatest; a series without any does not count.
    """

    name: str
    scope: str
    begin: int
    end: int
    statistics_lengths: tuple[int, ...]
    overall: Statistics | None


class MeasuredData(NamedTuple):
    """A data.json: its metrics, and all their series one after the other.

    Of each series the number of samples, what they are (`measured`) and the statistics that it carries (`stored`).
    """

    metrics: list[MeasuredMetric]
    length: npt.NDArray[np.int64]
    measured: Numbers
    stored: Numbers
    hosts: set[str]
    series_at: Callable[[int], StoredSeries]


def measure(raw: bytes) -> MeasuredData:
    """Read a data.json (plain JSON); raise DocumentError that names the place, and what was expected there."""
    try:
        return _short_way(raw) or _long_way(raw)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise DocumentError(f"{error}; expected metric -> scope -> unit, timestep and series of numbers") from error


def prepare() -> None:
    """Have everything compiled, for processes that are made from this one; else the first `measure` does it."""
    _scan(b"{}")


def _short_way(raw: bytes) -> MeasuredData | None:
    """Measure without a Python object per sample; None where that cannot be relied upon."""
    found = _scan(raw)
    if found is None:
        return None
    try:
        if not found.rest.isascii():
            found.rest.decode()  # msgspec passes over texts that nobody asks for
        document = _CUT.decode(found.rest)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        return None
    expected = sum(metric.statistics_series is not None for metric in _metrics(document))
    if len(found.lists) != sum(map(len, document.values())) or any(len(step) != expected for step in found.steps):
        return None  # one of the keys also stands elsewhere, or one comes twice
    return MeasuredData(
        _measured_metrics(
            document,
            iter(found.lists),
            (None if math.isnan(numbers[0]) else Statistics(*numbers) for numbers in found.overall),
            zip(*found.steps, strict=True),
        ),
        found.samples,
        Numbers(*found.measured),
        Numbers(*found.stored),
        found.hosts,
        lambda number: _ONE.decode(raw[slice(*found.places[:, number])]),
    )


class Scan(NamedTuple):
    """What a data.json holds: `rest` is the document with empty lists of series and of statistics per time step.

    `lists` has the number of series of each list, in the order of the document, `overall` the least sample, the average
    of the averages and the greatest sample of each, and `steps` the lengths of all lists
    `min`, of all `mean` and of all `max`. Of each series, `samples` has the number of samples and `places` where its
    object begins and ends; the rows of `measured` are the least, average and greatest sample, those of `stored` the
    statistics min, avg and max that it carries, NaN where there is none. `hosts` has each hostname once.
    """

    rest: bytes
    lists: list[int]
    overall: list[list[float]]
    steps: list[list[int]]
    samples: npt.NDArray[np.int64]
    places: npt.NDArray[np.int64]
    measured: npt.NDArray[np.float64]
    stored: npt.NDArray[np.float64]
    hosts: set[str]


def _scan(raw: bytes) -> Scan | None:
    """Take a data.json apart; None where it is not sure to be right, or a series has keys beside the usual ones."""
    # Memory for what a document has at most is, for large ones, more than it takes to read them.
    for most, size in (_MOSTLY_ENOUGH, (len(raw) // _LEAST + 1, len(raw))):
        rest = np.empty(size, dtype=np.uint8)
        lists, samples = np.empty((2, most), dtype=np.int64)
        steps, places, hosts = np.empty((3, 2, most), dtype=np.int64)
        overall, measured, stored = np.empty((3, 3, most))
        begin = _place(np.frombuffer(raw, dtype=np.uint8))
        sizes = scan_into(
            begin, begin + len(raw), rest, lists, overall, steps, samples, places, measured, stored, hosts
        )
        left, list_number, step_number, number, host_number = sizes
        if left >= 0:
            key, length = steps[:, :step_number]
            return Scan(
                rest[:left].tobytes(),
                lists[:list_number].tolist(),
                overall[:, :list_number].T.tolist(),
                [length[key == which].tolist() for which in (MIN_OF, MEAN_OF, MAX_OF)],
                samples[:number],
                places[:, :number],
                measured[:, :number],
                stored[:, :number],
                {raw[first:last].decode("ascii") for first, last in hosts[:, :host_number].T.tolist()},
            )
        if left == NOT_SURE:
            break
    return None


def _place(array: npt.NDArray[np.uint8]) -> int:
    """Return where an array lies in memory; its attribute `ctypes` takes longer."""
    place: int = array.__array_interface__["data"][0]
    return place


def _long_way(raw: bytes) -> MeasuredData:
    raw.decode()  # msgspec passes over texts that nobody asks for
    document = _WHOLE.decode(raw)
    series: list[StoredSeries] = [each for metric in _metrics(document) for each in metric.series]
    measured = series_statistics([np.array(each.data, dtype=np.float64) for each in series])
    in_order = iter(measured)
    none = StoredStatistics()
    stored = [msgspec.structs.astuple(each.statistics or none) for each in series]
    per_step = [metric.statistics_series for metric in _metrics(document) if metric.statistics_series is not None]
    return MeasuredData(
        _measured_metrics(
            document,
            (len(metric.series) for metric in _metrics(document)),
            (combined_statistics(islice(in_order, len(metric.series))) for metric in _metrics(document)),
            ((len(each.min), len(each.mean), len(each.max)) for each in per_step),
        ),
        np.fromiter((len(each.data) for each in series), dtype=np.int64),
        Numbers(*np.array([each or _NOTHING for each in measured], dtype=np.float64).reshape(-1, 3).T),
        Numbers(*np.array(stored, dtype=np.float64).reshape(-1, 3).T),
        {each.hostname for each in series},
        series.__getitem__,
    )


def _metrics(document: dict[str, dict[str, Any]]) -> Iterator[Any]:
    return chain.from_iterable(scopes.values() for scopes in document.values())


def _measured_metrics(
    document: dict[str, dict[str, Any]],
    series: Iterator[int],
    overall: Iterator[Statistics | None],
    lengths: Iterator[tuple[int, ...]],
) -> list[MeasuredMetric]:
    """Return the metrics of a document; `series` are the numbers of their series.

    `lengths` are those of min, mean and max per time step of each metric that has them.
    """
    metrics: list[MeasuredMetric] = []
    begin = 0
    for name, scopes in document.items():
        for scope, metric in scopes.items():
            end = begin + next(series)
            ours = () if metric.statistics_series is None else next(lengths)
            metrics.append(MeasuredMetric(name, scope, begin, end, ours, next(overall)))
            begin = end
    return metrics
