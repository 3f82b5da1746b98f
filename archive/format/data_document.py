"""Read data.json: the one place that decides what such a document must be, whoever wrote it.

The document is decoded in two steps, so that memory stays close to the size of the file: first all but the samples,
then the samples of one series at a time. A decoded sample takes 32 bytes, four times as much as its text.
"""

from collections.abc import Iterator, Mapping
from typing import Annotated, Any, NamedTuple, TypeVar

import msgspec
import numpy as np

from archive.exceptions import DECODE_ERRORS, DocumentError, reason
from archive.format.keys import is_null, with_known_keys
from archive.format.statistics import Samples

EXPECTED = "expected metric -> scope -> unit, timestep and series of numbers"


Part = TypeVar("Part")


class BeforeVersion1Error(DocumentError):
    """The document is of an archive from before version 1, which import_jobs converts."""

    def __init__(self, place: str) -> None:
        """Set the message; `place` is the unit that is a text."""
        super().__init__(
            f"{place} is a text: the form of archives from before version 1; import_jobs converts it into another root"
        )


class Unit(msgspec.Struct, forbid_unknown_fields=True):
    """A unit of measurement: a base such as `B/s`, a prefix such as `G`."""

    base: str = ""
    prefix: str | msgspec.UnsetType = msgspec.UNSET  # false, and left out where a unit is written


class StoredStatistics(msgspec.Struct, gc=False, forbid_unknown_fields=True):
    """The statistics of a series in a file; missing and null values are None."""

    min: float | None = None
    avg: float | None = None
    max: float | None = None


_NOTHING = msgspec.Raw(b"")


class StoredSeries(msgspec.Struct, kw_only=True, gc=False, forbid_unknown_fields=True, omit_defaults=True):
    """One series of a file, its samples and statistics not yet decoded."""

    hostname: str
    id: str | int | None = None
    statistics: msgspec.Raw = _NOTHING
    data: msgspec.Raw

    def stored_statistics(self) -> StoredStatistics:
        """Return the statistics; raise one of DECODE_ERRORS."""
        return _decode(_STATISTICS, self.statistics, _STATISTICS_KEYS) or _NOT_STORED

    def samples(self) -> Samples:
        """Return the samples, missing ones as NaN; raise one of DECODE_ERRORS."""
        return np.array(_SAMPLES.decode(self.data), dtype=np.float64)


class StepStatistics(msgspec.Struct, forbid_unknown_fields=True):
    """Statistics per time step: cc-backend has the mean up to archive version 1 and the median from version 2 on."""

    min: list[float | None]
    max: list[float | None]
    mean: list[float | None] | None = None
    median: list[float | None] | None = None
    percentiles: msgspec.Raw = msgspec.Raw(b"null")

    def __post_init__(self) -> None:
        """Raise ValueError, which the decoder passes on, without mean and median."""
        if self.mean is None and self.median is None:
            raise ValueError("neither mean nor median")

    @property
    def middle(self) -> list[float | None]:
        """Return the mean, or else the median."""
        return (self.median or []) if self.mean is None else self.mean


class StoredMetric(msgspec.Struct, kw_only=True, gc=False, forbid_unknown_fields=True, omit_defaults=True):
    """A metric in one scope; `timestep` is in seconds."""

    unit: Unit | None = None
    timestep: Annotated[int, msgspec.Meta(gt=0)]
    series: list[StoredSeries]
    statistics_series: msgspec.Raw = msgspec.field(default=_NOTHING, name="statisticsSeries")
    scope: str | None = None

    def steps(self) -> StepStatistics | None:
        """Return the statistics per time step, None if there are none; raise one of DECODE_ERRORS."""
        return _decode(_STEPS, self.statistics_series, _STEPS_KEYS)


Document = dict[str, dict[str, StoredMetric]]
"""A data.json: metric, then scope."""

# Not strict: whole floats are accepted as integers.
_DOCUMENT = msgspec.json.Decoder(Document, strict=False)
_METRIC = msgspec.json.Decoder(StoredMetric, strict=False)
_SAMPLES = msgspec.json.Decoder(list[float | None])
_STEPS: msgspec.json.Decoder[StepStatistics | None] = msgspec.json.Decoder(StepStatistics | None)
_STATISTICS: msgspec.json.Decoder[StoredStatistics | None] = msgspec.json.Decoder(StoredStatistics | None)
_NOT_STORED = StoredStatistics()


def read_document(raw: bytes) -> Document:
    """Read a data.json (plain JSON) but for its samples and statistics.

    Keys may be in any case, null means missing, and unknown keys do not matter. Raise DocumentError with the place and
    the expectation, BeforeVersion1Error if a unit is a text.
    """
    try:
        if not raw.isascii():
            raw.decode()  # msgspec does not check texts that it skips
        try:
            return _DOCUMENT.decode(raw)
        except msgspec.ValidationError:  # JSON, but of another form
            return _in_exact_form(raw)
    except DocumentError:
        raise
    except DECODE_ERRORS as error:
        raise DocumentError(f"{reason(error)}; {EXPECTED}") from error


class DecodedSeries(NamedTuple):
    """A series with the name and scope of its metric, its statistics, and its samples, missing ones as NaN."""

    metric: str
    scope: str
    series: StoredSeries
    statistics: StoredStatistics
    samples: Samples


def iter_series(document: Document) -> Iterator[DecodedSeries]:
    """Decode one series after the other; raise DocumentError with the place."""
    for name, scopes in document.items():
        for scope, metric in scopes.items():
            for series in metric.series:
                part, expected = "data", "numbers and nulls"
                try:
                    samples = series.samples()
                    part, expected = "statistics", "min, avg and max"
                    statistics = series.stored_statistics()
                except DECODE_ERRORS as error:
                    place = f"{name}.{scope} {series.hostname}: {part}"
                    raise DocumentError(f"{place}: {reason(error)}; expected {expected}") from error
                yield DecodedSeries(name, scope, series, statistics, samples)


def steps_of(name: str, scope: str, metric: StoredMetric) -> StepStatistics | None:
    """Return the statistics per time step of a metric; raise DocumentError with the place."""
    try:
        return metric.steps()
    except DECODE_ERRORS as error:
        expected = "expected min, max, and mean or median"
        raise DocumentError(f"{name}.{scope}.statisticsSeries: {reason(error)}; {expected}") from error


def check_document(raw: bytes) -> None:
    """Raise DocumentError unless this is a data.json in which every sample is a number or null."""
    document = read_document(raw)
    for name, scopes in document.items():
        for scope, metric in scopes.items():
            steps_of(name, scope, metric)
    for _ in iter_series(document):
        pass


_RawObject = dict[str, msgspec.Raw]
_OUTLINE = msgspec.json.Decoder(dict[str, dict[str, msgspec.Raw] | None])
_OBJECT = msgspec.json.Decoder(_RawObject)
_LIST = msgspec.json.Decoder(list[msgspec.Raw])


_METRIC_KEYS = dict.fromkeys(StoredMetric.__struct_encode_fields__)
_SERIES_KEYS = dict.fromkeys(StoredSeries.__struct_encode_fields__)
_STEPS_KEYS = dict.fromkeys(StepStatistics.__struct_encode_fields__)
_STATISTICS_KEYS = dict.fromkeys(StoredStatistics.__struct_encode_fields__)
_UNIT_KEYS = dict.fromkeys(Unit.__struct_encode_fields__)


def _in_exact_form(raw: bytes) -> Document:
    """Read a data.json of which only the known keys count, in any case, without nulls."""
    return {
        name: {
            scope: _exact_metric(f"{name}.{scope}", text) for scope, text in (scopes or {}).items() if not is_null(text)
        }
        for name, scopes in _OUTLINE.decode(raw).items()
    }


def _exact_metric(place: str, text: msgspec.Raw) -> StoredMetric:
    """Read one metric in one scope; `place` is their names."""
    if not _begins(text, b"{"):
        raise DocumentError(f"{place} is no JSON object; expected unit, timestep and series")
    metric: dict[str, Any] = with_known_keys(_OBJECT.decode(text), _METRIC_KEYS)
    if _begins(metric.get("unit"), b'"'):
        raise BeforeVersion1Error(f"{place}.unit")
    if _begins(metric.get("unit"), b"{"):
        metric["unit"] = with_known_keys(_OBJECT.decode(metric["unit"]), _UNIT_KEYS)
    if _begins(metric.get("series"), b"["):
        metric["series"] = [
            with_known_keys(_OBJECT.decode(series), _SERIES_KEYS) if _begins(series, b"{") else series
            for series in _LIST.decode(metric["series"])
        ]
    try:
        return _METRIC.decode(msgspec.json.encode(metric))
    except msgspec.ValidationError as error:
        raise DocumentError(f"{place}: {error}; {EXPECTED}") from error


def _decode(decoder: msgspec.json.Decoder[Part | None], text: msgspec.Raw, keys: Mapping[str, object]) -> Part | None:
    """Decode a part of a document, of which only the known keys count; return None if it is missing or null."""
    if not memoryview(text).nbytes:
        return None
    try:
        return decoder.decode(text)
    except msgspec.ValidationError:  # other keys, or another form
        return decoder.decode(msgspec.json.encode(with_known_keys(_OBJECT.decode(text), keys)))


def _begins(text: object, character: bytes) -> bool:
    """Return whether a value that is not decoded begins with a character, which reveals its type."""
    return isinstance(text, msgspec.Raw) and bytes(memoryview(text)[:1]) == character
