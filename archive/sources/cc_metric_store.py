"""Samples from cc-metric-store, the metric store of ClusterCockpit, over its HTTP query protocol."""

import logging
from collections.abc import Collection, Iterator, Mapping, Sequence
from typing import Any, ClassVar, NamedTuple, Self

import msgspec
import numpy as np
import numpy.typing as npt

from archive.format.cluster_json import Cluster, MetricConfig
from archive.format.data_json import JobData, MetricData, Series, SeriesName
from archive.format.statistics import Samples
from archive.sources.base import (
    FINE_SCOPES_UP_TO_NODES,
    JobInfo,
    aggregated,
    hwthreads_by_core,
    metrics_of_job,
    units_on_host,
    unknown_keys,
)
from archive.sources.http_store import MAX_POINTS, NOT_JSON, HttpStore, connection_errors

logger = logging.getLogger(__name__)

MAX_QUERIES = 1000
"""Queries per request."""

MAX_BYTES = 512 * 1024 * 1024
"""Bytes of all responses for one job."""

_NOT_ALIGNED = "does not align"
_BATCH_BYTES = 256 * 1024  # per call of the decoder: many short series, but little memory for long ones


class _Result(msgspec.Struct):
    """A series of a response; samples are decoded a few series at a time, to save memory."""

    data: msgspec.Raw = msgspec.Raw(b"null")
    error: str | None = None
    start: int | None = msgspec.field(default=None, name="from")


class _Answer(msgspec.Struct):
    results: list[list[_Result]]


_ANSWER = msgspec.json.Decoder(_Answer, strict=False)
_SAMPLES = msgspec.json.Decoder(list[list[float | None] | None])


class _Query(msgspec.Struct, rename={"aggregate": "aggreg", "type_ids": "type-ids"}):
    """A query in the form of the protocol; `aggreg` combines all `type-ids` to one series."""

    metric: str
    host: str
    aggregate: bool = False
    type: str | msgspec.UnsetType = msgspec.UNSET
    type_ids: Sequence[str] | msgspec.UnsetType = msgspec.UNSET

    @property
    def unit_ids(self) -> Sequence[str]:
        """Return the ids of the units; none if the query is for a host."""
        return () if self.type_ids is msgspec.UNSET else self.type_ids


class _Asked(NamedTuple):
    """A query, and the series that it asks for: a unit of a scope, or (None) the host.

    Each query asks for a single series, because release 1.5 omits those without data and does not name the others.
    """

    metric: MetricConfig
    scope: str
    unit: str | None
    query: _Query


class CcMetricStoreSource:
    """Load samples from a cc-metric-store; threads share its pool of connections."""

    kind: ClassVar[str] = "cc-metric-store"
    archives_data: ClassVar[bool] = True

    def __init__(self, options: Mapping[str, Any]) -> None:
        """Create the source from its entry."""
        url = f"{options['url'].rstrip('/')}/api/query"
        # Since release 0.1, the store accepts only GET, but proxies may refuse a GET with a body.
        self._store = HttpStore(url, options, {"Content-Type": "application/json"}, methods=("GET", "POST"))
        version = options.get("version", "")
        self._params = {"version": version} if version else {}

    @classmethod
    def from_config(cls, options: Mapping[str, Any]) -> Self:
        """Return the source for an entry of METRIC_SOURCES."""
        return cls(options)

    @classmethod
    def config_errors(cls, options: Mapping[str, Any]) -> list[str]:
        """Return a message for each error in an entry, without secrets."""
        messages = unknown_keys(options, ("url", "token", "method", "version", "timeout"))
        messages += connection_errors(options)
        version = options.get("version", "")
        if version not in ("v2", ""):
            messages.append(f'version {version!r}: expected "v2" or ""')
        return messages

    def load(self, job: JobInfo, cluster: Cluster | None, metrics: Sequence[str] | None = None) -> JobData:
        """Return the samples of a job in scope node and, for small jobs, in the native scope of each metric.

        Series without samples are left out. Raise SourceError.
        """
        if cluster is None:
            raise self._store.not_asked(job)
        configs = metrics_of_job(job, cluster, metrics)
        queries = list(_queries(job, cluster, configs))
        loading = _Loading(job)
        left = self._ask(loading, queries, MAX_BYTES)
        if loading.not_aligned:
            units = _Loading(job, loading.points)
            self._ask(units, _by_unit(loading.not_aligned), left)
            loading.aggregate(units.data, queries)
        loading.log_errors(self._store.url)
        return loading.data

    def _ask(self, loading: "_Loading", queries: Sequence[_Asked], limit: int) -> int:
        """Load the series that some queries ask for; return how many of the `limit` bytes are left. Raise SourceError.

        The job is that of `loading`.
        """
        for first in range(0, len(queries), MAX_QUERIES):
            part = queries[first : first + MAX_QUERIES]
            body = self._store.ask(limit, params=self._params, content=_request(loading.job, part))
            limit -= len(body)
            try:
                loading.add(part, _ANSWER.decode(body).results)
            except NOT_JSON as error:
                raise self._store.unexpected(error) from error
            except _TooManyPointsError:
                raise self._store.too_many_points(f"more than {MAX_POINTS} samples") from None
        return limit


_Found = tuple[_Asked, _Result]
"""A query and the series in its response."""


class _TooManyPointsError(Exception):
    """A job has more samples than MAX_POINTS."""


class _Loading:
    """The samples of one job while the responses arrive.

    `not_aligned` are the queries that the store could not answer because one of the units begins later than another,
    or ends earlier, as of release 0.0.1 to 1.5.4.
    """

    def __init__(self, job: JobInfo, points: int = 0) -> None:
        self.data: JobData = {}
        self.not_aligned: list[_Asked] = []
        self.job = job
        self.points = points
        self._errors: list[str] = []

    def add(self, queries: Sequence[_Asked], results: Sequence[Sequence[_Result]]) -> None:
        """Add the results of some queries; raise msgspec.DecodeError if they have the wrong form."""
        if len(results) != len(queries):
            raise msgspec.DecodeError(f"{len(results)} results for {len(queries)} queries")
        found: list[_Found] = []
        for asked, series in zip(queries, results, strict=True):
            if len(series) > 1:
                raise msgspec.DecodeError(f"{len(series)} series for one of {asked.metric.name} of {asked.query.host}")
            reason = series[0].error if series else "no data"
            if reason and asked.query.aggregate and _NOT_ALIGNED in reason:
                self.not_aligned.append(asked)
            elif reason:
                self._errors.append(reason)
            else:
                found.append((asked, series[0]))
        for part in _by_size(found):
            self._add_series(part)

    def aggregate(self, units: JobData, order: Sequence[_Asked]) -> None:
        """Add what the store could not combine, made of its units; sort the series as the queries are in `order`.

        As in the store's own results, a step is missing if any unit misses it, and units without samples do not count.
        """
        found = {
            SeriesName(name, scope, series.hostname, series.id): series.data
            for name, scopes in units.items()
            for scope, metric in scopes.items()
            for series in metric.series
        }
        for asked in self.not_aligned:
            names = [_place(unit) for unit in _by_unit([asked])]
            rows = [found[name] for name in names if name in found]
            if rows:
                whole = aggregated(_table(rows, [row.size for row in rows]), asked.metric.aggregation)
                if np.isfinite(whole).any():
                    self._add(asked, whole)
        places = {_place(asked): number for number, asked in enumerate(order)}
        for name, scope in {(asked.metric.name, asked.scope) for asked in self.not_aligned}:
            if scope in self.data.get(name, {}):
                series = self.data[name][scope].series
                series.sort(key=lambda each: places[SeriesName(name, scope, each.hostname, each.id)])

    def log_errors(self, url: str) -> None:
        """Log the queries without data, as a warning if all are: then it is not a matter of one host."""
        if self._errors:
            level = logging.INFO if self.data else logging.WARNING
            message = "%s: job %s of %s: %d series are missing, the first one because of: %s"
            logger.log(level, message, url, self.job.job_id, self.job.cluster, len(self._errors), self._errors[0])

    def _add_series(self, found: Sequence[_Found]) -> None:
        """Add the series that have samples, aligned to the start of the job.

        The store may have data only from a later time; the steps before it become missing samples.
        """
        lists = _SAMPLES.decode(b"[%b]" % b",".join([result.data for _, result in found]))
        lengths = [
            self._steps_before(result.start, asked.metric.timestep) + len(numbers) if numbers else 0
            for (asked, result), numbers in zip(found, lists, strict=True)
        ]
        self.points += sum(lengths)
        if self.points > MAX_POINTS:
            raise _TooManyPointsError
        samples = _table(lists, lengths)
        samples[np.isinf(samples)] = np.nan
        counts = np.isfinite(samples).sum(axis=1).tolist()
        for (asked, _), row, length, count in zip(found, samples, lengths, counts, strict=True):
            if count:
                self._add(asked, row[:length])

    def _add(self, asked: _Asked, samples: Samples) -> None:
        metric = asked.metric
        scopes = self.data.setdefault(metric.name, {})
        if asked.scope not in scopes:
            scopes[asked.scope] = MetricData(metric.unit, metric.timestep, [])
        scopes[asked.scope].series.append(Series(asked.query.host, asked.unit, samples))

    def _steps_before(self, start: int | None, timestep: int) -> int:
        """Return the number of steps of the job before the first sample."""
        if start is None or start > self.job.stop_time:
            return 0
        return max(0, (start - self.job.start_time) // timestep)


def _by_unit(queries: Sequence[_Asked]) -> list[_Asked]:
    """Return a query for each unit that some queries combine."""
    found: dict[SeriesName, _Asked] = {}
    for metric, _, _, query in queries:
        for unit in query.unit_ids:
            alone = _Query(query.metric, query.host, False, query.type, [unit])  # noqa: FBT003  the protocol's
            asked = _Asked(metric, str(query.type), unit, alone)
            found[_place(asked)] = asked
    return list(found.values())


def _place(asked: _Asked) -> SeriesName:
    """Return the key of the series that a query asks for."""
    return SeriesName(asked.metric.name, asked.scope, asked.query.host, asked.unit)


def _by_size(found: Sequence[_Found]) -> Iterator[list[_Found]]:
    """Yield the series in batches of about _BATCH_BYTES."""
    part: list[_Found] = []
    size = 0
    for each in found:
        part.append(each)
        size += len(memoryview(each[1].data))
        if size >= _BATCH_BYTES:
            yield part
            part, size = [], 0
    if part:
        yield part


def _table(lists: Sequence[Sequence[float | None] | Samples | None], lengths: Sequence[int]) -> npt.NDArray[np.float64]:
    """Return lists of samples as rows of a table, padded with NaN in front up to their length, then behind."""
    width = max(lengths)
    if all(numbers is not None and len(numbers) == width for numbers in lists):
        return np.array(lists, dtype=np.float64)
    table = np.full((len(lists), width), np.nan)
    for row, numbers, length in zip(table, lists, lengths, strict=True):
        if numbers is not None:
            row[length - len(numbers) : length] = numbers
    return table


def _request(job: JobInfo, queries: Sequence[_Asked]) -> bytes:
    """Return the body of a request."""
    return msgspec.json.encode(
        {
            "cluster": job.cluster,
            "from": job.start_time,
            "to": job.stop_time,
            "with-stats": True,
            "with-data": True,
            # With padding, `from` is still the time of the first sample: the gap would count twice.
            "with-padding": False,
            "queries": [asked.query for asked in queries],
        }
    )


def _held_by_core(cores: Mapping[str, Sequence[str]], held: Collection[str]) -> dict[str, list[str]]:
    """Return the hwthreads of each core that the job has."""
    return {core: [thread for thread in threads if thread in held] for core, threads in cores.items()}


def _queries(job: JobInfo, cluster: Cluster, metrics: Sequence[MetricConfig]) -> Iterator[_Asked]:
    """Yield the queries for some metrics: scope node for each host and, for small jobs, its finer units."""
    units = {
        scope: [units_on_host(resource, job.sub_cluster, cluster, scope) for resource in job.resources]
        for scope in {metric.scope for metric in metrics} - {"node"}
    }
    small = job.num_nodes <= FINE_SCOPES_UP_TO_NODES
    cores = [
        _held_by_core(hwthreads_by_core(resource, job.sub_cluster, cluster), set(held))
        for resource, held in zip(job.resources, units.get("hwthread", ()) if small else (), strict=False)
    ]
    for metric in metrics:
        name, scope = metric.name, metric.scope
        for number, resource in enumerate(job.resources):
            host = resource.hostname
            ids = [] if scope == "node" else units[scope][number]
            if ids:
                yield _Asked(metric, "node", None, _Query(name, host, True, scope, ids))  # noqa: FBT003  the protocol's
                if small and scope == "hwthread":
                    for core, threads in cores[number].items():
                        yield _Asked(metric, "core", core, _Query(name, host, True, scope, threads))  # noqa: FBT003
                elif small:
                    for unit in ids:
                        yield _Asked(metric, scope, unit, _Query(name, host, False, scope, [unit]))  # noqa: FBT003
            elif scope == "node" or (scope != "accelerator" and not resource.hwthreads):
                # Without a topology, the job has the whole host: without a type, the store combines all its units.
                yield _Asked(metric, "node", None, _Query(name, host))
