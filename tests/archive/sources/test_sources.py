"""Metric sources: which one a cluster has, and what the synthetic one draws."""

import dataclasses
import json
from typing import Any

import numpy as np
import pytest

from archive.exceptions import SourceError
from archive.format.cluster_json import Cluster, decode_cluster
from archive.format.data_json import encode_data
from archive.format.meta_json import Resource
from archive.sources import get_source, synthetic, validate_config
from archive.sources.base import JobInfo, units_on_host
from archive.sources.none import NoneSource
from archive.sources.synthetic import SyntheticSource
from tests.support.demo_cluster import MAIN, metric

CLUSTER = decode_cluster(
    json.dumps(
        {
            "name": "demo",
            "metricConfig": [
                metric("flops_any", "hwthread"),
                metric("clock", "hwthread", "avg"),
                metric("mem_bw", "socket"),
                metric("mem_used", "node"),
                metric("acc_power", "accelerator"),
                metric("gone", "node", subClusters=[{"name": "main", "remove": True}]),
            ],
            "subClusters": [MAIN],
        }
    ).encode()
)


def job(nodes: int = 2, *, duration: int = 3600, **resource: Any) -> JobInfo:
    """Return a job on the first nodes of the demo cluster."""
    resources = [Resource(f"n{number:02d}", **resource) for number in range(1, nodes + 1)]
    return JobInfo("demo", "main", 7, 1_700_000_000, 1_700_000_000 + duration, resources, nodes)


SOURCE = SyntheticSource()


def test_the_same_job_always_gets_the_same_samples() -> None:
    assert encode_data(SOURCE.load(job(), CLUSTER)) == encode_data(SyntheticSource().load(job(), CLUSTER))


def test_another_job_metric_or_host_gets_other_samples() -> None:
    first = SOURCE.load(job(), CLUSTER)
    other = SOURCE.load(dataclasses.replace(job(), job_id=8), CLUSTER)
    used = first["mem_used"]["node"].series
    assert not np.array_equal(used[0].data, other["mem_used"]["node"].series[0].data, equal_nan=True)
    assert not np.array_equal(used[0].data, used[1].data, equal_nan=True)
    assert not np.array_equal(used[0].data, first["mem_bw"]["node"].series[0].data, equal_nan=True)


def test_every_metric_but_the_removed_ones_has_scope_node_and_its_native_scope() -> None:
    loaded = SOURCE.load(job(accelerators=["00:01"]), CLUSTER)
    assert {name: sorted(scopes) for name, scopes in loaded.items()} == {
        "flops_any": ["core", "node"],
        "clock": ["core", "node"],
        "mem_bw": ["node", "socket"],
        "mem_used": ["node"],
        "acc_power": ["accelerator", "node"],
    }
    assert [series.id for series in loaded["acc_power"]["accelerator"].series] == ["00:01", "00:01"]
    assert [series.id for series in loaded["mem_used"]["node"].series] == [None, None]
    assert loaded["mem_bw"]["node"].unit == {"base": "B/s", "prefix": "G"}


@pytest.mark.parametrize(("nodes", "fine"), [(8, True), (9, False)])
def test_the_native_scope_is_there_for_jobs_of_up_to_eight_nodes(nodes: int, fine: bool) -> None:
    loaded = SOURCE.load(job(nodes, accelerators=["00:01"]), CLUSTER)
    assert ("core" in loaded["flops_any"]) is fine
    assert ("accelerator" in loaded["acc_power"]) is fine
    assert all(len(scopes["node"].series) == nodes for scopes in loaded.values())


def test_a_job_has_the_cores_and_sockets_of_its_hwthreads() -> None:
    loaded = SOURCE.load(job(1, hwthreads=[1, 5, 0]), CLUSTER)
    assert [series.id for series in loaded["flops_any"]["core"].series] == ["0", "1"]
    assert [series.id for series in loaded["mem_bw"]["socket"].series] == ["0"]
    assert units_on_host(Resource("n01", [2]), "main", CLUSTER, "memoryDomain") == ["1"]


def test_a_job_without_hwthreads_has_the_whole_node() -> None:
    assert len(SOURCE.load(job(1), CLUSTER)["flops_any"]["core"].series) == 4


def test_a_job_without_accelerators_has_no_series_of_their_metrics() -> None:
    assert "acc_power" not in SOURCE.load(job(), CLUSTER)


@pytest.mark.parametrize(("name", "whole"), [("flops_any", np.sum), ("clock", np.mean)])
def test_the_value_of_a_node_is_that_of_its_parts(name: str, whole: Any) -> None:
    scopes = SOURCE.load(job(1, duration=86400), CLUSTER)[name]
    parts = np.array([series.data for series in scopes["core"].series])
    np.testing.assert_allclose(scopes["node"].series[0].data, whole(parts, axis=0), atol=0.001)


def test_samples_are_plausible() -> None:
    samples = SOURCE.load(job(1, duration=86400 * 7), CLUSTER)["mem_used"]["node"].series[0].data
    present = samples[np.isfinite(samples)]
    assert present.min() >= 0
    assert present.max() <= 100
    assert 20 < np.median(present) <= 100
    assert samples[0] < np.median(present) / 2
    assert 0 < np.isnan(samples).sum() < samples.size / 50
    np.testing.assert_array_equal(present, np.round(present, 3))


@pytest.mark.parametrize(("duration", "steps"), [(0, 1), (59, 1), (60, 1), (150, 2), (3600, 60)])
def test_there_is_a_sample_per_time_step_and_at_least_one(duration: int, steps: int) -> None:
    series = SOURCE.load(job(duration=duration), CLUSTER)["mem_used"]["node"].series[0]
    assert series.data.size == steps
    assert np.isfinite(series.data[-1])


def test_a_job_of_one_sample_always_has_it() -> None:
    for job_id in range(1, 1001):
        short = dataclasses.replace(job(1, duration=30), job_id=job_id)
        assert np.isfinite(SOURCE.load(short, None, ["mem_used"])["mem_used"]["node"].series[0].data).all()


def test_a_stop_before_the_start_counts_as_no_time() -> None:
    assert SOURCE.load(job(duration=-50), CLUSTER)["mem_used"]["node"].series[0].data.size == 1


def test_very_long_jobs_stay_within_memory_by_longer_time_steps(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(synthetic, "MAX_SAMPLES", 1000)
    long = job(duration=36_000)
    loaded = SOURCE.load(long, CLUSTER)
    count = sum(series.data.size for scopes in loaded.values() for data in scopes.values() for series in data.series)
    assert count <= 1000
    used = loaded["mem_used"]["node"]
    assert used.timestep % 60 == 0
    assert used.timestep * used.series[0].data.size > 36_000 - used.timestep
    assert encode_data(SOURCE.load(long, CLUSTER, ["mem_used"])) == encode_data({"mem_used": loaded["mem_used"]})


def test_only_the_metrics_asked_for_are_loaded() -> None:
    assert list(SOURCE.load(job(), CLUSTER, ["clock", "unknown"])) == ["clock"]
    assert SOURCE.load(job(), CLUSTER, []) == {}


def test_a_job_of_a_cluster_without_a_file_has_a_few_metrics_of_scope_node() -> None:
    loaded = SOURCE.load(job(), None)
    assert {"cpu_load", "mem_used", "flops_any"} <= loaded.keys()
    assert all(list(scopes) == ["node"] for scopes in loaded.values())


def test_hosts_outside_every_node_list_have_scope_node() -> None:
    stray = JobInfo("demo", "", 7, 1000, 2000, [Resource("elsewhere")], 1)
    assert list(SOURCE.load(stray, CLUSTER)["flops_any"]) == ["node"]


def test_the_source_none_has_no_samples_and_archives_none() -> None:
    assert NoneSource().load(job(), CLUSTER) == {}
    assert not NoneSource.archives_data
    assert SyntheticSource.archives_data


def test_the_entry_of_a_cluster_comes_before_that_of_all_and_without_any_there_is_none() -> None:
    config = {"demo": {"kind": "synthetic"}, "*": {"kind": "none"}}
    assert isinstance(get_source("demo", config), SyntheticSource)
    assert isinstance(get_source("other", config), NoneSource)
    assert isinstance(get_source("other", {"demo": {"kind": "synthetic"}}), NoneSource)
    assert get_source("demo", config) is get_source("demo", {"demo": {"kind": "synthetic"}})


@pytest.mark.parametrize("entry", [{"kind": "tape"}, {}, {"kind": "none", "url": "x"}])
def test_a_bad_entry_is_an_error_that_stays(entry: dict[str, Any]) -> None:
    with pytest.raises(SourceError, match=r"METRIC_SOURCES.*'demo'") as caught:
        get_source("demo", {"*": entry})
    assert not caught.value.transient


@pytest.mark.parametrize(
    ("config", "words"),
    [
        ({"demo": {"kind": "tape"}}, ["demo", "tape", "none, prometheus, synthetic"]),
        ({"demo": {}}, ["demo", "kind", "null"]),
        ({"demo": {"kind": ["none"]}}, ["demo", "kind"]),
        ({"demo": "synthetic"}, ["demo", "a text", "object"]),
        ({"*": {"kind": "synthetic", "url": "x"}}, ["*", "url"]),
        ({"../up": {"kind": "none"}}, ["../up", "cluster name"]),
        ("none", ["a text", "object"]),
    ],
)
def test_a_wrong_configuration_is_named(config: Any, words: list[str]) -> None:
    messages = validate_config(config)
    assert len(messages) == 1
    assert [word for word in words if word not in messages[0]] == []


def test_a_right_configuration_has_no_faults() -> None:
    assert validate_config({"demo": {"kind": "synthetic"}, "*": {"kind": "none"}}) == []
    assert validate_config({}) == []


def test_a_cluster_without_topologies_has_scope_node_alone() -> None:
    bare = Cluster("demo", CLUSTER.metrics, ())
    assert {tuple(scopes) for scopes in SOURCE.load(job(), bare).values()} == {("node",)}
