"""The metric store of ClusterCockpit, cc-metric-store: samples over its HTTP query protocol."""

import dataclasses
import logging
import math
import ssl
import time
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, ClassVar, Self
from urllib.parse import urlsplit

import httpx
import msgspec
import numpy as np
import orjson
from django.conf import settings

from archive.clusterconfig import Cluster, MetricConfig
from archive.documents import JobData, MetricData, Resource, Series
from archive.exceptions import SourceError
from archive.sources.base import (
    FINE_SCOPES_UP_TO_NODES,
    JobInfo,
    archived_scope,
    metrics_of_job,
    topology_on_host,
    units_on_host,
    unknown_keys,
)
from archive.statistics import Samples

logger = logging.getLogger(__name__)

MAX_QUERIES = 1000
"""Queries in one request; a job with more is loaded in several."""

MAX_BYTES = 512 * 1024 * 1024
"""Bytes of all answers for one job."""

MAX_POINTS = 64 * 1024 * 1024
"""Samples of one job in memory, 8 bytes each."""

SLOWEST = 10
"""A whole answer may take this many timeouts, however steadily it drips."""

_LIMITS = httpx.Limits(max_connections=16, max_keepalive_connections=8, keepalive_expiry=5)
_OF_THE_JOB = frozenset({400, 413, 414, 422})
_REASON_LENGTH = 200


class _Result(msgspec.Struct):
    """One series of an answer; its samples are decoded one series at a time, which keeps the memory small."""

    data: msgspec.Raw = msgspec.Raw(b"null")
    error: str | None = None
    start: int | None = msgspec.field(default=None, name="from")


class _Answer(msgspec.Struct):
    results: list[list[_Result]]


_ANSWER = msgspec.json.Decoder(_Answer, strict=False)
_SAMPLES = msgspec.json.Decoder(list[float | None] | None)
_NOT_JSON = (msgspec.DecodeError, UnicodeDecodeError, RecursionError)


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

    def __init__(self, url: str, token: str, method: str, version: str, timeout: float | None) -> None:
        """Make the pool of connections; `timeout` in seconds, None for the setting METRIC_TIMEOUT."""
        self._url = f"{url.rstrip('/')}/api/query"
        self._token = token
        self._method = method
        self._params = {"version": version} if version else {}
        self._timeout = timeout
        headers = {"Content-Type": "application/json", "Accept-Encoding": "identity"}
        if token:
            headers["Authorization"] = f"Bearer {token}"
        # A store stands in the cluster's own network: no proxies from the environment. The system's authorities
        # instead of a bundled list, so that a centre's own one counts.
        self._client = httpx.Client(
            headers=headers, limits=_LIMITS, trust_env=False, verify=ssl.create_default_context()
        )

    @classmethod
    def from_config(cls, options: Mapping[str, Any]) -> Self:
        """Make the source from its entry in METRIC_SOURCES."""
        method = options.get("method", "POST")
        version = options.get("version", "v2" if method == "GET" else "")
        return cls(options["url"], options.get("token", ""), method, version, options.get("timeout"))

    @classmethod
    def config_errors(cls, options: Mapping[str, Any]) -> list[str]:
        """Return what is wrong with an entry; secrets are not repeated."""
        messages = unknown_keys(options, ("url", "token", "method", "version", "timeout"))
        messages += _url_errors(options.get("url"))
        token = options.get("token", "x")
        if not (isinstance(token, str) and token and token.isascii() and token.isprintable() and " " not in token):
            messages.append("token: expected a text of printable ASCII characters without spaces")
        for key, expected in (("method", ("POST", "GET")), ("version", ("v2", ""))):
            if options.get(key, expected[0]) not in expected:
                words = " or ".join(f'"{word}"' for word in expected)
                messages.append(f"{key} {options[key]!r}: expected {words}")
        timeout = options.get("timeout", 1)
        if isinstance(timeout, bool) or not isinstance(timeout, int | float) or not 0 < timeout < math.inf:
            messages.append(f"timeout {timeout!r}: expected seconds, above zero")
        return messages

    def load(self, job: JobInfo, cluster: Cluster | None, metrics: Sequence[str] | None = None) -> JobData:
        """Return what the store has of a job: scope node, and for small jobs of each metric's native scope too.

        Series without any sample are left out. Raises SourceError.
        """
        if cluster is None:
            reason = f"cluster {job.cluster!r} is unknown: its cluster.json is missing or cannot be read"
            raise SourceError(f"{self._url} was not asked: {reason}", transient=True)  # until the file is there
        configs = metrics_of_job(job, cluster, metrics)
        queries = [query for config in configs for query in _queries(job, cluster, config)]
        loading = _Loading(job)
        left = MAX_BYTES
        for first in range(0, len(queries), MAX_QUERIES):
            part = queries[first : first + MAX_QUERIES]
            body = self._ask(_request(job, part), left)
            left -= len(body)
            try:
                loading.add(part, _ANSWER.decode(body).results)
            except _NOT_JSON as error:
                raise self._error(f"the answer is not what was expected: {error}", transient=True) from error
            except _TooManyPointsError:
                raise self._too_many_points(f"more than {MAX_POINTS} samples") from None
        loading.log_errors(self._url)
        return loading.data

    def _ask(self, request: bytes, limit: int) -> bytearray:
        """Send one request and return the answer's body, of at most `limit` bytes; raise SourceError."""
        timeout = self._timeout or settings.METRIC_TIMEOUT
        deadline = time.monotonic() + timeout * SLOWEST
        body = bytearray()
        try:
            with self._client.stream(
                self._method, self._url, params=self._params, content=request, timeout=timeout
            ) as response:
                for chunk in response.iter_bytes():
                    body += chunk
                    if len(body) > limit:
                        raise self._too_many_points(f"the answers are larger than {MAX_BYTES} bytes")
                    if response.status_code != httpx.codes.OK and len(body) > _REASON_LENGTH + len(self._token):
                        break
                    if time.monotonic() > deadline:
                        raise self._error(f"no whole answer within {timeout * SLOWEST:g} s", transient=True)
        except httpx.TimeoutException as error:
            raise self._error(f"no answer within {timeout:g} s ({type(error).__name__})", transient=True) from error
        except (httpx.HTTPError, httpx.InvalidURL, OSError) as error:
            raise self._error(f"{error or type(error).__name__}", transient=True) from error
        if response.status_code != httpx.codes.OK:
            raise self._refused(response, body)
        return body

    def _refused(self, response: httpx.Response, body: bytearray) -> SourceError:
        """Return the error for an answer other than 200; permanent where it is about this very request."""
        status = response.status_code
        text = " ".join(self._without_token(body.decode(errors="replace"))[:_REASON_LENGTH].split())
        said = f": {text}" if text else ""
        return self._error(f"answered {status} {response.reason_phrase}{said}", transient=status not in _OF_THE_JOB)

    def _too_many_points(self, reason: str) -> SourceError:
        return self._error(f"too many points for one job: {reason}", transient=False)

    def _error(self, reason: str, *, transient: bool) -> SourceError:
        """Return an error that names the store and the reason, never the token."""
        return SourceError(f"{self._url}: {self._without_token(reason)}", transient=transient)

    def _without_token(self, text: str) -> str:
        """Return a text with the token, which a store may repeat, made unreadable."""
        return text.replace(self._token, "***") if self._token else text


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


def _url_errors(url: object) -> list[str]:
    """Return what is wrong with the address of a store."""
    expected = "expected an address such as http://metrics.example.org:8082"
    if not isinstance(url, str):
        return [f"url {url!r}: {expected}"]
    try:
        parts = urlsplit(url)
        httpx.URL(url)
        good = parts.scheme in {"http", "https"} and bool(parts.hostname) and parts.port != 0
    except (ValueError, httpx.InvalidURL):
        return [f"url: {expected}"]
    if "@" in parts.netloc:
        return [f"url: {expected}, without user name and password"]
    if not good or parts.query or parts.fragment or url != url.strip():
        return [f"url {url!r}: {expected}"]
    return []


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
    topology = topology_on_host(resource, job.sub_cluster, cluster)
    held = set(ids)
    for core in units_on_host(resource, job.sub_cluster, cluster, "core"):
        threads = [str(thread) for thread in topology.core[int(core)] if str(thread) in held]
        yield _Query(config, "core", resource.hostname, (core,), aggregate=True, type="hwthread", type_ids=threads)
