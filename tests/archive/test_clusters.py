"""The registry of clusters: files that change, are bad, or go away."""

import json
import logging
import os
import time
from pathlib import Path
from typing import Any

import pytest

from archive.clusters import ClusterRegistry, registry_for
from tests.support.demo_cluster import DEMO, changed


def put(root: Path, document: Any, name: str = "demo") -> Path:
    """Write a cluster.json by rename, as editors and deployment tools do."""
    path = root / name / "cluster.json"
    path.parent.mkdir(exist_ok=True, parents=True)
    temp = path.with_suffix(".new")
    temp.write_text(document if isinstance(document, str) else json.dumps(document))
    temp.replace(path)
    return path


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
