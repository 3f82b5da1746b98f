"""A source that asks a Prometheus, its queries, and jobs on a cluster whose metrics these are."""

import json
from typing import Any

import pytest

from archive.exceptions import SourceError
from archive.format.cluster_json import decode_cluster
from archive.format.data_json import MetricData
from archive.format.meta_json import Resource
from archive.sources import get_source
from archive.sources.base import JobInfo, MetricSource

START = 1_700_000_000
GPUS = ("00000000:01:00.0", "00000000:1B:00.0")


def metric(name: str, scope: str = "node", aggregation: str = "avg", timestep: int = 60) -> dict[str, Any]:
    """Return an entry of metricConfig."""
    return {"name": name, "unit": {"base": "B"}, "scope": scope, "aggregation": aggregation, "timestep": timestep}


CLUSTER_JSON: dict[str, Any] = {
    "name": "demo",
    "metricConfig": [
        metric("load"),
        metric("user", "hwthread"),
        metric("power", "socket", "sum"),
        metric("acc", "accelerator"),
        metric("second", timestep=1),
        metric("unasked"),
    ],
    "subClusters": [
        {
            "name": "main",
            "nodes": "n[01-99]",
            "topology": {
                "node": [0, 1, 2, 3],
                "socket": [[0, 2], [1, 3]],
                "core": [[0, 2], [1, 3]],
                "accelerators": [{"id": gpu, "type": "GPU", "model": "A40"} for gpu in GPUS],
            },
        },
    ],
}
CLUSTER = decode_cluster(json.dumps(CLUSTER_JSON).encode())

LOAD = 'node_load1{instance=~"$hosts:9100"}'
USER = "100 * rate(node_cpu_seconds_total{mode='user', instance=~'$hosts:9100', cpu=~'$ids'}[2m])"
ACC = 'DCGM_FI_DEV_GPU_UTIL{instance=~"$hosts:9400", pci_bus_id=~"$ids"}'


def job(hosts: int | list[str] = 1, *, duration: int = 600, start: int = START, **resource: Any) -> JobInfo:
    """Return a job on the first nodes, or on some hosts."""
    names = [f"n{number:02d}" for number in range(1, hosts + 1)] if isinstance(hosts, int) else hosts
    return JobInfo(
        "demo", "main", 7, start, start + duration, [Resource(name, **resource) for name in names], len(names)
    )


def source_of(url: str, **queries: Any) -> MetricSource:
    """Return a source that asks these queries."""
    return get_source("demo", {"demo": {"kind": "prometheus", "url": url, "timeout": 20, "queries": queries}})


def ids(data: MetricData) -> list[tuple[str, str | None]]:
    """Return host and id of each series."""
    return [(series.hostname, series.id) for series in data.series]


def failure(source: MetricSource, info: JobInfo | None = None) -> SourceError:
    """Return the error that a load raises."""
    with pytest.raises(SourceError) as caught:
        source.load(info or job(), CLUSTER)
    return caught.value
