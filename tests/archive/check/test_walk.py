"""Checking an archive: what is walked through, by which processes, and that no damage is missed."""

import gzip
import multiprocessing
import os
import random
import shutil
from pathlib import Path
from typing import Any

import pytest

from archive.check import walk
from archive.check.findings import Code, Severity
from archive.check.repair import repair
from archive.check.walk import _BATCH, ArchiveCheck, CheckerDiedError, _check_listing
from archive.format.layout import JobKey
from archive.storage.store import ArchiveStore
from tests.support.checked_jobs import KEY, START, add_job, check, settle
from tests.support.on_disk import content
from tests.support.paths import SHARED


def test_nothing_is_found_in_an_intact_archive(store: ArchiveStore, folder: Path) -> None:
    add_job(store, JobKey("testcluster", 12, START), nodes=20)
    store.write_job(
        JobKey("testcluster", 13, START), b'{"jobId":13,"cluster":"testcluster","startTime":%d}' % START, None
    )
    before = content(store.root)
    reports = list(ArchiveCheck(store.root, processes=2).run())
    assert [finding for report in reports for finding in report.findings] == []
    assert sorted(key.job_id for report in reports for key in report.jobs) == [12, 13, KEY.job_id]
    assert sum(report.folders for report in reports) == ArchiveCheck(store.root).count_folders() == 3
    assert content(store.root) == before


def test_a_job_of_a_real_centre_has_imperfections_and_no_error(tmp_path: Path) -> None:
    sample = SHARED / "samples/archive"
    if not sample.exists():
        pytest.skip(f"the sample {sample} is not there")
    shutil.copytree(sample, tmp_path / "archive")
    findings = check(ArchiveStore(tmp_path / "archive"))
    assert {finding.code for finding in findings} == {
        Code.STOP_TIME,
        Code.AVERAGE_OUTSIDE,
        Code.UNKNOWN_HOST,
        Code.UNKNOWN_METRIC,
        Code.NO_STATISTICS,
        Code.WRONG_STATISTICS,
    }
    assert {finding.code.severity for finding in findings} == {Severity.WARNING}


def test_one_cluster_can_be_checked_alone(store: ArchiveStore, folder: Path) -> None:
    (folder / "meta.json").write_text("{")
    other = store.root / "other"
    other.mkdir()
    (other / "notes.txt").write_text("x")
    assert {finding.code for finding in check(store, "testcluster")} == {Code.BAD_META}
    assert {finding.code for finding in check(store, "other")} == {Code.STRAY, Code.NO_CLUSTER}


# Processes


def test_a_process_that_is_killed_is_an_error_and_no_waiting(store: ArchiveStore) -> None:
    for number in range(1, 200):
        store.write_meta(JobKey("testcluster", number, START), b"{}")
    run = ArchiveCheck(store.root, processes=2).run()
    next(run)
    for process in multiprocessing.active_children():
        process.kill()
    with pytest.raises(CheckerDiedError, match="killed"):
        list(run)


@pytest.mark.usefixtures("configured")
def test_the_walk_waits_for_the_processes(store: ArchiveStore, monkeypatch: pytest.MonkeyPatch) -> None:
    for number in range(1, 200):
        store.write_meta(JobKey("testcluster", number, START), b"{}")
    ahead: list[int] = []
    walked = 0

    def counted(folder: Path, depth: int, expected: tuple[str, ...] = ()) -> Any:
        nonlocal walked
        for item in _check_listing(folder, depth, expected):
            walked += depth == 3
            yield item

    monkeypatch.setattr(walk, "_check_listing", counted)
    done = 0
    for report in ArchiveCheck(store.root, processes=2).run():
        ahead.append(walked - done)
        done += report.folders
    assert done == 199
    assert max(ahead) <= _BATCH * (2 * 2 + 1)  # two batches for each process, and the one in hand


# Many corruptions at random


def corrupt(store: ArchiveStore, dice: random.Random, jobs: list[Path]) -> Path:
    """Damage something; return where a finding must be."""
    folder = dice.choice(jobs)
    kind = dice.choice(["cut", "json", "id", "no meta", "no data", "stray", "leftover", "temp above", "empty", "copy"])
    name = f"{dice.randrange(10**9)}"
    data = folder / "data.json.gz"
    if kind == "cut" and data.exists() and data.stat().st_size > 20:
        os.truncate(data, dice.randrange(data.stat().st_size - 8))
        return data
    if kind == "json" and data.exists():
        data.write_bytes(gzip.compress(b'{"cpu_load":' + b"[" * dice.randrange(9)))
        return data
    if kind == "id" and (folder / "meta.json").exists():
        (folder / "meta.json").write_text(f'{{"jobId":{dice.randrange(10**6, 10**9)},"cluster":"b","startTime":7}}')
        return folder / "meta.json"
    if kind == "no meta" and data.exists():
        (folder / "meta.json").unlink(missing_ok=True)
        return folder / "meta.json"
    if kind == "no data" and b'"avg"' in (
        (folder / "meta.json").read_bytes() if (folder / "meta.json").exists() else b""
    ):
        data.unlink(missing_ok=True)
        return folder / "meta.json"
    if kind == "leftover":
        (folder / f".meta.json.{name}.tmp").write_bytes(b"half")
        return folder / f".meta.json.{name}.tmp"
    if kind == "temp above":
        (folder.parent / f".x.{name}.tmp").write_bytes(b"half")
        return folder.parent / f".x.{name}.tmp"
    if kind == "empty":
        (store.root / "testcluster" / name).mkdir()
        settle(store.root / "testcluster" / name)
        return store.root / "testcluster" / name
    if kind == "copy" and data.exists() and is_whole(data):
        (folder / "data.json").write_bytes(gzip.decompress(data.read_bytes()))
        return folder / "data.json"
    (folder / f"notes-{name}.txt").write_bytes(b"x")
    return folder / f"notes-{name}.txt"


def is_whole(path: Path) -> bool:
    """Say whether a gzip file can be read."""
    try:
        gzip.decompress(path.read_bytes())
    except (OSError, EOFError):
        return False
    return True


@pytest.mark.usefixtures("configured")
def test_two_hundred_corruptions_are_found_and_repair_loses_no_intact_job(store: ArchiveStore) -> None:
    dice = random.Random(20261124)
    folders = [add_job(store, JobKey("testcluster", number * 37, START)) for number in range(1, 71)]
    intact, damaged = folders[:30], folders[30:]
    before = {path: path.read_bytes() for folder in intact for path in folder.iterdir()}
    # Also beside intact jobs there is what does not touch their own files.
    expected = {corrupt(store, dice, damaged) for _ in range(200)}
    for folder in (*damaged, *(folder.parent for folder in damaged)):
        settle(folder)
    findings = check(store)
    found = {finding.path for finding in findings}
    still_there = {path for path in expected if path.exists() or path.name == "meta.json"}
    assert still_there - found == set()
    repaired = [repair(store.root, finding) for finding in findings]
    assert sum(map(bool, repaired)) > 50
    assert {path: path.read_bytes() for path in before} == before
    left = check(store)
    state = content(store.root)
    assert not any(repair(store.root, finding) for finding in left)
    assert content(store.root) == state
    assert not {Code.LEFTOVER, Code.EMPTY_FOLDER} & {finding.code for finding in left}
