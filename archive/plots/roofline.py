"""The roofline of a job: arithmetic intensity and floating-point rate over time, below the ceilings of its nodes.

The model is that of Williams, Waterman and Patterson (Communications of the ACM 52(4), 2009): a node reaches at most
min(peak rate, intensity x memory bandwidth).
"""

import dataclasses
from typing import Any

import numpy as np

from archive.format.cluster_json import SubCluster
from archive.format.data_document import StoredMetric, Unit
from archive.format.statistics import Samples, statistics_series

FLOPS, BANDWIDTH = "flops_any", "mem_bw"
_POINTS = 500
_FACTORS = {"": 1.0, "K": 1e3, "k": 1e3, "M": 1e6, "G": 1e9, "T": 1e12, "P": 1e15, "E": 1e18}


@dataclasses.dataclass(frozen=True, slots=True)
class Roofline:
    """The points, means over all nodes, of up to 500 moments; the ceilings are those of a node, 0 if not known.

    `at` is in seconds from the start of the job, `intensity` in flops per byte, `bandwidth` in bytes/s, and `rate`,
    `scalar` and `simd` in flops/s.
    """

    at: Samples
    intensity: Samples
    rate: Samples
    scalar: float
    simd: float
    bandwidth: float


def roofline(flops: StoredMetric, bandwidth: StoredMetric, sub_cluster: SubCluster | None) -> Roofline | None:
    """Return the roofline of a job from its metrics flops_any and mem_bw; None if they share no moment.

    Metrics of finer scopes count per node. Raise one of DECODE_ERRORS.
    """
    step = max(flops.timestep, bandwidth.timestep)
    rate, rate_of_memory = _mean(flops, step), _mean(bandwidth, step)
    size = min(rate.size, rate_of_memory.size)
    rate, rate_of_memory = rate[:size], rate_of_memory[:size]
    places = np.flatnonzero((rate > 0) & (rate_of_memory > 0))
    if not places.size:
        return None
    if places.size > _POINTS:
        places = places[np.linspace(0, places.size - 1, _POINTS).astype(np.intp)]
    ceilings = (
        (sub_cluster.flop_rate_scalar, sub_cluster.flop_rate_simd, sub_cluster.memory_bandwidth)
        if sub_cluster is not None
        else (None, None, None)
    )
    return Roofline(
        places.astype(np.float64) * step, rate[places] / rate_of_memory[places], rate[places], *map(_value, ceilings)
    )


def _mean(metric: StoredMetric, step: int) -> Samples:
    """Return the mean over the nodes at each `step` seconds, in the unit without prefix."""
    nodes = len({series.hostname for series in metric.series})
    stored = metric.steps()
    if stored is not None and stored.mean is not None:
        mean = np.array(stored.mean, dtype=np.float64)
    else:
        mean = statistics_series([series.samples() for series in metric.series])["mean"]
    per_node = len(metric.series) / nodes if nodes else 1
    return mean[:: max(1, step // metric.timestep)] * per_node * factor(metric.unit or Unit())


def _value(rate: dict[str, Any] | None) -> float:
    """Return a rate of cluster.json in its unit without prefix, 0 if there is none."""
    if not isinstance(rate, dict) or not isinstance(rate.get("value"), int | float):
        return 0.0
    unit = rate.get("unit")
    prefix = unit.get("prefix") if isinstance(unit, dict) else None
    return float(rate["value"]) * _FACTORS.get(prefix or "", 1.0)


def factor(unit: Unit) -> float:
    """Return what the prefix of a unit stands for, 1 if there is none."""
    return _FACTORS.get(unit.prefix or "", 1.0)
