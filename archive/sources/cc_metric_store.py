"""The metric store of ClusterCockpit, cc-metric-store: samples over its HTTP query protocol."""

import logging
from collections.abc import Collection, Iterator, Mapping, Sequence
from typing import Any, ClassVar, NamedTuple, Self

import msgspec
import numpy as np
import numpy.typing as npt

from archive.format.cluster_json import Cluster, MetricConfig
from archive.format.data_json import JobData, MetricData, Series
from archive.sources.base import (
    FINE_SCOPES_UP_TO_NODES,
    JobInfo,
    hwthreads_by_core,
    metrics_of_job,
    units_on_host,
    unknown_keys,
)
from archive.sources.http_store import MAX_POINTS, NOT_JSON, HttpStore, connection_errors

logger = logging.getLogger(__name__)

MAX_QUERIES = 1000
"""Queries in one request; a job with more is loaded in several."""

MAX_BYTES = 512 * 1024 * 1024
"""Bytes of all answers for one job."""


_DECODED_AT_ONCE = 256 * 1024  # bytes: a call decodes many short series, and long ones take little memory


class _Result(msgspec.Struct):
    """One series of an answer; its samples are decoded some series at a time, which keeps the memory small."""

    data: msgspec.Raw = msgspec.Raw(b"null")
    error: str | None = None
    start: int | None = msgspec.field(default=None, name="from")


class _Answer(msgspec.Struct):
    results: list[list[_Result]]


_ANSWER = msgspec.json.Decoder(_Answer, strict=False)
_SAMPLES = msgspec.json.Decoder(list[list[float | None] | None])


class _Query(msgspec.Struct, rename={"aggregate": "aggreg", "type_ids": "type-ids"}):
    """A query as the protocol writes it; `aggreg` makes one series of all `type-ids`."""

    metric: str
    host: str
    aggregate: bool = False
    type: str | msgspec.UnsetType = msgspec.UNSET
    type_ids: Sequence[str] | msgspec.UnsetType = msgspec.UNSET


class _Asked(NamedTuple):
    """A query, and which series of a metric (by id, None for the host itself) its answer holds.

    One series per query: release 1.5 leaves those without data out of an answer, and names none.
    """

    metric: MetricConfig
    scope: str
    unit: str | None
    query: _Query


class CcMetricStoreSource:
    """Asks a cc-metric-store; threads share its pool of connections."""

    kind: ClassVar[str] = "cc-metric-store"
    archives_data: ClassVar[bool] = True

    def __init__(self, options: Mapping[str, Any]) -> None:
        """Make the source from its entry."""
        url = f"{options['url'].rstrip('/')}/api/query"
        # From release 0.1 on the store takes nothing but GET; a proxy may refuse that.
        self._store = HttpStore(url, options, {"Content-Type": "application/json"}, methods=("GET", "POST"))
        version = options.get("version", "")
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
        queries = list(_queries(job, cluster, configs))
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


_Found = tuple[_Asked, _Result]
"""A query, and the series that answers it."""


class _TooManyPointsError(Exception):
    """The samples of a job do not fit into memory."""


class _Loading:
    """The samples of one job, as the answers come in."""

    def __init__(self, job: JobInfo) -> None:
        self.data: JobData = {}
        self._job = job
        self._points = 0
        self._errors: list[str] = []

    def add(self, queries: Sequence[_Asked], results: Sequence[Sequence[_Result]]) -> None:
        """Add the answer to some queries; raise msgspec.DecodeError where it is of the wrong shape."""
        if len(results) != len(queries):
            raise msgspec.DecodeError(f"{len(results)} results for {len(queries)} queries")
        found: list[_Found] = []
        for asked, series in zip(queries, results, strict=True):
            if len(series) > 1:
                raise msgspec.DecodeError(f"{len(series)} series for one of {asked.metric.name} of {asked.query.host}")
            reason = series[0].error if series else "no data"
            if reason:
                self._errors.append(reason)
            else:
                found.append((asked, series[0]))
        for part in _by_size(found):
            self._add_series(part)

    def log_errors(self, url: str) -> None:
        """Say that the store left queries without data: loudly where all of them, which is no matter of one host."""
        if self._errors:
            level = logging.INFO if self.data else logging.WARNING
            message = "%s: job %s of %s: %d series are not to be had, the first because of: %s"
            logger.log(level, message, url, self._job.job_id, self._job.cluster, len(self._errors), self._errors[0])

    def _add_series(self, found: Sequence[_Found]) -> None:
        """Add the series that have a sample, from the job's start on.

        A store whose memory begins after the job's start answers from there on; the steps before are missing samples.
        """
        lists = _SAMPLES.decode(b"[%b]" % b",".join([result.data for _, result in found]))
        lengths = [
            self._steps_before(result.start, asked.metric.timestep) + len(numbers) if numbers else 0
            for (asked, result), numbers in zip(found, lists, strict=True)
        ]
        self._points += sum(lengths)
        if self._points > MAX_POINTS:
            raise _TooManyPointsError
        samples = _table(lists, lengths)
        samples[np.isinf(samples)] = np.nan
        counts = np.isfinite(samples).sum(axis=1).tolist()
        for (asked, _), row, length, count in zip(found, samples, lengths, counts, strict=True):
            if count:
                metric = asked.metric
                scopes = self.data.setdefault(metric.name, {})
                if asked.scope not in scopes:
                    scopes[asked.scope] = MetricData(metric.unit, metric.timestep, [])
                scopes[asked.scope].series.append(Series(asked.query.host, asked.unit, row[:length]))

    def _steps_before(self, start: int | None, timestep: int) -> int:
        """Return how many steps of the job lie before the first sample."""
        if start is None or start > self._job.stop_time:
            return 0
        return max(0, (start - self._job.start_time) // timestep)


def _by_size(found: Sequence[_Found]) -> Iterator[list[_Found]]:
    """Yield the series in parts of some bytes each."""
    part: list[_Found] = []
    size = 0
    for each in found:
        part.append(each)
        size += len(memoryview(each[1].data))
        if size >= _DECODED_AT_ONCE:
            yield part
            part, size = [], 0
    if part:
        yield part


def _table(lists: Sequence[Sequence[float | None] | None], lengths: Sequence[int]) -> npt.NDArray[np.float64]:
    """Return lists of samples as the rows of a table, each at the end of its length, NaN before and after."""
    width = max(lengths)
    if all(numbers is not None and len(numbers) == width for numbers in lists):
        return np.array(lists, dtype=np.float64)
    table = np.full((len(lists), width), np.nan)
    for row, numbers, length in zip(table, lists, lengths, strict=True):
        if numbers:
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
            # A store that pads the front of a list leaves `from` at the first sample: the gap would count twice.
            "with-padding": False,
            "queries": [asked.query for asked in queries],
        }
    )


def _held_by_core(cores: Mapping[str, Sequence[str]], held: Collection[str]) -> dict[str, list[str]]:
    """Return of each core the hwthreads that the job has."""
    return {core: [thread for thread in threads if thread in held] for core, threads in cores.items()}


def _queries(job: JobInfo, cluster: Cluster, metrics: Sequence[MetricConfig]) -> Iterator[_Asked]:
    """Yield the queries for some metrics: scope node for each host, and its finer units where the job is small."""
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
                # Of a host without a topology the job has all: without a type the store takes all that it knows of it.
                yield _Asked(metric, "node", None, _Query(name, host))
