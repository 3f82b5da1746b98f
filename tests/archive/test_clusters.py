"""cluster.json: node lists, topologies, overrides, and reading files again after a change."""

import copy
import json
import logging
import os
import re
import time
from pathlib import Path
from typing import Any

import pytest

from archive.clusters import ClusterRegistry, registry_for
from archive.exceptions import DocumentError
from archive.format.cluster_json import Cluster, Topology, decode_cluster
from archive.format.nodelist import NodeList
from tests.support.paths import DATA

DEMO: dict[str, Any] = {
    "name": "demo",
    "metricConfig": [
        {
            "name": "cpu_load",
            "unit": {"base": ""},
            "scope": "node",
            "aggregation": "avg",
            "timestep": 60,
            "peak": 4,
            "normal": 4,
            "caution": 2,
            "alert": 1,
            "subClusters": [
                {"name": "gpu", "peak": 8, "normal": 8.5, "remove": False},
                {"name": "old", "remove": True},
            ],
        }
    ],
    "subClusters": [
        {
            "name": "main",
            "nodes": "n[01-16],login1",
            "processorType": "X",
            "socketsPerNode": 1,
            "topology": {
                "node": [0, 1, 2, 3],
                "socket": [[0, 1], [2, 3]],
                "memoryDomain": [[0, 1, 2, 3]],
                "core": [[0, 2], [1, 3]],
                "accelerators": [{"id": "00:01", "type": "GPU", "model": "A40"}],
            },
        },
        {"name": "gpu", "nodes": "*"},
    ],
}


def put(root: Path, document: Any, name: str = "demo") -> Path:
    """Write a cluster.json by rename, as editors and deployment tools do."""
    path = root / name / "cluster.json"
    path.parent.mkdir(exist_ok=True, parents=True)
    temp = path.with_suffix(".new")
    temp.write_text(document if isinstance(document, str) else json.dumps(document))
    temp.replace(path)
    return path


def changed(**keys: Any) -> dict[str, Any]:
    """Return the demo cluster with other top-level keys."""
    return {**copy.deepcopy(DEMO), **keys}


@pytest.mark.parametrize(
    ("text", "inside", "outside"),
    [
        ("n[01-16],login1", ["n01", "n16", "login1"], ["n1", "n17", "n00", "n001", "n", "login", "login11", "xn01"]),
        ("n[01-16,20-22,30]", ["n16", "n21", "n30"], ["n17", "n19", "n23", "n31"]),
        ("w11[27-45]", ["w1127", "w1145"], ["w1126", "w27", "w1227", "w11027"]),
        ("n[8-12]", ["n8", "n9", "n10", "n12"], ["n08", "n7", "n13", "n012"]),
        ("n[01-05]-ib", ["n01-ib", "n05-ib"], ["n01", "n06-ib", "n01-ib2"]),
        ("r[1-2]c[01-03]", ["r1c01", "r2c03"], ["r3c01", "r1c04", "r1", "c01"]),
        ("a[0001-9999]", ["a0001", "a9999"], ["a0000", "a00001", "a10000", "a1", "a²001"]),
        ("*", ["anything", "n01"], []),
        ("n1,*", ["anything"], []),
        (" n1 , n2 ", ["n1", "n2"], ["n3", " n1"]),
        ("", [], ["", "n1"]),
        ("n[01-04],,n07,", ["n01", "n04", "n07"], ["", "n05", ","]),
        (" , ,n1", ["n1"], ["", " "]),
        (",", [], [""]),
        ("n[01-04,,07,]", ["n01", "n07"], ["n", "n05"]),
    ],
)
def test_a_node_list_holds_exactly_its_hosts(text: str, inside: list[str], outside: list[str]) -> None:
    nodes = NodeList.parse(text)
    assert [host for host in inside if host not in nodes] == []
    assert [host for host in outside if host in nodes] == []


@pytest.mark.parametrize(
    "text",
    [
        "n[01-16",
        "n01-16]",
        "n[]",
        "n[a-b]",
        "n[16-01]",
        "n[100-20]",
        "a b",
        "a,],b",
        "n[,]",
        "n[1-2",
        "a/b",
        "n[1--2]",
        "n[[1]]",
    ],
)
def test_a_malformed_node_list_is_an_error(text: str) -> None:
    with pytest.raises(DocumentError, match="node list"):
        NodeList.parse(text)


def test_hosts_of_a_node_list_come_in_its_order_and_padded() -> None:
    hosts = list(NodeList.parse("n[08-10,02],login1,r[1-2]c[1-2]").hosts())
    assert hosts == ["n08", "n09", "n10", "n02", "login1", "r1c1", "r1c2", "r2c1", "r2c2"]


@pytest.mark.parametrize("text", ["n[1-3],n2,n[2-4]", "n1,n2,n3,n4,n1", "n[1,1,2-4,3]", "n4,n[1-4]"])
def test_a_node_listed_twice_counts_once(text: str) -> None:
    assert sorted(NodeList.parse(text).hosts()) == ["n1", "n2", "n3", "n4"]


def test_a_node_counts_for_the_first_subcluster_that_names_it_and_a_star_is_the_rest() -> None:
    parts = [{"name": "all", "nodes": "*"}, {"name": "a", "nodes": "n[1-3],n2"}, {"name": "b", "nodes": "n[3-4]"}]
    cluster = decode_cluster(json.dumps({"name": "c", "subClusters": parts}).encode())
    assert cluster.hosts_of(10) == {"all": None, "a": ["n1", "n2", "n3"], "b": ["n4"]}
    assert cluster.hosts_of(2) == {"all": None, "a": ["n1", "n2"], "b": ["n3", "n4"]}
    found = {host: cluster.subcluster_of(host) for host in ("n1", "n3", "n4", "x")}
    assert {host: part and part.name for host, part in found.items()} == {"n1": "a", "n3": "a", "n4": "b", "x": "all"}


@pytest.mark.parametrize(
    ("text", "written"),
    [
        ("n[08-10,02],login1", "n[08-10,02],login1"),
        (" a[1-2]c[01-04]x , b", "a1c[01-04]x,a2c[01-04]x,b"),
        ("*", "*"),
        ("b,*", "*,b"),
        ("", ""),
    ],
)
def test_a_node_list_can_be_written_again(text: str, written: str) -> None:
    nodes = NodeList.parse(text)
    assert str(nodes) == written
    if not nodes.matches_all:
        assert list(NodeList.parse(written).hosts()) == list(nodes.hosts())


def test_a_list_of_every_host_cannot_be_listed() -> None:
    with pytest.raises(ValueError, match="every host"):
        NodeList.parse("*").hosts()


def test_a_long_range_is_not_expanded() -> None:
    nodes = NodeList.parse("a[000000000001-999999999999]")
    assert "a500000000000" in nodes
    with pytest.raises(DocumentError, match="too many"):
        NodeList.parse("a[000001-999999]b[1-2]")


def test_a_lookup_stays_fast_with_many_ranges() -> None:
    nodes = NodeList.parse(",".join(f"n[{start:06d}-{start + 5:06d}]" for start in range(0, 100_000, 10)))
    begin = time.perf_counter()
    for _ in range(10_000):
        assert "n099999" not in nodes
    assert time.perf_counter() - begin < 1.0


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


def test_a_registry_knows_the_clusters_on_disk(tmp_path: Path) -> None:
    registry = ClusterRegistry(tmp_path / "missing")
    assert registry.get("demo") is None
    assert registry.names() == []
    assert not registry.configured
    put(tmp_path, DEMO)
    put(tmp_path, {"name": "alex"}, "alex")
    (tmp_path / "version.txt").write_text("1")
    registry = ClusterRegistry(tmp_path)
    assert registry.names() == ["alex", "demo"]
    assert registry.configured
    assert registry.errors == {}


def test_a_changed_file_is_read_again_after_the_interval_and_not_before(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    now = 1000.0
    monkeypatch.setattr(time, "monotonic", lambda: now)
    put(tmp_path, DEMO)
    registry = ClusterRegistry(tmp_path)
    before = registry.get("demo")
    put(tmp_path, changed(subClusters=[]))
    now += 4.9
    assert registry.get("demo") is before
    now += 0.2
    after = registry.get("demo")
    assert after is not None
    assert after.subclusters == ()


def test_an_unchanged_file_is_not_read_again(tmp_path: Path) -> None:
    put(tmp_path, DEMO)
    registry = ClusterRegistry(tmp_path, check_interval=0)
    assert registry.get("demo") is registry.get("demo")


def test_a_file_of_same_size_and_time_is_still_seen_as_another(tmp_path: Path) -> None:
    path = put(tmp_path, DEMO)
    registry = ClusterRegistry(tmp_path, check_interval=0)
    registry.get("demo")
    status = path.stat()
    put(tmp_path, json.dumps(DEMO).replace("login1", "login2"))
    os.utime(path, ns=(status.st_atime_ns, status.st_mtime_ns))
    cluster = registry.get("demo")
    assert cluster is not None
    assert "login2" in cluster.subclusters[0].nodes


def test_a_broken_file_leaves_the_last_good_one_in_force_and_is_logged_once(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    put(tmp_path, DEMO)
    registry = ClusterRegistry(tmp_path, check_interval=0)
    good = registry.get("demo")
    with caplog.at_level(logging.ERROR, "archive.clusters"):
        put(tmp_path, "{broken")
        for _ in range(3):
            assert registry.get("demo") is good
    assert len(caplog.records) == 1
    assert "cluster.json" in registry.errors["demo"]
    put(tmp_path, changed(subClusters=[]))
    after = registry.get("demo")
    assert after is not None
    assert after.subclusters == ()
    assert registry.errors == {}


def test_a_metric_left_out_is_logged_and_the_cluster_works(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    put(tmp_path, changed(metricConfig=[{"name": "m", "timestep": -1}, {"name": "n"}]))
    with caplog.at_level(logging.ERROR, "archive.clusters"):
        cluster = ClusterRegistry(tmp_path).get("demo")
    assert cluster is not None
    assert [metric.name for metric in cluster.metrics] == ["n"]
    assert "timestep -1: expected seconds" in caplog.text
    assert "the metric is left out" in caplog.text


@pytest.mark.parametrize("spoil", ["deep", "not UTF-8", "folder", "link to itself", "huge number"])
def test_one_cluster_that_cannot_be_read_spoils_no_other(tmp_path: Path, spoil: str) -> None:
    put(tmp_path, DEMO)
    put(tmp_path, {"name": "alex"}, "alex")
    registry = ClusterRegistry(tmp_path, check_interval=0)
    good = registry.get("alex")
    assert good is not None
    path = tmp_path / "alex/cluster.json"
    path.unlink()
    if spoil == "folder":
        path.mkdir()
    elif spoil == "link to itself":
        path.symlink_to(path)
    else:
        number = b'{"name": "alex", "x": 1e999}'
        texts = {"deep": b"[" * 99_999, "not UTF-8": b'{"name": "\xff"}', "huge number": number}
        path.write_bytes(texts[spoil])
    for fresh in (registry, ClusterRegistry(tmp_path)):
        assert fresh.get("demo") is not None
        assert fresh.failure("alex")
        assert fresh.failure("demo") is None
        assert str(path) in fresh.errors["alex"]
    assert registry.get("alex") is good


def test_a_file_that_was_never_good_counts_as_configured(tmp_path: Path) -> None:
    put(tmp_path, "{broken")
    registry = ClusterRegistry(tmp_path)
    assert registry.get("demo") is None
    assert registry.names() == []
    assert registry.configured


def test_a_file_that_cannot_be_opened_is_tried_again(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    path = put(tmp_path, DEMO)
    registry = ClusterRegistry(tmp_path, check_interval=0)
    good = registry.get("demo")
    path.unlink()
    path.mkdir()
    with caplog.at_level(logging.ERROR, "archive.clusters"):
        assert registry.get("demo") is good
        assert registry.get("demo") is good
    assert len(caplog.records) == 1
    assert "demo" in registry.errors
    path.rmdir()
    put(tmp_path, changed(subClusters=[]))
    assert registry.get("demo") is not good


def test_the_file_of_another_cluster_is_an_error(tmp_path: Path) -> None:
    put(tmp_path, DEMO, "other")
    assert "expected 'other'" in ClusterRegistry(tmp_path).errors["other"]


def test_a_cluster_whose_file_is_gone_is_gone(tmp_path: Path) -> None:
    put(tmp_path, {"name": "alex"}, "alex")
    path = put(tmp_path, DEMO)
    registry = ClusterRegistry(tmp_path, check_interval=0)
    assert registry.get("demo") is not None
    path.unlink()
    assert registry.get("demo") is None
    assert registry.names() == ["alex"]


def test_all_files_gone_at_once_is_taken_for_a_file_system_that_is_away(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    root = tmp_path / "archive"
    put(root, DEMO)
    registry = ClusterRegistry(root, check_interval=0)
    good = registry.get("demo")
    root.rename(tmp_path / "away")
    with caplog.at_level(logging.ERROR, "archive.clusters"):
        assert registry.get("demo") is good
        assert registry.configured
    assert len(caplog.records) == 1
    (tmp_path / "away").rename(root)
    assert registry.get("demo") is good


def test_a_lookup_between_checks_costs_next_to_nothing(tmp_path: Path) -> None:
    put(tmp_path, DEMO)
    registry = ClusterRegistry(tmp_path, check_interval=60)
    registry.get("demo")
    begin = time.perf_counter()
    for _ in range(100_000):
        registry.get("demo")
    assert time.perf_counter() - begin < 1.0


def test_the_registry_of_a_root_is_shared(tmp_path: Path) -> None:
    assert registry_for(tmp_path) is registry_for(Path(str(tmp_path)))
