"""Measure a data.json: is it what the format says, and what are the statistics of each series; built for speed.

The samples are most of the file, and to make a Python object of each takes five times as long as to unpack it. So the
text between the brackets of `"data":[...]` is cut out, parsed by simdjson in parts that fit the processor's cache, and
goes into numpy arrays as it is; what is left, a few per cent, is decoded by msgspec. Wherever that way is not sure,
the whole document is decoded by msgspec, which alone decides what is an error and says where.
"""

import re
from collections.abc import Iterator, Sequence
from itertools import chain
from typing import Annotated, Any, Generic, NamedTuple, TypeVar

import msgspec
import numpy as np
import numpy.typing as npt
import simdjson

from archive.documents import Unit
from archive.exceptions import DocumentError
from archive.statistics import Samples

_Positions = npt.NDArray[np.intp]

# simdjson's arrays hold numbers alone: in the text a null becomes one number, and another stands between two series.
# A file with samples as great as these has more of them than were put in, and goes the long way.
_MISSING_TEXT = b"9e99"
_BORDER, _BORDER_TEXT = 8e88, b",8e88,"  # the smaller of the two
_PART = 256 * 1024  # bytes of text that are parsed at once

_DATA_BEGINS = b'"data":['
_DATA_BEGINS_SOMEHOW = re.compile(rb'"data"\s*:\s*\[')
_MAY_PRECEDE_NULL = np.zeros(256, dtype=bool)
_MAY_PRECEDE_NULL[list(b"[, \t\r\n")] = True


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


class _CutSeries(StoredSeries, gc=False):
    data: Annotated[list[float | None], msgspec.Meta(max_length=0)] = msgspec.field(default_factory=list)


class _WholeSeries(StoredSeries, kw_only=True, gc=False):
    data: list[float | None]


_S = TypeVar("_S", bound=StoredSeries)
_L = TypeVar("_L")
_Numbers = list[float | None]


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
_CUT = msgspec.json.Decoder(dict[str, dict[str, _Metric[_CutSeries, msgspec.Raw]]], strict=False)
_WHOLE = msgspec.json.Decoder(dict[str, dict[str, _Metric[_WholeSeries, _Numbers]]], strict=False)
_parser = simdjson.Parser()


class Measures(NamedTuple):
    """Number of samples, least, average and greatest one of each series; NaN where none is a number."""

    length: npt.NDArray[np.intp]
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


def _long_way(raw: bytes) -> MeasuredData:
    raw.decode()  # msgspec passes over texts that nobody asks for
    document = _WHOLE.decode(raw)
    samples: list[_Numbers] = [series.data for metric in _metrics(document) for series in metric.series]
    samples += _statistics_series(document)
    values = np.array(list(chain.from_iterable(samples)), dtype=np.float64)
    sizes = list(map(len, samples))
    starts = np.cumsum([0, *filter(None, sizes)], dtype=np.intp)[:-1]
    measures = [_reduce(values, starts, np.flatnonzero(np.isnan(values)))] if starts.size else []
    return _assemble(document, measures, sizes)


def _short_way(raw: bytes) -> MeasuredData | None:
    """Measure without a Python object per sample; None where that cannot be relied upon."""
    if _DATA_BEGINS not in raw:
        raw = _DATA_BEGINS_SOMEHOW.sub(_DATA_BEGINS, raw)
    rest, texts = _cut(raw)
    try:
        document = _CUT.decode(rest)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        return None
    if not rest.isascii():
        return None
    if sum(len(metric.series) for metric in _metrics(document)) != len(texts):
        return None  # "data" also stands elsewhere, or a key comes twice
    texts += map(_inside, _statistics_series(document))
    sizes = list(map(len, texts))
    measures: list[Measures] = []
    for part in _parts([text for text in texts if len(text)], sum(sizes)):
        measured = _measure_part(part)
        if measured is None:
            return None
        measures.append(measured)
    return _assemble(document, measures, sizes)


def _cut(raw: bytes) -> tuple[bytes, list[memoryview]]:
    """Return the document with empty `data` lists, and the texts that were in them."""
    view, find = memoryview(raw), raw.find
    rest: list[memoryview] = []
    texts: list[memoryview] = []
    end, begin = 0, find(_DATA_BEGINS)
    while begin >= 0:
        begin += len(_DATA_BEGINS)
        rest.append(view[end:begin])
        end = find(b"]", begin)
        if end < 0:
            end = len(raw)
        texts.append(view[begin:end])
        begin = find(_DATA_BEGINS, end)
    rest.append(view[end:])
    return b"".join(rest), texts


def _inside(text: msgspec.Raw) -> memoryview:
    """Return what stands between the brackets; what has none becomes no number."""
    view = memoryview(text)
    return view[1:-1] if bytes(view[:1]) == b"[" else memoryview(b"?")


def _parts(texts: list[memoryview], size: int) -> list[list[memoryview]]:
    """Divide texts so that each part has about _PART bytes; series are of about the same length."""
    if not texts:
        return []
    step = max(1, len(texts) * _PART // size)
    return [texts[begin : begin + step] for begin in range(0, len(texts), step)]


def _measure_part(texts: list[memoryview]) -> Measures | None:
    """Parse the texts of some series at once; None where they are not numbers and nulls alone."""
    # Brackets go to the first and the last, so that there is no second copy of the whole.
    bracketed: list[bytes | memoryview] = [*texts]
    bracketed[0] = b"[" + bytes(bracketed[0])
    bracketed[-1] = bytes(bracketed[-1]) + b"]  "
    text = bytearray(_BORDER_TEXT).join(bracketed)
    nulls = _replace_nulls(np.frombuffer(text, dtype=np.uint8))
    if nulls is None:
        return None
    array: Any = None
    try:
        array = _parser.parse(text)
        values = np.frombuffer(bytearray(array.as_buffer(of_type="d")), dtype=np.float64)
    except (ValueError, TypeError, RuntimeError):  # simdjson's: no JSON, no number, an integer beyond 64 bit
        return None
    finally:
        del array  # the parser refuses the next text while it lives
    put_in = (values >= _BORDER).nonzero()[0]
    borders = put_in[values[put_in] == _BORDER]
    if put_in.size != nulls + borders.size or borders.size != len(texts) - 1:
        return None
    starts = np.zeros(len(texts), dtype=np.intp)
    starts[1:] = borders + 1
    measures = _reduce(values, starts, put_in)
    measures.length[:-1] -= 1  # the border
    return measures


def _replace_nulls(text: npt.NDArray[np.uint8]) -> int | None:
    """Overwrite each null in the text, in place; return how many, None where a `u` is in anything else."""
    found = (text == ord("u")).nonzero()[0]
    if found.size:
        if not (
            _MAY_PRECEDE_NULL[text[found - 2]].all()
            and (text[found - 1] == ord("n")).all()
            and (text[found + 1] == ord("l")).all()
            and (text[found + 2] == ord("l")).all()
        ):
            return None
        for place, character in enumerate(_MISSING_TEXT, start=-1):
            text[found + place] = character
    return int(found.size)


def _reduce(values: Samples, starts: _Positions, left_out: _Positions) -> Measures:
    """Measure the series that begin at `starts`, without the positions `left_out`; overwrites these."""
    length = np.empty_like(starts)
    length[:-1] = starts[1:] - starts[:-1]
    length[-1] = values.size - starts[-1]
    out = np.bincount(starts.searchsorted(left_out, side="right") - 1, minlength=starts.size)
    present = length - out
    values[left_out] = np.inf
    lowest = np.minimum.reduceat(values, starts)
    values[left_out] = -np.inf
    highest = np.maximum.reduceat(values, starts)
    values[left_out] = 0.0
    average = np.add.reduceat(values, starts) / np.maximum(present, 1)
    empty = present == 0
    lowest[empty] = average[empty] = highest[empty] = np.nan
    return Measures(length, lowest, average, highest)


def _metrics(document: dict[str, dict[str, Any]]) -> Iterator[Any]:
    return chain.from_iterable(scopes.values() for scopes in document.values())


def _statistics_series(document: dict[str, dict[str, Any]]) -> list[Any]:
    """Return min, mean and max of the metrics that have them per time step, one after the other."""
    found = (metric.statistics_series for metric in _metrics(document))
    return [values for each in found if each is not None for values in (each.min, each.mean, each.max)]


def _assemble(document: dict[str, dict[str, Any]], measures: list[Measures], sizes: Sequence[int]) -> MeasuredData:
    """Put together what was read; a series of size 0 has no place in `measures`."""
    filled = np.array(sizes, dtype=bool)
    whole = Measures(np.zeros(filled.size, dtype=np.intp), *np.full((3, filled.size), np.nan))
    if measures:
        for target, *parts in zip(whole, *measures, strict=True):
            target[filled] = np.concatenate(parts)
    series: list[StoredSeries] = []
    for metric in _metrics(document):
        series += metric.series
    lengths = iter(whole.length[len(series) :].tolist())
    metrics: list[MeasuredMetric] = []
    begin = 0
    for name, scopes in document.items():
        for scope, metric in scopes.items():
            end = begin + len(metric.series)
            per_step = () if metric.statistics_series is None else (next(lengths), next(lengths), next(lengths))
            metrics.append(MeasuredMetric(name, scope, begin, end, per_step))
            begin = end
    own = slice(len(series))
    return MeasuredData(metrics, series, Measures(whole.length[own], whole.min[own], whole.avg[own], whole.max[own]))
