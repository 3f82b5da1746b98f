"""The interface of metric sources, and helpers for the units of a job."""

import dataclasses
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any, ClassVar, Protocol, Self

from archive.format.cluster_json import Cluster, MetricConfig, Topology
from archive.format.data_json import JobData
from archive.format.meta_json import Resource
from archive.format.statistics import Samples

FINE_SCOPES_UP_TO_NODES = 8
"""Jobs with at most this many nodes are also archived in the native scope of each metric."""


@dataclasses.dataclass(frozen=True)
class JobInfo:
    """A job, as a source needs it; times in epoch seconds, `stop_time` is now for a running job."""

    cluster: str
    sub_cluster: str
    job_id: int
    start_time: int
    stop_time: int
    resources: Sequence[Resource]
    num_nodes: int

    @property
    def duration(self) -> int:
        """Return the seconds from start to stop, at least 0."""
        return max(0, self.stop_time - self.start_time)


class MetricSource(Protocol):
    """A source of samples; threads share it, so it holds no state of a job."""

    kind: ClassVar[str]
    archives_data: ClassVar[bool]

    @classmethod
    def from_config(cls, options: Mapping[str, Any]) -> Self:
        """Return the source for an entry of METRIC_SOURCES that has no `config_errors`."""

    @classmethod
    def config_errors(cls, options: Mapping[str, Any]) -> list[str]:
        """Return a message for each error in an entry of METRIC_SOURCES, with its key."""

    def load(self, job: JobInfo, cluster: Cluster | None, metrics: Sequence[str] | None = None) -> JobData:
        """Return the samples of a job for some metrics or (None) for all; raise SourceError."""


def unknown_keys(options: Mapping[str, Any], known: Sequence[str] = ()) -> list[str]:
    """Return a message for each unknown key."""
    allowed = ("kind", *known)
    return [f"unknown key {key!r}, expected {', '.join(allowed)}" for key in options if key not in allowed]


def metrics_of_job(job: JobInfo, cluster: Cluster, metrics: Sequence[str] | None = None) -> list[MetricConfig]:
    """Return the metrics to load: those of the cluster, without those that the subcluster removes."""
    configs = (metric.for_subcluster(job.sub_cluster) for metric in cluster.metrics)
    return [config for config in configs if config is not None and (metrics is None or config.name in metrics)]


def archived_scope(metric: MetricConfig) -> str:
    """Return the finest scope in which a metric is archived: its own, or core instead of hwthread."""
    return "core" if metric.scope == "hwthread" else metric.scope


def topology_on_host(resource: Resource, sub_cluster: str, cluster: Cluster) -> Topology:
    """Return the topology of a host, empty if cluster.json does not have the host."""
    subcluster = cluster.subcluster(sub_cluster) or cluster.subcluster_of(resource.hostname)
    return Topology() if subcluster is None else subcluster.topology


def units_on_host(resource: Resource, sub_cluster: str, cluster: Cluster, scope: str) -> list[str]:
    """Return the ids of a job's units of a scope on a host; without hwthreads, the job has the whole host."""
    if scope == "accelerator":
        return list(resource.accelerators)
    topology = topology_on_host(resource, sub_cluster, cluster)
    hwthreads = resource.hwthreads or topology.node
    helpers: dict[str, Callable[[Iterable[int]], Iterable[int]]] = {
        "hwthread": list,
        "core": topology.cores_of,
        "socket": topology.sockets_of,
        "memoryDomain": topology.memory_domains_of,
    }
    return [str(index) for index in helpers[scope](hwthreads)]


def hwthreads_by_core(resource: Resource, sub_cluster: str, cluster: Cluster) -> dict[str, list[str]]:
    """Return the hwthreads of each core of a host on which a job has a hwthread."""
    topology = topology_on_host(resource, sub_cluster, cluster)
    cores = units_on_host(resource, sub_cluster, cluster, "core")
    return {core: [str(hwthread) for hwthread in topology.core[int(core)]] for core in cores}


def aggregated(table: Samples, aggregation: str) -> Samples:
    """Return the sum of the rows if the aggregation is sum, or else their mean; NaN if any row is NaN."""
    whole: Samples = table.sum(axis=0) if aggregation == "sum" else table.mean(axis=0)
    return whole
