"""Samples that a check finds fault with: later than they were, more than the job can have, values that cannot be."""

import gzip
import json
from typing import Any

import pytest

from archive.check.findings import Code, Severity
from archive.check.repair import repair
from archive.storage.store import ArchiveStore
from tests.conftest import TEST_CLUSTER
from tests.support.checked_jobs import KEY, check, codes, edit, only, set_series

pytestmark = pytest.mark.usefixtures("configured")

Samples = list[float | None]


def late(missing: int, *, twice: int | None = None, steps: int = 40) -> Samples:
    """Return a series whose store began some steps late, with as many nulls again (or `twice`) in front."""
    padding: Samples = [None] * (missing + (missing if twice is None else twice))
    return padding + [1 + step % 3 for step in range(missing, steps)]


def data_of(store: ArchiveStore) -> Any:
    """Return cpu_load in scope node."""
    return json.loads(store.read_data(KEY))["cpu_load"]["node"]


@pytest.mark.parametrize(
    "samples",
    [late(10), late(10, twice=11), late(1, twice=2), late(39), late(10, steps=41), late(10, steps=39), late(20)],
)
def test_samples_that_were_archived_too_late_move_back(store: ArchiveStore, samples: Samples) -> None:
    folder = set_series(store, samples, late(0))
    meta = (folder / "meta.json").read_bytes()
    missing = samples.count(None)
    finding = only(store, Code.SHIFTED)
    assert finding.code.severity == Severity.WARNING
    assert f"cpu_load.node n01: {len(samples)} samples; expected at most 41 for the first" in finding.message

    assert repair(store.root, finding) == "1 series moved back"

    first, second = data_of(store)["series"]
    assert first["data"] == [None] * (missing - missing // 2) + [each for each in samples if each is not None]
    assert second["data"] == late(0)
    assert (folder / "meta.json").read_bytes() == meta
    assert check(store) == []
    assert repair(store.root, finding) == ""


def test_statistics_per_step_follow_the_samples(store: ArchiveStore) -> None:
    set_series(store, *[late(10)] * 16)
    finding = only(store, Code.SHIFTED)
    assert "cpu_load.node n01 and 15 more series" in finding.message
    assert repair(store.root, finding) == "16 series moved back"
    assert data_of(store)["statisticsSeries"]["mean"] == late(10, twice=0)
    assert check(store) == []


def test_plain_data_stays_plain(store: ArchiveStore) -> None:
    folder = set_series(store, late(10))
    (folder / "data.json").write_bytes(gzip.decompress((folder / "data.json.gz").read_bytes()))
    (folder / "data.json.gz").unlink()
    assert repair(store.root, only(store, Code.SHIFTED))
    assert sorted(path.name for path in folder.iterdir()) == ["data.json", "meta.json"]
    assert len(json.loads((folder / "data.json").read_bytes())["cpu_load"]["node"]["series"][0]["data"]) == 40


@pytest.mark.parametrize(
    "samples",
    [late(0, steps=50), late(2, steps=50), late(5, twice=0, steps=50), [None] * 50, [None] * 30 + late(0, steps=20)],
)
def test_a_series_that_is_too_long_without_proof_is_named_and_stays(store: ArchiveStore, samples: Samples) -> None:
    folder = set_series(store, samples)
    files = {path.name: path.read_bytes() for path in folder.iterdir()}
    (finding,) = [finding for finding in check(store) if finding.code == Code.TOO_LONG]
    assert "samples; expected at most 41" in finding.message
    assert repair(store.root, finding) == ""
    assert {path.name: path.read_bytes() for path in folder.iterdir()} == files


def test_of_two_kinds_each_is_named_and_the_proven_one_repaired(store: ArchiveStore) -> None:
    set_series(store, late(10), late(0, steps=50))
    findings = {finding.code: finding for finding in check(store)}
    assert findings.keys() == {Code.SHIFTED, Code.TOO_LONG}
    assert repair(store.root, findings[Code.SHIFTED]) == "1 series moved back"
    assert codes(store) == [Code.TOO_LONG]


@pytest.mark.parametrize(("steps", "duration"), [(40, 2400), (41, 2400), (41, 2459), (10, 600), (50, 0)])
def test_a_series_as_long_as_the_job_is_none(store: ArchiveStore, steps: int, duration: int) -> None:
    set_series(store, late(5, twice=0, steps=steps), duration=duration)
    assert check(store) == []


@pytest.mark.parametrize(
    ("sample", "unit", "message"),
    [
        (2.0**63, "", "stand for no value"),
        (2.0**47 * 100, "", "stand for no value"),
        (40.5, "", "40.5 is above 10 times the peak"),
        (1e18, "", "1e+18 is above 10 times the peak"),
        (-1.0, "W", "-1 is below zero"),
        (-1.0, "B/s", "-1 is below zero"),
    ],
)
def test_samples_that_cannot_be_are_named_and_kept(store: ArchiveStore, sample: float, unit: str, message: str) -> None:
    metric = TEST_CLUSTER["metricConfig"][0] | {"unit": {"base": unit}}
    store.write_cluster("testcluster", json.dumps(TEST_CLUSTER | {"metricConfig": [metric]}).encode())
    set_series(store, [1, 2, None], [1, sample, None])
    finding = only(store, Code.IMPOSSIBLE)
    assert finding.code.severity == Severity.WARNING
    assert finding.message.startswith("cpu_load.node n02: ")
    assert message in finding.message
    assert repair(store.root, finding) == ""
    assert data_of(store)["series"][1]["data"] == [1, sample, None]


@pytest.mark.parametrize(("sample", "peak"), [(40.0, 4), (-1.0, 4), (1e6, 0)])
def test_samples_that_can_be_are_none(store: ArchiveStore, sample: float, peak: float) -> None:
    metric = TEST_CLUSTER["metricConfig"][0] | {"peak": peak}
    store.write_cluster("testcluster", json.dumps(TEST_CLUSTER | {"metricConfig": [metric]}).encode())
    set_series(store, [1, sample])
    assert check(store) == []


def test_statistics_that_count_a_blank_are_named(store: ArchiveStore) -> None:
    folder = set_series(store, [1, 2.0**63])
    edit(folder / "data.json.gz", lambda data: data["cpu_load"]["node"]["series"][0]["statistics"].update(max=2.0**63))
    assert set(codes(store)) == {Code.IMPOSSIBLE, Code.WRONG_STATISTICS}
