"""The roofline of a job: points per moment, ceilings of a node, in units without prefix."""

import json
from typing import Any

import numpy as np
import pytest

from archive.format.cluster_json import SubCluster, decode_cluster
from archive.format.data_document import StoredMetric, read_document
from archive.format.data_json import MetricData, Series, encode_data
from archive.plots.roofline import roofline
from tests.support.demo_cluster import MAIN


def stored(prefix: str, base: str, series: list[Series], timestep: int = 60, scope: str = "node") -> StoredMetric:
    """Return a metric as an archive has it."""
    data = {"metric": {scope: MetricData({"base": base, "prefix": prefix}, timestep, series)}}
    return read_document(encode_data(data))["metric"][scope]


def on_nodes(*values: Any) -> list[Series]:
    """Return a series of each node."""
    return [Series(f"n{place}", None, np.array(each, dtype=np.float64)) for place, each in enumerate(values)]


def sub_cluster(**rates: Any) -> SubCluster:
    """Return a subcluster with these rates."""
    document = {"name": "demo", "metricConfig": [], "subClusters": [MAIN | rates]}
    found = decode_cluster(json.dumps(document).encode()).subcluster("main")
    assert found is not None
    return found


@pytest.mark.parametrize("nodes", [1, 20])
def test_a_point_is_the_mean_of_the_nodes_at_a_moment(nodes: int) -> None:
    flops = stored("G", "F/s", on_nodes(*[[20, 40, 0]] * nodes))
    bandwidth = stored("M", "B/s", on_nodes(*[[10_000, 40_000, 10_000]] * nodes))

    found = roofline(flops, bandwidth, None)

    assert found is not None
    assert found.at.tolist() == [0, 60]  # nothing was computed at the third moment
    assert found.intensity.tolist() == [2, 1]
    assert found.rate.tolist() == [20e9, 40e9]
    assert (found.scalar, found.simd, found.bandwidth) == (0, 0, 0)


def test_ceilings_are_those_of_cluster_json() -> None:
    rate = {"unit": {"base": "F/s", "prefix": "G"}, "value": 50}
    memory = {"unit": {"base": "B/s", "prefix": "T"}, "value": 0.15}
    kind = sub_cluster(flopRateScalar=rate, flopRateSimd=rate | {"value": 800}, memoryBandwidth=memory)

    found = roofline(stored("G", "F/s", on_nodes([1])), stored("G", "B/s", on_nodes([1])), kind)

    assert found is not None
    assert (found.scalar, found.simd) == (50e9, 800e9)
    assert found.bandwidth == pytest.approx(150e9)


def test_parts_of_a_node_are_summed_and_time_steps_brought_together() -> None:
    flops = stored("", "F/s", [Series("n1", str(core), np.array([1.0, 9, 2, 9])) for core in range(4)], 30, "core")
    bandwidth = stored("", "B/s", on_nodes([1, 2]))

    found = roofline(flops, bandwidth, None)

    assert found is not None
    assert (found.at.tolist(), found.rate.tolist(), found.intensity.tolist()) == ([0, 60], [4, 8], [4, 4])


def test_long_jobs_have_some_hundred_points() -> None:
    flops, bandwidth = stored("", "F/s", on_nodes(np.ones(5000))), stored("", "B/s", on_nodes(np.ones(5000)))
    found = roofline(flops, bandwidth, None)
    assert found is not None
    assert (found.at.size, found.at[0], found.at[-1]) == (500, 0, 4999 * 60)


def test_without_a_common_moment_there_is_none() -> None:
    assert roofline(stored("", "F/s", on_nodes([1, np.nan])), stored("", "B/s", on_nodes([np.nan, 1])), None) is None
