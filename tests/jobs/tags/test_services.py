"""Renaming, merging and deleting tags: in batches, each whole, so that what is interrupted can go on."""

import json
from collections.abc import Sequence
from pathlib import Path

import pytest
from django.db import connection
from django.test.utils import CaptureQueriesContext

from archive.format.layout import job_folder
from jobs.archiving import queue
from jobs.archiving.worker import ArchiveWorker
from jobs.exceptions import InvalidJobError, TagExistsError, UnknownTagError
from jobs.models import ArchiveTask, Job, JobTag, Tag
from jobs.tags import services
from jobs.tags.services import delete_tags, merge_tags, rename_tag
from tests.support.factories import JobFactory, TagFactory

pytestmark = pytest.mark.django_db


class Killed(BaseException):
    """The process dies here."""


@pytest.fixture
def small_batches(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let two jobs be a batch."""
    monkeypatch.setattr(services, "BATCH", 2)


@pytest.fixture
def dies_in_second_batch(small_batches: None, monkeypatch: pytest.MonkeyPatch) -> None:
    """Kill the call when its second batch records its edits."""
    calls = []

    def record_or_die(row_ids: Sequence[int]) -> None:
        calls.append(row_ids)
        if len(calls) == 2:
            raise Killed
        record_edit(row_ids)

    record_edit = queue.record_edit
    monkeypatch.setattr(queue, "record_edit", record_or_die)


def edited() -> list[int]:
    """Return the ids of the jobs whose meta.json has to follow."""
    return list(ArchiveTask.objects.filter(edits__gt=0).order_by("pk").values_list("pk", flat=True))


def jobs_with(tag: Tag) -> list[int]:
    """Return the ids of the jobs that have a tag."""
    return list(JobTag.objects.filter(tag=tag).order_by("job_id").values_list("job_id", flat=True))


def test_merging_gives_each_job_the_kept_tag_once(small_batches: None) -> None:
    kept, first, second = TagFactory.create_batch(3)
    jobs = [
        JobFactory.create(archived=True, tags=tags)
        for tags in ([first], [first, kept], [second], [first, second], [first, second, kept], [kept])
    ]

    progress = merge_tags(tag_ids=[first.pk, second.pk], into=kept.pk)

    assert progress.gone == [first.pk, second.pk]
    assert list(Tag.objects.all()) == [kept]
    assert jobs_with(kept) == [job.pk for job in jobs]
    assert edited() == [job.pk for job in jobs[:-1]]


def test_the_archive_has_the_kept_tag_after_the_worker_came_by(archive_root: Path) -> None:
    kept, old = TagFactory.create(type="perf", name="good"), TagFactory.create(type="perf", name="fine")
    job = JobFactory.create(finished=True, tags=[old])
    ArchiveWorker().drain()

    merge_tags(tag_ids=[old.pk], into=kept.pk)
    ArchiveWorker().drain()

    meta = json.loads((job_folder(archive_root, job.key) / "meta.json").read_bytes())
    assert meta["tags"] == [{"id": kept.pk, "type": "perf", "name": "good"}]
    assert not ArchiveTask.objects.exists()


def test_a_killed_merge_leaves_whole_batches_and_goes_on_when_asked_again(
    dies_in_second_batch: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    kept, old = TagFactory.create_batch(2)
    jobs = [JobFactory.create(archived=True, tags=[old]).pk for _ in range(5)]

    with pytest.raises(Killed):
        merge_tags(tag_ids=[old.pk], into=kept.pk)
    moved = jobs_with(kept)
    assert len(moved) == 2
    assert edited() == moved
    assert jobs_with(old) == sorted(set(jobs) - set(moved))

    merge_tags(tag_ids=[old.pk], into=kept.pk)
    assert jobs_with(kept) == edited() == jobs
    assert list(Tag.objects.all()) == [kept]


def test_a_killed_deletion_leaves_the_tag_on_the_other_jobs_and_goes_on_when_asked_again(
    dies_in_second_batch: None,
) -> None:
    old = TagFactory.create()
    jobs = [JobFactory.create(archived=True, tags=[old]).pk for _ in range(5)]

    with pytest.raises(Killed):
        delete_tags(tag_ids=[old.pk])
    assert len(jobs_with(old)) == 3
    assert sorted([*edited(), *jobs_with(old)]) == jobs

    delete_tags(tag_ids=[old.pk])
    assert edited() == jobs
    assert not Tag.objects.exists()
    assert Job.objects.count() == 5


def test_a_transaction_never_holds_more_than_a_batch(small_batches: None) -> None:
    old = TagFactory.create()
    JobFactory.create_batch(7, archived=True, tags=[old])

    with CaptureQueriesContext(connection) as queries:
        delete_tags(tag_ids=[old.pk])

    begun = [query["sql"] for query in queries if query["sql"].startswith("SAVEPOINT")]  # in the test's transaction
    assert len(begun) >= 4


def test_a_call_stops_when_its_time_is_over_and_the_next_one_ends_it(small_batches: None) -> None:
    kept, old = TagFactory.create_batch(2)
    JobFactory.create_batch(5, tags=[old])

    first = merge_tags(tag_ids=[old.pk], into=kept.pk, seconds=0)
    rest = merge_tags(tag_ids=[old.pk], into=kept.pk, seconds=60)

    assert (first.jobs, first.gone) == (2, [])
    assert (rest.jobs, rest.gone) == (3, [old.pk])


def test_a_tag_on_few_jobs_keeps_its_id_and_has_the_new_name_at_once() -> None:
    tag, other = TagFactory.create_batch(2)
    archived, running = JobFactory.create(archived=True, tags=[tag]), JobFactory.create(tags=[tag])
    JobFactory.create(archived=True, tags=[other])

    renamed = rename_tag(tag_id=tag.pk, type_="perf", name="memory-bound")

    assert (renamed.pk, str(Tag.objects.get(pk=tag.pk))) == (tag.pk, "perf:memory-bound")
    assert edited() == [archived.pk]
    assert jobs_with(tag) == [archived.pk, running.pk]


def test_a_tag_on_many_jobs_is_renamed_by_merging_it_into_a_new_one(small_batches: None) -> None:
    tag = TagFactory.create()
    jobs = [job.pk for job in JobFactory.create_batch(5, archived=True, tags=[tag])]

    renamed = rename_tag(tag_id=tag.pk, type_="perf", name="memory-bound")
    assert renamed.pk != tag.pk
    assert jobs_with(tag) == jobs

    merge_tags(tag_ids=[tag.pk], into=renamed.pk)
    assert list(Tag.objects.all()) == [renamed]
    assert jobs_with(renamed) == edited() == jobs


def test_a_name_that_another_tag_has_is_refused_and_changes_nothing() -> None:
    tag, other = TagFactory.create_batch(2)

    with pytest.raises(TagExistsError):
        rename_tag(tag_id=tag.pk, type_=other.type, name=other.name)

    assert Tag.objects.get(pk=tag.pk).name == tag.name


def test_an_empty_name_is_refused() -> None:
    tag = TagFactory.create()

    with pytest.raises(InvalidJobError):
        rename_tag(tag_id=tag.pk, type_="perf", name="")


def test_a_tag_is_not_merged_into_itself() -> None:
    tag = TagFactory.create()
    job = JobFactory.create(tags=[tag])

    with pytest.raises(InvalidJobError):
        merge_tags(tag_ids=[tag.pk], into=tag.pk)

    assert jobs_with(tag) == [job.pk]


def test_nothing_is_moved_to_a_tag_that_is_gone() -> None:
    tag, gone = TagFactory.create_batch(2)
    job = JobFactory.create(archived=True, tags=[tag])
    gone_id = gone.pk
    gone.delete()

    with pytest.raises(UnknownTagError):
        merge_tags(tag_ids=[tag.pk], into=gone_id)
    with pytest.raises(UnknownTagError):
        rename_tag(tag_id=gone_id, type_="perf", name="x")

    assert jobs_with(tag) == [job.pk]
    assert edited() == []


def test_a_tag_that_is_gone_already_counts_as_done() -> None:
    assert delete_tags(tag_ids=[4711]).gone == [4711]
