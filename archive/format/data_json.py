"""Write data.json, read it, and select parts of it."""

import dataclasses
import itertools
from collections.abc import Iterator, Sequence
from functools import cached_property
from typing import Any, NamedTuple

import msgspec
import numpy as np
import orjson

from archive.exceptions import DocumentError
from archive.format.cluster_json import Cluster
from archive.format.data_document import StoredMetric, Unit, iter_series, read_document
from archive.format.statistics import Samples, Statistics, combined_statistics, series_statistics, statistics_series

STATISTICS_SERIES_FROM = 16
"""Metrics with at least this many series also have statistics per time step."""


@dataclasses.dataclass(frozen=True, slots=True)
class Series:
    """The samples of a host or of one of its units (`id`); missing samples are NaN."""

    hostname: str
    id: str | None
    data: Samples


@dataclasses.dataclass
class MetricData:
    """One metric in one scope: unit, seconds between samples, and a series per host or unit."""

    unit: dict[str, str]
    timestep: int
    series: list[Series]

    @cached_property
    def statistics(self) -> list[Statistics | None]:
        """Return the statistics of each series, None for those without samples."""
        return series_statistics([series.data for series in self.series])


JobData = dict[str, dict[str, MetricData]]
"""All samples of a job: metric name, then scope."""


def encode_data(data: JobData) -> bytes:
    """Return the data.json of these samples with statistics; NaN and infinite numbers become null."""
    _set_statistics([metric for scopes in data.values() for metric in scopes.values()])
    document = {
        name: {scope: _metric_document(metric) for scope, metric in scopes.items()} for name, scopes in data.items()
    }
    return orjson.dumps(document, option=orjson.OPT_SERIALIZE_NUMPY)


def _set_statistics(metrics: Sequence[MetricData]) -> None:
    """Compute the statistics of all series at once: on short series, numpy's overhead per call dominates."""
    numbers = iter(series_statistics([series.data for metric in metrics for series in metric.series]))
    for metric in metrics:
        metric.statistics = list(itertools.islice(numbers, len(metric.series)))


def decode_data(raw: bytes) -> JobData:
    """Read the samples of a data.json, without statistics; raise DocumentError with the place if it is invalid."""
    try:
        document = read_document(raw)
        data = {
            name: {scope: MetricData(_unit_of(metric), metric.timestep, []) for scope, metric in scopes.items()}
            for name, scopes in document.items()
        }
        for name, scope, series, _, samples in iter_series(document):
            unit_id = None if series.id is None else str(series.id)
            data[name][scope].series.append(Series(series.hostname, unit_id, samples))
    except DocumentError as error:
        raise DocumentError(f"data.json: {error}") from error
    return data


class SeriesName(NamedTuple):
    """The key of a series within a job."""

    metric: str
    scope: str
    hostname: str
    id: str | None


def sample_counts(data: JobData) -> dict[SeriesName, int]:
    """Return the number of present samples of each series that has any."""
    counts = {
        SeriesName(name, scope, series.hostname, series.id): int(np.isfinite(series.data).sum())
        for name, scopes in data.items()
        for scope, metric in scopes.items()
        for series in metric.series
    }
    return {series: count for series, count in counts.items() if count}


def default_scopes(num_nodes: int) -> list[str]:
    """Return the scopes in which a job's samples are wanted unless others are asked for."""
    return ["core" if num_nodes == 1 else "node"]


class _Item(msgspec.Struct, gc=False):
    """An element of the array of `select_data`."""

    name: str
    scope: str
    metric: StoredMetric


def select_data(raw: bytes, metrics: Sequence[str] | None, scopes: Sequence[str]) -> bytes:
    """Return the JSON array `[{"name", "scope", "metric"}, ...]` of some metrics (None: all) of a data.json.

    They are sorted by name and scope. A metric that has none of the wanted scopes comes in all its scopes. Unknown
    names are left out. Samples and statistics are not decoded. Raise DocumentError.
    """
    return msgspec.json.encode([_Item(*selected) for selected in _selected(raw, metrics, scopes)])


def select_map(raw: bytes, scopes: Sequence[str]) -> bytes:
    """Return the JSON object `{name: {scope: metric}}` of what `select_data` selects of all metrics."""
    found: dict[str, dict[str, StoredMetric]] = {}
    for name, scope, metric in _selected(raw, None, scopes):
        found.setdefault(name, {})[scope] = metric
    return msgspec.json.encode(found)


def _selected(
    raw: bytes, metrics: Sequence[str] | None, scopes: Sequence[str]
) -> Iterator[tuple[str, str, StoredMetric]]:
    """Yield name, scope and metric of each that is to be selected."""
    try:
        document = read_document(raw)
    except DocumentError as error:
        raise DocumentError(f"data.json: {error}") from error
    for name in sorted(document if metrics is None else document.keys() & set(metrics)):
        of_metric = document[name]
        for scope in sorted(of_metric.keys() & set(scopes) or of_metric):
            yield name, scope, of_metric[scope]


def _metric_document(metric: MetricData) -> dict[str, Any]:
    """Return the JSON value of one metric in one scope, with its keys in the usual order."""
    document: dict[str, Any] = {
        "unit": metric.unit,
        "timestep": metric.timestep,
        "series": list(map(_series_document, metric.series, metric.statistics)),
    }
    if len(metric.series) >= STATISTICS_SERIES_FROM:
        document["statisticsSeries"] = statistics_series([series.data for series in metric.series])
    return document


def _series_document(series: Series, statistics: Statistics | None) -> dict[str, Any]:
    """Return the JSON value of one series."""
    document: dict[str, Any] = {"hostname": series.hostname}
    if series.id is not None:
        document["id"] = series.id
    if statistics is not None:
        document["statistics"] = {"min": statistics.min, "avg": statistics.avg, "max": statistics.max}
    document["data"] = np.ascontiguousarray(series.data, dtype=np.float64)
    return document


def _unit_of(metric: StoredMetric) -> dict[str, str]:
    unit = metric.unit or Unit()
    return {"base": unit.base} | ({} if isinstance(unit.prefix, msgspec.UnsetType) else {"prefix": unit.prefix})


def job_statistics(data: "JobData", cluster: Cluster | None) -> dict[str, dict[str, Any]]:
    """Return the statistics of each metric in the form of meta.json: `{"unit", "avg", "min", "max"}`, by name.

    They cover the series of scope node: avg is the mean of the averages of the series, min their least minimum, max
    their greatest maximum. Nodes and metrics without samples are left out. The unit is that of cluster.json, or else
    that of the data.
    """
    result: dict[str, dict[str, Any]] = {}
    for name in sorted(data):
        metric = data[name].get("node")
        if metric is None:
            continue
        overall = combined_statistics(metric.statistics)
        if overall is None:
            continue
        config = cluster.metric(name) if cluster is not None else None
        unit = config.unit if config is not None else metric.unit
        result[name] = {"unit": dict(unit), "avg": overall.avg, "min": overall.min, "max": overall.max}
    return result
