"""The plots of a job: for each metric in its data.json a line per series, or a band over many series."""

import contextlib
import dataclasses
from collections.abc import Iterator, Sequence

import numpy as np

from archive.exceptions import DECODE_ERRORS, DocumentError, reason
from archive.format.cluster_json import SCOPES, Cluster, SubCluster
from archive.format.data_document import EXPECTED, Document, StoredMetric, StoredSeries, Unit, read_document
from archive.format.statistics import Samples, Statistics, combined_statistics, series_statistics, statistics_series
from archive.plots.reduce import Band, Positions, reduce_band, reduce_line

MOST_LINES = 16
"""Up to this many series are drawn as lines, more as a band of minimum, mean and maximum."""


@dataclasses.dataclass(frozen=True, slots=True)
class PlotRequest:
    """The scope and the part of the time to draw, and the cluster of the job.

    `part` is begin and end in seconds from the start of the job; None is the whole time.
    """

    scope: str = "node"
    cluster: Cluster | None = None
    sub_cluster: str = ""
    part: tuple[int, int] | None = None

    def steps(self, timestep: int) -> slice:
        """Return the samples to draw, with one more on either side, so that lines reach the edges."""
        if self.part is None:
            return slice(0, None)
        begin, end = self.part
        return slice(max(0, begin // timestep), max(0, end // timestep + 2))


@dataclasses.dataclass(frozen=True, slots=True)
class Line:
    """The points of a series; `at` is in timesteps from the start of the job, None for 0, 1, 2, …"""

    host: str
    id: str | None
    at: Positions | None
    values: Samples


@dataclasses.dataclass(frozen=True, slots=True)
class Range:
    """The points of a band; `at` as in Line."""

    at: Positions | None
    min: Samples
    mean: Samples
    max: Samples


@dataclasses.dataclass(frozen=True, slots=True)
class Plot:
    """One metric in one scope, as lines or as a band.

    `timestep` is in seconds; `series` (the number of series) and `statistics` cover the whole time. `peak` is the
    highest value that cluster.json says a node or accelerator can have, 0 if it says none.
    """

    name: str
    scope: str
    unit: str
    prefix: str
    peak: float
    timestep: int
    series: int
    statistics: dict[str, float]
    thresholds: dict[str, float]
    lines: list[Line]
    band: Range | None


@dataclasses.dataclass(frozen=True, slots=True)
class Plots:
    """All metrics of a job, and the scopes in which it has any, from coarse to fine."""

    scopes: list[str]
    metrics: list[Plot]


def plots(raw: bytes, request: PlotRequest) -> Plots:
    """Return the plots of a data.json (uncompressed); see `draw`. Raise DocumentError."""
    with naming_data_json():
        return draw(read_document(raw), request)


def draw(document: Document, request: PlotRequest) -> Plots:
    """Return the plots of a document, in the order of cluster.json, then by name.

    Each metric has the requested scope, or else the coarsest scope in the file. Series without samples are left out.
    Raise one of DECODE_ERRORS.
    """
    found = [_plot(name, scope, metric, request) for name, scope, metric in choose(document, request)]
    scopes = {scope for scopes in document.values() for scope in scopes}
    return Plots([scope for scope in SCOPES if scope in scopes], [plot for plot in found if plot.series])


def choose(document: Document, request: PlotRequest) -> list[tuple[str, str, StoredMetric]]:
    """Return the metrics to draw in their order, as (name, scope, metric)."""
    order = {metric.name: place for place, metric in enumerate(request.cluster.metrics if request.cluster else ())}
    names = sorted(document, key=lambda name: (order.get(name, len(order)), name))
    chosen = [(name, _choose(request.scope, document[name])) for name in names if document[name]]
    return [(name, scope, document[name][scope]) for name, scope in chosen]


@contextlib.contextmanager
def naming_data_json() -> Iterator[None]:
    """Turn the errors of a bad document into DocumentError with the name of the file."""
    try:
        yield
    except DocumentError as error:
        raise DocumentError(f"data.json: {error}") from error
    except DECODE_ERRORS as error:
        raise DocumentError(f"data.json: {reason(error)}; {EXPECTED}") from error


def thresholds(cluster: Cluster | None, sub_cluster: str, name: str, scope: str) -> dict[str, float]:
    """Return those of the thresholds normal, caution and alert that cluster.json has for a metric and subcluster.

    They apply to a whole node or, for metrics of accelerators, to one accelerator. If the metric is a sum, they are
    divided by the number of units of the scope in a node.
    """
    found = _marks(cluster, sub_cluster, name, scope)
    return {word: value for word, value in found.items() if word != "peak"}


def peak(cluster: Cluster | None, sub_cluster: str, name: str, scope: str) -> float:
    """Return the peak that cluster.json has for a metric and subcluster, per unit as in `thresholds`; 0 without one."""
    return _marks(cluster, sub_cluster, name, scope).get("peak", 0.0)


def _marks(cluster: Cluster | None, sub_cluster: str, name: str, scope: str) -> dict[str, float]:
    metric = cluster.metric(name) if cluster is not None else None
    metric = metric.for_subcluster(sub_cluster) if metric is not None else None
    if cluster is None or metric is None:
        return {}
    parts = _parts_of_node(cluster.subcluster(sub_cluster), scope) if metric.aggregation == "sum" else 1
    found = {"peak": metric.peak, "normal": metric.normal, "caution": metric.caution, "alert": metric.alert}
    return {word: value / parts for word, value in found.items() if value and parts}


def _parts_of_node(sub_cluster: SubCluster | None, scope: str) -> int:
    """Return the number of units of a scope in a node, 0 if it is unknown; 1 for nodes and accelerators."""
    if scope in ("node", "accelerator"):
        return 1
    if sub_cluster is None:
        return 0
    topology = sub_cluster.topology
    units = {"socket": topology.socket, "memoryDomain": topology.memory_domain, "core": topology.core}
    return len(units.get(scope, topology.node))


def _rank(scope: str) -> tuple[int, str]:
    """Return a sort key: from coarse to fine, unknown scopes last."""
    return (SCOPES.index(scope) if scope in SCOPES else len(SCOPES), scope)


def _choose(wanted: str, scopes: dict[str, StoredMetric]) -> str:
    """Return the scope to draw: the requested one, or else the coarsest."""
    return wanted if wanted in scopes else min(scopes, key=_rank)


def _plot(name: str, scope: str, metric: StoredMetric, request: PlotRequest) -> Plot:
    """Return the plot of a metric; decode the samples of its series only if the file has no band."""
    unit, steps = metric.unit or Unit(), request.steps(metric.timestep)
    band = _stored_band(metric) if len(metric.series) > MOST_LINES else None
    lines: list[Line] = []
    if band is not None:
        count, statistics = len(metric.series), _stored_statistics(metric.series) or _statistics_of(band)
    else:
        arrays = [series.samples() for series in metric.series]
        each = series_statistics(arrays)
        present = [place for place, numbers in enumerate(each) if numbers is not None]
        count, statistics = len(present), combined_statistics(each)
        if count > MOST_LINES:
            band = Band(**statistics_series([arrays[place] for place in present]))
        else:
            lines = [_line(metric.series[place], arrays[place], steps) for place in present]
    return Plot(
        name=name,
        scope=scope,
        unit=f"{unit.prefix or ''}{unit.base}",
        prefix=unit.prefix or "",
        peak=peak(request.cluster, request.sub_cluster, name, scope),
        timestep=metric.timestep,
        series=count if statistics is not None else 0,
        statistics={} if statistics is None else statistics._asdict(),
        thresholds=thresholds(request.cluster, request.sub_cluster, name, scope),
        lines=lines,
        band=None if band is None else _range(band, steps),
    )


def _line(series: StoredSeries, samples: Samples, steps: slice) -> Line:
    at, values = reduce_line(samples[steps])
    return Line(
        host=series.hostname,
        id=None if series.id is None else str(series.id),
        at=_from_start(at, steps.start, values.size),
        values=values,
    )


def _range(band: Band, steps: slice) -> Range:
    at, reduced = reduce_band(Band(*(values[steps] for values in band)))
    return Range(_from_start(at, steps.start, reduced.mean.size), *reduced)


def _from_start(at: Positions | None, first: int, size: int) -> Positions | None:
    """Return positions relative to the start of the job instead of the first sample that is drawn."""
    if first == 0:
        return at
    return first + (np.arange(size, dtype=np.float64) if at is None else at)


def _stored_band(metric: StoredMetric) -> Band | None:
    """Return the statistics per time step in the file; None if they are missing or incomplete."""
    try:
        stored = metric.steps()
    except DECODE_ERRORS:  # in another form
        return None
    if stored is None:
        return None
    band = Band(_array(stored.min), _array(stored.middle), _array(stored.max))
    return band if band.min.size == band.mean.size == band.max.size else None


def _stored_statistics(series: Sequence[StoredSeries]) -> Statistics | None:
    """Return the combined statistics of the series in the file; None if there are none."""
    return combined_statistics(
        Statistics(stored.min, stored.avg, stored.max)
        for stored in (each.stored_statistics() for each in series)
        if stored.min is not None and stored.avg is not None and stored.max is not None
    )


def _statistics_of(band: Band) -> Statistics | None:
    """Return the statistics of a band; None if it is empty."""
    lowest, mean, highest = series_statistics(list(band))
    if lowest is None or mean is None or highest is None:
        return None
    return Statistics(lowest.min, mean.avg, highest.max)


def _array(numbers: Sequence[float | None]) -> Samples:
    return np.array(numbers, dtype=np.float64)
