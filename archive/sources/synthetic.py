"""Deterministic, plausible samples for the demo and the benchmarks."""

import hashlib
from collections.abc import Mapping, Sequence
from typing import Any, ClassVar, Self

import numpy as np

from archive.format.cluster_json import Cluster, MetricConfig
from archive.format.data_json import JobData, MetricData, Series
from archive.format.meta_json import Resource
from archive.format.statistics import Samples
from archive.sources.base import (
    FINE_SCOPES_UP_TO_NODES,
    JobInfo,
    aggregated,
    archived_scope,
    metrics_of_job,
    units_on_host,
    unknown_keys,
)

MAX_SAMPLES = 16_000_000
"""Samples of one job (8 bytes each); for more, the time steps become longer."""

RAMP_STEPS = 5
MISSING_RATE = 0.005
NOISE = 0.05
DECIMALS = 3


def _default_metric(name: str, unit: dict[str, str], aggregation: str, peak: float) -> MetricConfig:
    """Return a metric for clusters without a cluster.json."""
    return MetricConfig(name, unit, "node", aggregation, 60, peak, peak / 2, peak / 10, peak / 20)


DEFAULT_METRICS = (
    _default_metric("cpu_load", {"base": ""}, "avg", 64),
    _default_metric("cpu_user", {"base": ""}, "avg", 100),
    _default_metric("flops_any", {"base": "F/s", "prefix": "G"}, "sum", 2000),
    _default_metric("mem_bw", {"base": "B/s", "prefix": "G"}, "sum", 300),
    _default_metric("mem_used", {"base": "B", "prefix": "G"}, "sum", 256),
)


class SyntheticSource:
    """Draw samples from a generator seeded with cluster, job, metric and host."""

    kind: ClassVar[str] = "synthetic"
    archives_data: ClassVar[bool] = True

    @classmethod
    def from_config(cls, options: Mapping[str, Any]) -> Self:
        """Return the source, which has no options."""
        return cls()

    @classmethod
    def config_errors(cls, options: Mapping[str, Any]) -> list[str]:
        """Return a message for each key but `kind`."""
        return unknown_keys(options)

    def load(self, job: JobInfo, cluster: Cluster | None, metrics: Sequence[str] | None = None) -> JobData:
        """Return samples in scope node and, for small jobs, in the native scope of each metric."""
        cluster = cluster or Cluster(job.cluster, DEFAULT_METRICS, ())
        plans = [(config, _units(job, cluster, config)) for config in metrics_of_job(job, cluster)]
        samples = sum(
            _steps(job, config.timestep) * sum(1 + len(ids or ()) for _, ids in units) for config, units in plans
        )
        # Computed from all metrics, so that the samples of one do not depend on which others are requested.
        stretch = max(1, -(-samples // MAX_SAMPLES))
        loaded = {
            config.name: _load_metric(job, config, units, config.timestep * stretch)
            for config, units in plans
            if metrics is None or config.name in metrics
        }
        return {name: scopes for name, scopes in loaded.items() if scopes}


Units = list[tuple[Resource, list[str] | None]]
"""The hosts of a job, each with the ids of the finer units of a metric, or None for scope node only."""


def _units(job: JobInfo, cluster: Cluster, config: MetricConfig) -> Units:
    """Return the units of a metric on each host; leave out hosts without accelerators for their metrics."""
    scope = archived_scope(config)
    if scope == "node":
        return [(resource, None) for resource in job.resources]
    units = [(resource, units_on_host(resource, job.sub_cluster, cluster, scope)) for resource in job.resources]
    if scope == "accelerator":
        units = [(resource, ids) for resource, ids in units if ids]
    fine = job.num_nodes <= FINE_SCOPES_UP_TO_NODES
    return [(resource, ids if fine and ids else None) for resource, ids in units]


def _steps(job: JobInfo, timestep: int) -> int:
    """Return the number of samples of one series."""
    return max(1, job.duration // timestep)


def _load_metric(job: JobInfo, config: MetricConfig, units: Units, timestep: int) -> dict[str, MetricData]:
    """Draw a metric for all hosts in scope node and, if units are given, in its native scope."""
    node: list[Series] = []
    fine: list[Series] = []
    for resource, ids in units:
        table = _draw(job, config, resource.hostname, len(ids or ["node"]), _steps(job, timestep))
        if ids is None:
            node.append(Series(resource.hostname, None, table[0]))
            continue
        fine.extend(Series(resource.hostname, unit, row) for unit, row in zip(ids, table, strict=True))
        whole = aggregated(table, config.aggregation)
        node.append(Series(resource.hostname, None, np.round(whole, DECIMALS)))
    scopes = {"node": node, archived_scope(config): fine} if fine else {"node": node}
    return {scope: MetricData(config.unit, timestep, series) for scope, series in scopes.items() if series}


def _draw(job: JobInfo, config: MetricConfig, host: str, units: int, steps: int) -> Samples:
    """Return samples of shape (units, steps): a ramp at the start, noise, and a few gaps across all units."""
    seed = f"{job.cluster}/{job.job_id}/{job.start_time}/{config.name}/{host}".encode()
    digest = hashlib.blake2b(seed, digest_size=8).digest()
    generator = np.random.Generator(np.random.PCG64(int.from_bytes(digest, "big")))
    peak = config.peak or config.normal or 1.0
    level = min(peak, (config.normal or peak) * generator.uniform(0.5, 1.2))
    # Thresholds of metrics of accelerators apply to a single one, all others to the whole node.
    if config.aggregation == "sum" and config.scope != "accelerator":
        level, peak = level / units, peak / units
    table = level * generator.normal(1.0, NOISE, size=(units, steps))
    ramp = min(RAMP_STEPS, steps // 2)
    table[:, :ramp] *= np.linspace(0.1, 0.9, ramp)
    np.clip(table, 0.0, peak, out=table)
    np.round(table, DECIMALS, out=table)
    gaps = generator.random(steps) < MISSING_RATE
    gaps[-1] = False
    table[:, gaps] = np.nan
    return table
