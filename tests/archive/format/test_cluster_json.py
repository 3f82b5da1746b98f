"""cluster.json: what becomes of a file, and what is refused."""

import json
import re
from typing import Any

import pytest

from archive.exceptions import DocumentError
from archive.format.cluster_json import Cluster, Topology, decode_cluster
from tests.support.demo_cluster import DEMO, changed
from tests.support.paths import DATA


def test_a_cluster_file_becomes_objects() -> None:
    cluster = decode_cluster(json.dumps(DEMO).encode())
    assert cluster.name == "demo"
    main = cluster.subcluster("main")
    assert main is not None
    assert main.processor_type == "X"
    assert main.topology.accelerators[0].id == "00:01"
    assert cluster.subcluster("none") is None
    first, second = cluster.subcluster_of("n02"), cluster.subcluster_of("other")
    assert first is main
    assert second is not None
    assert second.name == "gpu"


def test_a_subcluster_overrides_thresholds_and_removes_metrics() -> None:
    metric = decode_cluster(json.dumps(DEMO).encode()).metrics[0]
    gpu = metric.for_subcluster("gpu")
    assert gpu is not None
    assert (gpu.peak, gpu.normal, gpu.caution, gpu.alert) == (8, 8.5, 2, 1)
    assert metric.for_subcluster("old") is None
    assert metric.for_subcluster("main") is metric


def test_units_of_hwthreads_are_found_by_topology() -> None:
    topology = Topology(
        node=(0, 1, 2, 3), socket=((0, 1), (2, 3)), memory_domain=((0, 1, 2, 3),), core=((0, 2), (1, 3))
    )
    assert topology.cores_of([3, 1]) == [1]
    assert topology.cores_of([3, 2]) == [0, 1]
    assert topology.sockets_of([2]) == [1]
    assert topology.memory_domains_of([0, 3]) == [0]
    assert topology.cores_of([99]) == []


def test_unknown_keys_are_ignored_and_missing_ones_have_defaults() -> None:
    metric, subcluster = {"name": "m", "y": {}}, {"name": "s", "topology": None}
    raw = json.dumps({"x": 1, "name": "c", "metricConfig": [metric], "subClusters": [subcluster]}).encode()
    cluster = decode_cluster(raw)
    assert cluster.metrics[0].unit == {"base": ""}
    assert cluster.metrics[0].scope == "node"
    assert cluster.metrics[0].timestep == 60
    assert cluster.subclusters[0].topology == Topology()
    assert "n1" not in cluster.subclusters[0].nodes
    assert decode_cluster(b'{"name": "c"}') == Cluster("c", (), ())


@pytest.mark.parametrize(
    ("document", "place"),
    [
        ("{", "truncated"),
        ("[]", "expected `object`"),
        ({"metricConfig": []}, "missing required field `name`"),
        ('{"x": ' + "[" * 100_000, "nested too deeply"),
        ({"name": "c", "metricConfig": {}}, r"expected `array .*\$\.metricConfig"),
        ({"name": "c", "subClusters": [{"name": "a"}, {"name": "b", "nodes": "n[1"}]}, r"n\[1.*\$\.subClusters\[1\]"),
        ({"name": "c", "subClusters": [{"name": "a"}, {"name": "a"}]}, r"twice.*\$\.subClusters\[1\]\.name"),
        (
            {"name": "c", "subClusters": [{"name": "a", "topology": {"core": [0]}}]},
            r"\.topology\.core\[0\]|core\[\.\.\.\]",
        ),
    ],
)
def test_a_malformed_file_is_an_error_that_names_the_place(document: Any, place: str) -> None:
    raw = document if isinstance(document, str) else json.dumps(document)
    with pytest.raises(DocumentError, match=f"(?i){place}"):
        decode_cluster(raw.encode())


@pytest.mark.parametrize(
    ("entry", "place"),
    [
        ({"name": "m", "timestep": "soon"}, r"int.*\$\.metricConfig\[1\]\.timestep`"),
        ({"name": "m", "timestep": 0}, r"above zero.*\$\.metricConfig\[1\]`"),
        ({"name": "m", "scope": "rack"}, r"'rack'.*\$\.metricConfig\[1\]`"),
        ({"name": "m", "subClusters": [{"peak": 1}]}, r"`name` - at `\$\.metricConfig\[1\]\.subClusters\[0\]`"),
        ({"name": "m", "peak": {}}, r"\$\.metricConfig\[1\]\.peak`"),
        ({"timestep": 60}, r"`name` - at `\$\.metricConfig\[1\]`"),
        ({"name": "good"}, r"'good' comes twice.*\$\.metricConfig\[1\]\.name`"),
        ("m", r"expected `object`, got `str` - at `\$\.metricConfig\[1\]`"),
        ([], r"\$\.metricConfig\[1\]`"),
    ],
)
def test_a_metric_that_cannot_be_read_costs_that_metric_alone(entry: Any, place: str) -> None:
    raw = json.dumps({"name": "c", "metricConfig": [{"name": "good"}, entry, {"name": "other"}]}).encode()
    cluster = decode_cluster(raw)
    assert [metric.name for metric in cluster.metrics] == ["good", "other"]
    assert re.search(f"(?i){place}$", cluster.faults[0])


def test_keys_may_have_another_case_and_null_means_missing() -> None:
    document = changed(metricConfig=[{"Name": "m", "TIMESTEP": 30.0, "unit": {"Base": "B", "prefix": None}}])
    document["SubClusters"] = document.pop("subClusters")
    document["SubClusters"][0]["Topology"] = document["SubClusters"][0].pop("topology") | {"die": None, "CORE": [[7]]}
    cluster = decode_cluster(json.dumps(document).replace('"accelerators"', '"Accelerators"').encode())
    assert (cluster.metrics[0].name, cluster.metrics[0].timestep, cluster.metrics[0].unit) == ("m", 30, {"base": "B"})
    assert cluster.subclusters[0].topology.accelerators[0].id == "00:01"
    assert cluster.subclusters[0].topology.core == ((0, 2), (1, 3))  # the exact key wins


@pytest.mark.parametrize("name", ["emmy", "alex"])
def test_each_host_of_a_cluster_has_a_subcluster(name: str) -> None:
    cluster = decode_cluster((DATA / f"cluster-{name}.json").read_bytes())
    for subcluster in cluster.subclusters:
        for host in subcluster.nodes.hosts():
            assert cluster.subcluster_of(host) is not None


def test_a_node_counts_for_the_first_subcluster_that_names_it_and_a_star_is_the_rest() -> None:
    parts = [{"name": "all", "nodes": "*"}, {"name": "a", "nodes": "n[1-3],n2"}, {"name": "b", "nodes": "n[3-4]"}]
    cluster = decode_cluster(json.dumps({"name": "c", "subClusters": parts}).encode())
    assert cluster.hosts_of(10) == {"all": None, "a": ["n1", "n2", "n3"], "b": ["n4"]}
    assert cluster.hosts_of(2) == {"all": None, "a": ["n1", "n2"], "b": ["n3", "n4"]}
    found = {host: cluster.subcluster_of(host) for host in ("n1", "n3", "n4", "x")}
    assert {host: part and part.name for host, part in found.items()} == {"n1": "a", "n3": "a", "n4": "b", "x": "all"}
