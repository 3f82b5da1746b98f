"""The metric store of ClusterCockpit, cc-metric-store: samples over its HTTP query protocol."""

import dataclasses
import logging
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, ClassVar, Self

import msgspec
import numpy as np
import orjson

from archive.clusterconfig import Cluster, MetricConfig
from archive.documents import JobData, MetricData, Resource, Series
from archive.sources.base import (
    FINE_SCOPES_UP_TO_NODES,
    JobInfo,
    archived_scope,
    hwthreads_by_core,
    metrics_of_job,
    units_on_host,
    unknown_keys,
)
from archive.sources.http_store import MAX_POINTS, NOT_JSON, HttpStore, connection_errors
from archive.statistics import Samples

logger = logging.getLogger(__name__)

MAX_QUERIES = 1000
"""Queries in one request; a job with more is loaded in several."""

MAX_BYTES = 512 * 1024 * 1024
"""Bytes of all answers for one job."""


class _Result(msgspec.Struct):
    """One series of an answer; its samples are decoded one series at a time, which keeps the memory small."""

    data: msgspec.Raw = msgspec.Raw(b"null")
    error: str | None = None
    start: int | None = msgspec.field(default=None, name="from")


class _Answer(msgspec.Struct):
    results: list[list[_Result]]


_ANSWER = msgspec.json.Decoder(_Answer, strict=False)
_SAMPLES = msgspec.json.Decoder(list[float | None] | None)


@dataclasses.dataclass(frozen=True, slots=True)
class _Query:
    """What is asked of one host, and which series (by id, None for the host itself) the answer holds."""

    metric: MetricConfig
    scope: str
    host: str
    ids: Sequence[str | None] = (None,)
    aggregate: bool = False
    type: str | None = None
    type_ids: Sequence[str] = ()

    def document(self) -> dict[str, Any]:
        """Return the query as the protocol writes it; `aggreg` makes one series of all `type-ids`."""
        document: dict[str, Any] = {"metric": self.metric.name, "host": self.host, "aggreg": self.aggregate}
        if self.type is not None:
            document |= {"type": self.type, "type-ids": list(self.type_ids)}
        return document


class CcMetricStoreSource:
    """Asks a cc-metric-store; threads share its pool of connections."""

    kind: ClassVar[str] = "cc-metric-store"
    archives_data: ClassVar[bool] = True

    def __init__(self, options: Mapping[str, Any]) -> None:
        """Make the source from its entry."""
        url = f"{options['url'].rstrip('/')}/api/query"
        self._store = HttpStore(url, options, {"Content-Type": "application/json"})
        version = options.get("version", "v2" if self._store.method == "GET" else "")
        self._params = {"version": version} if version else {}

    @classmethod
    def from_config(cls, options: Mapping[str, Any]) -> Self:
        """Make the source from its entry in METRIC_SOURCES."""
        return cls(options)

    @classmethod
    def config_errors(cls, options: Mapping[str, Any]) -> list[str]:
        """Return what is wrong with an entry; secrets are not repeated."""
        messages = unknown_keys(options, ("url", "token", "method", "version", "timeout"))
        messages += connection_errors(options)
        version = options.get("version", "")
        if version not in ("v2", ""):
            messages.append(f'version {version!r}: expected "v2" or ""')
        return messages

    def load(self, job: JobInfo, cluster: Cluster | None, metrics: Sequence[str] | None = None) -> JobData:
        """Return what the store has of a job: scope node, and for small jobs of each metric's native scope too.

        Series without any sample are left out. Raises SourceError.
        """
        if cluster is None:
            raise self._store.not_asked(job)
        configs = metrics_of_job(job, cluster, metrics)
        queries = [query for config in configs for query in _queries(job, cluster, config)]
        loading = _Loading(job)
        left = MAX_BYTES
        for first in range(0, len(queries), MAX_QUERIES):
            part = queries[first : first + MAX_QUERIES]
            body = self._store.ask(left, params=self._params, content=_request(job, part))
            left -= len(body)
            try:
                loading.add(part, _ANSWER.decode(body).results)
            except NOT_JSON as error:
                raise self._store.unexpected(error) from error
            except _TooManyPointsError:
                raise self._store.too_many_points(f"more than {MAX_POINTS} samples") from None
        loading.log_errors(self._store.url)
        return loading.data


class _TooManyPointsError(Exception):
    """The samples of a job do not fit into memory."""


class _Loading:
    """The samples of one job, as the answers come in."""

    def __init__(self, job: JobInfo) -> None:
        self.data: JobData = {}
        self._job = job
        self._points = 0
        self._series = 0
        self._errors: list[str] = []

    def add(self, queries: Sequence[_Query], results: Sequence[Sequence[_Result]]) -> None:
        """Add the answer to some queries; raise msgspec.DecodeError where it is of the wrong shape."""
        if len(results) != len(queries):
            raise msgspec.DecodeError(f"{len(results)} results for {len(queries)} queries")
        for query, series in zip(queries, results, strict=True):
            self._add_query(query, series)

    def log_errors(self, url: str) -> None:
        """Say that the store refused queries: loudly where it refused all, which is no matter of one host."""
        if self._errors:
            level = logging.INFO if self._series else logging.WARNING
            message = "%s: job %s of %s: %d series are not to be had, the first because of: %s"
            logger.log(level, message, url, self._job.job_id, self._job.cluster, len(self._errors), self._errors[0])

    def _add_query(self, query: _Query, results: Sequence[_Result]) -> None:
        if not results or (len(results) == 1 and results[0].error):
            self._errors.append(results[0].error or "" if results else "an empty result")
            return
        if len(results) != len(query.ids):
            place = f"{query.metric.name} of {query.host}"
            raise msgspec.DecodeError(f"{len(results)} series for {len(query.ids)} of {place}")
        for unit, result in zip(query.ids, results, strict=True):
            if result.error:
                self._errors.append(result.error)
                continue
            samples = self._samples(result, query.metric.timestep)
            if samples is not None:
                scopes = self.data.setdefault(query.metric.name, {})
                empty = MetricData(query.metric.unit, query.metric.timestep, [])
                scopes.setdefault(query.scope, empty).series.append(Series(query.host, unit, samples))
                self._series += 1

    def _samples(self, result: _Result, timestep: int) -> Samples | None:
        """Return one series from the job's start on, None where it has no sample.

        A store whose memory begins after the job's start answers from there on; the steps before are missing samples.
        """
        numbers = _SAMPLES.decode(result.data)
        if not numbers:
            return None
        late = 0
        if result.start is not None and result.start <= self._job.stop_time:
            late = max(0, (result.start - self._job.start_time) // timestep)
        self._points += late + len(numbers)
        if self._points > MAX_POINTS:
            raise _TooManyPointsError
        samples = np.full(late + len(numbers), np.nan)
        samples[late:] = numbers
        samples[np.isinf(samples)] = np.nan
        return None if np.isnan(samples).all() else samples


def _request(job: JobInfo, queries: Sequence[_Query]) -> bytes:
    """Return the body of a request."""
    return orjson.dumps(
        {
            "cluster": job.cluster,
            "from": job.start_time,
            "to": job.stop_time,
            "with-stats": True,
            "with-data": True,
            "queries": [query.document() for query in queries],
        }
    )


def _queries(job: JobInfo, cluster: Cluster, config: MetricConfig) -> Iterator[_Query]:
    """Yield the queries for one metric: scope node for each host, and its finer units where the job is small."""
    for resource in job.resources:
        host, scope = resource.hostname, config.scope
        ids = [] if scope == "node" else units_on_host(resource, job.sub_cluster, cluster, scope)
        if ids:
            yield _Query(config, "node", host, aggregate=True, type=scope, type_ids=ids)
            if job.num_nodes <= FINE_SCOPES_UP_TO_NODES:
                yield from _fine_queries(job, cluster, config, resource, ids)
        elif scope == "node" or (scope != "accelerator" and not resource.hwthreads):
            # Of a host without a topology the job has all: without a type the store takes all that it knows of it.
            yield _Query(config, "node", host)


def _fine_queries(
    job: JobInfo, cluster: Cluster, config: MetricConfig, resource: Resource, ids: Sequence[str]
) -> Iterator[_Query]:
    """Yield the queries for the units of one host: all in one, but one for each core that hwthreads make up."""
    if config.scope != "hwthread":
        yield _Query(config, archived_scope(config), resource.hostname, ids=ids, type=config.scope, type_ids=ids)
        return
    held = set(ids)
    for core, hwthreads in hwthreads_by_core(resource, job.sub_cluster, cluster).items():
        threads = [thread for thread in hwthreads if thread in held]
        yield _Query(config, "core", resource.hostname, (core,), aggregate=True, type="hwthread", type_ids=threads)
