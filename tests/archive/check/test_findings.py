"""Checking an archive's files: each kind of finding."""

import fcntl
import gzip
import os
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from archive.check.findings import Code, Severity
from archive.check.job import JobChecker
from archive.check.repair import repair
from archive.storage.removal import find, hide
from archive.storage.store import ArchiveStore
from tests.support.checked_jobs import KEY, START, add_job, check, codes, edit, only, settle

# The files of a job


@pytest.mark.parametrize("left", [0, 1, 20, -9, -1])
def test_a_cut_gzip_file_is_an_error(store: ArchiveStore, folder: Path, left: int) -> None:
    content = (folder / "data.json.gz").read_bytes()
    (folder / "data.json.gz").write_bytes(content[:left])
    finding = only(store, Code.BAD_DATA)
    assert finding.path == folder / "data.json.gz"
    assert "expected" in finding.message


def test_a_gzip_file_with_a_wrong_byte_is_an_error(store: ArchiveStore, folder: Path) -> None:
    content = bytearray((folder / "data.json.gz").read_bytes())
    content[len(content) // 2] ^= 0x55
    (folder / "data.json.gz").write_bytes(content)
    assert codes(store)[0] == Code.BAD_DATA


def test_wrong_json_in_data_is_an_error(store: ArchiveStore, folder: Path) -> None:
    (folder / "data.json.gz").write_bytes(gzip.compress(b'{"cpu_load": {"node": '))
    assert only(store, Code.BAD_DATA).job == KEY


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"{",
        b"[]",
        b'{"jobId": 1}',
        b'{"jobId":1034871,"cluster":"testcluster","startTime":"x"}',
        b'{"jobId":1034871,"cluster":"testcluster","startTime":1700000000,"statistics":{"m":{"avg":"high"}}}',
        b'{"jobId":1034871,"cluster":"\xff","startTime":1700000000}',
    ],
)
def test_a_broken_meta_json_is_an_error(store: ArchiveStore, folder: Path, content: bytes) -> None:
    (folder / "meta.json").write_bytes(content)
    assert only(store, Code.BAD_META).path == folder / "meta.json"


def test_data_without_meta_json_is_an_error(store: ArchiveStore, folder: Path) -> None:
    (folder / "meta.json").unlink()
    settle(folder)
    assert only(store, Code.META_MISSING).path == folder / "meta.json"


def test_a_job_that_is_being_written_is_none(
    store: ArchiveStore, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    meta = (folder / "meta.json").read_bytes()
    (folder / "meta.json").unlink()  # changes the folder's time to now
    naps: list[float] = []

    def writer_goes_on(seconds: float) -> None:
        naps.append(seconds)
        (folder / "meta.json").write_bytes(meta)

    monkeypatch.setattr("archive.check.job.time.sleep", writer_goes_on)
    assert JobChecker(store.root).check(folder) == []
    assert len(naps) == 1


def test_samples_that_statistics_tell_of_are_missed(store: ArchiveStore, folder: Path) -> None:
    (folder / "data.json.gz").unlink()
    assert only(store, Code.DATA_MISSING).path == folder / "meta.json"


def test_a_job_without_statistics_needs_no_data(store: ArchiveStore, folder: Path) -> None:
    (folder / "data.json.gz").unlink()
    edit(folder / "meta.json", lambda meta: meta.update(statistics={}))
    assert check(store) == []


@pytest.mark.parametrize(("name", "value"), [("jobId", 7), ("startTime", 5), ("cluster", "other")])
def test_a_job_in_the_folder_of_another_is_in_the_wrong_place(
    store: ArchiveStore, folder: Path, name: str, value: Any
) -> None:
    edit(folder / "meta.json", lambda meta: meta.update({name: value}))
    finding = only(store, Code.WRONG_PLACE)
    assert str(value) in finding.message
    assert "expected job 1034871 of testcluster" in finding.message


def test_the_same_job_under_two_places_is_a_duplicate(store: ArchiveStore, folder: Path) -> None:
    shutil.copytree(folder, folder.with_name("1700000001"))
    finding = only(store, Code.DUPLICATE)
    assert finding.path.parent.name == "1700000001"
    assert "testcluster/1034/871/1700000000 is there already" in finding.message


def test_two_data_files_are_a_warning(store: ArchiveStore, folder: Path) -> None:
    (folder / "data.json").write_bytes(store.read_data(KEY))
    assert only(store, Code.TWO_DATA_FILES).code.severity == Severity.WARNING


def test_plain_data_is_checked_too(store: ArchiveStore, folder: Path) -> None:
    (folder / "data.json").write_bytes(store.read_data(KEY)[:-10])
    (folder / "data.json.gz").unlink()
    assert only(store, Code.BAD_DATA).path == folder / "data.json"


# What else lies there


def test_the_rest_of_a_job_that_was_taken_out_is_a_leftover(store: ArchiveStore, folder: Path) -> None:
    other = add_job(store, KEY._replace(start_time=START + 1))
    hidden = hide(store, KEY._replace(start_time=START + 1))
    stray = folder.with_name(".snapshot.tmp")
    stray.mkdir()
    assert [(each.code, each.path) for each in check(store)] == [(Code.LEFTOVER, hidden), (Code.STRAY, stray)]
    assert repair(store.root, check(store)[0]) == "removed"
    assert not hidden.exists()
    assert not other.exists()
    assert (folder / "meta.json").exists()


def test_a_dead_temporary_file_is_a_leftover_and_that_of_a_live_writer_is_none(
    store: ArchiveStore, folder: Path
) -> None:
    live, dead = folder / ".meta.json.1-a.tmp", folder / ".meta.json.2-b.tmp"
    dead.write_bytes(b"half")
    above = store.root / "testcluster" / ".cluster.json.3-c.tmp"
    above.write_bytes(b"half")
    with live.open("wb") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        findings = check(store)
        assert [(each.code, each.path) for each in findings] == [(Code.LEFTOVER, above), (Code.LEFTOVER, dead)]
        assert [repair(store.root, finding) for finding in findings] == ["removed", "removed"]
        assert check(store) == []
        assert live.exists()
    assert only(store, Code.LEFTOVER).path == live


@pytest.mark.parametrize(
    "path",
    [
        "notes.txt",
        ".hidden/notes.txt",
        "testcluster/notes.txt",
        "testcluster/01/000/5/meta.json",
        "testcluster/notes/a",
        "testcluster/1034/notes.txt",
        "testcluster/1034/12/5/meta.json",
        "testcluster/1034/871/meta.json",
        "testcluster/1034/871/x/meta.json",
        "testcluster/1034/871/1700000000/notes.txt",
        "testcluster/1034/871/1700000000/data.json.bz2",
        "testcluster/1034/871/1700000000/sub/meta.json",
    ],
)
def test_what_does_not_belong_somewhere_is_stray_and_stays(store: ArchiveStore, folder: Path, path: str) -> None:
    stray = store.root / path
    stray.parent.mkdir(parents=True, exist_ok=True)
    stray.write_text("{}")
    finding = only(store, Code.STRAY)
    assert stray == finding.path or stray.is_relative_to(finding.path)
    assert repair(store.root, finding) == ""
    assert stray.exists()


def test_a_pipe_or_a_folder_in_place_of_a_file_is_stray(store: ArchiveStore, folder: Path) -> None:
    os.mkfifo(folder / "data.json")
    (folder / "meta.json").unlink()
    (folder / "meta.json").mkdir()
    settle(folder)
    assert sorted(codes(store)) == [Code.META_MISSING, Code.STRAY, Code.STRAY]


def test_what_file_systems_put_into_folders_is_a_warning_once_for_each_kind(store: ArchiveStore, folder: Path) -> None:
    other = add_job(store, KEY._replace(job_id=12))
    for place in (store.root, store.root / "testcluster", folder.parent, folder, other):
        (place / ".snapshot").mkdir()
        (place / "lost+found").mkdir()
        (place / ".DS_Store").write_bytes(b"x")
        (place / f".nfs00{place.name}").write_bytes(b"x")
        settle(place)
    findings = check(store)
    assert [each.code for each in findings] == [Code.FILE_SYSTEM] * 4
    assert Code.FILE_SYSTEM.severity == Severity.WARNING
    assert {each.message.partition(":")[0] for each in findings} == {".snapshot", "lost+found", ".DS_Store", ".nfs*"}
    assert sorted(store.iter_jobs()) == sorted([KEY, KEY._replace(job_id=12)])
    due = find(store, before=2 * START, trouble=pytest.fail)
    assert sorted(each.key for each in due) == sorted([KEY, KEY._replace(job_id=12)])


@pytest.mark.parametrize("path", ["testcluster/7", "testcluster/7/001", "testcluster/7/001/5"])
def test_empty_folders_are_removed_with_those_above_that_are_empty_by_that(
    store: ArchiveStore, folder: Path, path: str
) -> None:
    (store.root / path).mkdir(parents=True)
    settle(store.root / path)
    finding = only(store, Code.EMPTY_FOLDER)
    assert finding.path == store.root / path
    assert repair(store.root, finding) == "removed"
    assert not (store.root / "testcluster/7").exists()
    assert check(store) == []


def test_version_and_cluster_files_are_checked(store: ArchiveStore, folder: Path) -> None:
    (store.root / "version.txt").write_text("2")
    assert "'2', expected '1'" in only(store, Code.BAD_VERSION).message
    (store.root / "version.txt").unlink()
    assert check(store) == []  # reads as version 1
    edit(store.root / "testcluster/cluster.json", lambda cluster: cluster.update(name="other"))
    assert "expected 'testcluster'" in only(store, Code.BAD_CLUSTER).message
    (store.root / "testcluster/cluster.json").unlink()
    assert only(store, Code.NO_CLUSTER).code.severity == Severity.WARNING


# Imperfections


def assert_warning(store: ArchiveStore, code: Code, message: str) -> None:
    """Check that nothing but warnings is found, this one among them."""
    findings = check(store)
    assert {finding.code.severity for finding in findings} == {Severity.WARNING}
    assert any(finding.code == code and message in finding.message for finding in findings), findings


def change_series(metric: Any, **values: Any) -> None:
    """Change the statistics of the first series of scope node."""
    metric["cpu_load"]["node"]["series"][0]["statistics"].update(values)


@pytest.mark.parametrize(
    ("change", "code", "message"),
    [
        (lambda data: change_series(data, min=-5), Code.WRONG_STATISTICS, "cpu_load.node n01: min is -5; expected"),
        (lambda data: change_series(data, avg=1e9), Code.AVERAGE_OUTSIDE, "cpu_load.node n01: avg is not within"),
        (lambda data: data["cpu_load"]["node"]["series"][1].pop("statistics"), Code.NO_STATISTICS, "n02: without"),
        (lambda data: data["flops_any"].update(cabinet=data["flops_any"].pop("core")), Code.UNKNOWN_SCOPE, "cabinet"),
        (lambda data: data.update(new=data["cpu_load"]), Code.UNKNOWN_METRIC, "new: not in metricConfig"),
        (
            lambda data: data["cpu_load"]["node"]["series"][1].update(hostname="x1"),
            Code.UNKNOWN_HOST,
            "x1: in no node list",
        ),
        (
            lambda data: data["cpu_load"]["node"].update(statisticsSeries={"min": [1], "mean": [1], "max": [1]}),
            Code.WRONG_STATISTICS,
            "cpu_load.node.statisticsSeries: lengths 1, 1, 1; expected 15",
        ),
        (lambda data: data.pop("cpu_load"), Code.WRONG_STATISTICS, "statistics: cpu_load has no samples"),
    ],
)
def test_imperfections_of_data_are_warnings(
    store: ArchiveStore, folder: Path, change: Callable[[Any], object], code: Code, message: str
) -> None:
    edit(folder / "data.json.gz", change)
    assert_warning(store, code, message)


@pytest.mark.parametrize(
    ("change", "code", "message"),
    [
        (lambda meta: meta.update(stopTime=5), Code.STOP_TIME, "stopTime"),
        (lambda meta: meta["statistics"]["cpu_load"].update(max=77), Code.WRONG_STATISTICS, "cpu_load.max is 77"),
        (lambda meta: meta["statistics"].pop("cpu_load"), Code.WRONG_STATISTICS, "cpu_load is missing"),
        (
            lambda meta: meta["statistics"]["cpu_load"].update(avg=5, max=4),
            Code.AVERAGE_OUTSIDE,
            "statistics.cpu_load: avg is 5",
        ),
        (lambda meta: meta["resources"][0].update(hostname="login1"), Code.UNKNOWN_HOST, "login1"),
        (lambda meta: meta["statistics"].update(x=meta["statistics"]["cpu_load"]), Code.UNKNOWN_METRIC, "x: not in"),
    ],
)
def test_imperfections_of_meta_are_warnings(
    store: ArchiveStore, folder: Path, change: Callable[[Any], object], code: Code, message: str
) -> None:
    edit(folder / "meta.json", change)
    assert_warning(store, code, message)


def test_statistics_rounded_to_two_decimals_fit(store: ArchiveStore, folder: Path) -> None:
    def round_all(*found: dict[str, Any]) -> None:
        for statistics in found:
            statistics.update({name: round(statistics[name], 2) for name in ("min", "avg", "max")})

    def round_series(data: dict[str, Any]) -> None:
        for metric in (metric for scopes in data.values() for metric in scopes.values()):
            round_all(*(series["statistics"] for series in metric["series"]))

    edit(folder / "meta.json", lambda meta: round_all(*meta["statistics"].values()))
    edit(folder / "data.json.gz", round_series)
    assert check(store) == []
