"""Samples from Prometheus or compatible servers, by range queries from the configuration."""

import dataclasses
import logging
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, ClassVar, Literal, Self

import msgspec
import numpy as np

from archive.exceptions import SourceError
from archive.format.cluster_json import SCOPES, Cluster, MetricConfig
from archive.format.data_json import JobData, MetricData, Series
from archive.format.statistics import Samples
from archive.sources.base import (
    FINE_SCOPES_UP_TO_NODES,
    JobInfo,
    aggregated,
    archived_scope,
    hwthreads_by_core,
    metrics_of_job,
    units_on_host,
    unknown_keys,
)
from archive.sources.http_store import MAX_POINTS, NOT_JSON, HttpStore, connection_errors
from archive.sources.promql import HOST_LABEL, ID_LABEL, PromqlTemplate, template_errors

logger = logging.getLogger(__name__)

MAX_STEPS = 11_000
"""Steps per request; Prometheus refuses more."""

MAX_HOSTS = 64
"""Hosts per request, whose names form one regular expression."""

MAX_SAMPLES = 100_000
"""Samples per request; Prometheus holds those of all series that it aggregates, up to 50 million."""

MAX_BYTES = 64 * 1024 * 1024
"""Bytes per response."""


class _Series(msgspec.Struct):
    """A series of a response; samples are decoded one series at a time, to save memory."""

    metric: dict[str, str]
    values: msgspec.Raw = msgspec.Raw(b"null")


class _Matrix(msgspec.Struct, rename="camel"):
    """The series of a response; servers in Go may write null for none."""

    result_type: Literal["matrix"]
    result: list[_Series] | None = None


class _Answer(msgspec.Struct, rename="camel"):
    """A response; VictoriaMetrics sets `isPartial` if some of its nodes did not answer."""

    data: _Matrix
    warnings: list[str] | None = None
    is_partial: bool = False


_ANSWER = msgspec.json.Decoder(_Answer)
_VALUES = msgspec.json.Decoder(list[tuple[float, str | float | None]] | None)

Units = dict[str, list[str | None]]
"""The ids to load on each host; None is the host itself."""

Unit = tuple[str, str | None]
"""Host and id."""

Loaded = dict[Unit, Samples]
"""Samples of each unit."""


@dataclasses.dataclass(frozen=True, slots=True)
class _Templates:
    """The templates of a metric: for the host, for the units of a finer scope, or for both."""

    node: PromqlTemplate | None
    fine: PromqlTemplate | None
    fine_scope: str

    @classmethod
    def from_config(cls, value: str | Mapping[str, str]) -> Self:
        """Parse a value of `queries`."""
        templates = {"node": value} if isinstance(value, str) else dict(value)
        node = templates.pop("node", None)
        scope, fine = next(iter(templates.items()), ("node", None))
        return cls(PromqlTemplate(node) if node else None, PromqlTemplate(fine) if fine else None, scope)


class PrometheusSource:
    """Load samples from a Prometheus; threads share its pool of connections."""

    kind: ClassVar[str] = "prometheus"
    archives_data: ClassVar[bool] = True

    def __init__(self, options: Mapping[str, Any]) -> None:
        """Create the source from its entry."""
        url = f"{options['url'].rstrip('/')}/api/v1/query_range"
        # Prometheus accepts POST since 2.1; proxies may refuse it. Its own client tries GET then, too.
        self._store = HttpStore(url, options, {}, methods=("POST", "GET"))
        self._templates = {name: _Templates.from_config(value) for name, value in options["queries"].items()}

    @classmethod
    def from_config(cls, options: Mapping[str, Any]) -> Self:
        """Return the source for an entry of METRIC_SOURCES."""
        return cls(options)

    @classmethod
    def config_errors(cls, options: Mapping[str, Any]) -> list[str]:
        """Return a message for each error in an entry, without secrets."""
        known = ("url", "token", "username", "password", "method", "timeout", "queries")
        queries = options.get("queries")
        messages = unknown_keys(options, known) + connection_errors(options)
        if not isinstance(queries, Mapping) or not queries:
            return [*messages, f"queries {queries!r}: expected an object, metric name -> PromQL template"]
        return messages + [
            f"queries, {name!r}: {message}" for name, value in queries.items() for message in _query_errors(value)
        ]

    def load(self, job: JobInfo, cluster: Cluster | None, metrics: Sequence[str] | None = None) -> JobData:
        """Return the samples of the metrics with a template, in scope node and, for small jobs, a finer scope.

        Series without samples are left out. Raise SourceError.
        """
        if cluster is None:
            raise self._store.not_asked(job)
        loading = _Loading(self._store, job, cluster)
        data: JobData = {}
        empty = []
        for config in metrics_of_job(job, cluster, metrics):
            if (templates := self._templates.get(config.name)) is None:
                continue
            try:
                scopes = loading.scopes(config, templates)
            except SourceError as error:
                reason = f"metric {config.name}: {error}"
                raise SourceError(reason, transient=error.transient, source_failed=error.source_failed) from error
            if scopes:
                data[config.name] = scopes
            else:
                empty.append(config.name)
        if empty:
            level = logging.INFO if data else logging.WARNING
            message = "%s: job %s of %s: no samples of %s"
            logger.log(level, message, self._store.url, job.job_id, job.cluster, ", ".join(empty))
        return data


class _Loading:
    """The samples of one job, up to MAX_POINTS."""

    def __init__(self, store: HttpStore, job: JobInfo, cluster: Cluster) -> None:
        self._store = store
        self._job = job
        self._cluster = cluster
        self._points = 0
        self._warnings: set[str] = set()

    def scopes(self, config: MetricConfig, templates: _Templates) -> dict[str, MetricData]:
        """Return the samples of a metric by scope, without empty scopes."""
        loaded: dict[str, Loaded] = {}
        if templates.node is not None:
            hosts: Units = {resource.hostname: [None] for resource in self._job.resources}
            loaded["node"] = self._load(templates.node, hosts, config.timestep)
        scope = "core" if templates.fine_scope == "hwthread" else templates.fine_scope
        archived = scope == archived_scope(config) and self._job.num_nodes <= FINE_SCOPES_UP_TO_NODES
        if templates.fine is not None and (archived or templates.node is None):
            units = self._load(templates.fine, self._units(templates.fine_scope), config.timestep)
            if templates.node is None:
                loaded["node"] = _combined(units, {unit: (unit[0], None) for unit in units}, config.aggregation)
            if archived:
                cores = self._cores() if templates.fine_scope == "hwthread" else {unit: unit for unit in units}
                loaded[scope] = _combined(units, cores, config.aggregation)
        series = {scope: [Series(*unit, data) for unit, data in each.items()] for scope, each in loaded.items()}
        return {scope: MetricData(config.unit, config.timestep, each) for scope, each in series.items() if each}

    def _units(self, scope: str) -> Units:
        """Return the units of a scope that the job has on each host, without hosts that have none."""
        job = self._job
        found = {each.hostname: units_on_host(each, job.sub_cluster, self._cluster, scope) for each in job.resources}
        return {host: list(ids) for host, ids in found.items() if ids}

    def _cores(self) -> dict[Unit, Unit]:
        """Return the core of each hwthread on the cores of the job."""
        job = self._job
        return {
            (each.hostname, thread): (each.hostname, core)
            for each in job.resources
            for core, threads in hwthreads_by_core(each, job.sub_cluster, self._cluster).items()
            for thread in threads
        }

    def _load(self, template: PromqlTemplate, units: Units, timestep: int) -> Loaded:
        """Return the samples of some units, in their order, without units that have none.

        As in cc-metric-store, a sample covers the step that begins at its time. So it is evaluated at the end of the
        step or, in a job shorter than a step, at the end of the job.
        """
        job = self._job
        steps = max(1, job.duration // timestep)
        begin = min(job.start_time + timestep, job.stop_time)
        loaded: Loaded = {(host, unit): np.empty(0) for host, ids in units.items() for unit in ids}
        for hosts, first, count in _parts(units, steps):
            ids = sorted({unit for host in hosts for unit in units[host] if unit is not None})
            query = template.query(hosts, ids, job.cluster, job.job_id)
            start = begin + first * timestep
            seen: dict[Unit, dict[str, str]] = {}
            for series in self._ask(query, start, start + (count - 1) * timestep, timestep):
                place = self._place(series, template, with_id=bool(ids))
                if seen.get(place, series.metric) != series.metric:
                    raise self._ambiguous(place, seen[place], series.metric)
                if place not in loaded:
                    continue  # of another job on the same host
                seen[place] = series.metric
                if not loaded[place].size:
                    loaded[place] = self._missing(steps)
                self._fill(loaded[place][first : first + count], series, start, timestep)
        return _present(loaded)

    def _ask(self, query: str, start: int, end: int, step: int) -> list[_Series]:
        """Return the series of a range query."""
        form = {"query": query, "start": str(start), "end": str(end), "step": str(step)}
        body = self._store.ask(MAX_BYTES, data=form)
        try:
            answer = _ANSWER.decode(body)
        except NOT_JSON as error:
            raise self._store.unexpected(error) from error
        warnings = [*(answer.warnings or ()), *(["the answer is partial"] if answer.is_partial else ())]
        for warning in {self._store.without_secrets(text) for text in warnings} - self._warnings:
            self._warnings.add(warning)
            logger.warning("%s: job %s of %s: %s", self._store.url, self._job.job_id, self._job.cluster, warning)
        return answer.data.result or []

    def _missing(self, steps: int) -> Samples:
        """Return a series of missing samples."""
        self._points += steps
        if self._points > MAX_POINTS:
            raise self._store.too_many_points(f"more than {MAX_POINTS} samples")
        return np.full(steps, np.nan)

    def _fill(self, samples: Samples, series: _Series, start: int, timestep: int) -> None:
        """Store the samples of a series at their steps; those that are not finite are missing samples.

        One sample too many at either end is left out.
        """
        try:
            values = _VALUES.decode(series.values) or []
            numbers = np.array([np.nan if number is None else float(number) for _, number in values])
        except (*NOT_JSON, ValueError) as error:
            raise self._store.unexpected(error) from error
        steps = _steps(np.array([when for when, _ in values]), start, timestep)
        if not ((steps >= -1) & (steps <= samples.size)).all():
            raise self._store.unexpected("samples at times that were not asked for")
        numbers[~np.isfinite(numbers)] = np.nan
        inside = (steps >= 0) & (steps < samples.size)
        samples[steps[inside].astype(np.intp)] = numbers[inside]

    def _place(self, series: _Series, template: PromqlTemplate, *, with_id: bool) -> Unit:
        """Return the host and id of a series."""
        host, unit = series.metric.get(HOST_LABEL), series.metric.get(ID_LABEL)
        if host is None or (with_id and unit is None):
            label = template.label("hosts" if host is None else "ids")
            reason = f"{_labels(series.metric)}: expected every series with its label {label}, as with by ({label})"
            raise self._store.error(reason, transient=False)
        return host, unit if with_id else None

    def _ambiguous(self, place: Unit, first: dict[str, str], second: dict[str, str]) -> SourceError:
        """Return the error for two series of the same host or unit."""
        of = " ".join(filter(None, place))
        reason = f"{of} has more than one series, {_labels(first)} and {_labels(second)}: the query must aggregate them"
        return self._store.error(reason, transient=False)


def _query_errors(value: object) -> Iterator[str]:
    """Yield a message for each error in a value of `queries`."""
    if not isinstance(value, Mapping):
        yield from template_errors(value, ids=False)
        return
    if not value or len(value.keys() - {"node"}) > 1:
        yield f"scopes {', '.join(map(str, value)) or 'none'}: expected node, one finer scope, or both"
    for scope, text in value.items():
        if scope not in SCOPES:
            yield f"scope {scope!r}: expected one of {', '.join(SCOPES)}"
        else:
            yield from (f"{scope}: {message}" for message in template_errors(text, ids=scope != "node"))


def _parts(units: Units, steps: int) -> Iterator[tuple[list[str], int, int]]:
    """Yield the hosts, the first step and the number of steps of each request."""
    hosts = list(units)
    for position in range(0, len(hosts), MAX_HOSTS):
        part = hosts[position : position + MAX_HOSTS]
        width = sum(len(units[host]) for host in part)
        length = min(MAX_STEPS, max(1, MAX_SAMPLES // width))
        for first in range(0, steps, length):
            yield part, first, min(length, steps - first)


def _steps(times: Samples, start: int, timestep: int) -> Samples:
    """Return the number of each sample's step; the first step is evaluated at `start` (epoch seconds).

    VictoriaMetrics, Thanos and Mimir evaluate at multiples of the time step instead, so that their answers can be
    cached: each such sample belongs to the step within which it lies. Other times may be off by less than half a step.
    """
    seconds = np.rint(times)
    if start % timestep and not (seconds % timestep).any():
        return np.ceil((seconds - start) / timestep)
    return np.rint((times - start) / timestep)


def _combined(loaded: Loaded, wholes: Mapping[Unit, Unit], aggregation: str) -> Loaded:
    """Return the aggregated series of the wholes (hosts, cores) to which the parts belong."""
    parts: dict[Unit, list[Samples]] = {}
    for unit, samples in loaded.items():
        if unit in wholes:
            parts.setdefault(wholes[unit], []).append(samples)
    return _present({whole: aggregated(np.array(rows), aggregation) for whole, rows in parts.items()})


def _present(loaded: Loaded) -> Loaded:
    """Return the series that have samples."""
    return {unit: samples for unit, samples in loaded.items() if np.isfinite(samples).any()}


def _labels(metric: Mapping[str, str]) -> str:
    """Return the labels of a series in PromQL syntax, without those that the query added."""
    shown = {name: value for name, value in metric.items() if name not in {HOST_LABEL, ID_LABEL}}
    return "{" + ", ".join(f'{name}="{value}"' for name, value in shown.items()) + "}"
