"""One bad file among good ones: each command names it with the reason, counts it, does the rest, and ends with 1."""

import gzip
import json
from pathlib import Path
from typing import Any

import pytest

from archive.format.layout import JobKey
from archive.storage.store import ArchiveStore
from jobs.models import Job
from tests.support.clients import AppClient
from tests.support.commands import Run
from tests.support.factories import JobFactory
from tests.support.foreign_archive import DATA, DEEP, META, SERIES, START, put_job

DEEP_META = json.dumps({"jobId": 3} | META).encode().replace(b'"n01"', DEEP)
BAD_META = {
    "nested too deeply": DEEP_META,
    "meta.json: ": b"",
    "invalid start byte": json.dumps({"jobId": 3} | META).encode().replace(b"u1", b"\xff"),
    "jobId is 1e400": json.dumps({"jobId": 3} | META).encode().replace(b'"jobId": 3', b'"jobId": 1e400'),
    "statistics is": json.dumps({"jobId": 3} | META | {"statistics": {"cpu_load": {"avg": "high"}}}).encode(),
}


@pytest.fixture
def theirs(tmp_path: Path) -> Path:
    """Return the root of another archive, with version.txt and a good job, the last one."""
    root = tmp_path / "theirs"
    put_job(root, 9)
    (root / "version.txt").write_text("1\n")
    return root


@pytest.mark.usefixtures("db")
def test_an_import_names_each_bad_file_and_goes_on(run: Run, theirs: Path, archive_root: Path) -> None:
    folders = {
        number: put_job(theirs, number, {"meta.json": content})
        for number, content in enumerate(BAD_META.values(), start=1)
    }
    deep = put_job(theirs, 8, {"data.json": b'{"cpu_load": {"node": %b}}' % DEEP})
    for _ in range(2):
        outcome = run("import_jobs", theirs)
        assert outcome.status == 1
        assert f"refused: {deep}/meta.json: data.json: nested too deeply" in outcome.err
        for folder, reason in zip(folders.values(), BAD_META, strict=True):
            assert any(f"{folder}/meta.json" in line and reason in line for line in outcome.err.splitlines())
        assert outcome.lines[-1].endswith(" 6 refused.")
        assert [job.job_id for job in Job.objects.all()] == [9]
        assert list(ArchiveStore(archive_root).iter_jobs()) == [JobKey("c1", 9, START)]


def test_a_rebuild_and_a_retention_leave_the_bad_folder_alone(run: Run, archive_root: Path) -> None:
    for number, content in enumerate(BAD_META.values(), start=1):
        put_job(archive_root, number, {"meta.json": content})
    put_job(archive_root, 9)
    outcome = run("rebuild_jobs")
    assert (outcome.status, [job.job_id for job in Job.objects.all()]) == (1, [9])
    assert [reason for reason in BAD_META if reason not in outcome.err] == []
    for dry_run in ("--dry-run", "--yes"):
        outcome = run("retain_archive", "--older-than", 1, "--do", "delete", dry_run)
        assert outcome.status == 1
        assert [reason for reason in BAD_META if reason not in outcome.err] == []
        assert outcome.err.count("left: ") == len(BAD_META)
    assert list(ArchiveStore(archive_root).iter_jobs()) == [
        JobKey("c1", number, START) for number in range(1, len(BAD_META) + 1)
    ]


def test_a_compression_leaves_the_bad_folder_alone(run: Run, archive_root: Path) -> None:
    put_job(archive_root, 1, {"meta.json": DEEP_META})
    put_job(archive_root, 2, {"data.json": DEEP, "data.json.gz": b"no gzip"})
    put_job(archive_root, 9)
    outcome = run("compress_archive", "--older-than", 1)
    assert outcome.status == 1
    assert "nested too deeply" in outcome.err
    assert "both are left" in outcome.err
    assert "1 file compressed" in outcome.out


def test_the_server_says_why_samples_cannot_be_loaded(api: AppClient, archive_root: Path) -> None:
    put_job(archive_root, 1, {"data.json": b'{"cpu_load": {"node": %b}}' % DEEP})
    job = JobFactory.create(job_id=1, cluster="c1", start_time=START, finished=True, monitoring_status=3)
    answer = api.get(f"/api/jobs/{job.pk}")
    assert answer.status == 500
    assert "nested too deeply" in answer.error


OTHER_DATA: dict[str, tuple[bytes, bool]] = {
    "an empty metric": (b'{"cpu_load":{"node":{}}}', False),
    "null for all series": (DATA.replace(b'"series": [', b'"series": null, "x": ['), False),
    "no seconds between samples": (DATA.replace(b"60", b"0"), False),
    "a number beyond all doubles": (DATA.replace(b"[1, 2, 3]", b"[1e400, 2, 3]"), False),
    "null in a unit": (DATA.replace(b'"base": ""', b'"base": null'), True),
    "keys in another case": (DATA.replace(b'"timestep"', b'"TimeStep"'), True),
}


@pytest.mark.usefixtures("db")
def test_an_import_takes_what_the_check_calls_right_and_nothing_else(run: Run, theirs: Path, settings: Any) -> None:
    folders = [
        put_job(theirs, number, {"data.json": content})
        for number, (content, _) in enumerate(OTHER_DATA.values(), start=1)
    ]
    outcome = run("import_jobs", theirs)
    assert outcome.status == 1
    right = [is_right for _, is_right in OTHER_DATA.values()]
    assert [str(folder) not in outcome.err for folder in folders] == right
    assert sorted(job.job_id for job in Job.objects.all()) == [5, 6, 9]
    assert run("check_archive").status == 0
    settings.ARCHIVE_ROOT = theirs
    there = json.loads(run("check_archive", "--json").out)
    named = {finding["path"] for finding in there["findings"] if finding["severity"] == "error"}
    assert [str((folder / "data.json").relative_to(theirs)) not in named for folder in folders] == right
    for finding in there["findings"]:
        if finding["severity"] == "error":
            assert finding["message"] in outcome.err


@pytest.mark.usefixtures("db")
@pytest.mark.parametrize(
    ("plain", "compressed", "imported"),
    [
        (DATA[:40], gzip.compress(DATA), "data.json.gz"),
        (DATA, gzip.compress(DATA)[:-9], "data.json"),
        (DATA, gzip.compress(DATA[:-1]), "data.json"),
        (DATA, b"", "data.json"),
    ],
)
def test_of_two_data_files_the_whole_one_is_imported_with_a_remark(
    run: Run, theirs: Path, archive_root: Path, plain: bytes, compressed: bytes, imported: str
) -> None:
    folder = put_job(theirs, 1, {"data.json": plain, "data.json.gz": compressed})
    outcome = run("import_jobs", folder)
    assert outcome.status == 0
    damaged = "data.json" if imported.endswith("gz") else "data.json.gz"
    assert f"remark: {folder}: {damaged}: " in outcome.err
    assert f"{imported} is taken alone" in outcome.err
    assert [path.name for path in ArchiveStore(archive_root).data_files(JobKey("c1", 1, START))] == [imported]
    assert run("check_archive").status == 0
    assert run("import_jobs", folder, verbosity=0).err == ""


@pytest.mark.usefixtures("db")
def test_two_damaged_data_files_refuse_the_job(run: Run, theirs: Path) -> None:
    outcome = run("import_jobs", put_job(theirs, 1, {"data.json": DATA[:40], "data.json.gz": gzip.compress(DATA)[:-9]}))
    assert outcome.status == 1
    assert "data.json.gz: " in outcome.err
    assert "remark" not in outcome.err


def test_the_server_reads_the_whole_file_beside_a_cut_one(api: AppClient, archive_root: Path) -> None:
    put_job(archive_root, 1, {"data.json.gz": gzip.compress(DATA)[:-9]})
    job = JobFactory.create(job_id=1, cluster="c1", start_time=START, finished=True, monitoring_status=3)
    assert api.get(f"/api/jobs/{job.pk}").json["data"][0]["metric"]["series"][0]["data"] == [1, 2, 3]


@pytest.mark.usefixtures("db")
def test_a_document_above_the_limit_costs_its_job_alone(run: Run, theirs: Path, settings: Any) -> None:
    settings.ARCHIVE_MAX_JSON = 10_000
    big = DATA.replace(b"[1, 2, 3]", b"[1" + b", 2" * 10_000 + b"]")
    for number, files in enumerate(({"data.json": big}, {"data.json.gz": gzip.compress(big)}, {"meta.json": big}), 1):
        put_job(theirs, number, files)
    outcome = run("import_jobs", theirs)
    assert outcome.status == 1
    assert outcome.err.count("more than the setting ARCHIVE_MAX_JSON allows") == 3
    assert outcome.err.count("refused: /") == 2
    assert outcome.err.count("remark: ") == 1
    assert sorted(job.job_id for job in Job.objects.all()) == [2, 9]
    settings.ARCHIVE_ROOT = theirs
    found = json.loads(run("check_archive", "--json").out)["findings"]
    assert sum("ARCHIVE_MAX_JSON" in finding["message"] for finding in found) == 3


BEFORE_1 = b"""{"cpu_load": {"node": {"unit": "load", "timestep": 60, "scope": "node", "statisticsSeries": null,
  "series": [{"hostname": "n01", "statistics": null, "data": [1, 2.50, null]}]}},
 "acc_mem": {"accelerator": {"unit": "GB/s", "timestep": 60, "series": [
  {"hostname": "n01", "id": 1, "data": [1, 2, 3]}, {"hostname": "n01", "id": 7, "data": [1]}]}},
 "ipc": {"core": {"unit": "", "timestep": 60, "series": [{"hostname": "n01", "id": 3, "data": [1]}]}}}"""
CLUSTER_BEFORE_1 = {
    "name": "c1",
    "metricConfig": [{"name": "cpu_load", "unit": "load", "timestep": 60}, {"name": "acc_mem", "unit": "GB/s"}],
    "subClusters": [
        {
            "name": "main",
            "nodes": "n[01-02]",
            "flopRateSimd": 14,
            "topology": {"accelerators": [{"id": "00:01"}, {"id": "00:02"}]},
        }
    ],
}


@pytest.mark.usefixtures("db")
@pytest.mark.parametrize("compressed", [False, True])
def test_an_archive_from_before_version_1_is_converted(
    run: Run, theirs: Path, archive_root: Path, *, compressed: bool
) -> None:
    (theirs / "version.txt").unlink()
    (theirs / "c1/cluster.json").write_text(json.dumps(CLUSTER_BEFORE_1))
    files = {"data.json.gz": gzip.compress(BEFORE_1), "data.json": DATA[:40]} if compressed else {"data.json": BEFORE_1}
    put_job(theirs, 1, files, statistics={"cpu_load": {"unit": "load", "avg": 2.50, "min": 1, "max": 3}})
    outcome = run("import_jobs", theirs)
    assert outcome.status == 0
    assert "1 job of an archive from before version 1: units and numbers of accelerators were converted." in outcome.err
    store = ArchiveStore(archive_root)
    key = JobKey("c1", 1, START)
    assert [path.name for path in store.data_files(key)] == ["data.json.gz"]
    document = json.loads(store.read_data(key))
    units = {name: metric["unit"] for name, scopes in document.items() for metric in scopes.values()}
    assert units == {"cpu_load": {"base": "load"}, "acc_mem": {"base": "B/s", "prefix": "G"}, "ipc": {"base": ""}}
    series = [one["id"] for one in document["acc_mem"]["accelerator"]["series"]]
    assert (series, document["ipc"]["core"]["series"][0]["id"]) == (["00:02", "7"], "3")
    assert document["cpu_load"]["node"]["series"] == [{"hostname": "n01", "data": [1, 2.5, None]}]
    assert json.loads(store.read_meta(key))["statistics"]["cpu_load"]["unit"] == {"base": "load"}
    cluster = json.loads((archive_root / "c1/cluster.json").read_text())
    assert [metric["unit"] for metric in cluster["metricConfig"]] == [{"base": "load"}, {"base": "B/s", "prefix": "G"}]
    assert cluster["subClusters"][0]["flopRateSimd"] == {"unit": {"base": "F/s", "prefix": "G"}, "value": 14}
    assert run("check_archive").status == 0
    Job.objects.all().delete()
    assert run("import_jobs", theirs).status == 0


def test_a_check_tells_that_a_file_is_from_before_version_1(run: Run, archive_root: Path) -> None:
    put_job(archive_root, 1, {"data.json": BEFORE_1})
    outcome = run("check_archive")
    assert outcome.status == 1
    assert "bad-data" in outcome.out
    assert "cpu_load.node.unit is a text: the form of archives from before version 1; import_jobs" in outcome.out
    imported = run("import_jobs", archive_root)
    assert (imported.status, Job.objects.count()) == (1, 0)


@pytest.mark.usefixtures("db")
@pytest.mark.parametrize(("version", "release"), [("2", "cc-backend 1.4"), ("3", "cc-backend 1.5"), ("9", "unknown")])
def test_archives_of_newer_releases_are_read_by_their_rules(
    run: Run, theirs: Path, archive_root: Path, version: str, release: str
) -> None:
    (theirs / "version.txt").write_text(version)
    steps = {"min": [1], "median": [2], "max": [3], "mean": None}
    data = json.loads(DATA)
    data["cpu_load"]["node"] |= {"statisticsSeries": steps, "series": [SERIES | {"data": [2]}] * 3}
    newer = {"submitTime": START, "energy": 1.5, "footprint": {"cpu_load_avg": 2}, "energyFootprint": None}
    put_job(theirs, 1, {"data.json": json.dumps(data).encode()}, shared="multi_user", requestedMemory=5, **newer)
    outcome = run("import_jobs", theirs)
    assert outcome.status == 0
    assert f"archive version '{version}'" in outcome.err
    assert release in outcome.err
    assert "as if" not in outcome.err
    assert Job.objects.get(job_id=1).exclusive == 0
    assert run("check_archive").status == 0


@pytest.mark.usefixtures("db")
def test_folders_of_file_systems_are_no_clusters(run: Run, theirs: Path, archive_root: Path) -> None:
    for root in (theirs, archive_root):
        for name in ("lost+found", ".snapshot"):
            put_job(root / name, 1, {"meta.json": DEEP_META})
    outcome = run("import_jobs", theirs)
    assert (outcome.status, outcome.lines[-1]) == (0, "1 job imported, 0 skipped (here already), 0 refused.")
    outcome = run("rebuild_jobs")
    assert (outcome.status, "refused" in outcome.err) == (0, False)
