"""What is written down of ended jobs, by every way in which they end, change and go, and that nothing counts twice."""

import json
from importlib import import_module
from pathlib import Path
from typing import Any

import pytest
from django.apps import apps
from django.core.management import call_command
from django.db import connection, transaction
from django.db.models import F

from accounts.models import User
from jobs import curation
from jobs.archiving import queue, writing
from jobs.archiving.worker import ArchiveWorker
from jobs.deletion.services import delete_jobs
from jobs.history import Actor
from jobs.ledger import audit, backlog
from jobs.ledger import nodes as ledger_nodes
from jobs.ledger.slots import slots, slots_for
from jobs.ledger.usage import DAY
from jobs.maintenance.rebuild import Rebuild
from jobs.models import Job
from jobs.overview.activity import last_days
from jobs.records import SLOTS, DeletedJob, JobFootprint, JobNode, Node, Usage
from jobs.rows.select import fetch_rows
from jobs.text import LATEST_TIME
from tests.support.factories import JobFactory

NOON = 20_000 * DAY + DAY // 2

pytestmark = [pytest.mark.usefixtures("cluster"), pytest.mark.django_db]


@pytest.fixture(autouse=True, params=[200, 1] if connection.vendor == "postgresql" else [200])
def many(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """Let nodes be written as those of few jobs and as those of many, which are two ways on PostgreSQL."""
    monkeypatch.setattr(ledger_nodes, "_MANY", request.param)


@pytest.fixture
def actor(admin: User) -> Actor:
    """Return who corrects jobs."""
    return Actor(admin.pk)


def ended(**values: Any) -> Job:
    """Return a job of two nodes that ended and waits for the archive, unless `values` say otherwise."""
    hosts = [{"hostname": host, "hwthreads": [0, 1]} for host in ("n01", "n02")]
    plain = {"start_time": NOON, "duration": 3600, "num_nodes": 2, "submit_time": NOON - 60}
    return JobFactory.create(finished=True, resources=json.dumps(hosts), **plain | values)


def archive() -> None:
    """Let a worker write what waits, and book what else has ended."""
    ArchiveWorker().drain()
    backlog.book_next(100)


def usage(**kind: Any) -> list[tuple[int, int, int, int]]:
    """Return day, jobs, node seconds and core seconds of each row."""
    rows = Usage.objects.filter(**kind).order_by("day", "project")
    return list(rows.values_list("day", "jobs", "node_seconds", "core_seconds"))


def nodes() -> list[tuple[str, int, int, int]]:
    """Return host, start, end and row id of each row."""
    rows = JobNode.objects.order_by("node__hostname", "start_time", "job_id")
    return list(rows.values_list("node__hostname", "start_time", "end_time", "job_id"))


def assert_right() -> None:
    """Compare usage with the jobs."""
    assert list(audit.differences()) == []
    assert audit.misplaced_marks() == 0


def test_an_archived_job_is_booked_with_its_nodes_and_its_footprint() -> None:
    job = ended(duration=DAY, walltime=2 * DAY)
    archive()
    job.refresh_from_db()
    footprint = JobFootprint.objects.get(job=job)
    assert job.is_booked
    assert (footprint.cores, footprint.waiting, footprint.walltime_share) == (8, 60, 500)
    assert nodes() == [("n01", NOON, NOON + DAY, job.pk), ("n02", NOON, NOON + DAY, job.pk)]
    assert usage() == [(20_000, 0, DAY, 4 * DAY), (20_001, 1, DAY, 4 * DAY)]
    assert Usage.objects.values_list("waited", "waiting_seconds").get(day=20_001) == (1, 60)
    assert_right()


def test_a_wait_is_counted_if_it_is_known_of_deleted_jobs_too(actor: Actor) -> None:
    jobs = [ended(submit_time=submitted) for submitted in (NOON - 60, NOON, NOON + 5, 0)]
    archive()

    def waits(**kind: str) -> tuple[int, ...]:
        return Usage.objects.values_list("jobs", "waited", "waiting_seconds").get(**kind)

    assert waits() == (4, 3, 62)
    assert list(JobFootprint.objects.order_by("job_id").values_list("waiting", flat=True)) == [60, 1, 1, 0]
    assert_right()
    curation.correct_job(row_id=jobs[1].pk, edits=[curation.Edit("project", None, "other")], note="x", actor=actor)
    assert (waits(project="other"), waits(project=jobs[0].project)) == ((1, 1, 1), (3, 2, 61))
    delete_jobs(row_ids=[job.pk for job in jobs])
    assert (waits(project="other"), waits(project=jobs[0].project)) == ((1, 1, 1), (3, 2, 61))
    assert_right()


@pytest.mark.django_db(transaction=True)
def test_the_migration_counts_the_known_waits_of_what_was_booked_before() -> None:
    start = NOON + 7 * DAY
    long = {"submit_time": 1, "start_time": LATEST_TIME + 9, "duration": 2000 * DAY}
    for values in ({}, {"submit_time": NOON}, {"submit_time": 0}, {"submit_time": start, "start_time": start}, long):
        ended(**values)
    gone = [ended(user="bob"), ended(user="bob", submit_time=0)]
    archive()
    delete_jobs(row_ids=[job.pk for job in gone])
    right = list(Usage.objects.order_by("pk").values())
    # As the code before wrote it.
    JobFootprint.objects.filter(waiting=1).update(waiting=0)
    for day in (20_000, 20_007):
        Usage.objects.filter(day=day).exclude(user="bob").update(waiting_seconds=F("waiting_seconds") - 1)
    Usage.objects.update(waited=0)
    assert list(audit.differences()) != []

    migration = import_module("jobs.migrations.0023_count_known_waits")
    with connection.schema_editor(atomic=False) as editor:
        migration.count(apps, editor)

    assert list(Usage.objects.order_by("pk").values()) == right
    assert_right()


def test_samples_make_the_figures_of_a_footprint(synthetic: None) -> None:
    job = ended()
    archive()
    slot = slots()["flops_any"]
    found = JobFootprint.objects.filter(job=job).values(f"avg_{slot}", f"avg_share_{slot}", f"imbalance_{slot}").get()
    statistics = json.loads(Job.objects.get(pk=job.pk).statistics or "{}")
    assert found[f"avg_{slot}"] == pytest.approx(statistics["flops_any"]["avg"], rel=1e-6)
    assert found[f"avg_share_{slot}"] == round(10 * statistics["flops_any"]["avg"])  # the peak is 100
    assert found[f"imbalance_{slot}"] is not None


def test_the_name_of_a_job_is_written_down_and_follows_corrections(actor: Actor) -> None:
    named, plain, nothing, long, odd = (
        ended(meta_data=text)
        for text in (
            '{"jobName":"Water","jobScript":"x"}',
            '{"jobScript":"x"}',
            None,
            json.dumps({"jobName": "x" * 201}),
            '{"jobName":"a\\u0000b"}',
        )
    )
    archive()
    names = dict(JobFootprint.objects.values_list("job", "name"))
    assert names == {named.pk: "Water", plain.pk: "", nothing.pk: "", long.pk: None, odd.pk: None}

    for name in ("Ice", "y" * 300):
        curation.set_metadata(row_id=named.pk, key="jobName", value=name, actor=actor)
        assert JobFootprint.objects.get(job=named).name == (name if len(name) < 200 else None)
    running = JobFactory.create()
    curation.set_metadata(row_id=running.pk, key="jobName", value="later", actor=actor)
    assert JobFootprint.objects.count() == 5


def test_archiving_again_counts_nothing_twice(synthetic: None, actor: Actor) -> None:
    job = ended()
    archive()
    before = usage(), nodes()
    for _ in range(2):
        assert curation.archive_again(row_ids=[job.pk], actor=actor).done
        archive()
        assert (usage(), nodes(), JobFootprint.objects.count()) == (*before, 1)
    assert_right()


def test_archiving_again_books_the_energy_that_it_finds(actor: Actor) -> None:
    job = ended()
    for power in (100, 300):
        statistics = json.dumps({"node_power": {"unit": {"base": "W"}, "avg": power, "min": 0, "max": power}})
        with transaction.atomic():
            Job.objects.filter(pk=job.pk).update(statistics=statistics)
            backlog.book_rows(fetch_rows([job.pk]).values())
        Job.objects.filter(pk=job.pk).update(is_booked=True)
        assert Usage.objects.get().energy == 2 * power * 3600
    assert_right()


def test_a_rewrite_that_is_asked_for_while_meta_json_follows_an_edit_is_not_lost() -> None:
    job = ended()
    archive()
    with transaction.atomic():
        queue.record_edit([job.pk])
    (claim,) = queue.claim_edited("me:1:a", 1)
    written = writing.write(fetch_rows([job.pk])[job.pk])
    queue.write_again([job.pk])
    queue.finish("me:1:a", [(claim, written)])
    assert Job.objects.get().awaits_archive
    assert JobFootprint.objects.get().cores == 8
    assert_right()


def test_a_correction_moves_the_usage(actor: Actor) -> None:
    job = ended(duration=DAY)
    ended(project="other")
    archive()
    edits = [curation.Edit("project", None, "other"), curation.Edit("partition", None, "gpu")]
    curation.correct_job(row_id=job.pk, edits=edits, note="wrong", actor=actor)
    assert usage(project="bio") == []
    assert usage(project="other", partition="gpu") == [(20_000, 0, DAY, 4 * DAY), (20_001, 1, DAY, 4 * DAY)]
    assert_right()


def test_a_correction_before_the_archive_counts_once_under_the_new_name(actor: Actor) -> None:
    job = ended()
    curation.correct_job(row_id=job.pk, edits=[curation.Edit("project", None, "other")], note="wrong", actor=actor)
    archive()
    assert usage(project="other") == usage() == [(20_000, 1, 7200, 28_800)]


def test_deletion_keeps_the_usage_and_drops_the_rest() -> None:
    job, other = ended(), ended(start_time=NOON + 60)
    archive()
    before = usage()
    delete_jobs(row_ids=[job.pk])
    assert usage() == before
    assert {row_id for *_, row_id in nodes()} == {other.pk}
    assert list(JobFootprint.objects.values_list("pk", flat=True)) == [other.pk]
    assert_right()


def test_a_job_that_is_deleted_before_it_was_booked_has_its_usage() -> None:
    delete_jobs(row_ids=[ended().pk, JobFactory.create().pk])
    assert usage() == [(20_000, 1, 7200, 28_800)]
    assert_right()


def test_a_deleted_job_that_comes_back_from_the_archive_counts_once() -> None:
    job = ended()
    archive()
    before = usage(), nodes()
    delete_jobs(row_ids=[job.pk])
    call_command("rebuild_jobs", verbosity=0)
    assert (usage(), nodes()) == before
    assert Job.objects.get().is_booked
    assert not DeletedJob.objects.exists()
    assert_right()


def test_a_deleted_job_that_has_a_row_again_and_is_yet_to_be_booked_counts_once(admin: User) -> None:
    job = ended()
    archive()
    delete_jobs(row_ids=[job.pk])
    Rebuild(trouble=pytest.fail).run()
    assert not Job.objects.get().is_booked
    assert (usage(), DeletedJob.objects.exists()) == ([], False)
    assert_right()
    activity = last_days(admin, 1, now=NOON)
    assert [(part.started, part.ended, part.node_seconds) for part in activity.parts] == [(1, 1, 7200)]


@pytest.mark.django_db(transaction=True)
@pytest.mark.parametrize("values", [{"monitoring_status": 0}, {"monitoring_status": 2}], ids=["off", "given up"])
def test_a_job_that_is_not_archived_is_booked_by_the_worker(values: dict[str, Any]) -> None:
    job = ended(**values, submit_time=0, meta_data=json.dumps({"submitTime": str(NOON - 30)}))
    ArchiveWorker()._tidy()
    job.refresh_from_db()
    assert (job.is_booked, job.submit_time) == (True, NOON - 30)
    assert usage() == [(20_000, 1, 7200, 28_800)]
    assert_right()


def test_a_given_up_job_that_is_archived_after_all_counts_once() -> None:
    job = ended(monitoring_status=2)
    backlog.book_next(10)
    queue.retry_failed(only=[job.pk])
    archive()
    assert usage() == [(20_000, 1, 7200, 28_800)]
    assert_right()


def test_a_run_that_crashes_between_two_batches_goes_on() -> None:
    for number in range(5):
        ended(monitoring_status=3, statistics="{}", start_time=NOON + number)
    newest = backlog.book_next(2)
    assert newest == sorted(newest, reverse=True)
    with transaction.atomic():
        backlog.book_next(2)
        transaction.set_rollback(True)
    assert backlog.waiting() == 3
    call_command("index_jobs", verbosity=0)
    assert usage() == [(20_000, 5, 5 * 7200, 5 * 28_800)]
    assert_right()


def test_bad_rows_do_not_stop_the_others() -> None:
    ended(monitoring_status=3, meta_data="[1]", statistics="{")
    ended(monitoring_status=3, start_time=2**62, duration=2**62 - 1, num_nodes=2**31 - 1, walltime=1)
    ended(monitoring_status=3, num_hwthreads=2**31 - 1)
    archive()
    assert backlog.waiting() == 0
    assert_right()


def test_more_metrics_than_slots_leave_the_last_ones_out() -> None:
    names = [f"metric{number}" for number in range(SLOTS + 3)]
    assert slots_for(names[:2]) == {"metric0": 1, "metric1": 2}
    assert slots_for(reversed(names)) == slots()
    assert len(slots()) == SLOTS
    assert slots()["metric0"] == 1


def test_a_wrong_sum_is_found_and_repaired(archive_root: Path) -> None:
    ended()
    archive()
    before = usage()
    Usage.objects.update(jobs=7, core_seconds=1)
    Usage.objects.create(day=1, cluster="nowhere", jobs=1)
    found = list(audit.differences())
    assert [(each.day, each.found.jobs, each.expected.jobs) for each in found] == [(1, 1, 0), (20_000, 7, 1)]
    audit.repair(found)
    assert usage() == before
    assert_right()


def test_hosts_are_kept_once() -> None:
    ended()
    ended(start_time=NOON + 1)
    archive()
    assert sorted(Node.objects.values_list("hostname", flat=True)) == ["n01", "n02"]
