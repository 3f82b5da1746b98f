"""The footprint of a job: from its statistics alone, and from its samples."""

import json
from typing import Any

import numpy as np
import pytest

from archive.format.cluster_json import Cluster, decode_cluster
from archive.format.data_json import JobData, MetricData, Series, job_statistics
from jobs.ledger.footprint import MOST_POWER, Figures, footprint_of
from jobs.rows.columns import Row
from tests.jobs.rows.test_columns import row as full_row

METRICS: dict[str, dict[str, Any]] = {
    "flops_any": {"scope": "hwthread", "aggregation": "sum", "peak": 1000, "normal": 500, "footprint": "avg"},
    "acc_mem_used": {"scope": "accelerator", "aggregation": "sum", "peak": 40, "normal": 20, "footprint": "max"},
    "acc_power": {"scope": "accelerator", "aggregation": "sum", "peak": 400, "normal": 200, "energy": "power"},
    "cpu_power": {"scope": "socket", "aggregation": "sum", "peak": 400, "normal": 200},
}


def cluster(**metrics: dict[str, Any]) -> Cluster:
    """Return a cluster with a subcluster of 2 sockets with 8 cores with 2 threads each."""
    config = [{"name": name, "unit": {"base": "W"}, "timestep": 60} | metric for name, metric in metrics.items()]
    part = {"name": "sub_cluster", "socketsPerNode": 2, "coresPerSocket": 8, "threadsPerCore": 2}
    return decode_cluster(json.dumps({"name": "alex", "metricConfig": config, "subClusters": [part]}).encode())


def row(**values: Any) -> Row:
    """Return the row of a job of two nodes without threads and accelerators of its own."""
    return full_row(**{"num_nodes": 2, "num_hwthreads": 0, "num_acc": 0, "duration": 7200} | values)


def statistics(**averages: float) -> str:
    """Return statistics whose maximum is twice the average."""
    return json.dumps(
        {name: {"unit": {"base": "W"}, "avg": avg, "min": 0, "max": 2 * avg} for name, avg in averages.items()}
    )


def test_figures_are_shares_of_the_peak_and_power_is_that_of_all_nodes() -> None:
    found = footprint_of(row(num_acc=8), statistics(flops_any=25, acc_power=300, acc_mem_used=40), cluster(**METRICS))
    assert found.metrics == {
        "flops_any": Figures(25, 50, 25, 50),
        "acc_mem_used": Figures(10, 20, 250, 500),  # per accelerator
    }
    assert (found.accelerators, found.power) == (8, 2 * 300_000)


def test_imbalance_and_idle_share_come_from_the_samples() -> None:
    def series(host: str, *samples: float, unit: str | None = None) -> Series:
        return Series(host, unit, np.array(samples))

    nodes = [series("n1", 400, 0, np.nan), series("n2", 100, 100, 10)]
    accelerators = [series("n1", 20, 20, unit="gpu0"), series("n1", 1, 1, unit="gpu1")]
    data: JobData = {
        "flops_any": {"node": MetricData({}, 60, nodes)},
        "acc_mem_used": {
            "node": MetricData({}, 60, [series("n1", 21, 21)]),
            "accelerator": MetricData({}, 60, accelerators),
        },
    }
    config = cluster(**METRICS)
    found = footprint_of(row(), json.dumps(job_statistics(data, config)), config, data)
    assert found.metrics["flops_any"] == Figures(135, 400, 135, 400, imbalance=650, idle=400)
    assert found.metrics["acc_mem_used"] == Figures(10.5, 20, 262, 500, imbalance=950, idle=500)


def test_without_marks_the_usual_metrics_and_parts_of_a_node_count(settings: Any) -> None:
    plain = {name: {key: value for key, value in METRICS[name].items() if key != "footprint"} for name in METRICS}
    del plain["acc_power"]["energy"]
    text = statistics(flops_any=1, acc_power=100, cpu_power=200, clock=7)
    assert list(footprint_of(row(), text, cluster(**plain)).metrics) == ["flops_any"]
    assert footprint_of(row(), text, cluster(**plain)).power == 2 * 300_000
    assert list(footprint_of(row(), text, None).metrics) == ["flops_any"]
    settings.FOOTPRINT_METRICS = ["clock", "cpu_power"]
    assert list(footprint_of(row(), text, cluster(**plain)).metrics) == ["clock", "cpu_power"]


@pytest.mark.parametrize(
    ("values", "cores", "accelerators"),
    [
        ({}, 32, 0),
        ({"num_hwthreads": 9}, 5, 0),
        ({"sub_cluster": "unknown", "num_hwthreads": 9}, 9, 0),
        ({"sub_cluster": "unknown"}, 0, 0),
        ({"resources": '[{"hostname":"n01","accelerators":["0","1"]},{"hostname":"n02"}]'}, 32, 2),
        ({"num_acc": 8}, 32, 8),
    ],
)
def test_cores_are_those_of_the_threads_or_else_of_all_nodes(
    values: dict[str, Any], cores: int, accelerators: int
) -> None:
    found = footprint_of(row(**values), None, cluster(**METRICS))
    assert (found.cores, found.accelerators, found.power, found.metrics) == (cores, accelerators, None, {})


@pytest.mark.parametrize(
    ("text", "figures"),
    [
        ('{"flops_any":{"avg":1e300,"max":null}}', None),
        ('{"flops_any":{"avg":1e-300,"min":0,"max":5e38}}', Figures(0, None, 0, 32767)),
        ('{"flops_any":{"avg":-5,"min":-9,"max":1}}', Figures(-5, 1, 0, 1)),
        ('{"flops_any":[1]}', None),
        ("{", None),
    ],
)
def test_numbers_that_no_column_holds_are_left_out(text: str, figures: Figures | None) -> None:
    found = footprint_of(row(), text, cluster(**METRICS))
    assert found.metrics.get("flops_any") == figures


def test_a_broken_sensor_does_not_make_more_power_than_a_job_can_draw() -> None:
    assert footprint_of(row(), statistics(acc_power=1e30), cluster(**METRICS)).power == MOST_POWER
