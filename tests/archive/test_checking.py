"""Checking an archive's files: each kind of finding, what repair does about it, and what it never does."""

import fcntl
import gzip
import json
import multiprocessing
import os
import random
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from archive import checking
from archive.checking import ArchiveCheck, CheckerDiedError
from archive.clusters import decode_cluster
from archive.documents import Resource, encode_data
from archive.findings import Code, Finding, Severity
from archive.jobcheck import JobChecker
from archive.layout import JobKey, job_folder
from archive.repairing import repair
from archive.retention import hide
from archive.sources import JobInfo, SyntheticSource
from archive.statistics import job_statistics
from archive.store import ArchiveStore
from tests.conftest import TEST_CLUSTER
from tests.paths import PROJECT, SHARED

START = 1_700_000_000
KEY = JobKey("testcluster", 1034871, START)
CLUSTER = decode_cluster(json.dumps(TEST_CLUSTER).encode())


def add_job(store: ArchiveStore, key: JobKey = KEY, nodes: int = 2) -> Path:
    """Write a job with samples and return its folder, which looks as if nobody had touched it for a while."""
    hosts = [Resource(f"n{number:02d}") for number in range(1, nodes + 1)]
    data = SyntheticSource().load(JobInfo(key.cluster, "main", key.job_id, START, START + 900, hosts, nodes), CLUSTER)
    meta = {
        "jobId": key.job_id,
        "cluster": key.cluster,
        "startTime": key.start_time,
        "jobState": "completed",
        "resources": [{"hostname": host.hostname} for host in hosts],
        "statistics": job_statistics(data, CLUSTER),
    }
    store.write_job(key, json.dumps(meta).encode(), encode_data(data))
    return settle(job_folder(store.root, key))


def settle(folder: Path) -> Path:
    """Let a folder look as if nobody had touched it for an hour."""
    os.utime(folder, (START, START))
    return folder


@pytest.fixture
def store(tmp_path: Path) -> ArchiveStore:
    """Return an archive that testcluster is configured in."""
    store = ArchiveStore(tmp_path / "archive")
    store.prepare()
    store.write_cluster("testcluster", json.dumps(TEST_CLUSTER).encode())
    return store


@pytest.fixture
def folder(store: ArchiveStore) -> Path:
    """Return the folder of an intact job."""
    return add_job(store)


def check(store: ArchiveStore, cluster: str | None = None) -> list[Finding]:
    """Check the whole archive with one process."""
    reports = ArchiveCheck(store.root, cluster, processes=1).run()
    return sorted((finding for report in reports for finding in report.findings), key=lambda each: str(each.path))


def codes(store: ArchiveStore) -> list[Code]:
    """Return the kinds of what is found."""
    return [finding.code for finding in check(store)]


def only(store: ArchiveStore, code: Code) -> Finding:
    """Return the finding, of this kind, which must be the only one."""
    findings = check(store)
    assert [finding.code for finding in findings] == [code], findings
    return findings[0]


def edit(path: Path, change: Callable[[Any], object]) -> None:
    """Change a JSON file, compressed or not."""
    opener: Any = gzip.open if path.suffix == ".gz" else open
    with opener(path, "rt") as file:
        document = json.load(file)
    change(document)
    with opener(path, "wt") as file:
        json.dump(document, file)


def snapshot(root: Path) -> dict[str, bytes]:
    """Return the content of all files."""
    return {str(path.relative_to(root)): path.read_bytes() for path in root.rglob("*") if path.is_file()}


def test_nothing_is_found_in_an_intact_archive(store: ArchiveStore, folder: Path) -> None:
    add_job(store, JobKey("testcluster", 12, START), nodes=20)
    store.write_job(
        JobKey("testcluster", 13, START), b'{"jobId":13,"cluster":"testcluster","startTime":%d}' % START, None
    )
    before = snapshot(store.root)
    reports = list(ArchiveCheck(store.root, processes=2).run())
    assert [finding for report in reports for finding in report.findings] == []
    assert sorted(key.job_id for report in reports for key in report.jobs) == [12, 13, KEY.job_id]
    assert sum(report.folders for report in reports) == ArchiveCheck(store.root).count_folders() == 3
    assert snapshot(store.root) == before


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


# Kinds of findings: the files of a job


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

    monkeypatch.setattr("archive.jobcheck.time.sleep", writer_goes_on)
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


# Kinds of findings: what else lies there


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


def test_the_folder_that_a_file_system_makes_in_its_root_is_none_of_ours(store: ArchiveStore, folder: Path) -> None:
    (store.root / "lost+found").mkdir()
    assert check(store) == []


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


def test_one_cluster_can_be_checked_alone(store: ArchiveStore, folder: Path) -> None:
    (folder / "meta.json").write_text("{")
    other = store.root / "other"
    other.mkdir()
    (other / "notes.txt").write_text("x")
    assert {finding.code for finding in check(store, "testcluster")} == {Code.BAD_META}
    assert {finding.code for finding in check(store, "other")} == {Code.STRAY, Code.NO_CLUSTER}


# Kinds of findings: imperfections


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
    findings = check(store)
    assert {finding.code.severity for finding in findings} == {Severity.WARNING}
    assert any(finding.code == code and message in finding.message for finding in findings), findings


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
    findings = check(store)
    assert {finding.code.severity for finding in findings} == {Severity.WARNING}
    assert any(finding.code == code and message in finding.message for finding in findings), findings


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


# Repair


def test_a_plain_copy_of_the_compressed_data_is_removed(store: ArchiveStore, folder: Path) -> None:
    (folder / "data.json").write_bytes(store.read_data(KEY))
    assert "holds the same" in repair(store.root, only(store, Code.TWO_DATA_FILES))
    assert sorted(path.name for path in folder.iterdir()) == ["data.json.gz", "meta.json"]


def test_other_plain_data_beside_the_compressed_stays(store: ArchiveStore, folder: Path) -> None:
    (folder / "data.json").write_bytes(b"{}")
    finding = only(store, Code.TWO_DATA_FILES)
    assert repair(store.root, finding) == ""
    assert (folder / "data.json").exists()


@pytest.mark.parametrize("damaged", ["data.json", "data.json.gz"])
def test_a_cut_data_file_beside_an_intact_one_is_removed(store: ArchiveStore, folder: Path, damaged: str) -> None:
    (folder / "data.json").write_bytes(store.read_data(KEY))
    (folder / damaged).write_bytes((folder / damaged).read_bytes()[:-20])
    findings = {finding.code: finding for finding in check(store)}
    assert findings.keys() == {Code.BAD_DATA, Code.TWO_DATA_FILES}
    assert repair(store.root, findings[Code.TWO_DATA_FILES]) == ""
    assert "is intact" in repair(store.root, findings[Code.BAD_DATA])
    assert not (folder / damaged).exists()
    assert check(store) == []


def test_damaged_plain_data_that_is_no_part_of_the_intact_stays(store: ArchiveStore, folder: Path) -> None:
    (folder / "data.json").write_bytes(b'{"other":')
    finding = next(finding for finding in check(store) if finding.code == Code.BAD_DATA)
    assert repair(store.root, finding) == ""
    assert (folder / "data.json").exists()


def test_the_only_data_file_stays_however_damaged(store: ArchiveStore, folder: Path) -> None:
    (folder / "data.json.gz").write_bytes(b"cut")
    assert repair(store.root, only(store, Code.BAD_DATA)) == ""
    assert (folder / "data.json.gz").read_bytes() == b"cut"


def test_a_job_in_the_wrong_place_moves_where_it_belongs(store: ArchiveStore, folder: Path) -> None:
    files = {path.name: path.read_bytes() for path in folder.iterdir()}
    wrong = store.root / "testcluster/5/001/7"
    wrong.parent.mkdir(parents=True)
    folder.rename(wrong)
    finding = next(finding for finding in check(store) if finding.code == Code.WRONG_PLACE)
    assert repair(store.root, finding) == "moved to testcluster/1034/871/1700000000"
    assert {path.name: path.read_bytes() for path in folder.iterdir()} == files
    assert check(store) == []


def test_a_job_in_the_wrong_place_stays_where_its_own_is_taken_or_it_is_damaged(
    store: ArchiveStore, folder: Path
) -> None:
    wrong = folder.with_name("1700000001")
    shutil.copytree(folder, wrong)
    before = snapshot(store.root)
    assert repair(store.root, only(store, Code.DUPLICATE)) == ""
    assert repair(store.root, Finding(Code.WRONG_PLACE, wrong / "meta.json", "")) == ""
    assert snapshot(store.root) == before
    shutil.rmtree(folder)
    (wrong / "data.json.gz").write_bytes(b"cut")
    findings = {finding.code: finding for finding in check(store)}
    assert findings.keys() == {Code.BAD_DATA, Code.WRONG_PLACE}
    assert repair(store.root, findings[Code.WRONG_PLACE]) == ""
    assert wrong.exists()


# Processes


def test_the_processes_import_neither_django_nor_models() -> None:
    code = "import sys, archive.checking; print([name for name in sys.modules if 'django' in name or 'jobs' in name])"
    ran = subprocess.run([sys.executable, "-c", code], cwd=PROJECT, capture_output=True, text=True, check=True)
    assert ran.stdout == "[]\n"


def test_a_process_that_is_killed_is_an_error_and_no_waiting(store: ArchiveStore) -> None:
    for number in range(1, 200):
        store.write_meta(JobKey("testcluster", number, START), b"{}")
    run = ArchiveCheck(store.root, processes=2).run()
    next(run)
    for process in multiprocessing.active_children():
        process.kill()
    with pytest.raises(CheckerDiedError, match="killed"):
        list(run)


def test_the_walk_waits_for_the_processes(store: ArchiveStore, monkeypatch: pytest.MonkeyPatch) -> None:
    for number in range(1, 200):
        store.write_meta(JobKey("testcluster", number, START), b"{}")
    ahead: list[int] = []
    walked = 0
    walk = checking._walk_folder

    def counted(folder: Path, depth: int, expected: tuple[str, ...] = ()) -> Any:
        nonlocal walked
        for item in walk(folder, depth, expected):
            walked += depth == 3
            yield item

    monkeypatch.setattr(checking, "_walk_folder", counted)
    done = 0
    for report in ArchiveCheck(store.root, processes=2).run():
        ahead.append(walked - done)
        done += report.folders
    assert done == 199
    assert max(ahead) <= checking._BATCH * (2 * checking._AHEAD + 1)


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
    state = snapshot(store.root)
    assert not any(repair(store.root, finding) for finding in left)
    assert snapshot(store.root) == state
    assert not {Code.LEFTOVER, Code.EMPTY_FOLDER} & {finding.code for finding in left}
