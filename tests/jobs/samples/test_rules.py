"""What the samples of a job tell about it: each rule with the number that it measures, and when it is silent."""

import json
from collections.abc import Sequence
from typing import Any

import numpy as np
import pytest

from archive.format.cluster_json import decode_cluster
from archive.format.data_document import read_document
from archive.format.data_json import JobData, MetricData, Series, encode_data
from archive.plots.plots import PlotRequest, draw
from jobs.rows.columns import Row
from jobs.samples.rules import RULES, Finding, findings
from tests.support.demo_cluster import MAIN, metric

START = 1_764_403_200  # 2025-11-29 08:00 UTC
STEPS = 120
CLUSTER = decode_cluster(
    json.dumps(
        {
            "name": "demo",
            "metricConfig": [
                metric("cpu_load", "node", "avg", unit={"base": ""}, peak=4, normal=4, caution=2, alert=1),
                metric(
                    "mem_used", "node", unit={"base": "B", "prefix": "G"}, peak=250, normal=100, caution=200, alert=240
                ),
                metric("acc_utilization", "accelerator", "avg", unit={"base": "%"}, peak=100, normal=80, alert=5),
                metric("flops_any", "hwthread", unit={"base": "F/s", "prefix": "G"}, peak=800, normal=400, alert=40),
            ],
            "subClusters": [MAIN],
        }
    ).encode()
)


def row(**values: Any) -> Row:
    """Return a completed job of two hours."""
    texts: dict[str, Any] = dict.fromkeys(("user", "project", "partition"), "x")
    numbers = dict.fromkeys(("id", "job_id", "array_job_id", "num_hwthreads", "num_acc", "smt", "walltime"), 1)
    job: dict[str, Any] = {
        "cluster": "demo",
        "sub_cluster": "main",
        "num_nodes": 2,
        "exclusive": 1,
        "monitoring_status": 3,
    }
    job |= {"job_state": "completed", "duration": STEPS * 60, "start_time": START, "resources": "[]"}
    return Row(**(texts | numbers | job | dict.fromkeys(("tags", "meta_data", "statistics")) | values))


def busy(value: float = 4, size: int = STEPS) -> np.ndarray[Any, np.dtype[np.float64]]:
    """Return the samples of a node that works all the time."""
    return np.full(size, float(value))


def with_part(samples: Any, begin: int, end: int, value: float) -> Any:
    """Return samples with another value in a part of the time."""
    changed = samples.copy()
    changed[begin:end] = value
    return changed


def found(job: Row | None = None, scope: str = "node", **metrics: Sequence[Any]) -> dict[str, Finding]:
    """Return the findings by rule; each metric has a series for each of the nodes f0122, f0123, …"""
    job = job or row()
    data: JobData = {}
    for name, arrays in metrics.items():
        config = CLUSTER.metric(name)
        assert config is not None
        own = "accelerator" if config.scope == "accelerator" else scope
        series = [
            Series(f"f{122 + place:04}" if own == "node" else "f0122", None if own == "node" else str(place), array)
            for place, array in enumerate(arrays)
        ]
        data[name] = {own: MetricData(config.unit, 60, series)}
    document = read_document(encode_data(data))
    plots = draw(document, PlotRequest("node", CLUSTER, "main")).metrics
    return {finding.rule: finding for finding in findings(document, plots, job, STEPS * 60)}


def test_the_node_that_ran_out_of_memory_is_named_with_value_peak_and_time() -> None:
    memory = [busy(100), with_part(busy(120), 19, 20, 249)]

    finding = found(row(job_state="out_of_memory"), mem_used=memory)["out of memory"]

    assert finding.sentence == "Out of memory: f0123 reached 249 GB of 250 GB at 08:19."
    assert finding.value == pytest.approx(0.996)
    assert finding.metric == "mem_used"
    assert finding.begin <= START + 19 * 60 <= finding.end
    assert finding.begin >= START
    assert finding.end <= START + STEPS * 60


def test_full_memory_of_a_job_that_ended_otherwise_is_called_nearly_full() -> None:
    memory = [with_part(busy(120), 19, 20, 239)]
    assert "full memory" in found(mem_used=memory)
    assert "out of memory" not in found(mem_used=memory)
    assert found(mem_used=[busy(230)]) == {}


@pytest.mark.parametrize("nodes", [2, 20])
def test_the_node_that_was_idle_is_named_with_its_share_of_the_time(nodes: int) -> None:
    loads = [with_part(busy(), 0, 48, 0.1), *[busy()] * (nodes - 1)]

    finding = found(cpu_load=loads)["idle node"]

    assert finding.sentence == "Node f0122 idle for 40 % of the time (cpu_load)."
    assert finding.value == pytest.approx(0.4)


def test_other_idle_nodes_are_counted() -> None:
    finding = found(cpu_load=[busy(), busy(0), busy(0.1), busy(0.2)])["idle node"]
    assert finding.sentence == "Node f0123 idle for 100 % of the time (cpu_load), and 2 more below a tenth of normal."


def test_a_node_that_is_idle_for_a_short_time_is_not_worth_saying() -> None:
    assert found(cpu_load=[with_part(busy(), 0, 24, 0.1), busy()]) == {}


def test_a_job_on_a_part_of_a_node_is_compared_with_itself() -> None:
    shared = row(exclusive=0)
    assert "idle node" not in found(shared, cpu_load=[busy(0.3)])
    assert "idle node" in found(shared, cpu_load=[with_part(busy(0.3), 0, 60, 0)])
    assert found(row(), cpu_load=[busy(0.3)])["idle end"].value == STEPS * 60


@pytest.mark.parametrize("nodes", [2, 20])
def test_all_nodes_idle_at_the_end_is_said_once_and_with_the_time(nodes: int) -> None:
    loads = [with_part(busy(), 60, STEPS, 0.05)] * nodes

    seen = found(cpu_load=loads)

    assert set(seen) == {"idle end"}
    assert seen["idle end"].sentence == "All nodes idle from 09:00 on, for 1:00:00 (cpu_load)."
    assert seen["idle end"].value == 3600


def test_the_node_whose_samples_end_before_the_others_is_named_if_the_job_ended_badly() -> None:
    loads = [busy(), with_part(busy(), 20, STEPS, np.nan)]

    finding = found(row(job_state="failed"), cpu_load=loads)["silent node"]

    assert finding.sentence == "No samples of f0123 after 08:19, while others went on."
    assert finding.value == 100
    assert "silent node" not in found(cpu_load=loads)
    assert "silent node" not in found(row(job_state="failed"), cpu_load=[loads[1], loads[1]])


def test_accelerators_that_were_never_used_are_counted() -> None:
    use = [busy(90), busy(0), busy(95), busy(88)]

    finding = found(acc_utilization=use)["unused accelerators"]

    assert finding.sentence == "1 of 4 accelerators never used."
    assert finding.value == 0.25
    assert found(acc_utilization=[busy(90)]) == {}


@pytest.mark.parametrize(
    ("metrics", "rule", "sentence"),
    [
        (
            {"flops_any": [busy(10), busy(20)]},
            "low flops",
            "flops_any averaged 15 GF/s per node, below the alert mark of 40 GF/s.",
        ),
        ({"cpu_load": [busy(0.9)]}, "low load", "cpu_load averaged 0.9 per node, below the alert mark of 1."),
        (
            {"acc_utilization": [busy(2)]},
            "low use of accelerators",
            "acc_utilization averaged 2 % per accelerator, below the alert mark of 5 %.",
        ),
    ],
)
def test_an_average_below_the_alert_mark_of_the_cluster_is_said(metrics: Any, rule: str, sentence: str) -> None:
    assert found(**metrics)[rule].sentence == sentence


def test_the_mark_of_a_finer_scope_is_that_part_of_the_nodes() -> None:
    assert "low flops" not in found(scope="hwthread", flops_any=[busy(6)] * 8)
    assert "of 5 GF/s" in found(scope="hwthread", flops_any=[busy(4)] * 8)["low flops"].sentence


@pytest.mark.parametrize("values", [[np.full(STEPS, np.nan)], [np.array([])], [np.full(STEPS, np.nan), busy()]])
def test_missing_samples_break_no_rule(values: Any) -> None:
    for state in ("completed", "failed", "out_of_memory", "running"):
        found(row(job_state=state), cpu_load=values, mem_used=values, acc_utilization=values, flops_any=values)


def test_every_rule_has_a_name_of_its_own() -> None:
    assert len({rule.name for rule in RULES}) == len(RULES)
