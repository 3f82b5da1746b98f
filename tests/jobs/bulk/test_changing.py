"""Changes of many jobs: selected and changed in steps, with one entry of the history; corrections can be undone."""

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
from jobs.bulk import changing, selecting
from jobs.bulk.changing import confirm, go_on, undo
from jobs.bulk.selecting import begin_selection, select_all, select_more
from jobs.curation import Edit
from jobs.exceptions import InvalidJobError
from jobs.history import Actor
from jobs.ledger import audit, backlog
from jobs.models import ArchiveTask, Job, JobTag, Tag
from jobs.querysets import seen_by
from jobs.records import BulkChange, BulkPart, Usage, packed, unpacked
from jobs.search import find
from jobs.search.box import narrow
from jobs.search.criteria import Criteria
from jobs.search.find import Search
from jobs.states import BulkKind, BulkState, MonitoringStatus
from tests.support.factories import START, JobFactory, TagFactory, UserFactory

pytestmark = [pytest.mark.usefixtures("cluster"), pytest.mark.django_db]


@pytest.fixture(autouse=True)
def _small_steps(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let a part have two jobs, a statement read three, and a step be one of either."""
    monkeypatch.setattr(selecting, "BATCH", 2)
    monkeypatch.setattr(selecting, "_READ", 3)
    monkeypatch.setattr(selecting, "STEP", 0.0)
    monkeypatch.setattr(changing, "STEP", 0.0)


def search(text: str = "", user: User | None = None) -> Search:
    """Return a search of the box."""
    seen = None if user is None else seen_by(user)
    criteria = Criteria()
    narrow(criteria, text, seen)
    return Search(seen=seen, criteria=criteria)


def selected(user: User, kind: BulkKind = BulkKind.CORRECT, text: str = "") -> BulkChange:
    """Return a change of the jobs of a search."""
    change = begin_selection(kind=kind, actor=Actor(user.pk), query="", conditions="")
    while change.state == BulkState.SELECTING:
        change = select_more(change, search(text, user))
    return change


def begun(user: User, kind: BulkKind = BulkKind.CORRECT, text: str = "", **wanted: str) -> BulkChange:
    """Return a change that was confirmed."""
    return confirm(change=selected(user, kind, text), wanted=wanted, note="ticket 4711", actor=Actor(user.pk))


def finished(change: BulkChange, user: User) -> BulkChange:
    """Make all steps of a change."""
    while change.goes_on:
        change = go_on(change_id=change.pk, user=user)
    return change


def done(user: User, kind: BulkKind = BulkKind.CORRECT, text: str = "", **wanted: str) -> BulkChange:
    """Make a whole change."""
    return finished(begun(user, kind, text, **wanted), user)


def projects() -> list[tuple[str, str]]:
    """Return project and partition of all jobs, the oldest first."""
    return list(Job.objects.order_by("start_time", "pk").values_list("project", "partition"))


def test_row_ids_are_packed_without_loss() -> None:
    for row_ids in ([], [7], [1, 2, 3, 2**62, 2**63 - 1], list(range(10, 5000, 3))):
        assert unpacked(packed(row_ids)) == row_ids
    assert len(packed(list(range(1, 500 * 7, 7)))) < 500


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


def test_jobs_that_start_at_the_same_second_are_selected_once(admin: User) -> None:
    JobFactory.create_batch(10, start_time=START)
    change = selected(admin)
    assert (change.selected, sorted(row for part in change.parts.all() for row in part.values)) == (
        10,
        sorted(Job.objects.values_list("pk", flat=True)),
    )


@pytest.mark.parametrize("text", ["", "project:bio", "name:job", "name:job project:bio", "tag:class", "nodes:1"])
def test_every_kind_of_search_selects_all_its_jobs(text: str, admin: User, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(find, "FIRST_STEP", 1)
    tag = TagFactory.create()
    jobs = [JobFactory.create(start_time=START + number // 3, tags=[tag]) for number in range(20)]
    JobFactory.create(project="chem", meta_data='{"jobName":"x"}', num_nodes=2) if text else None

    change = selected(admin, text=text)

    assert sorted(row for part in change.parts.all() for row in part.values) == [job.pk for job in jobs]


def test_what_starts_while_jobs_are_selected_is_left_out(admin: User) -> None:
    JobFactory.create_batch(8)
    change = begin_selection(kind=BulkKind.CORRECT, actor=Actor(admin.pk), query="", conditions="")
    change = select_more(change, search())
    JobFactory.create(start_time=START * 2)

    while change.state == BulkState.SELECTING:
        change = select_more(change, search())

    assert change.selected == 8


def test_two_who_select_at_once_select_each_job_once(admin: User) -> None:
    JobFactory.create_batch(8)
    change = begin_selection(kind=BulkKind.CORRECT, actor=Actor(admin.pk), query="", conditions="")
    behind = BulkChange.objects.get(pk=change.pk)
    while change.state == BulkState.SELECTING:
        change = select_more(change, search())
        behind = select_more(behind, search())
    assert BulkChange.objects.get().selected == 8


@pytest.mark.parametrize("where", ["project", "partition", "both"])
def test_undoing_gives_each_job_its_own_old_value_back(where: str, admin: User) -> None:
    for number in range(7):
        JobFactory.create(project=f"p{number % 3}", partition=f"q{number % 2}")
    before = projects()
    wanted = {"project": "chem", "partition": "gpu"} if where == "both" else {where: "x"}
    change = done(admin, BulkKind.CORRECT, "", **wanted)
    assert projects() != before

    change = finished(undo(change=change, actor=Actor(admin.pk)), admin)

    assert projects() == before
    assert (change.state, change.outcome.restored, change.outcome.kept) == (BulkState.UNDONE, 7, 0)
    texts = [history.text_of(entry).splitlines()[0] for entry in history.of_job(Job.objects.earliest("pk").pk)]
    assert texts == ["Correction undone.", "Corrected."]
    assert LogEntry.objects.count() == 2


def test_undoing_leaves_jobs_that_were_changed_again_and_says_how_many(admin: User) -> None:
    again, gone, other = JobFactory.create_batch(3, project="wrong")
    change = done(admin, project="chem")
    curation.correct_job(row_id=again.pk, edits=[Edit("project", None, "bio")], note=None, actor=Actor(admin.pk))
    curation.correct_job(row_id=other.pk, edits=[Edit("partition", None, "gpu")], note=None, actor=Actor(admin.pk))
    gone_id = gone.pk
    gone.delete()

    change = finished(undo(change=change, actor=Actor(admin.pk)), admin)

    assert projects() == [("bio", "work"), ("wrong", "gpu")]
    assert (change.outcome.restored, change.outcome.kept) == (1, 2)
    assert [history.text_of(entry).splitlines()[0] for entry in history.of_job(again.pk)] == ["Corrected."] * 2
    assert len(history.of_job(gone_id)) == 1


def test_a_change_that_was_stopped_can_be_undone_and_what_was_left_stays(admin: User) -> None:
    JobFactory.create_batch(6, project="wrong")
    change = go_on(change_id=begun(admin, project="chem").pk, user=admin)
    assert {project for project, _ in projects()} == {"wrong", "chem"}

    change = finished(undo(change=change, actor=Actor(admin.pk)), admin)

    assert {project for project, _ in projects()} == {"wrong"}
    assert change.outcome.restored == change.outcome.changed
    with pytest.raises(InvalidJobError, match="only once"):
        undo(change=change, actor=Actor(admin.pk))


def test_two_changes_that_are_undone_in_the_wrong_order_can_both_be_undone(admin: User) -> None:
    jobs = [JobFactory.create(project=f"own{number}") for number in range(5)]
    first = done(admin, project="chem")
    second = done(admin, text="project:chem", project="bio")
    for job in jobs[:2]:
        curation.correct_job(row_id=job.pk, edits=[Edit("project", None, "chem")], note=None, actor=Actor(admin.pk))

    first = finished(undo(change=first, actor=Actor(admin.pk)), admin)
    assert (first.outcome.restored, first.outcome.kept) == (2, 3)
    finished(undo(change=second, actor=Actor(admin.pk)), admin)
    assert [project for project, _ in projects()] == ["own0", "own1", "chem", "chem", "chem"]
    curation.correct_job(row_id=jobs[0].pk, edits=[Edit("project", None, "chem")], note=None, actor=Actor(admin.pk))
    first = finished(undo(change=first, actor=Actor(admin.pk)), admin)

    assert [project for project, _ in projects()] == ["chem", "own1", "own2", "own3", "own4"]
    assert (first.outcome.restored, first.outcome.kept) == (5, 0)
    assert [len(history.of_job(job.pk)) for job in jobs] == [5, 4, 4, 4, 4]
    with pytest.raises(InvalidJobError, match="only once"):
        undo(change=first, actor=Actor(admin.pk))


def test_undoing_a_tag_leaves_those_that_had_it_before(admin: User) -> None:
    tag = TagFactory.create(type="perf", name="bad")
    had, removed, *got = [JobFactory.create(tags=tags) for tags in ([tag], [], [], [])]
    change = done(admin, BulkKind.TAG, type="perf", name="bad")
    JobTag.objects.get(job=removed).delete()

    change = finished(undo(change=change, actor=Actor(admin.pk)), admin)

    assert list(JobTag.objects.values_list("job", flat=True)) == [had.pk]
    assert (change.outcome.restored, change.outcome.kept) == (2, 1)
    texts = [history.text_of(entry) for entry in history.of_job(got[0].pk)]
    assert texts == ["Removed tag perf:bad again: adding it was undone.", "Added tag perf:bad.\nNote: ticket 4711"]
    assert len(history.of_job(removed.pk)) == 1
    assert list(history.of_job(had.pk)) == []
    assert LogEntry.objects.order_by("-pk")[0].object_repr == "3 jobs: tag removed again (perf:bad)"


@pytest.mark.parametrize("is_deleted", [True, False])
def test_a_tag_that_was_removed_comes_back_to_those_that_had_it(is_deleted: bool, admin: User) -> None:
    tag = TagFactory.create(type="perf", name="bad")
    had = JobFactory.create_batch(3, tags=[tag])
    JobFactory.create()
    change = done(admin, BulkKind.UNTAG, type="perf", name="bad")
    if is_deleted:
        tag.delete()
    change = finished(undo(change=change, actor=Actor(admin.pk)), admin)
    assert set(Job.objects.filter(tags__type="perf", tags__name="bad")) == set(had)
    assert (change.outcome.restored, change.outcome.kept) == (3, 0)


@pytest.mark.parametrize("kind", [BulkKind.ARCHIVE, BulkKind.DELETE])
def test_what_has_no_way_back_is_not_undone(kind: BulkKind, admin: User) -> None:
    JobFactory.create_batch(2, finished=True, monitoring_status=2)
    change = done(admin, kind)
    with pytest.raises(InvalidJobError, match="only corrections and tags"):
        undo(change=change, actor=Actor(admin.pk))


def test_after_a_week_nothing_is_undone(admin: User) -> None:
    JobFactory.create(project="wrong")
    change = done(admin, project="chem")
    BulkChange.objects.update(begun_at=change.begun_at - changing.UNDO_SECONDS)  # type: ignore[operator]

    with pytest.raises(InvalidJobError, match="last seven days"):
        undo(change=change, actor=Actor(admin.pk))
    assert projects() == [("chem", "work")]


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


def test_selections_that_were_left_are_forgotten_after_a_day(admin: User) -> None:
    JobFactory.create_batch(3)
    left, kept = selected(admin), done(admin, project="chem")
    BulkChange.objects.update(created_at=left.created_at - 86_401)

    new = selected(admin)

    assert set(BulkChange.objects.all()) == {kept, new}
    assert not BulkPart.objects.filter(change_id=left.pk).exists()


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


def test_a_small_selection_is_taken_at_once(admin: User) -> None:
    jobs = JobFactory.create_batch(3)
    change = begin_selection(kind=BulkKind.CORRECT, actor=Actor(admin.pk), query="", conditions="")
    change = select_all(change, Job.objects.filter(pk__in=[jobs[0].pk, jobs[2].pk]))
    assert (change.state, change.selected) == (BulkState.SELECTED, 2)
