"""Jobs get the tags of the rules that they match when they are archived; nothing wrong with a rule stops that."""

import json
from pathlib import Path
from typing import Any

import pytest
from django.db import transaction

from archive.format.layout import job_folder
from jobs.archiving.worker import ArchiveWorker
from jobs.curation import archive_again
from jobs.ledger.slots import slots_for
from jobs.models import ArchiveTask, Job, JobTag, Tag
from jobs.records import TagRule
from jobs.tag_rules import applying
from jobs.tag_rules.applying import rules_of, tag_archived
from jobs.tag_rules.words import RuleError, conditions
from jobs.tags.services import delete_tags, merge_tags
from tests.support.booked_jobs import booked_job
from tests.support.factories import START, JobFactory, TagFactory

pytestmark = [pytest.mark.usefixtures("cluster"), pytest.mark.django_db]


@pytest.fixture(autouse=True)
def _forgotten() -> None:
    """Forget the statements of other tests."""
    applying._compiled.cache_clear()


def rule(words: str, tag: str = "found", **values: Any) -> TagRule:
    """Return a rule that sets a tag."""
    found, _ = Tag.objects.get_or_create(type="auto", name=tag)
    return TagRule.objects.create(words=words, tag=found, **values)


def tags_of(job: Job) -> set[str]:
    """Return the names of a job's tags."""
    return set(Tag.objects.filter(jobs=job).values_list("name", flat=True))


def apply(*jobs: Job) -> list[int]:
    """Tag jobs as the worker does."""
    with transaction.atomic():
        return tag_archived([job.pk for job in jobs])


def meta_tags(job: Job, archive_root: Path) -> list[str]:
    """Return the names of the tags in the archive's meta.json."""
    meta = json.loads((job_folder(archive_root, job.key) / "meta.json").read_text())
    return [tag["name"] for tag in meta["tags"] or []]


def test_a_job_that_is_archived_gets_the_tags_of_its_rules_and_its_meta_json_follows(archive_root: Path) -> None:
    rule("state:failed user:alice", "failed")
    rule("nodes:>0", "all")
    rule("nodes:>0", "off", is_enabled=False)
    failed = JobFactory.create(finished=True, job_state="failed")
    fine = JobFactory.create(finished=True, user="bob")
    running = JobFactory.create(job_state="running")

    ArchiveWorker().drain()

    assert [tags_of(job) for job in (failed, fine, running)] == [{"failed", "all"}, {"all"}, set()]
    assert sorted(meta_tags(failed, archive_root)) == ["all", "failed"]
    assert meta_tags(fine, archive_root) == ["all"]
    assert not ArchiveTask.objects.exists()
    assert TagRule.objects.filter(error="").count() == 3


@pytest.mark.parametrize(
    ("words", "matches"),
    [
        ("user:ALICE", True),
        ("user:al*", True),
        ("-user:alice", False),
        ("user:bob,alice", True),
        ("project:bio cluster:testcluster partition:wo*", True),
        ("host:n01", True),
        ("host:n0*,x", True),
        ("host:n02", False),
        ("name:job", True),
        ('name:"a job"', True),
        ("state:completed", True),
        ("state:failed", False),
        ("limit:<20%", True),
        ("limit:>20%", False),
        ("duration:10m", True),
        ("waiting:>1m", True),
        ("tag:class", True),
        ("tag:other", False),
        ("cpu_load:>80%", True),
        ("cpu_load:<80%", False),
        ("cpu_load.idle:>50%", False),
        ("start:2023-11-14", True),
        ("start:<2023-11-14", False),
        ("end:>=2023-11-14", True),
        ("gpus:0 cores:0..8", True),
    ],
)
def test_each_field_of_the_search_box_makes_a_rule(words: str, matches: bool) -> None:
    with transaction.atomic():
        slot = slots_for(["cpu_load"])["cpu_load"]
    job = booked_job(
        {f"avg_share_{slot}": 900, f"idle_{slot}": 100},
        start_time=START,
        submit_time=START - 120,
        tags=[TagFactory.create(type="class")],
    )
    rule(words)

    assert apply(job) == ([job.pk] if matches else [])
    assert TagRule.objects.get().error == ""


@pytest.mark.parametrize(
    ("words", "text"),
    [
        ("", "at least one condition"),
        ("alice", "expected a field before it"),
        ("1234567", "expected a field before it"),
        ('state:failed "my job"', "expected a field before it"),
        ("colour:blue", "is no field"),
        ("nodes:many", "expected a number"),
    ],
)
def test_words_that_are_no_rule_are_refused(words: str, text: str) -> None:
    with pytest.raises(RuleError, match=text):
        conditions(words)


def test_a_rule_that_is_not_understood_any_more_says_so_and_the_others_go_on() -> None:
    broken, fine = rule("colour:blue", "x"), rule("user:alice", "y")
    job = JobFactory.create(finished=True)

    ArchiveWorker().drain()

    job.refresh_from_db()
    assert (job.is_archived, tags_of(job)) == (True, {"y"})
    broken.refresh_from_db()
    fine.refresh_from_db()
    assert ("is no field" in broken.error, fine.error) == (True, "")
    TagRule.objects.filter(pk=broken.pk).update(words="user:alice")
    apply(job)
    broken.refresh_from_db()
    assert broken.error == ""


def test_no_value_of_a_rule_is_taken_for_the_jobs_of_the_batch() -> None:
    """A value may look like a list of row ids."""
    rule('user:"[-1]"')
    job, other = booked_job(user="[-1]"), booked_job(user="alice")

    assert apply(job, other) == [job.pk]


def test_a_rule_that_the_database_refuses_says_so_and_the_others_go_on() -> None:
    broken, fine = rule("name:job", "x"), rule("user:alice", "y")
    job = booked_job(meta_data="no JSON")

    assert apply(job) == [job.pk]

    broken.refresh_from_db()
    fine.refresh_from_db()
    assert (broken.error != "", fine.error, tags_of(job)) == (True, "", {"y"})
    apply(booked_job())
    broken.refresh_from_db()
    assert broken.error == ""


def test_a_number_that_no_database_has_stops_nothing() -> None:
    rule(f"nodes:>{'9' * 12}k", "x")
    rule("user:alice", "y")
    job = JobFactory.create(finished=True)
    ArchiveWorker().drain()
    assert tags_of(job) == {"y"}


def test_a_rule_whose_tag_was_deleted_does_nothing() -> None:
    gone = rule("user:alice")
    delete_tags(tag_ids=[gone.tag_id])
    job = JobFactory.create(finished=True)

    ArchiveWorker().drain()

    job.refresh_from_db()
    assert (job.is_archived, JobTag.objects.count()) == (True, 0)
    assert TagRule.objects.count() == 1


def test_rules_follow_a_merged_tag() -> None:
    first, twice = rule("user:alice", "old"), rule("user:bob", "old")
    into = rule("user:bob", "new")
    JobTag.objects.create(job=JobFactory.create(), tag_id=first.tag_id)

    merge_tags(tag_ids=[first.tag_id], into=into.tag_id)

    assert set(TagRule.objects.values_list("pk", "tag_id")) == {(first.pk, into.tag_id), (into.pk, into.tag_id)}
    assert not TagRule.objects.filter(pk=twice.pk).exists()


def test_a_tag_that_is_there_is_not_written_again() -> None:
    found = rule("user:alice")
    job = booked_job(tags=[found.tag])
    assert apply(job) == []


@pytest.mark.usefixtures("synthetic")
def test_a_job_that_is_archived_again_is_looked_at_again(archive_root: Path) -> None:
    job = JobFactory.create(finished=True)
    ArchiveWorker().drain()
    rule("user:alice")

    assert archive_again(row_ids=[job.pk], actor=None).done == [job.pk]
    ArchiveWorker(at_once=True).drain()

    assert tags_of(job) == {"found"}
    assert meta_tags(job, archive_root) == ["found"]


def test_many_rules_take_one_statement_for_a_batch(django_assert_num_queries: Any) -> None:
    for number in range(10):
        rule(f"user:user{number} nodes:>{number} state:failed", f"t{number}")
    jobs = [booked_job() for _ in range(5)]
    apply(*jobs)
    with django_assert_num_queries(2 + 4):  # and two savepoints
        apply(*jobs)


def test_rules_that_exclude_their_tags_are_named_as_those_that_set_them() -> None:
    own, of_type = rule("-tag:auto:own nodes:1", "own"), rule("-tag:auto state:failed", "type")
    needs_other = rule("tag:auto:own", "other")
    broken = rule("colour:blue", "own")
    others = rule("-tag:auto:own state:completed", "own"), rule("-tag:ticket nodes:1", "own")
    tagged = JobFactory.create(
        finished=True, num_nodes=1, job_state="failed", tags=[TagFactory.create(type="ticket", name="1")]
    )
    plain = JobFactory.create(finished=True, num_nodes=1, job_state="failed")

    apply(tagged, plain)
    assert (tags_of(tagged), tags_of(plain)) == ({"1", "own", "type"}, {"own", "type"})
    assert set(rules_of(tagged.pk)) == {own, of_type}
    assert set(rules_of(plain.pk)) == {own, of_type, others[1]}
    apply(tagged)  # now there is the tag that the last rule asks for
    assert set(rules_of(tagged.pk)) == {own, of_type, needs_other}
    assert broken not in rules_of(plain.pk)
    JobTag.objects.all().delete()
    assert rules_of(plain.pk) == []


def test_times_until_now_match_a_job_that_ran_since_the_rules_were_put_together(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    minute = START // 60 * 60
    rule("start:1h", "started")
    rule("end:1h", "ended")
    monkeypatch.setattr("time.time", lambda: minute + 0.5)
    apply(JobFactory.create(finished=True, start_time=minute - 9, duration=9))

    monkeypatch.setattr("time.time", lambda: minute + 59.5)
    job = JobFactory.create(finished=True, start_time=minute + 40, duration=19)
    apply(job)
    assert tags_of(job) == {"started", "ended"}
