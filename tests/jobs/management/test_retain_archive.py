"""retain_archive: what goes, what stays, what becomes of the rows."""

import json
import threading
import time
from collections.abc import Callable
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from django.utils import timezone

from archive import root
from archive.format.layout import JobKey, job_folder
from archive.storage import removal
from archive.storage.store import ArchiveStore
from jobs import checks
from jobs.archiving import queue, writing
from jobs.archiving.worker import ArchiveWorker
from jobs.deletion.services import delete_job, delete_jobs
from jobs.exceptions import JobNotFoundError
from jobs.maintenance import retention
from jobs.messages import TagName
from jobs.models import ArchiveTask, Job, Tag
from jobs.rows.select import fetch_rows
from jobs.tags.services import tag_job, tag_jobs
from tests.support.clients import AppClient
from tests.support.commands import Run
from tests.support.factories import START, JobFactory, TagFactory
from tests.support.on_disk import content

DATA = b'{"cpu_load":{"node":{"unit":{"base":""},"timestep":60,"series":[{"hostname":"n01","data":[1.0,null]}]}}}'


def put(job: Job, data: bytes = DATA) -> Job:
    """Write the files of a job to the archive."""
    row = fetch_rows([job.pk])[job.pk]
    root.store().write_job(job.key, writing.meta_document(row, job.statistics), data)
    return job


def put_without_row(key: JobKey, **values: Any) -> JobKey:
    """Write the files of a job that the database does not know."""
    meta = {"jobId": key.job_id, "cluster": key.cluster, "startTime": key.start_time, "duration": 600}
    root.store().write_job(key, json.dumps(meta | values).encode(), DATA)
    return key


def status(job: Job) -> int | None:
    """Return the monitoringStatus of a job's row; None where there is no row."""
    return Job.objects.filter(pk=job.pk).values_list("monitoring_status", flat=True).first()


@pytest.fixture
def target(tmp_path: Path) -> Path:
    """Return where jobs are moved to: a folder that does not exist yet."""
    return tmp_path / "cold"


@pytest.fixture
def jobs(archive_root: Path, db: None) -> dict[str, Job]:
    """Return jobs with files in the archive; all but `late` ended long ago."""
    made = {
        "archived": JobFactory.create(archived=True),
        "tagged": JobFactory.create(archived=True, tags=[TagFactory.create()]),
        "other": JobFactory.create(archived=True, cluster="other"),
        "running": JobFactory.create(),
        "waiting": JobFactory.create(finished=True),
        "late": JobFactory.create(archived=True, start_time=int(time.time()) - 86400),
    }
    for name, job in made.items():
        if name == "running":
            put_without_row(job.key)  # as if it had ended: the row knows better
        else:
            put(job)
    return made


def left(jobs: dict[str, Job], root: Path) -> set[str]:
    """Return which of the jobs an archive has."""
    return {name for name, job in jobs.items() if ArchiveStore(root).has_job(job.key)}


def test_old_jobs_go_and_their_rows_stay_without_samples(
    run: Run, jobs: dict[str, Job], archive_root: Path, api: AppClient
) -> None:
    alone = put_without_row(JobKey("testcluster", 77, 1000))
    outcome = run("retain_archive", "--older-than", "1", "--do", "delete", "--yes")
    assert outcome.status == 0, outcome.err
    assert left(jobs, archive_root) == {"running", "waiting", "late"}
    assert not job_folder(archive_root, alone).parent.parent.exists(), "empty folders go too"
    assert {name: status(job) for name, job in jobs.items()} == {
        "archived": 0,
        "tagged": 0,
        "other": 0,
        "running": 1,
        "waiting": 1,
        "late": 3,
    }
    assert outcome.lines[-1].startswith("4 jobs (")
    assert outcome.lines[-1].endswith(" deleted; left: 2 running or waiting.")
    assert not ArchiveTask.objects.exists()
    answer = api.get(f"/api/jobs/{jobs['archived'].pk}")
    assert (answer.status, answer.json["data"]) == (200, [])


def test_options_choose(run: Run, jobs: dict[str, Job], archive_root: Path) -> None:
    bare = put_without_row(JobKey("testcluster", 77, 1000))
    tagged = put_without_row(JobKey("testcluster", 78, 1000), tags=[{"type": "a", "name": "b"}])
    options = ("--omit-tagged", "--cluster", "testcluster", "--rows")
    outcome = run("retain_archive", "--older-than", "0", "--do", "delete", "--yes", *options)
    assert outcome.lines[-1].endswith(" deleted, 2 rows deleted; left: 2 tagged, 2 running or waiting.")
    assert left(jobs, archive_root) == {"tagged", "other", "running", "waiting"}
    assert [ArchiveStore(archive_root).has_job(key) for key in (bare, tagged)] == [False, True]
    assert {name for name, job in jobs.items() if status(job)} == {"tagged", "other", "running", "waiting"}


def test_the_tags_of_the_row_count_where_there_is_one(run: Run, archive_root: Path, db: None) -> None:
    job = put(JobFactory.create(archived=True, tags=[TagFactory.create()]))
    job.tag_links.all().delete()
    run("retain_archive", "--older-than", "0", "--do", "delete", "--yes", "--omit-tagged")
    assert not root.store().has_job(job.key)


def test_moved_jobs_are_the_same_elsewhere(
    run: Run, jobs: dict[str, Job], archive_root: Path, cluster: Path, target: Path
) -> None:
    before = content(job_folder(archive_root, jobs["tagged"].key))
    outcome = run("retain_archive", "--older-than", "1", "--do", f"move:{target}", "--yes")
    assert outcome.lines[-1].endswith(f") moved to {target}; left: 2 running or waiting.")
    assert left(jobs, archive_root) == {"running", "waiting", "late"}
    assert left(jobs, target) == {"archived", "tagged", "other"}
    assert content(job_folder(target, jobs["tagged"].key)) == before
    assert (target / "version.txt").read_text() == "1\n"
    assert (target / "testcluster" / "cluster.json").read_bytes() == cluster.read_bytes()


@pytest.mark.parametrize("what", ["delete", "move"])
def test_a_dry_run_says_what_would_go_and_changes_nothing(
    run: Run, jobs: dict[str, Job], archive_root: Path, target: Path, what: str
) -> None:
    before = content(archive_root)
    size = sum(len(text) for path, text in before.items() if str(jobs["other"].start_time) in path)
    what = what if what == "delete" else f"move:{target}"
    outcome = run("retain_archive", "--older-than", "1", "--do", what, "--rows", "--dry-run")
    assert outcome.status == 0
    assert outcome.lines[0].startswith("3 jobs (")
    assert outcome.lines[0].endswith("left: 2 running or waiting")
    assert outcome.lines[1].split() == ["other", "1", "job", f"{size}B"]
    assert outcome.lines[2].split()[:3] == ["testcluster", "2", "jobs"]
    assert outcome.lines[-1].startswith("Dry run: 3 jobs (")
    assert content(archive_root) == before
    assert not target.exists()
    assert status(jobs["archived"]) == 3


def test_it_asks_on_a_terminal(
    run: Run, jobs: dict[str, Job], archive_root: Path, answer: Callable[[str], None], capsys: Any
) -> None:
    answer("n")
    outcome = run("retain_archive", "--older-than", "1", "--do", "delete", "--rows")
    assert outcome.status == 1
    assert left(jobs, archive_root) == jobs.keys()
    question = capsys.readouterr().err
    assert question.startswith("3 jobs (")
    assert ") and their rows will be deleted. Go on?" in question
    answer("y")
    assert run("retain_archive", "--older-than", "1", "--do", "delete", "--rows").status == 0
    assert left(jobs, archive_root) == {"running", "waiting", "late"}


def test_without_a_terminal_and_without_yes_it_is_refused(run: Run, jobs: dict[str, Job], archive_root: Path) -> None:
    outcome = run("retain_archive", "--older-than", "1", "--do", "delete")
    assert outcome.status == 2
    assert "--yes" in outcome.err
    assert left(jobs, archive_root) == jobs.keys()


@pytest.mark.parametrize("where", ["job-archive", "job-archive/new", ".", "file", "not/there"])
def test_a_target_that_cannot_be_is_bad_usage(
    run: Run, jobs: dict[str, Job], archive_root: Path, tmp_path: Path, where: str
) -> None:
    (tmp_path / "file").write_text("x")
    before = content(tmp_path)
    path = tmp_path / where
    outcome = run("retain_archive", "--older-than", "1", "--do", f"move:{path}", "--yes")
    assert outcome.status == 2
    assert f"--do move:{path}: " in outcome.err
    assert content(tmp_path) == before


def test_bad_usage(typed: Run) -> None:
    for days, what, named in (
        ("-1", "delete", "--older-than: '-1'"),
        ("1.5", "delete", "--older-than: '1.5'"),
        ("1", "copy:/tmp", "--do: 'copy:/tmp': expected delete, or move:TARGET"),
        ("1", "move:", "--do: 'move:'"),
    ):
        outcome = typed("retain_archive", "--older-than", days, "--do", what, "--yes")
        assert outcome.status == 2
        assert named in outcome.err
    outcome = typed("retain_archive", "--older-than", "1", "--do", "delete", "--yes", "-v0")
    assert (outcome.status, outcome.out, outcome.err) == (0, "", "")


def test_an_archive_that_is_not_mounted_is_refused(run: Run, archive_root: Path) -> None:
    JobFactory.create(archived=True)
    outcome = run("retain_archive", "--older-than", "1", "--do", "delete", "--yes")
    assert outcome.status == 1
    assert "mounted" in outcome.err


def test_an_archive_emptied_by_retention_stops_nobody(run: Run, archive_root: Path, db: None) -> None:
    job = put(JobFactory.create(archived=True))
    assert run("retain_archive", "--older-than", "1", "--do", "delete", "--yes").status == 0
    assert not root.store().holds_jobs()
    assert checks.archive_problem() is None
    assert status(job) == 0
    assert run("retain_archive", "--older-than", "1", "--do", "delete", "--yes").status == 0


def test_an_edit_of_a_job_that_went_stays_in_the_database(run: Run, archive_root: Path, db: None) -> None:
    job = put(JobFactory.create(archived=True))
    run("retain_archive", "--older-than", "1", "--do", "delete", "--yes")
    tag_job(row_id=job.pk, tags=[TagName(type="a", name="b")])
    assert not ArchiveTask.objects.exists()
    assert ArchiveWorker().drain().archived == 0
    assert not root.store().has_job(job.key)
    assert job.tags.count() == 1


def test_an_edit_that_waits_is_written_before_a_job_moves(run: Run, archive_root: Path, target: Path, db: None) -> None:
    job = put(JobFactory.create(archived=True))
    tag_jobs(row_ids=[job.pk], tags=[TagName(type="a", name="b")])
    assert run("retain_archive", "--older-than", "1", "--do", f"move:{target}", "--yes").status == 0
    assert json.loads(ArchiveStore(target).read_meta(job.key))["tags"][0]["name"] == "b"
    assert not ArchiveTask.objects.exists()


def test_a_job_that_is_edited_while_it_is_copied_waits_for_the_next_run(
    run: Run, archive_root: Path, target: Path, db: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    job = put(JobFactory.create(archived=True))
    original = queue.retire

    def edited(worker: str, row_ids: Any) -> dict[int, int]:
        tag_job(row_id=job.pk, tags=[TagName(type="a", name="b")])
        return original(worker, row_ids)

    monkeypatch.setattr(queue, "retire", edited)
    outcome = run("retain_archive", "--older-than", "1", "--do", f"move:{target}", "--rows", "--yes")
    assert outcome.lines[-1] == f"0 jobs (0.00B) moved to {target}, 0 rows deleted; left: 1 in use."
    assert status(job) == 3
    assert root.store().has_job(job.key)
    assert not ArchiveStore(target).has_job(job.key)
    monkeypatch.undo()
    run("retain_archive", "--older-than", "1", "--do", f"move:{target}", "--yes")
    assert json.loads(ArchiveStore(target).read_meta(job.key))["tags"][0]["name"] == "b"


def test_what_another_process_holds_is_left(
    run: Run, jobs: dict[str, Job], archive_root: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(retention, "_PATIENCE", 0.2)
    later = timezone.now() + timedelta(seconds=8)
    ArchiveTask.objects.create(job=jobs["archived"], worker="another", not_before=later)
    outcome = run("retain_archive", "--older-than", "1", "--do", "delete", "--rows", "--yes")
    assert outcome.lines[-1].endswith("left: 2 running or waiting, 1 in use.")
    assert "archived" in left(jobs, archive_root)
    assert ArchiveTask.objects.get().worker == "another"


def test_it_waits_for_what_a_killed_process_held(run: Run, archive_root: Path, db: None) -> None:
    job = put(JobFactory.create(archived=True))
    ArchiveTask.objects.create(job=job, worker="dead", not_before=timezone.now() + timedelta(seconds=1))
    assert run("retain_archive", "--older-than", "1", "--do", "delete", "--yes").status == 0
    assert not root.store().has_job(job.key)


def test_what_a_killed_run_held_is_no_edit(archive_root: Path, db: None) -> None:
    job = put(JobFactory.create(archived=True))
    path = job_folder(archive_root, job.key) / "meta.json"
    path.write_text("as another writer wrote it")
    assert queue.claim_for_removal("dead", {job.pk})
    ArchiveTask.objects.update(not_before=timezone.now() - timedelta(seconds=1))
    assert ArchiveWorker().drain().archived == 0
    assert path.read_text() == "as another writer wrote it"
    tag_job(row_id=job.pk, tags=[TagName(type="a", name="b")])
    assert json.loads(path.read_text())["tags"][0]["name"] == "b", "an edit after that is written as ever"


def test_a_long_copy_keeps_what_it_holds(
    transactional_db: None, run: Run, archive_root: Path, target: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(queue, "RENEW_EVERY", 0.1)
    job = put(JobFactory.create(archived=True))
    renewed = threading.Event()
    renew, original = queue.renew, removal.copy_data

    def renew_and_say(worker: str) -> None:
        renew(worker)
        renewed.set()

    monkeypatch.setattr(queue, "renew", renew_and_say)

    def slow(*arguments: Any) -> None:
        assert renewed.wait(10)
        original(*arguments)

    monkeypatch.setattr(removal, "copy_data", slow)
    assert run("retain_archive", "--older-than", "1", "--do", f"move:{target}", "--yes").status == 0
    assert ArchiveStore(target).has_job(job.key)


def test_a_job_that_differs_at_the_target_is_named_and_stays_as_it_was(
    run: Run, jobs: dict[str, Job], archive_root: Path, target: Path
) -> None:
    run("retain_archive", "--older-than", "18000", "--do", f"move:{target}", "--yes")
    job = jobs["archived"]
    ArchiveStore(target).write_job(job.key, root.store().read_meta(job.key), b'{"other": 1}')
    theirs = content(target)
    outcome = run("retain_archive", "--older-than", "1", "--do", f"move:{target}", "--rows", "--yes")
    assert outcome.status == 1
    assert f"left: {job_folder(archive_root, job.key)}: {job_folder(target, job.key)}" in outcome.err
    assert "archived" in left(jobs, archive_root)
    assert status(job) == 3
    assert content(target).items() >= theirs.items()
    assert left(jobs, target) == {"archived", "tagged", "other"}


def test_a_job_that_is_equal_at_the_target_goes_here(run: Run, archive_root: Path, target: Path, db: None) -> None:
    job = put(JobFactory.create(archived=True))
    removal.prepare_target(root.store(), ArchiveStore(target))
    removal.copy_data(root.store(), ArchiveStore(target), job.key)
    removal.copy_meta(root.store(), ArchiveStore(target), job.key)
    before = content(target)
    assert run("retain_archive", "--older-than", "1", "--do", f"move:{target}", "--yes").status == 0
    assert content(target) == before
    assert not root.store().has_job(job.key)


def test_a_folder_that_cannot_be_taken_leaves_its_row_as_it_was(
    run: Run, jobs: dict[str, Job], archive_root: Path
) -> None:
    folder = job_folder(archive_root, jobs["archived"].key)
    original = removal.hide
    (folder / "notes.txt").write_text("found by the search")
    outcome = run("retain_archive", "--older-than", "1", "--do", "delete", "--rows", "--yes")
    assert (outcome.status, original) == (1, removal.hide)
    assert f"left: {folder}: holds notes.txt" in outcome.err
    assert "1 folder could not be taken" in outcome.err
    assert left(jobs, archive_root) == {"archived", "running", "waiting", "late"}
    assert status(jobs["archived"]) == 3


def test_what_fails_in_the_last_step_is_taken_back(
    run: Run, jobs: dict[str, Job], archive_root: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    original, folder = removal.hide, job_folder(archive_root, jobs["archived"].key)

    def hide(store: ArchiveStore, key: JobKey) -> Path:
        if key == jobs["archived"].key:
            (folder / "notes.txt").write_text("written this moment")
        return original(store, key)

    monkeypatch.setattr(removal, "hide", hide)
    assert run("retain_archive", "--older-than", "1", "--do", "delete", "--rows", "--yes").status == 1
    assert {name: status(jobs[name]) for name in ("archived", "tagged")} == {"archived": 3, "tagged": None}
    assert not ArchiveTask.objects.exists()


def test_the_next_run_finishes_what_a_killed_one_left(run: Run, jobs: dict[str, Job], archive_root: Path) -> None:
    for name in ("archived", "tagged"):
        removal.hide(root.store(), jobs[name].key)
    outcome = run("retain_archive", "--older-than", "1", "--do", "delete", "--dry-run")
    assert "2 jobs of an interrupted run" in outcome.out
    options = ("--omit-tagged", "--rows", "--yes")
    outcome = run("retain_archive", "--older-than", "9999", "--do", "delete", *options)
    assert outcome.lines[-1] == "0 jobs (0.00B) deleted, 1 row deleted."
    assert (status(jobs["archived"]), status(jobs["tagged"])) == (None, 0)
    assert not list(archive_root.rglob("*.tmp"))


def test_a_row_whose_job_came_back_is_not_that_of_the_rest(run: Run, jobs: dict[str, Job], archive_root: Path) -> None:
    removal.hide(root.store(), jobs["late"].key)
    put(jobs["late"])
    run("retain_archive", "--older-than", "9999", "--do", "delete", "--rows", "--yes")
    assert status(jobs["late"]) == 3
    assert not list(archive_root.rglob("*.tmp"))


def test_more_jobs_than_one_batch(run: Run, archive_root: Path, db: None, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(retention, "_BATCH", 3)
    for number in range(1, 11):
        put_without_row(JobKey("testcluster", number, START))
    assert run("retain_archive", "--older-than", "1", "--do", "delete", "--yes").lines[-1].startswith("10 jobs (")
    assert content(archive_root).keys() == {"version.txt"}


def test_a_row_that_is_deleted_meanwhile_is_no_trouble(
    run: Run, jobs: dict[str, Job], archive_root: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    original = queue.claim_for_removal

    def gone(worker: str, row_ids: Any) -> list[queue.Claim]:
        delete_jobs(row_ids=[jobs["archived"].pk])
        return original(worker, row_ids)

    monkeypatch.setattr(queue, "claim_for_removal", gone)
    outcome = run("retain_archive", "--older-than", "1", "--do", "delete", "--rows", "--yes")
    assert outcome.status == 0
    assert left(jobs, archive_root) == {"archived", "running", "waiting", "late"}
    with pytest.raises(JobNotFoundError):
        delete_job(row_id=jobs["archived"].pk)
    assert Tag.objects.count() == 1
