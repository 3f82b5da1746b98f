"""rebuild_jobs: what comes back, what stays, and what is refused."""

import json
import shutil
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import pytest
from django.db import connection

from accounts.console import ServerCommand
from archive.format.layout import JobKey, job_folder
from jobs.archiving.worker import ArchiveWorker
from jobs.deletion.services import delete_job, delete_jobs
from jobs.maintenance import rebuild, restore
from jobs.management.commands import rebuild_jobs
from jobs.management.indexing import index
from jobs.messages import TagName
from jobs.models import ArchiveTask, Job, JobTag, Tag
from jobs.rows.insert import keep_ids, reserve_ids
from jobs.tags.services import tag_jobs
from tests.support.clients import AppClient
from tests.support.commands import Run
from tests.support.factories import START, JobFactory, TagFactory
from tests.support.foreign_archive import FOREIGN, put_foreign
from tests.support.paths import SHARED

EMMY = SHARED / "samples/archive"


Put = Callable[..., Path]


@pytest.fixture
def put(archive_root: Path) -> Put:
    """Return a function that puts a meta.json of another writer into the archive, see `put_foreign`."""
    return partial(put_foreign, archive_root)


def forget(*, tags: bool = True) -> None:
    """Delete all jobs from the database, and all tags."""
    JobTag.objects.all().delete()
    Job.objects.all().delete()
    if tags:
        Tag.objects.all().delete()


def start(api: AppClient, job_id: int, **changes: Any) -> int:
    """Start a job through the API and return its row id."""
    body = {
        "jobId": job_id,
        "cluster": "testcluster",
        "user": "alice",
        "numNodes": 1,
        "startTime": START + job_id,
        "resources": [{"hostname": "n01"}],
    }
    answer = api.post("/api/jobs/start_job/", body | changes)
    assert answer.status == 201, answer.body
    row_id: int = answer.json["id"]
    return row_id


def stop(api: AppClient, row_id: int, job_id: int, state: str = "completed") -> None:
    """Stop a job through the API."""
    answer = api.post(f"/api/jobs/stop_job/{row_id}", {"stopTime": START + job_id + 600, "jobState": state})
    assert answer.status == 200, answer.body


def answers(api: AppClient, row_ids: list[int]) -> list[bytes]:
    """Return what the API says of jobs, byte for byte."""
    calls = [api.get("/api/jobs/?items-per-page=-1"), api.get("/api/jobs/?items-per-page=-1&with-metadata=true")]
    for row_id in row_ids:
        calls += [api.get(f"/api/jobs/{row_id}"), api.post(f"/api/jobs/{row_id}", ["cpu_load", "flops_any"])]
    assert {answer.status for answer in calls} == {200}
    return [answer.body for answer in calls]


def files(root: Path) -> dict[Path, tuple[bytes, int]]:
    """Return every file of an archive with its content and the time of its last change."""
    return {path: (path.read_bytes(), path.stat().st_mtime_ns) for path in root.rglob("*") if path.is_file()}


@pytest.mark.parametrize("with_tags", [True, False], ids=["tags deleted", "tags kept"])
@pytest.mark.usefixtures("cluster", "synthetic")
def test_an_archive_of_our_own_gives_the_same_answers_byte_for_byte(
    api: AppClient, run: Run, archive_root: Path, with_tags: bool
) -> None:
    plain = start(api, 1)
    full = start(
        api,
        2,
        project="bio",
        partition="work",
        arrayJobId=17,
        numNodes=2,
        numHwthreads=8,
        numAcc=2,
        exclusive=2,
        smt=4,
        walltime=3600,
        resources=[
            {"hostname": "n01", "hwthreads": [0, 1], "accelerators": ["00:1"], "configuration": "c"},
            {"hostname": "n02", "hwthreads": [], "configuration": ""},
        ],
        tags=[{"type": "z", "name": "first"}, {"type": "a", "name": 'ä "quoted" \\u0000 </b>'}],
        metaData={
            "jobName": "größe",
            "jobScript": "#!/bin/sh\n\techo \\u0000 \x7f\n",
            "n": "null",
            "1": "1",
            "x": None,
        },
    )
    odd = start(api, 3, shared="multi_user", metaData={})
    gone = start(api, 4)
    for row_id, job_id, state in ((plain, 1, "completed"), (full, 2, "node_fail"), (odd, 3, "out_of_memory")):
        stop(api, row_id, job_id, state)
    stop(api, gone, 4)
    ArchiveWorker().drain()
    delete_job(row_id=gone)
    shutil.rmtree(job_folder(archive_root, JobKey("testcluster", 4, START + 4)))
    assert api.post(f"/api/jobs/tag_job/{odd}", [{"type": "late", "name": "tag"}, {"type": "z", "name": "first"}]).json
    tag_jobs(row_ids=[plain, odd], tags=[TagName(type="b", name="c")])
    ArchiveWorker().drain()
    row_ids = [plain, full, odd]
    before, on_disk = answers(api, row_ids), files(archive_root)

    delete_jobs(row_ids=row_ids)
    if with_tags:
        forget()
    outcome = run("rebuild_jobs")
    assert (outcome.status, outcome.err) == (0, "")
    assert outcome.lines == ["3 jobs restored, 0 there already, 0 refused.", "3 jobs indexed."]
    assert answers(api, row_ids) == before
    assert files(archive_root) == on_disk
    assert not ArchiveTask.objects.exists()
    assert start(api, 5) > full


@pytest.mark.usefixtures("cluster")
def test_rows_that_are_there_stay_as_they_are(api: AppClient, run: Run) -> None:
    first, second = start(api, 1), start(api, 2)
    for row_id, job_id in ((first, 1), (second, 2)):
        stop(api, row_id, job_id)
    ArchiveWorker().drain()
    Job.objects.filter(pk=first).update(user="somebody else", statistics='{"kept":{}}')
    running = JobFactory.create()
    delete_job(row_id=second)
    assert run("rebuild_jobs").lines[0] == "1 job restored, 1 there already, 0 refused."
    assert Job.objects.get(pk=first).user == "somebody else"
    assert Job.objects.get(pk=first).statistics == '{"kept":{}}'
    assert Job.objects.get(pk=second).job_id == 2
    assert Job.objects.get(pk=running.pk).is_running
    again = run("rebuild_jobs")
    assert (again.status, again.lines) == (0, ["0 jobs restored, 2 there already, 0 refused.", "0 jobs indexed."])


@pytest.mark.usefixtures("cluster")
def test_an_id_that_is_taken_goes_to_nobody_else_and_no_job_is_lost(api: AppClient, run: Run, put: Put) -> None:
    first, second = start(api, 1), start(api, 2)
    for row_id, job_id in ((first, 1), (second, 2)):
        stop(api, row_id, job_id)
    ArchiveWorker().drain()
    forget()
    other = JobFactory.create(pk=first)
    put(jobId=50)
    assert run("rebuild_jobs").lines[0] == "3 jobs restored, 0 there already, 0 refused."
    ids = dict(Job.objects.values_list("job_id", "pk"))
    assert ids[other.job_id] == first
    assert ids[2] == second
    assert min(ids[1], ids[50]) > second


def test_a_foreign_file_never_gives_the_id_of_a_row_or_tag(run: Run, put: Put, archive_root: Path) -> None:
    put()
    ours_but_for_order = json.dumps({"jobId": 2, **{key: FOREIGN[key] for key in FOREIGN if key != "jobId"}})
    (put(jobId=2) / "meta.json").write_text(ours_but_for_order)
    (put(jobId=3) / "meta.json").write_text(json.dumps(FOREIGN | {"jobId": 3, "id": 2**60}, separators=(",", ":")))
    assert run("rebuild_jobs").lines[0] == "3 jobs restored, 0 there already, 0 refused."
    assert 77 not in Job.objects.values_list("pk", flat=True)
    assert max(Job.objects.values_list("pk", flat=True)) < 2**53
    assert Tag.objects.get().pk != 9
    job = Job.objects.get(job_id=1)
    assert (job.is_archived, job.user, job.job_state, job.stop_time) == (True, "alice", "completed", START + 60)
    assert job.statistics == '{"cpu_load":{"unit":{"base":""},"avg":0.510204081632653,"min":0,"max":1.5}}'


@pytest.mark.usefixtures("cluster")
def test_a_job_from_elsewhere_does_not_take_the_id_of_one_further_on(
    api: AppClient, run: Run, put: Put, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(rebuild, "_BATCH", 1)
    rows = {job_id: start(api, job_id) for job_id in (1, 2, 3)}
    for job_id, row_id in rows.items():
        stop(api, row_id, job_id)
    ArchiveWorker().drain()
    forget()
    if connection.vendor == "sqlite":  # as a new database would have it
        with connection.cursor() as cursor:
            cursor.execute("DELETE FROM sqlite_sequence WHERE name = 'jobs_job'")
    for job_id in (4, 5):
        put(jobId=job_id, cluster="another")
    assert run("rebuild_jobs").lines[0] == "5 jobs restored, 0 there already, 0 refused."
    assert {job.job_id: job.pk for job in Job.objects.filter(cluster="testcluster")} == rows


@pytest.mark.usefixtures("cluster")
def test_tags_come_back_under_their_ids_where_these_are_free(api: AppClient, run: Run) -> None:
    taken, free = TagFactory.create(), TagFactory.create()
    row_id = start(api, 1, tags=[{"type": tag.type, "name": tag.name} for tag in (taken, free)])
    stop(api, row_id, 1)
    ArchiveWorker().drain()
    forget()
    TagFactory.create(pk=taken.pk, type="another", name="one")
    assert run("rebuild_jobs").status == 0
    ids = {str(tag): tag.pk for tag in Job.objects.get().tags.all()}
    assert ids[str(free)] == free.pk
    assert ids[str(taken)] > free.pk
    new = TagFactory.create(type="later", name="one")
    assert new.pk > ids[str(taken)]


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({"jobState": "running"}, "jobState is 'running'"),
        ({"user": "x" * 256}, "at most 255 characters"),
        ({"numNodes": 0}, "numNodes is 0"),
        ({"startTime": START + 1}, "which belongs into"),
        ({"cluster": "another"}, "which belongs into"),
        ({"tags": [{"type": "", "name": "x"}]}, "tags"),
        ({"statistics": 1}, "statistics is 1"),
    ],
)
def test_what_has_no_place_is_refused_by_name_and_the_rest_restored(
    run: Run, put: Put, archive_root: Path, changes: dict[str, Any], reason: str
) -> None:
    put(jobId=4)
    folder = put(JobKey("fritz", 1, START), **changes)
    outcome = run("rebuild_jobs")
    assert outcome.status == 1
    assert f"refused: {folder}/meta.json: " in outcome.err
    assert reason in outcome.err
    assert outcome.lines[0] == "1 job restored, 0 there already, 1 refused."
    assert [job.job_id for job in Job.objects.all()] == [4]


def test_files_that_are_cut_or_missing_or_misplaced_are_refused(run: Run, put: Put, archive_root: Path) -> None:
    (put(jobId=1) / "meta.json").write_text('{"jobId": 1,')
    (put(jobId=2) / "meta.json").unlink()
    (put(jobId=3) / "meta.json").rename(job_folder(archive_root, JobKey("fritz", 3, START)) / "data.json")
    put(jobId=4).rename(archive_root / "fritz/0/004/later")
    outcome = run("rebuild_jobs")
    assert outcome.status == 1
    assert outcome.lines[0] == "0 jobs restored, 0 there already, 3 refused."
    for name in ("001", "003", "004"):
        assert f"{archive_root}/fritz/0/{name}/" in outcome.err
    assert "/002/" not in outcome.err, "an empty folder is no job"


def test_a_folder_that_is_not_yet_complete_is_no_error_where_its_job_waits(run: Run, archive_root: Path) -> None:
    job = JobFactory.create(finished=True)
    folder = job_folder(archive_root, job.key)
    folder.mkdir(parents=True)
    (folder / "data.json").write_text("{}")
    assert run("rebuild_jobs").lines[0] == "0 jobs restored, 1 there already, 0 refused."


def test_one_cluster_alone(run: Run, put: Put) -> None:
    put(jobId=1)
    put(jobId=1, cluster="woody")
    assert run("rebuild_jobs", "--cluster", "woody").lines[0] == "1 job restored, 0 there already, 0 refused."
    assert Job.objects.get().cluster == "woody"
    for name in ("nowhere", "../job-archive/fritz", ""):
        outcome = run("rebuild_jobs", "--cluster", name)
        assert outcome.status == 2
        assert repr(name) in outcome.err


def test_an_archive_that_is_not_there_or_of_another_version_is_refused(run: Run, put: Put, archive_root: Path) -> None:
    put()
    (archive_root / "version.txt").write_text("3")
    outcome = run("rebuild_jobs")
    assert (outcome.status, "version '3'" in outcome.err) == (1, True)
    shutil.rmtree(archive_root)
    JobFactory.create(archived=True)
    assert run("rebuild_jobs").status == 1


def test_large_files_come_in_smaller_parts(put: Put, archive_root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(rebuild, "LARGEST_BATCH", 500)
    left: list[str] | None = [str(put(jobId=job_id).parent) for job_id in range(1, 12)]
    read: list[int] = []
    parts = 0
    while left:
        reading, left = rebuild._read(archive_root, left)
        read += [job.key.job_id for job in reading.jobs]
        parts += 1
    assert parts > 3
    assert read == list(range(1, 12))


def test_a_job_inserted_in_between_is_there_already(run: Run, put: Put, monkeypatch: pytest.MonkeyPatch) -> None:
    put(jobId=1)
    put(jobId=2)
    insert = restore.insert

    def start_before(jobs: Any, **named: Any) -> set[int]:
        monkeypatch.undo()
        JobFactory.create(job_id=1, cluster="fritz", start_time=START)
        return insert(jobs, **named)

    monkeypatch.setattr(restore, "insert", start_before)
    assert run("rebuild_jobs").lines[0] == "1 job restored, 1 there already, 0 refused."
    assert Job.objects.get(job_id=1).is_running


@pytest.mark.skipif(connection.vendor != "postgresql", reason="of PostgreSQL alone")
def test_statistics_of_a_table_that_was_empty_are_gathered(run: Run, put: Put, monkeypatch: pytest.MonkeyPatch) -> None:
    def statistics(column: str) -> list[tuple[float, str | None]]:
        with connection.cursor() as cursor:
            cursor.execute(
                "SELECT n_distinct, most_common_vals::text FROM pg_stats WHERE tablename = 'jobs_job' AND attname = %s",
                [column],
            )
            return list(cursor.fetchall())

    for job_id in range(1, 4):
        put(jobId=job_id)

    def after_the_rows(command: ServerCommand) -> None:
        assert (statistics("job_id"), statistics("is_booked")) == ([(-1, None)], [])
        index(command)

    monkeypatch.setattr(rebuild_jobs, "index", after_the_rows)
    assert run("rebuild_jobs").status == 0
    assert [values for _, values in statistics("is_booked")] == ["{t}"]


@pytest.mark.django_db
def test_ids_are_reserved_and_kept() -> None:
    first = reserve_ids(3)
    assert first == sorted(set(first))
    assert JobFactory.create().pk > first[-1]
    last = first[-1] + 5000
    keep_ids(Job, last)
    keep_ids(Job, 10)
    assert JobFactory.create().pk == last + 1
    assert reserve_ids(2) == [last + 2, last + 3]


@pytest.mark.skipif(not EMMY.is_dir(), reason=f"no real samples in {EMMY}")
def test_a_real_job_comes_back(run: Run, archive_root: Path) -> None:
    shutil.copytree(EMMY / "emmy", archive_root / "emmy")
    assert run("rebuild_jobs").lines[0] == "1 job restored, 0 there already, 0 refused."
    meta = json.loads((EMMY / "emmy/1403/244/1608923076/meta.json").read_bytes())
    job = Job.objects.get()
    assert json.loads(job.statistics or "") == meta["statistics"]
    assert job.nodes == meta["resources"]
    assert (job.num_nodes, job.duration) == (meta["numNodes"], meta["duration"])
