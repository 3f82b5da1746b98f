"""Read cluster.json into frozen objects: metrics, subclusters, node lists and topologies."""

import dataclasses
import functools
import itertools
from collections.abc import Container, Iterable, Mapping
from typing import Any

import msgspec

from archive.exceptions import DECODE_ERRORS, DocumentError, reason
from archive.format.before_version_1 import rate_of, unit_of
from archive.format.keys import in_shape
from archive.format.nodelist import NodeList

SCOPES = ("node", "socket", "memoryDomain", "core", "hwthread", "accelerator")
DEFAULT_TIMESTEP = 60


@dataclasses.dataclass(frozen=True)
class MetricConfig:
    """A metric of a cluster: unit, native scope, aggregation, seconds per sample, thresholds per node.

    `is_footprint`: it is one of those by which jobs are told apart; `is_power`: it is a part of what a job's nodes
    draw.
    """

    name: str
    unit: dict[str, str]
    scope: str
    aggregation: str
    timestep: int
    peak: float
    normal: float
    caution: float
    alert: float
    is_footprint: bool = False
    is_power: bool = False
    overrides: Mapping[str, "MetricConfig | None"] = dataclasses.field(default_factory=dict, repr=False)

    def for_subcluster(self, name: str) -> "MetricConfig | None":
        """Return the metric with the thresholds of a subcluster, or None if the subcluster removes it."""
        return self.overrides.get(name, self)


@dataclasses.dataclass(frozen=True)
class Accelerator:
    """An accelerator of a node, with the id that jobs and series use."""

    id: str
    type: str
    model: str


@dataclasses.dataclass(frozen=True)
class Topology:
    """The parts of a node, each as its hwthread numbers; the index of a part is its id."""

    node: tuple[int, ...] = ()
    socket: tuple[tuple[int, ...], ...] = ()
    memory_domain: tuple[tuple[int, ...], ...] = ()
    core: tuple[tuple[int, ...], ...] = ()
    accelerators: tuple[Accelerator, ...] = ()

    def cores_of(self, hwthreads: Iterable[int]) -> list[int]:
        """Return the sorted indices of the cores that these hwthreads belong to."""
        return _indices(self._core_index, hwthreads)

    def sockets_of(self, hwthreads: Iterable[int]) -> list[int]:
        """Return the sorted indices of the sockets that these hwthreads belong to."""
        return _indices(self._socket_index, hwthreads)

    def memory_domains_of(self, hwthreads: Iterable[int]) -> list[int]:
        """Return the sorted indices of the memory domains that these hwthreads belong to."""
        return _indices(self._memory_domain_index, hwthreads)

    @functools.cached_property
    def _core_index(self) -> dict[int, int]:
        return _index(self.core)

    @functools.cached_property
    def _socket_index(self) -> dict[int, int]:
        return _index(self.socket)

    @functools.cached_property
    def _memory_domain_index(self) -> dict[int, int]:
        return _index(self.memory_domain)


@dataclasses.dataclass(frozen=True)
class SubCluster:
    """A set of nodes of the same kind."""

    name: str
    nodes: NodeList
    topology: Topology
    processor_type: str
    sockets_per_node: int
    cores_per_socket: int
    threads_per_core: int
    flop_rate_scalar: dict[str, Any] | None
    flop_rate_simd: dict[str, Any] | None
    memory_bandwidth: dict[str, Any] | None


@dataclasses.dataclass(frozen=True)
class Cluster:
    """A cluster as its cluster.json describes it; `faults` are entries of metrics that cannot be read, with reasons."""

    name: str
    metrics: tuple[MetricConfig, ...]
    subclusters: tuple[SubCluster, ...]
    faults: tuple[str, ...] = ()
    document: bytes = dataclasses.field(default=b"", repr=False, compare=False)
    """The file itself, unknown keys included."""

    def subcluster(self, name: str) -> SubCluster | None:
        """Return the subcluster of this name."""
        return self._subclusters_by_name.get(name)

    def subcluster_of(self, host: str) -> SubCluster | None:
        """Return the first subcluster that names this host, or else the first one whose node list contains `*`."""
        for subcluster in self.subclusters:
            if subcluster.nodes.names(host):
                return subcluster
        return self._rest

    def hosts_of(self, most: int) -> dict[str, list[str] | None]:
        """Return the hosts of each subcluster, at most `most`, by its name; None for `*`.

        A host that several subclusters name counts for the first.
        """
        seen: set[str] = set()
        hosts: dict[str, list[str] | None] = {}
        for subcluster in self.subclusters:
            found = None
            if not subcluster.nodes.matches_all:
                found = [host for host in itertools.islice(subcluster.nodes.hosts(), most) if host not in seen]
                seen.update(found)
            hosts[subcluster.name] = found
        return hosts

    def metric(self, name: str) -> MetricConfig | None:
        """Return the metric of this name."""
        return self._metrics_by_name.get(name)

    @functools.cached_property
    def _rest(self) -> SubCluster | None:
        return next((subcluster for subcluster in self.subclusters if subcluster.nodes.matches_all), None)

    @functools.cached_property
    def _subclusters_by_name(self) -> dict[str, SubCluster]:
        return {subcluster.name: subcluster for subcluster in self.subclusters}

    @functools.cached_property
    def _metrics_by_name(self) -> dict[str, MetricConfig]:
        return {metric.name: metric for metric in self.metrics}


class _Override(msgspec.Struct, rename="camel"):
    name: str
    peak: float | None = None
    normal: float | None = None
    caution: float | None = None
    alert: float | None = None
    remove: bool | None = None


class _Metric(msgspec.Struct, rename="camel"):
    name: str
    unit: dict[str, str | None] | str | None = None
    scope: str | None = None
    aggregation: str | None = None
    timestep: int | None = None
    peak: float | None = None
    normal: float | None = None
    caution: float | None = None
    alert: float | None = None
    footprint: Any = None
    energy: Any = None
    sub_clusters: list[_Override] | None = None


class _Accelerator(msgspec.Struct):
    id: str | int
    type: str | None = None
    model: str | None = None


class _Topology(msgspec.Struct, rename="camel"):
    node: tuple[int, ...] | None = None
    socket: tuple[tuple[int, ...], ...] | None = None
    memory_domain: tuple[tuple[int, ...], ...] | None = None
    core: tuple[tuple[int, ...], ...] | None = None
    accelerators: list[_Accelerator] | None = None


class _SubCluster(msgspec.Struct, rename="camel"):
    name: str
    nodes: str | None = None
    topology: _Topology | None = None
    processor_type: str | None = None
    sockets_per_node: int | None = None
    cores_per_socket: int | None = None
    threads_per_core: int | None = None
    flop_rate_scalar: dict[str, Any] | float | None = None
    flop_rate_simd: dict[str, Any] | float | None = None
    memory_bandwidth: dict[str, Any] | float | None = None


class _Named(msgspec.Struct):
    name: str = ""


class _Cluster(msgspec.Struct, rename="camel"):
    name: str
    metric_config: list[Any] | None = None
    sub_clusters: list[_SubCluster] | None = None


_NAMED = msgspec.json.Decoder(_Named)

_UNIT = dict.fromkeys(("base", "prefix"))
_RATE = {"unit": _UNIT, "value": None}
_TOPOLOGY = dict.fromkeys(_Topology.__struct_encode_fields__) | {
    "accelerators": dict.fromkeys(_Accelerator.__struct_encode_fields__)
}
_SHAPE = {
    "name": None,
    "metricConfig": dict.fromkeys(_Metric.__struct_encode_fields__)
    | {"unit": _UNIT, "subClusters": dict.fromkeys(_Override.__struct_encode_fields__)},
    "subClusters": dict.fromkeys(_SubCluster.__struct_encode_fields__)
    | {"topology": _TOPOLOGY, "flopRateScalar": _RATE, "flopRateSimd": _RATE, "memoryBandwidth": _RATE},
}


def decode_cluster(raw: bytes) -> Cluster:
    """Read a cluster.json; ignore unknown keys, the case of keys, and nulls.

    Raise DocumentError with the place and the expected form. A metric that cannot be read costs that metric alone: it
    is left out, and named in `faults`.
    """
    try:
        _NAMED.decode(raw)  # a name of another type is the first thing to say about a file
        # Not strict: accepts whole floats for integers.
        read = msgspec.convert(in_shape(msgspec.json.decode(raw), _SHAPE), _Cluster, strict=False)
    except DECODE_ERRORS as error:
        raise DocumentError(reason(error)) from error
    metrics: dict[str, MetricConfig] = {}
    faults: list[str] = []
    for place, entry in enumerate(read.metric_config or []):
        try:
            metric = _metric(_read_metric(entry))
            _refuse_second(metric.name, metrics)
        except DocumentError as error:
            faults.append(_placed(error, f"metricConfig[{place}]"))
        else:
            metrics[metric.name] = metric
    subclusters: dict[str, SubCluster] = {}
    for place, part in enumerate(read.sub_clusters or []):
        try:
            _refuse_second(part.name, subclusters)
            subclusters[part.name] = _subcluster(part)
        except DocumentError as error:
            raise DocumentError(_placed(error, f"subClusters[{place}]")) from error
    return Cluster(read.name, tuple(metrics.values()), tuple(subclusters.values()), tuple(faults), raw)


def _read_metric(entry: Any) -> _Metric:
    """Convert an entry of metricConfig."""
    try:
        return msgspec.convert(entry, _Metric, strict=False)
    except DECODE_ERRORS as error:
        raise DocumentError(reason(error)) from error


def _refuse_second(name: str, names: Container[str]) -> None:
    if name in names:
        raise DocumentError(f"the name {name[:80]!r} comes twice, expected once - at `$.name`")


def _placed(error: DocumentError, place: str) -> str:
    """Return the message of an error with the place of the entry in the file."""
    text, _, rest = str(error).partition(" - at `$")
    return f"{text} - at `$.{place}{rest or '`'}"


def _metric(read: _Metric) -> MetricConfig:
    """Convert an entry of metricConfig, with its overrides per subcluster."""
    scope = read.scope or "node"
    if scope not in SCOPES:
        raise DocumentError(f"scope {scope!r}: expected one of {', '.join(SCOPES)}")
    timestep = DEFAULT_TIMESTEP if read.timestep is None else read.timestep
    if timestep <= 0:
        raise DocumentError(f"timestep {timestep}: expected seconds, above zero")
    given = unit_of(read.unit) if isinstance(read.unit, str) else read.unit or {}
    unit = {key: text for key in ("base", "prefix") if (text := given.get(key)) is not None}
    metric = MetricConfig(
        name=read.name,
        unit={"base": "", **unit},
        scope=scope,
        aggregation=read.aggregation or "",
        timestep=timestep,
        peak=read.peak or 0.0,
        normal=read.normal or 0.0,
        caution=read.caution or 0.0,
        alert=read.alert or 0.0,
        is_footprint=bool(read.footprint),
        is_power=read.energy == "power",
    )
    overrides = {override.name: _overridden(metric, override) for override in read.sub_clusters or []}
    return dataclasses.replace(metric, overrides=overrides)


def _overridden(metric: MetricConfig, override: _Override) -> MetricConfig | None:
    """Return the metric with the thresholds of a subcluster, or None if it is removed there."""
    if override.remove:
        return None
    thresholds = {key: getattr(override, key) for key in ("peak", "normal", "caution", "alert")}
    return dataclasses.replace(metric, **{key: value for key, value in thresholds.items() if value is not None})


def _subcluster(read: _SubCluster) -> SubCluster:
    """Convert an entry of subClusters."""
    topology = read.topology or _Topology()
    return SubCluster(
        name=read.name,
        nodes=NodeList.parse(read.nodes or ""),
        topology=Topology(
            node=topology.node or (),
            socket=topology.socket or (),
            memory_domain=topology.memory_domain or (),
            core=topology.core or (),
            accelerators=tuple(
                Accelerator(str(entry.id), entry.type or "", entry.model or "") for entry in topology.accelerators or []
            ),
        ),
        processor_type=read.processor_type or "",
        sockets_per_node=read.sockets_per_node or 0,
        cores_per_socket=read.cores_per_socket or 0,
        threads_per_core=read.threads_per_core or 0,
        flop_rate_scalar=_rate(read.flop_rate_scalar, "F/s"),
        flop_rate_simd=_rate(read.flop_rate_simd, "F/s"),
        memory_bandwidth=_rate(read.memory_bandwidth, "B/s"),
    )


def _rate(read: dict[str, Any] | float | None, base: str) -> dict[str, Any] | None:
    """Return a rate with its unit."""
    return rate_of(read, base) if isinstance(read, float) else read


def _index(units: tuple[tuple[int, ...], ...]) -> dict[int, int]:
    """Map each hwthread to the index of the unit that holds it."""
    return {hwthread: index for index, hwthreads in enumerate(units) for hwthread in hwthreads}


def _indices(index: dict[int, int], hwthreads: Iterable[int]) -> list[int]:
    """Return the sorted units of these hwthreads, without those that are not in the topology."""
    return sorted({index[hwthread] for hwthread in hwthreads if hwthread in index})
