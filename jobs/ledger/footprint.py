"""What an ended job used, as far as its statistics and samples tell: its footprint. Nothing here reads the database."""

import math
from collections.abc import Iterable, Mapping, Sequence
from typing import NamedTuple

import msgspec
import numpy as np
from django.conf import settings

from archive.format.cluster_json import Cluster, MetricConfig
from archive.format.data_json import JobData, MetricData
from archive.format.statistics import Samples
from jobs.records import LONGEST_NAME, MOST_SHARE, PER_MILLE
from jobs.rows.columns import Row

USUAL_METRICS = (
    *("cpu_load", "flops_any", "mem_bw", "mem_used", "acc_utilization", "acc_mem_used"),
    *("net_bw", "ib_bw", "file_bw", "nfs4_total", "lustre_bw"),
)
"""The metrics of footprints on a cluster whose cluster.json marks none with `footprint`."""

MOST_POWER = 10**10
"""Milliwatts that one job can draw: what is more is a mistake of a sensor."""

_WHOLE_NODE, _PARTS = "node_power", ("cpu_power", "mem_power", "acc_power")
_MILLIWATTS = {"": 1e3, "m": 1.0, "k": 1e6, "K": 1e6, "M": 1e9}  # by the prefix of the unit
_LEAST, _LARGEST = 1e-37, 3e38  # of a number of four bytes, which PostgreSQL does not round to 0
_IDLE = 0.1  # of the normal value: samples below are idle


class _Unit(msgspec.Struct, gc=False):
    prefix: str | None = None


class _Statistics(msgspec.Struct, gc=False):
    """The statistics of a metric as other writers have them too: any of it may be missing."""

    unit: _Unit | None = None
    avg: float | None = None
    max: float | None = None


_STATISTICS = msgspec.json.Decoder(dict[str, _Statistics])
_RESOURCES = msgspec.json.Decoder(list[dict[str, object]])


class _Named(msgspec.Struct, gc=False, rename="camel"):
    """Metadata, decoded only to the job's name."""

    job_name: str | None = None


_NAMED = msgspec.json.Decoder(_Named)


class Figures(NamedTuple):
    """The figures of one metric, see JobFootprint."""

    avg: float | None = None
    max: float | None = None
    avg_share: int | None = None
    max_share: int | None = None
    imbalance: int | None = None
    idle: int | None = None


class Footprint(NamedTuple):
    """What an ended job used, see JobFootprint; `power` is None if it was not measured."""

    cores: int = 0
    accelerators: int = 0
    power: int | None = None
    metrics: dict[str, Figures] = {}


def footprint_of(row: Row, statistics: str | None, cluster: Cluster | None, data: JobData | None = None) -> Footprint:
    """Return the footprint of an ended job from its statistics (JSON text) and, where they are at hand, its samples.

    Without samples there is neither imbalance nor idle share. What is missing or no number is left out.
    """
    known = _decoded(statistics)
    accelerators = row.num_acc or _listed_accelerators(row)
    per_node = accelerators / row.num_nodes
    metrics = {}
    for name in metrics_of(cluster, known):
        config = cluster.metric(name) if cluster else None
        config = config and config.for_subcluster(row.sub_cluster)
        figures = _figures(known[name], config, per_node, (data or {}).get(name, {}))
        if figures.avg is not None or figures.max is not None:
            metrics[name] = figures
    return Footprint(
        cores=_cores(row, cluster),
        accelerators=accelerators,
        power=_power(row.num_nodes, accelerators, cluster, known),
        metrics=metrics,
    )


def name_in(meta_data: str | None) -> str | None:
    """Return a job's name by its metadata (JSON text), empty without one; None if it cannot be written down."""
    try:
        name = (_NAMED.decode(meta_data).job_name or "") if meta_data else ""
    except msgspec.DecodeError:  # only the database knows what it makes of that
        return None
    return name if len(name) <= LONGEST_NAME and "\0" not in name else None


def _decoded(text: str | None) -> dict[str, _Statistics]:
    try:
        return _STATISTICS.decode(text) if text else {}
    except msgspec.DecodeError:  # as if nothing had been measured
        return {}


def _listed_accelerators(row: Row) -> int:
    if '"accelerators"' not in row.resources:  # usually, and quicker than to decode them
        return 0
    listed = (resource.get("accelerators") for resource in _RESOURCES.decode(row.resources))
    return sum(len(names) for names in listed if isinstance(names, list))


def metrics_of(cluster: Cluster | None, known: Mapping[str, object]) -> Iterable[str]:
    """Return the metrics of the footprints of a cluster, as far as they are known, of a job for example."""
    wanted: Sequence[str] = settings.FOOTPRINT_METRICS
    if not wanted and cluster is not None:
        wanted = [metric.name for metric in cluster.metrics if metric.is_footprint]
    return [name for name in wanted or USUAL_METRICS if name in known]


def _cores(row: Row, cluster: Cluster | None) -> int:
    """Return the cores that a job had: those of its hardware threads, or else all of its nodes; 0 if unknown."""
    kind = cluster.subcluster(row.sub_cluster) if cluster else None
    if row.num_hwthreads:
        return math.ceil(row.num_hwthreads / max(1, kind.threads_per_core if kind else 1))
    return min(row.num_nodes * kind.sockets_per_node * kind.cores_per_socket, 2**31 - 1) if kind else 0


def _power(nodes: int, accelerators: int, cluster: Cluster | None, known: Mapping[str, _Statistics]) -> int | None:
    """Return the average power of all nodes in milliwatts.

    It is the sum of the metrics that cluster.json marks with `"energy": "power"`, or else that of whole nodes, or else
    of their parts.
    """
    marked = [metric.name for metric in cluster.metrics if metric.is_power] if cluster else []
    total = None
    for name in marked or ([_WHOLE_NODE] if _WHOLE_NODE in known else _PARTS):
        found = known.get(name)
        factor = _MILLIWATTS.get((found.unit and found.unit.prefix) or "") if found else None
        if found is None or factor is None or found.avg is None:
            continue
        config = cluster.metric(name) if cluster else None
        of_one = config is not None and config.scope == "accelerator" and config.aggregation == "avg"
        total = (total or 0.0) + found.avg * factor * (accelerators if of_one else nodes)
    return None if total is None else round(min(max(total, 0.0), MOST_POWER))


def _figures(
    known: _Statistics, config: MetricConfig | None, per_node: float, scopes: Mapping[str, MetricData]
) -> Figures:
    """Return the figures of a metric; `scopes` has its samples, if they are at hand."""
    of_accelerators = config is not None and config.scope == "accelerator"
    samples = scopes.get("accelerator" if of_accelerators else "node")
    avg, highest = known.avg, known.max
    least = greatest = None
    if samples is not None:
        found = [each for each in samples.statistics if each is not None]
        if found:
            averages = [each.avg for each in found]
            least, greatest = min(averages), max(averages)
            if of_accelerators:
                avg, highest = sum(averages) / len(averages), max(each.max for each in found)
    elif of_accelerators and config is not None and config.aggregation == "sum" and per_node > 1:
        avg, highest = (number and number / per_node for number in (avg, highest))
    peak = config.peak if config else 0.0
    return Figures(
        avg=_real(avg),
        max=_real(highest),
        avg_share=_share(avg, peak),
        max_share=_share(highest, peak),
        imbalance=_share(greatest - least, greatest) if least is not None and greatest is not None else None,
        idle=_idle([series.data for series in samples.series], config.normal * _IDLE) if samples and config else None,
    )


def _real(number: float | None) -> float | None:
    if number is None or not abs(number) < _LARGEST:  # NaN is not, either
        return None
    return number if abs(number) > _LEAST else 0.0


def _share(part: float | None, whole: float) -> int | None:
    """Return a share per mille, at most MOST_SHARE; None where there is none."""
    share = part / whole * PER_MILLE if part is not None and whole > 0 else math.nan
    return None if math.isnan(share) else round(min(max(share, 0.0), MOST_SHARE))


def _idle(series: Sequence[Samples], limit: float) -> int | None:
    """Return the share of samples below a limit, per mille of those that are there."""
    samples = np.concatenate(series) if series and limit > 0 else np.empty(0)
    present = int(np.count_nonzero(np.isfinite(samples)))
    return _share(int(np.count_nonzero(samples < limit)), present)
