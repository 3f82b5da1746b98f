"""import_jobs: what is taken along, what is refused, and what a second run finds."""

import gzip
import json
import shutil
from pathlib import Path
from typing import Any

import msgspec
import pytest

from archive.clusters import ClusterRegistry
from archive.format.layout import JobKey, job_folder
from archive.storage.store import ArchiveStore
from jobs.archiving import writing
from jobs.models import ArchiveTask, Job, Tag
from jobs.rows.select import fetch_row
from tests.support.commands import Machine, Run
from tests.support.factories import JobFactory
from tests.support.import_source import DATA, META, Put, assert_nothing_is_half_done, written
from tests.support.paths import SHARED


def test_every_value_and_every_byte_is_kept(run: Run, put: Put, theirs: Path, archive_root: Path) -> None:
    folder = put({"data.json": DATA, "data.json.gz": gzip.compress(DATA)})
    outcome = run("import_jobs", theirs)
    assert (outcome.status, outcome.err) == (0, "cluster fritz: jobs, but no cluster.json, neither there nor here.\n")
    assert outcome.lines == ["1 job imported, 0 skipped (here already), 0 refused."]
    job = Job.objects.get()
    meta = written(archive_root, job.key)
    without_place = {"stopTime", "monitoringStatus", "tags"}
    assert {key: meta[key] for key in META.keys() - without_place} == {
        key: value for key, value in META.items() if key not in without_place
    }
    assert meta["monitoringStatus"] == 3
    ids = {str(tag): tag.pk for tag in Tag.objects.all()}
    assert sorted(meta["tags"], key=lambda tag: tag["name"]) == [
        {"id": ids["bug:one"], "type": "bug", "name": "one"},
        {"id": ids["class:ä"], "type": "class", "name": "ä"},
    ]
    assert '"avg":0.510204081632653,"min":0,"max":1.5' in (job.statistics or "")
    for name in ("data.json", "data.json.gz"):
        assert (job_folder(archive_root, job.key) / name).read_bytes() == (folder / name).read_bytes()
    row = fetch_row(job.pk)
    assert row is not None
    again = msgspec.json.format(writing.meta_document(row, job.statistics), indent=-1)
    assert again == ArchiveStore(archive_root).read_meta(job.key).strip()
    assert_nothing_is_half_done(archive_root)


@pytest.mark.parametrize("depth", range(5))
def test_a_root_and_each_folder_below_it_may_be_named(
    run: Run, put: Put, theirs: Path, archive_root: Path, depth: int
) -> None:
    path = put()
    (theirs / "fritz" / "cluster.json").write_text('{"name": "fritz"}')
    for _ in range(depth):
        path = path.parent
    outcome = run("import_jobs", path)
    assert outcome.status == 0
    assert Job.objects.count() == 1
    copied = (archive_root / "fritz" / "cluster.json").exists()
    assert copied is (depth >= 3)
    assert ("cluster fritz: cluster.json copied" in outcome.out) is copied
    assert_nothing_is_half_done(archive_root)


def test_pairs_and_single_files(run: Run, put: Put, tmp_path: Path, archive_root: Path) -> None:
    first, second = put({"data.json": DATA}), put({"data.json": DATA}, jobId=12)
    pair = tmp_path / "a:pair"
    pair.mkdir()
    shutil.copy(first / "meta.json", pair / "m.json")
    (pair / "samples.gz").write_bytes(gzip.compress(DATA))
    outcome = run("import_jobs", f"{pair}/m.json:{pair}/samples.gz", second / "meta.json")
    assert outcome.status == 0
    assert "imported without samples" in outcome.err
    store = ArchiveStore(archive_root)
    assert [path.name for path in store.data_files(JobKey("fritz", 1034871, 1649723812))] == ["data.json.gz"]
    assert store.data_files(JobKey("fritz", 12, 1649723812)) == []
    assert store.has_job(JobKey("fritz", 12, 1649723812))
    assert_nothing_is_half_done(archive_root)


def test_a_configured_cluster_stays_as_it_is(run: Run, put: Put, theirs: Path, archive_root: Path) -> None:
    put()
    (theirs / "fritz" / "cluster.json").write_text('{"name": "fritz", "subClusters": []}')
    (archive_root / "fritz").mkdir()
    (archive_root / "fritz" / "cluster.json").write_text('{"name": "fritz"}')
    outcome = run("import_jobs", theirs)
    assert "cluster.json" not in outcome.out
    assert (archive_root / "fritz" / "cluster.json").read_text() == '{"name": "fritz"}'


def test_a_wrong_cluster_file_is_refused_and_the_jobs_are_not(
    run: Run, put: Put, theirs: Path, archive_root: Path
) -> None:
    put()
    (theirs / "fritz" / "cluster.json").write_text('{"name": "../up"}')
    outcome = run("import_jobs", theirs)
    assert outcome.status == 1
    assert "../up" in outcome.err
    assert Job.objects.count() == 1
    assert not (archive_root / "fritz" / "cluster.json").exists()


def test_a_second_run_only_skips_and_is_done(run: Run, put: Put, theirs: Path, archive_root: Path) -> None:
    put()
    run("import_jobs", theirs)
    before = written(archive_root, Job.objects.get().key)
    outcome = run("import_jobs", theirs, theirs / "fritz")
    assert outcome.status == 0
    assert outcome.lines == ["0 jobs imported, 2 skipped (here already), 0 refused."]
    assert written(archive_root, Job.objects.get().key) == before


def test_the_same_job_twice_in_one_run_is_imported_once(run: Run, put: Put, theirs: Path) -> None:
    folder = put()
    outcome = run("import_jobs", theirs, folder)
    assert outcome.lines == ["1 job imported, 1 skipped (here already), 0 refused."]


def test_a_job_known_here_keeps_its_row_and_files(run: Run, put: Put, theirs: Path, archive_root: Path) -> None:
    put()
    here = JobFactory.create(job_id=META["jobId"], cluster="fritz", start_time=META["startTime"])
    assert run("import_jobs", theirs).status == 0
    assert Job.objects.get() == here
    assert Job.objects.get().is_running
    assert not ArchiveStore(archive_root).has_job(here.key)


def test_a_dry_run_changes_nothing_and_finds_what_is_wrong(
    run: Run, put: Put, theirs: Path, archive_root: Path
) -> None:
    put()
    put({"data.json.gz": gzip.compress(DATA)[:-9]}, jobId=2)
    (theirs / "fritz" / "cluster.json").write_text('{"name": "fritz"}')
    shutil.rmtree(archive_root)
    outcome = run("import_jobs", theirs, "--dry-run")
    assert outcome.status == 1
    assert "cluster fritz: cluster.json would be copied" in outcome.out
    assert "1 job would be imported, 0 skipped (here already), 1 refused." in outcome.out
    assert not Job.objects.exists()
    assert not archive_root.exists()


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({"jobState": "running"}, "jobState is 'running'"),
        ({"jobState": "asleep"}, "jobState is 'asleep'"),
        ({"jobState": None}, "jobState is ''"),
        ({"user": "x" * 256}, "user is"),
        ({"partition": "x" * 256}, "at most 255 characters"),
        ({"numNodes": 2**31}, "numNodes is 2147483648"),
        ({"numNodes": 0}, "numNodes is 0"),
        ({"numAcc": -1}, "numAcc is -1"),
        ({"smt": 2**40}, "smt is"),
        ({"exclusive": 4}, "exclusive is 4"),
        ({"duration": -1}, "duration is -1"),
        ({"duration": 2**63 - 1}, "duration is"),
        ({"walltime": 2**63}, "walltime is"),
        ({"tags": [{"type": "", "name": "x"}]}, "tags"),
        ({"tags": [{"type": "x" * 256, "name": "x"}]}, "tag type"),
        ({"statistics": []}, "statistics is"),
        ({"resources": [{"hostname": 1}]}, "resources"),
        ({"cluster": ".."}, "cluster is"),
        ({"jobId": 99}, None),
    ],
)
def test_a_value_without_a_place_refuses_that_job_alone(
    run: Run, put: Put, theirs: Path, archive_root: Path, changes: dict[str, Any], reason: str | None
) -> None:
    put(jobId=4)
    folder = put()
    meta = {key: value for key, value in (META | changes).items() if value is not None}
    (folder / "meta.json").write_text(json.dumps(meta))
    outcome = run("import_jobs", theirs)
    assert outcome.status == 1
    assert f"refused: {folder}" in outcome.err
    assert (reason or "the wrong folder") in outcome.err
    assert [job.job_id for job in Job.objects.all()] == [4]
    assert_nothing_is_half_done(archive_root)


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("data.json.gz", gzip.compress(DATA)[:-9]),
        ("data.json.gz", DATA),
        ("data.json", DATA[:-1]),
        ("data.json", b"[]"),
        ("data.json", b'{"cpu_load": 1}'),
        ("data.json", gzip.compress(DATA)),
    ],
    ids=["cut gzip", "gz without gzip", "cut JSON", "list", "number for a metric", "gzip without gz"],
)
def test_a_broken_data_file_refuses_the_job(run: Run, put: Put, archive_root: Path, name: str, content: bytes) -> None:
    outcome = run("import_jobs", put({name: content}))
    assert outcome.status == 1
    assert name in outcome.err
    assert not Job.objects.exists()
    assert list(ArchiveStore(archive_root).iter_jobs()) == []


def test_a_meta_file_that_is_missing_or_no_json_refuses_the_job(run: Run, put: Put, theirs: Path) -> None:
    (put(jobId=1) / "meta.json").unlink()
    (put(jobId=2) / "meta.json").write_text("{")
    outcome = run("import_jobs", theirs)
    assert outcome.status == 1
    assert "meta.json is missing" in outcome.err
    assert outcome.lines == ["0 jobs imported, 0 skipped (here already), 2 refused."]


def test_words_of_newer_schedulers_and_archives_are_understood(
    run: Run, put: Put, theirs: Path, archive_root: Path
) -> None:
    (theirs / "version.txt").write_text("3")
    put(jobState="node_fail", exclusive=None, shared="multi_user", walltime=-1, metaData=None)
    outcome = run("import_jobs", theirs)
    assert outcome.status == 0
    assert "archive version '3', of cc-backend 1.5; read by its rules" in outcome.err
    job = Job.objects.get()
    assert (job.job_state, job.metadata, job.exclusive, job.walltime) == (
        "failed",
        {"schedulerState": "node_fail"},
        0,
        0,
    )


def test_an_archive_from_before_version_1_is_read_where_that_is_possible(
    run: Run, put: Put, theirs: Path, archive_root: Path
) -> None:
    (theirs / "version.txt").unlink()
    put(
        jobId=1,
        smt=None,
        exclusive=None,
        tags=None,
        statistics={"cpu_load": {"unit": "load", "avg": 1, "min": 0, "max": 2}},
    )
    put({"data.json": b'{"cpu_load": {"unit": "load", "scope": "node", "series": []}}'}, jobId=2)
    config = {
        "name": "fritz",
        "metricConfig": [{"name": "cpu_load", "unit": "load", "scope": "node", "timestep": 60}],
        "subClusters": [{"name": "main", "nodes": "n[01-02]", "flopRateScalar": 14, "memoryBandwidth": 24}],
        "filterRanges": {"numNodes": {"from": 1, "to": 64}},
    }
    (theirs / "fritz/cluster.json").write_text(json.dumps(config))
    outcome = run("import_jobs", theirs)
    assert outcome.lines[0] == "cluster fritz: cluster.json copied"
    assert [job.job_id for job in Job.objects.all()] == [1]
    assert "data.json: cpu_load.unit is no JSON object" in outcome.err
    cluster = ClusterRegistry(archive_root).get("fritz")
    assert cluster is not None
    assert cluster.metrics[0].unit == {"base": "load"}
    rates = {"unit": {"base": "F/s", "prefix": "G"}, "value": 14}, {"unit": {"base": "B/s", "prefix": "G"}, "value": 24}
    assert (cluster.subclusters[0].flop_rate_scalar, cluster.subclusters[0].memory_bandwidth) == rates


def test_nul_characters_are_removed(run: Run, put: Put, theirs: Path) -> None:
    resources = [{"hostname": "n\0", "accelerators": ["\0a"], "configuration": "\0"}, {"hostname": "n\\u0000"}]
    put(user="al\0ice", metaData={"jobName": "a\0b"}, tags=[{"type": "c", "name": "\0x"}], resources=resources)
    assert run("import_jobs", theirs).status == 0
    job = Job.objects.get()
    assert (job.user, job.metadata, str(job.tags.get())) == ("alice", {"jobName": "ab"}, "c:x")
    assert job.nodes == [{"hostname": "n", "accelerators": ["a"], "configuration": ""}, {"hostname": "n\\u0000"}]


def test_the_archive_of_this_server_gets_rows_and_keeps_its_files(
    run: Run, put: Put, theirs: Path, settings: Any
) -> None:
    settings.ARCHIVE_ROOT = theirs
    folder = put()
    before = {path.name: (path.read_bytes(), path.stat().st_mtime_ns) for path in folder.iterdir()}
    outcome = run("import_jobs", theirs)
    assert outcome.status == 0
    assert "only rows added" in outcome.err
    assert Job.objects.get().is_archived
    assert Job.objects.get().tags.count() == 2
    assert not ArchiveTask.objects.exists()
    assert {path.name: (path.read_bytes(), path.stat().st_mtime_ns) for path in folder.iterdir()} == before


def test_a_job_whose_row_was_deleted_comes_back(run: Run, put: Put, theirs: Path, archive_root: Path) -> None:
    put()
    run("import_jobs", theirs)
    Job.objects.all().delete()
    assert run("import_jobs", theirs).status == 0
    assert_nothing_is_half_done(archive_root)


def test_other_data_of_an_archived_job_is_never_overwritten(
    run: Run, put: Put, theirs: Path, archive_root: Path
) -> None:
    folder = put()
    run("import_jobs", theirs)
    key = Job.objects.get().key
    kept = ArchiveStore(archive_root).data_files(key)[0].read_bytes()
    Job.objects.all().delete()
    (folder / "data.json.gz").write_bytes(gzip.compress(DATA + b" "))
    outcome = run("import_jobs", theirs)
    assert outcome.status == 1
    assert "other data of this job" in outcome.err
    assert ArchiveStore(archive_root).data_files(key)[0].read_bytes() == kept


def test_an_archive_that_lost_its_jobs_takes_none(run: Run, put: Put, theirs: Path) -> None:
    JobFactory.create(archived=True)
    put()
    outcome = run("import_jobs", theirs)
    assert outcome.status == 1
    assert "mounted" in outcome.err


def test_paths_that_hold_nothing_are_bad_usage(run: Run, put: Put, theirs: Path, tmp_path: Path) -> None:
    empty = tmp_path / "empty"
    empty.mkdir()
    folder = put()
    for path in (empty, tmp_path / "nowhere", f"{folder}/meta.json:{folder}/no.json"):
        outcome = run("import_jobs", theirs, path)
        assert outcome.status == 2
        assert str(path) in outcome.err
    assert not Job.objects.exists()


def test_exit_statuses(typed: Run, machine: Machine, put: Put, theirs: Path) -> None:
    put()
    assert typed("import_jobs").status == 2
    assert typed("import_jobs", theirs / "nowhere").status == 2
    done = machine.run("import_jobs", theirs, "-v", "0")
    assert (done.status, done.out, done.err) == (0, "", "")
    (put(jobId=2) / "meta.json").write_text("{")
    outcome = machine.run("import_jobs", theirs)
    assert outcome.status == 1
    assert "Traceback" not in outcome.err
    assert "0 jobs imported, 1 skipped (here already), 1 refused." in outcome.out


EMMY = SHARED / "samples/archive"


FRITZ = SHARED / "samples/import"


@pytest.mark.skipif(not EMMY.is_dir() or not FRITZ.is_dir(), reason=f"no real samples in {SHARED}/samples")
@pytest.mark.parametrize(
    ("path", "meta", "data"),
    [
        (str(EMMY), EMMY / "emmy/1403/244/1608923076/meta.json", EMMY / "emmy/1403/244/1608923076/data.json.gz"),
        (
            f"{FRITZ}/meta-fritz-minimal.json:{FRITZ}/data-fritz-minimal.json",
            FRITZ / "meta-fritz-minimal.json",
            FRITZ / "data-fritz-minimal.json",
        ),
    ],
    ids=["emmy", "fritz"],
)
def test_real_jobs_keep_every_value_and_byte(run: Run, archive_root: Path, path: str, meta: Path, data: Path) -> None:
    original = json.loads(meta.read_text(), parse_float=str, parse_int=str)
    outcome = run("import_jobs", path)
    assert outcome.status == 0
    key = Job.objects.get().key
    ours = json.loads(ArchiveStore(archive_root).read_meta(key), parse_float=str, parse_int=str)
    absent_when_empty = {"tags"}
    for name, value in original.items():
        if name == "stopTime":
            assert value == str(int(ours["startTime"]) + int(ours["duration"]))
        elif value or name not in absent_when_empty:
            assert ours[name] == value, name
    copies = ArchiveStore(archive_root).data_files(key)
    assert [copy.read_bytes() for copy in copies] == [data.read_bytes()]
    assert_nothing_is_half_done(archive_root)
    clusters = ArchiveStore(archive_root).clusters()
    assert clusters == (["emmy"] if path == str(EMMY) else [])
    if clusters:
        assert (archive_root / "emmy/cluster.json").read_bytes() == (EMMY / "emmy/cluster.json").read_bytes()
