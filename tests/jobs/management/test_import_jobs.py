"""import_jobs: what is taken along, what is refused, and what a second run finds."""

import gzip
import json
import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import msgspec
import psutil
import pytest
from django.db import IntegrityError

from archive.clusters import ClusterRegistry
from archive.format.layout import JobKey, job_folder
from archive.storage.store import ArchiveStore
from jobs.archiving import writing
from jobs.maintenance import import_jobs, restore
from jobs.maintenance.import_jobs import JobImport
from jobs.maintenance.import_sources import Source
from jobs.models import ArchiveTask, Job, Tag
from jobs.rows.select import fetch_row
from tests.support.commands import Machine, Run
from tests.support.factories import JobFactory
from tests.support.paths import SHARED

DATA = b'{"cpu_load":{"node":{"unit":{"base":""},"timestep":60,"series":[{"hostname":"n01","data":[1.0,null]}]}}}'

META: dict[str, Any] = {
    "jobId": 1034871,
    "user": "alice",
    "project": "bio",
    "cluster": "fritz",
    "subCluster": "main",
    "partition": "work",
    "arrayJobId": 1034000,
    "numNodes": 2,
    "numHwthreads": 8,
    "numAcc": 1,
    "exclusive": 2,
    "monitoringStatus": 1,
    "smt": 4,
    "jobState": "timeout",
    "duration": 600,
    "walltime": 3600,
    "tags": [{"id": 77, "type": "class", "name": "ä"}, {"type": "bug", "name": "one", "scope": "global"}],
    "resources": [
        {"hostname": "n01", "hwthreads": [0, 1], "accelerators": ["00:1"], "configuration": "c"},
        {"hostname": "n02"},
    ],
    "metaData": {"jobName": "a job", "jobScript": "#!/bin/sh\n", "nothing": None},
    "startTime": 1649723812,
    "statistics": {"cpu_load": {"unit": {"base": ""}, "avg": 0.510204081632653, "min": 0, "max": 1.50}},
    "stopTime": 1649724412,
}

Put = Callable[..., Path]


@pytest.fixture
def theirs(tmp_path: Path) -> Path:
    """Return the root of another archive, with version.txt alone."""
    root = tmp_path / "theirs"
    root.mkdir()
    (root / "version.txt").write_text("1")
    return root


@pytest.fixture
def put(theirs: Path) -> Put:
    """Return a function that puts a job into the other archive: META with changes, and data files by name."""

    def put(files: dict[str, bytes] | None = None, **changes: Any) -> Path:
        meta = {key: value for key, value in (META | changes).items() if value is not None}
        folder = job_folder(theirs, JobKey("fritz", meta["jobId"], meta["startTime"]))
        folder.mkdir(parents=True)
        (folder / "meta.json").write_text(json.dumps(meta, indent=4))
        for name, content in ({"data.json.gz": gzip.compress(DATA)} if files is None else files).items():
            (folder / name).write_bytes(content)
        return folder

    return put


def written(root: Path, key: JobKey) -> dict[str, Any]:
    """Return our meta.json of a job."""
    document: dict[str, Any] = json.loads(ArchiveStore(root).read_meta(key))
    return document


def assert_nothing_is_half_done(root: Path) -> None:
    """Check that folders and rows are the same jobs, complete, and no work or temporary file is left."""
    assert set(ArchiveStore(root).iter_jobs()) == {job.key for job in Job.objects.all()}
    assert not ArchiveTask.objects.exists()
    assert not list(root.rglob("*.tmp"))
    for job in Job.objects.all():
        assert written(root, job.key)["id"] == job.pk


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


@pytest.mark.parametrize(
    ("owner", "step"),
    [(restore, "ids_of_tags"), (import_jobs, "reserve_ids"), (restore, "insert_jobs"), (restore, "insert_links")],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_an_import_that_stops_at_any_step_is_completed_by_the_next(
    run: Run, put: Put, theirs: Path, archive_root: Path, monkeypatch: pytest.MonkeyPatch, owner: Any, step: str
) -> None:
    for number in (1, 2, 3):
        put(jobId=number)

    def stop(*args: Any, **options: Any) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(owner, step, stop)
        outcome = run("import_jobs", theirs)
    assert outcome.status == 130
    assert "Run it again to go on" in outcome.err
    assert f"{Job.objects.count()} jobs imported" in outcome.err
    complete = set(ArchiveStore(archive_root).iter_jobs())
    assert {job.key for job in Job.objects.all()} <= complete
    assert run("import_jobs", theirs).status == 0
    assert Job.objects.count() == 3
    assert_nothing_is_half_done(archive_root)


def test_a_killed_import_is_completed_by_the_next(machine: Machine, put: Put, theirs: Path) -> None:
    number = 400
    for job_id in range(1, number + 1):
        put(jobId=job_id)
    root = machine.folder / "archive"
    kills = 0
    for rows in (0, 1, 150):
        process = subprocess.Popen(machine.arguments("import_jobs", theirs, "-v", "0"), env=machine.environment)
        workers: list[psutil.Process] = []
        while process.poll() is None:
            files = sum(1 for _ in root.rglob("meta.json"))
            if files > rows and machine.execute("SELECT count(*) FROM jobs_job")[0][0] >= rows:
                workers = psutil.Process(process.pid).children(recursive=True)
                process.kill()
                kills += 1
                break
        process.wait()
        _, alive = psutil.wait_procs(workers, timeout=10)
        assert not alive, "the processes of a killed import end with it"
        in_database = set(machine.execute("SELECT cluster, job_id, start_time FROM jobs_job"))
        assert in_database <= set(ArchiveStore(root).iter_jobs())
        for cluster, job_id, start_time in in_database:
            key = JobKey(cluster, job_id, start_time)
            assert ArchiveStore(root).read_data(key) == DATA
    assert kills
    assert machine.run("import_jobs", theirs, "-v", "0").status == 0
    rows_of = dict(machine.execute("SELECT job_id, id FROM jobs_job"))
    assert len(rows_of) == number
    assert {job_id: written(root, JobKey("fritz", job_id, META["startTime"]))["id"] for job_id in rows_of} == rows_of
    assert machine.execute("SELECT count(*) FROM jobs_jobtag") == [(2 * number,)]
    assert not list(root.rglob("*.tmp"))
    for job_id in rows_of:
        copy = job_folder(root, JobKey("fritz", job_id, META["startTime"])) / "data.json.gz"
        assert (
            copy.read_bytes()
            == (job_folder(theirs, JobKey("fritz", job_id, META["startTime"])) / copy.name).read_bytes()
        )


def test_rows_come_in_batches_and_queries_do_not_grow_with_jobs(
    run: Run, put: Put, theirs: Path, archive_root: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(import_jobs, "_BATCH", 2)
    for number in range(1, 6):
        put(jobId=number, tags=[{"type": "n", "name": str(number % 2)}])
    seen: list[int] = []
    work = JobImport(sources=[Source(theirs)], trouble=pytest.fail, progress=seen.append)
    assert work.run().imported == 5
    assert [number for number in seen if number] == [2, 2, 1]
    assert_nothing_is_half_done(archive_root)


def test_a_tag_that_is_deleted_in_between_is_made_again_and_its_file_follows(
    run: Run, put: Put, theirs: Path, archive_root: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    put(jobId=1)
    calls = []

    def delete_before(rows: Any) -> set[int]:
        calls.append(rows)
        monkeypatch.undo()
        Tag.objects.all().delete()
        raise IntegrityError("jobs_jobtag_tag_id_fk")

    monkeypatch.setattr(restore, "insert_jobs", delete_before)
    # The deletion is undone with the transaction: what stays is that the tags' ids are asked for again.
    assert run("import_jobs", theirs).lines == ["1 job imported, 0 skipped (here already), 0 refused."]
    assert len(calls) == 1
    assert Job.objects.get().tags.count() == 2
    assert_nothing_is_half_done(archive_root)


@pytest.mark.django_db
def test_files_follow_where_a_tag_has_another_id_by_now(put: Put) -> None:
    job, _ = restore.read_job(put() / "meta.json")
    assert restore.insert({7: job}, written=dict.fromkeys(job.tags, 99)) == {7}
    assert [task.pk for task in ArchiveTask.objects.all()] == [7]


def test_a_job_that_started_while_its_files_were_copied_keeps_its_row(
    run: Run, put: Put, theirs: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    put(jobId=1)
    put(jobId=2)
    insert = restore.insert

    def start_before(jobs: Any, written: Any) -> set[int]:
        JobFactory.create(job_id=1, cluster="fritz", start_time=META["startTime"])
        return insert(jobs, written)

    monkeypatch.setattr(restore, "insert", start_before)
    assert run("import_jobs", theirs).lines == ["1 job imported, 1 skipped (here already), 0 refused."]
    assert Job.objects.get(job_id=1).is_running


def test_of_the_same_job_twice_the_whole_one_is_imported(
    run: Run, put: Put, theirs: Path, tmp_path: Path, archive_root: Path
) -> None:
    folder = put({"data.json": DATA[:-1]})
    whole = tmp_path / "whole"
    shutil.copytree(folder, whole)
    (whole / "data.json").write_bytes(DATA)
    outcome = run("import_jobs", theirs, whole)
    assert outcome.lines == ["1 job imported, 0 skipped (here already), 1 refused."]
    assert str(folder) in outcome.err
    assert_nothing_is_half_done(archive_root)


def test_a_file_that_cannot_be_written_refuses_the_job_and_keeps_the_rest(
    run: Run, put: Put, theirs: Path, archive_root: Path
) -> None:
    put(jobId=1)
    put(jobId=2)
    (archive_root / "fritz/0").mkdir(parents=True)
    (archive_root / "fritz/0/002").write_text("in the way")
    outcome = run("import_jobs", theirs)
    assert outcome.status == 1
    assert "/002/" in outcome.err
    assert [job.job_id for job in Job.objects.all()] == [1]
    assert_nothing_is_half_done(archive_root)


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


def test_exit_statuses_of_real_processes(machine: Machine, put: Put, theirs: Path) -> None:
    put()
    assert machine.run("import_jobs").status == 2
    assert machine.run("import_jobs", theirs / "nowhere").status == 2
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
