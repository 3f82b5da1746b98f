"""The jobs of a bulk change are selected in steps, each of them once."""

import pytest

from accounts.models import User
from jobs.bulk.selecting import begin_selection, select_all, select_more
from jobs.history import Actor
from jobs.models import Job
from jobs.records import BulkChange, BulkPart, packed, unpacked
from jobs.search import find
from jobs.states import BulkKind, BulkState
from tests.jobs.bulk.steps import done, search, selected
from tests.support.factories import START, JobFactory, TagFactory

pytestmark = [pytest.mark.usefixtures("cluster", "small_steps"), pytest.mark.django_db]


def test_row_ids_are_packed_without_loss() -> None:
    for row_ids in ([], [7], [1, 2, 3, 2**62, 2**63 - 1], list(range(10, 5000, 3))):
        assert unpacked(packed(row_ids)) == row_ids
    assert len(packed(list(range(1, 500 * 7, 7)))) < 500


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


def test_selections_that_were_left_are_forgotten_after_a_day(admin: User) -> None:
    JobFactory.create_batch(3)
    left, kept = selected(admin), done(admin, project="chem")
    BulkChange.objects.update(created_at=left.created_at - 86_401)

    new = selected(admin)

    assert set(BulkChange.objects.all()) == {kept, new}
    assert not BulkPart.objects.filter(change_id=left.pk).exists()


def test_a_small_selection_is_taken_at_once(admin: User) -> None:
    jobs = JobFactory.create_batch(3)
    change = begin_selection(kind=BulkKind.CORRECT, actor=Actor(admin.pk), query="", conditions="")
    change = select_all(change, Job.objects.filter(pk__in=[jobs[0].pk, jobs[2].pk]))
    assert (change.state, change.selected) == (BulkState.SELECTED, 2)
