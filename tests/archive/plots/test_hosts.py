"""The statistics of each node of a job, the least used one first."""

import json

import numpy as np

from archive.format.cluster_json import decode_cluster
from archive.format.data_document import read_document
from archive.format.data_json import JobData, MetricData, Series, encode_data
from archive.plots.hosts import Host, hosts
from archive.plots.plots import PlotRequest, choose
from tests.support.demo_cluster import MAIN, metric

CLUSTER = decode_cluster(
    json.dumps(
        {
            "name": "demo",
            "metricConfig": [
                metric("cpu_load", "node", "avg"),
                metric("mem_used", "node", normal=10, alert=90),
                metric("mem_bw", "socket"),
                metric("clock", "core", "avg"),
            ],
            "subClusters": [MAIN],
        }
    ).encode()
)


def of(data: JobData) -> list[Host]:
    """Return the nodes of samples as an archive has them."""
    request = PlotRequest("node", CLUSTER, "main")
    return hosts(choose(read_document(encode_data(data)), request), CLUSTER)


def node(name: str, *values: float, unit: str | None = None) -> Series:
    """Return a series."""
    return Series(name, unit, np.array(values, dtype=np.float64))


def test_each_node_has_minimum_average_and_maximum_in_the_order_of_the_plots() -> None:
    found = of(
        {
            "mem_used": {"node": MetricData({"base": "B"}, 60, [node("n1", 1, 2, 3)])},
            "cpu_load": {"node": MetricData({"base": ""}, 60, [node("n1", 4, 5, 6)])},
        }
    )
    assert found == [Host("n1", [[4, 5, 6], [1, 2, 3]])]


def test_the_least_used_node_comes_first_and_memory_does_not_count_as_use() -> None:
    found = of(
        {
            "cpu_load": {"node": MetricData({"base": ""}, 60, [node("n1", 4), node("n2", 1), node("n3", 2)])},
            "mem_used": {"node": MetricData({"base": "B"}, 60, [node("n1", 1), node("n2", 90), node("n3", 5)])},
        }
    )
    assert [host.name for host in found] == ["n2", "n3", "n1"]


def test_the_parts_of_a_node_are_summed_or_averaged_as_the_metric_is() -> None:
    found = of(
        {
            "mem_bw": {
                "socket": MetricData({"base": "B/s"}, 60, [node("n1", 1, 3, unit="0"), node("n1", 5, 7, unit="1")])
            },
            "clock": {"core": MetricData({"base": "Hz"}, 60, [node("n1", 1, 3, unit="0"), node("n1", 5, 7, unit="1")])},
        }
    )
    assert found == [Host("n1", [[1, 8, 7], [1, 4, 7]])]


def test_a_node_without_samples_of_a_metric_has_none_of_it() -> None:
    found = of(
        {
            "cpu_load": {"node": MetricData({"base": ""}, 60, [node("n1", 4), node("n2", np.nan)])},
            "mem_used": {"node": MetricData({"base": "B"}, 60, [node("n2", 2)])},
        }
    )
    assert found == [Host("n2", [None, [2, 2, 2]]), Host("n1", [[4, 4, 4], None])]
