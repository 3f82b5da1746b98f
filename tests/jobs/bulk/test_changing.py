"""Changes of many jobs: made in steps, with one entry of the history."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from django.contrib.admin.models import DELETION, LogEntry
from django.db import transaction

from accounts.models import Role, User, UserProject
from archive.format.layout import job_folder
from jobs import curation, history
from jobs.archiving import queue
from jobs.archiving.worker import ArchiveWorker
from jobs.bulk.changing import confirm, go_on, undo
from jobs.curation import Edit
from jobs.exceptions import InvalidJobError
from jobs.history import Actor
from jobs.ledger import audit, backlog
from jobs.models import ArchiveTask, Job, JobTag, Tag
from jobs.records import BulkChange, BulkPart, Usage
from jobs.states import BulkKind, BulkState, MonitoringStatus
from tests.jobs.bulk.steps import begun, done, finished, projects, selected
from tests.support.factories import JobFactory, TagFactory, UserFactory

pytestmark = [pytest.mark.usefixtures("cluster", "small_steps"), pytest.mark.django_db]


def test_a_correction_is_made_in_steps_and_has_one_entry(admin: User) -> None:
    JobFactory.create_batch(5, project="wrong", partition="main")
    other = JobFactory.create(project="right")

    change = begun(admin, text="project:wrong", project=" chem ")
    assert (change.selected, change.old_values) == (5, [("wrong", "main", 5)])
    change = go_on(change_id=change.pk, user=admin)
    assert change.state == BulkState.RUNNING
    assert 0 < change.outcome.changed < 5
    change = finished(change, admin)

    assert (change.state, change.outcome.changed) == (BulkState.DONE, 5)
    assert projects() == [("chem", "main")] * 5 + [("right", "work")]
    entry = LogEntry.objects.get()
    assert entry.object_repr == "5 jobs corrected (project chem)"
    assert history.text_of(entry) == "Corrected.\nproject: wrong → chem\nNote: ticket 4711"
    of_jobs = {job.pk: list(history.of_job(job.pk)) for job in Job.objects.all()}
    assert of_jobs.pop(other.pk) == []
    assert all(entries == [entry] for entries in of_jobs.values())
    assert history.last_change(next(iter(of_jobs)), "project") == entry


def test_the_entry_that_all_can_read_tells_of_no_other_job(admin: User) -> None:
    JobFactory.create(project="secret")
    JobFactory.create(project="wrong")

    done(admin, project="chem", partition="main")

    text = history.text_of(LogEntry.objects.get())
    assert text == "Corrected.\nproject: (its own) → chem\npartition: work → main\nNote: ticket 4711"


def test_only_what_was_selected_is_changed_and_each_job_that_was_not_is_counted(admin: User) -> None:
    same, gone, other, fine, unrelated = JobFactory.create_batch(5, project="wrong")
    Job.objects.filter(pk=same.pk).update(project="chem")
    change = selected(admin)
    curation.correct_job(row_id=other.pk, edits=[Edit("project", None, "bio")], note=None, actor=Actor(admin.pk))
    curation.correct_job(row_id=unrelated.pk, edits=[Edit("partition", None, "gpu")], note=None, actor=Actor(admin.pk))
    gone.delete()

    change = confirm(change=change, wanted={"project": "chem"}, note="x", actor=Actor(admin.pk))
    change = finished(change, admin)

    found = change.outcome
    assert (found.changed, found.same, found.others, found.gone) == (2, 1, 1, 1)
    assert {job.pk: job.project for job in Job.objects.all()} == {
        same.pk: "chem",
        other.pk: "bio",
        fine.pk: "chem",
        unrelated.pk: "chem",
    }


def test_usage_moves_and_moves_back(admin: User) -> None:
    for number in range(5):
        JobFactory.create(finished=True, project=f"p{number % 2}", monitoring_status=MonitoringStatus.DISABLED)
    JobFactory.create(project="p0")  # runs, and is booked when it ends
    backlog.book_next(100)
    before = list(Usage.objects.order_by("project").values_list("project", "jobs", "node_seconds"))

    change = done(admin, project="chem")
    assert list(Usage.objects.values_list("project", "jobs")) == [("chem", 5)]
    assert list(audit.differences()) == []
    finished(undo(change=change, actor=Actor(admin.pk)), admin)

    assert list(Usage.objects.order_by("project").values_list("project", "jobs", "node_seconds")) == before
    assert list(audit.differences()) == []


def meta_of(job: Job, archive_root: Path) -> dict[str, Any]:
    """Return the archive's meta.json of a job."""
    found: dict[str, Any] = json.loads((job_folder(archive_root, job.key) / "meta.json").read_text())
    return found


@pytest.mark.usefixtures("synthetic")
def test_the_archive_follows_when_a_worker_runs_again(admin: User, archive_root: Path) -> None:
    jobs = JobFactory.create_batch(3, finished=True, project="wrong")
    ArchiveWorker().drain()

    change = done(admin, project="chem")  # no worker runs
    assert [meta_of(job, archive_root)["project"] for job in jobs] == ["wrong"] * 3
    assert ArchiveTask.objects.edited().count() == 3
    ArchiveWorker(at_once=True).drain()

    assert change.state == BulkState.DONE
    assert {meta_of(job, archive_root)["project"] for job in jobs} == {"chem"}
    finished(undo(change=change, actor=Actor(admin.pk)), admin)
    ArchiveWorker(at_once=True).drain()
    assert {meta_of(job, archive_root)["project"] for job in jobs} == {"wrong"}
    assert not ArchiveTask.objects.exists()


def test_an_archive_that_cannot_be_written_delays_the_files_alone(admin: User, archive_root: Path) -> None:
    job = JobFactory.create(finished=True, project="wrong")
    ArchiveWorker().drain()
    folder = job_folder(archive_root, job.key)
    aside = folder.rename(archive_root / "aside")
    folder.touch()  # a file, in which nothing can be written, whoever tries

    assert done(admin, project="chem").outcome.changed == 1
    ArchiveWorker(at_once=True).drain()
    assert ArchiveTask.objects.edited().tried().count() == 1
    folder.unlink()
    aside.rename(folder)
    ArchiveWorker(at_once=True).drain()

    assert meta_of(job, archive_root)["project"] == "chem"


def test_a_step_that_fails_leaves_nothing_half_done(admin: User, monkeypatch: pytest.MonkeyPatch) -> None:
    JobFactory.create_batch(4, project="wrong")
    change = begun(admin, project="chem")

    def fail(*arguments: object) -> None:
        raise OSError("gone")

    monkeypatch.setattr(queue, "record_edit", fail)
    with pytest.raises(OSError, match="gone"):
        go_on(change_id=change.pk, user=admin)
    monkeypatch.undo()
    assert {project for project, _ in projects()} == {"wrong"}
    assert BulkChange.objects.get().outcome.changed == 0

    assert finished(change, admin).outcome.changed == 4


@pytest.mark.parametrize(
    ("wanted", "note"),
    [
        ({"project": "x" * 256}, "x"),
        ({"user": "mallory"}, "x"),
        ({"project": "chem"}, " "),
    ],
)
def test_what_cannot_be_is_refused_before_anything_is_written(wanted: dict[str, str], note: str, admin: User) -> None:
    JobFactory.create()
    change = selected(admin)
    with pytest.raises(InvalidJobError):
        confirm(change=change, wanted=wanted, note=note, actor=Actor(admin.pk))
    assert not LogEntry.objects.exists()
    assert BulkChange.objects.get().state == BulkState.SELECTED


def test_an_empty_value_empties_a_field_and_usage_moves(admin: User) -> None:
    disabled = MonitoringStatus.DISABLED
    JobFactory.create_batch(3, project="wrong", partition="main", finished=True, monitoring_status=disabled)
    backlog.book_next(100)
    change = done(admin, partition="")
    assert projects() == [("wrong", "")] * 3
    assert set(Usage.objects.filter(jobs__gt=0).values_list("project", "partition")) == {("wrong", "")}
    assert LogEntry.objects.get().object_repr == "3 jobs corrected (partition (empty))"
    finished(undo(change=change, actor=Actor(admin.pk)), admin)
    assert projects() == [("wrong", "main")] * 3
    assert not list(audit.differences())


def test_a_change_begins_once(admin: User) -> None:
    JobFactory.create()
    change = selected(admin)
    confirm(change=change, wanted={"project": "a"}, note="x", actor=Actor(admin.pk))
    with pytest.raises(InvalidJobError, match="begun already"):
        confirm(change=change, wanted={"project": "b"}, note="x", actor=Actor(admin.pk))


def test_a_tag_is_put_on_and_taken_off(admin: User) -> None:
    tag = TagFactory.create(type="perf", name="bad")
    has_it = JobFactory.create(tags=[tag])
    jobs = JobFactory.create_batch(4, archived=True)

    change = done(admin, BulkKind.TAG, type="perf", name="bad")
    assert (change.outcome.changed, change.outcome.same) == (4, 1)
    assert JobTag.objects.count() == 5
    assert ArchiveTask.objects.edited().count() == 4
    assert [history.text_of(entry) for entry in history.of_job(jobs[0].pk)] == [
        "Added tag perf:bad.\nNote: ticket 4711"
    ]
    assert not history.of_job(has_it.pk)

    change = done(admin, BulkKind.UNTAG, type="perf", name="bad")
    assert change.outcome.changed == 5
    assert not JobTag.objects.exists()
    assert LogEntry.objects.count() == 2


def test_a_tag_that_is_deleted_meanwhile_is_on_no_job(admin: User) -> None:
    tag = TagFactory.create(type="perf", name="bad")
    JobFactory.create(tags=[tag])
    change = begun(admin, BulkKind.UNTAG, type="perf", name="bad")
    Tag.objects.all().delete()

    assert finished(change, admin).outcome.same == 1
    with pytest.raises(InvalidJobError, match="no tag perf:bad"):
        begun(admin, BulkKind.UNTAG, type="perf", name="bad")


def test_jobs_are_deleted_and_their_usage_stays(admin: User) -> None:
    JobFactory.create_batch(5, finished=True, tags=[TagFactory.create()], monitoring_status=MonitoringStatus.DISABLED)
    backlog.book_next(100)

    change = done(admin, BulkKind.DELETE)

    assert (change.outcome.changed, Job.objects.count()) == (5, 0)
    assert Usage.objects.get().jobs == 5
    entry = LogEntry.objects.get()
    assert (entry.action_flag, entry.object_repr) == (DELETION, "5 jobs deleted from the database")
    assert not BulkPart.objects.exists()


def test_jobs_are_archived_again_and_reasons_are_given_for_others(admin: User) -> None:
    failed = JobFactory.create_batch(3, finished=True, monitoring_status=MonitoringStatus.FAILED)
    running = JobFactory.create()

    change = done(admin, BulkKind.ARCHIVE)

    assert Job.objects.awaiting_archive().count() == 3
    assert (change.outcome.changed, change.outcome.refused) == (3, 1)
    assert change.outcome.reasons == [f"job {running}: it is still running"]
    assert history.of_job(failed[0].pk).count() == 1


def test_a_manager_changes_jobs_of_his_projects_alone_and_only_as_long_as_he_sees_them(
    bob: User, as_manager: Callable[[], User]
) -> None:
    JobFactory.create_batch(4, project="bio")
    hidden = JobFactory.create(project="chem")
    change = begun(bob, BulkKind.TAG, type="perf", name="bad")
    assert change.selected == 4
    change = go_on(change_id=change.pk, user=bob)
    tagged = JobTag.objects.count()
    UserProject.objects.filter(user=bob).delete()

    change = finished(change, as_manager())

    assert JobTag.objects.count() == tagged == change.outcome.changed
    assert change.outcome.gone == 4 - tagged
    assert not JobTag.objects.filter(job=hidden).exists()


@pytest.fixture
def as_manager(bob: User) -> Callable[[], User]:
    """Return a function that loads bob anew."""
    return lambda: User.objects.get(pk=bob.pk)


def test_two_at_once_change_each_job_once(admin: User) -> None:
    JobFactory.create_batch(6, project="wrong")
    change = begun(admin, project="chem")
    other = UserFactory.create(roles=[Role.ADMIN])
    while change.goes_on:
        with transaction.atomic():
            go_on(change_id=change.pk, user=other)
        change = go_on(change_id=change.pk, user=admin)
    assert change.outcome.changed == 6
    assert change.outcome.same == 0
