"""Corrections and tags by a bulk change are undone in steps: each job gets back what it had."""

import pytest
from django.contrib.admin.models import LogEntry

from accounts.models import User
from jobs import curation, history
from jobs.bulk import changing
from jobs.bulk.changing import go_on, undo
from jobs.curation import Edit
from jobs.exceptions import InvalidJobError
from jobs.history import Actor
from jobs.models import Job, JobTag
from jobs.records import BulkChange
from jobs.states import BulkKind, BulkState
from tests.jobs.bulk.steps import begun, done, finished, projects
from tests.support.factories import JobFactory, TagFactory

pytestmark = [pytest.mark.usefixtures("cluster", "small_steps"), pytest.mark.django_db]


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
