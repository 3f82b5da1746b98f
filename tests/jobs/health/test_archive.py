"""The health of the archive and its clusters: it is away, full or configured badly, and all faces say so."""

import json
import re
from pathlib import Path
from typing import Any

import pytest

from jobs.health import archive
from jobs.health.report import State
from jobs.models import FreeSpace
from tests.conftest import TEST_CLUSTER
from tests.jobs.health.conftest import Tell, now
from tests.support.clients import AppClient

pytestmark = pytest.mark.django_db


def test_an_archive_that_is_gone(tell: Tell, archive_root: Path, anonymous: AppClient) -> None:
    away = archive_root.rename(archive_root.with_name("away"))
    told = tell("archive")
    assert told.state == State.ERROR
    assert "cannot be written" in told.text
    answer = anonymous.get("/readyz")
    assert answer.status == 503
    assert [finding["check"] for finding in answer.json["findings"]] == ["archive"]

    away.rename(archive_root)
    assert tell("archive").state == State.OK
    assert anonymous.get("/readyz").json == {"ready": True, "findings": []}


def test_an_archive_that_cannot_be_written(tell: Tell, settings: Any, archive_root: Path) -> None:
    settings.ARCHIVE_ROOT = Path("/proc")  # not even for root
    told = tell("archive")
    assert told.state == State.ERROR
    assert "/proc cannot be written" in told.text
    settings.ARCHIVE_ROOT = archive_root
    assert tell("archive").state == State.OK


def test_an_archive_without_version(tell: Tell, archive_root: Path) -> None:
    (archive_root / "version.txt").unlink()
    told = tell("archive")
    assert told.state == State.WARNING
    assert "has no version.txt: is its file system mounted?" in told.text
    (archive_root / "version.txt").write_text("1\n")
    assert tell("archive").state == State.OK
    (archive_root / "version.txt").write_text("3\n")
    assert "archive version '3'" in tell("archive").text


@pytest.mark.parametrize(
    ("name", "state"), [("LITTLE_SPACE", State.WARNING), ("ALMOST_NO_SPACE", State.ERROR)], ids=str
)
def test_little_space_in_the_archive(tell: Tell, monkeypatch: pytest.MonkeyPatch, name: str, state: State) -> None:
    monkeypatch.setattr(archive, "LITTLE_SPACE", (0, 0))
    monkeypatch.setattr(archive, "ALMOST_NO_SPACE", (0, 0))
    assert tell("archive").state == State.OK
    monkeypatch.setattr(archive, name, (2, 1 << 62))  # more than any file system has
    told = tell("archive")
    assert told.state == state
    assert "nearly full" in told.text


def test_an_archive_that_fills_up(tell: Tell, monkeypatch: pytest.MonkeyPatch) -> None:
    found = archive.Space(10**12, 2 * 10**12)  # which nobody else writes to, unlike that of the tests
    monkeypatch.setattr(archive, "space", lambda: found)
    daily = found.free // 3  # in 3 days it is full
    FreeSpace.objects.create(hour=now() // 3600 - 3, free=found.free + daily)
    assert "days" not in tell("archive").text, "three hours say little"
    FreeSpace.objects.create(hour=now() // 3600 - 24, free=found.free + daily)
    told = tell("archive")
    assert told.state == State.WARNING
    assert "full in about 3 days at today's rate" in told.text
    FreeSpace.objects.filter(hour=now() // 3600 - 24).update(free=found.free + daily // 10)
    told = tell("archive")
    assert told.state == State.OK
    assert re.search("full in about 3[01] days", told.text), "the time since the full hour counts"
    FreeSpace.objects.update(free=found.free // 2)
    assert "days" not in tell("archive").text, "room was made"


def _subclusters(*nodes: str) -> dict[str, Any]:
    part = TEST_CLUSTER["subClusters"][0]
    return {"subClusters": [part | {"name": f"part{place}", "nodes": each} for place, each in enumerate(nodes)]}


BAD_CLUSTERS: dict[str, tuple[dict[str, Any] | None, State, str]] = {
    "half a file": (None, State.ERROR, "its last valid version is in use"),
    "no subcluster": ({"subClusters": []}, State.ERROR, "no subcluster"),
    "no nodes": (_subclusters(""), State.ERROR, "no subcluster"),
    "one without nodes": (_subclusters("n[01-40]", ""), State.WARNING, "part1 in"),
    "twice in a list": (_subclusters("n[01-40],n07"), State.WARNING, "lists n07 more than once"),
    "in two lists": (_subclusters("n[01-40]", "n[39-44]"), State.WARNING, "lists n39, n40 more than once"),
    "a metric": ({"metricConfig": [{"name": "x", "timestep": "often"}]}, State.WARNING, "the metric is left out"),
}


@pytest.mark.parametrize(("changes", "state", "words"), BAD_CLUSTERS.values(), ids=BAD_CLUSTERS.keys())
def test_a_cluster_that_is_configured_badly(
    tell: Tell, cluster: Path, changes: dict[str, Any] | None, state: State, words: str
) -> None:
    good = cluster.read_text()
    assert tell("clusters").state == State.OK
    cluster.write_text(good[:200] if changes is None else json.dumps(json.loads(good) | changes))
    told = tell("clusters")
    assert told.state == state
    assert words in told.text
    assert "testcluster" in told.text
    cluster.write_text(good)
    assert tell("clusters").state == State.OK
