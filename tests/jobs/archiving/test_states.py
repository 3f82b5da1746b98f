"""The named states of archiving: querysets, properties and the queue's SQL say the same."""

from collections.abc import Callable
from datetime import timedelta

import pytest
from django.db import connection
from django.utils import timezone

from jobs.archiving import queue
from jobs.models import ArchiveTask, Job
from jobs.states import JobState, MonitoringStatus, TaskPurpose
from tests.support.factories import JobFactory

pytestmark = pytest.mark.django_db


@pytest.fixture
def jobs() -> list[Job]:
    """Return jobs in each combination of state, monitoring status and statistics, with and without a task."""
    made = []
    for state in (JobState.RUNNING, JobState.COMPLETED, JobState.FAILED):
        for status in MonitoringStatus:
            for statistics in (None, "{}"):
                for edits, attempts in ((None, 0), (0, 0), (2, 0), (0, 3)):
                    job = JobFactory.create(job_state=state, monitoring_status=status, statistics=statistics)
                    if edits is not None:
                        error = "no answer" if attempts else ""
                        ArchiveTask.objects.create(
                            job=job, not_before=timezone.now(), edits=edits, attempts=attempts, error=error
                        )
                    made.append(job)
    return made


@pytest.mark.parametrize(
    ("named", "holds"),
    [
        (Job.objects.running, lambda job: job.is_running),
        (Job.objects.archived, lambda job: job.is_archived),
        (Job.objects.awaiting_archive, lambda job: job.awaits_archive),
        (Job.objects.awaiting_first_archive, lambda job: job.awaits_archive and job.statistics is None),
        (Job.objects.awaiting_rewrite, lambda job: job.awaits_archive and job.statistics is not None),
        (Job.objects.in_archive, lambda job: job.is_archived or (job.awaits_archive and job.statistics is not None)),
        (Job.objects.given_up, lambda job: job.is_given_up),
        (Job.objects.busy, lambda job: job.is_running or job.awaits_archive or job.monitoring_status == 1),
    ],
)
def test_a_set_and_a_property_of_one_name_mean_the_same(
    named: Callable[[], object], holds: Callable[[Job], bool], jobs: list[Job]
) -> None:
    found = set(named())  # type: ignore[call-overload]
    assert found == {job for job in jobs if holds(job)}
    assert 0 < len(found) < len(jobs)


def test_a_rewrite_that_was_given_up_is_told_from_an_edit_that_is_tried_again(jobs: list[Job]) -> None:
    given_up = {job for job in Job.objects.all() if job.is_rewrite_given_up}
    assert given_up == set(Job.objects.archived().filter(archive_task__attempts=3, archive_task__edits=0))
    assert given_up


@pytest.mark.parametrize(
    ("condition", "expected"),
    [
        (queue._AWAITS_ARCHIVE, lambda: Job.objects.awaiting_archive()),
        (queue._ARCHIVED, lambda: Job.objects.archived()),
        (queue._RUNNING, lambda: Job.objects.running()),
        (queue._IDLE, lambda: Job.objects.exclude(pk__in=Job.objects.busy())),
        (queue._EDITED, lambda: Job.objects.filter(archive_task__in=ArchiveTask.objects.edited())),
        (queue._TRIED, lambda: Job.objects.filter(archive_task__in=ArchiveTask.objects.tried())),
    ],
)
def test_the_queue_s_sql_means_what_the_querysets_mean(
    condition: str, expected: Callable[[], object], jobs: list[Job]
) -> None:
    with connection.cursor() as cursor:
        cursor.execute(
            f'SELECT j."id" FROM "jobs_job" j LEFT JOIN "jobs_archivetask" t ON t."job_id" = j."id" WHERE {condition}'
        )
        found = {row_id for (row_id,) in cursor.fetchall()}
    assert found == {job.pk for job in expected()}  # type: ignore[attr-defined]
    assert found


def test_a_claim_says_what_it_is_for() -> None:
    archived = JobFactory.create(archived=True)
    waiting = JobFactory.create(finished=True)
    queue.claim_for_removal("retention", [archived.pk])
    queue.claim_waiting("worker", "testcluster", 10)

    assert ArchiveTask.objects.get(pk=waiting.pk).purpose == TaskPurpose.WRITE
    assert ArchiveTask.objects.claimed().for_removal().get().pk == archived.pk

    queue.record_edit([archived.pk])
    queue.release("retention")
    assert [claim.row_id for claim in queue.claim_edited("worker", 10)] == [archived.pk]
    assert not ArchiveTask.objects.for_removal().exists()


def test_a_dead_claim_for_removal_was_no_attempt_to_write() -> None:
    """It is dropped: an edit is still to follow, a failed job keeps the reason why, of others nothing is left."""
    edited, untouched = JobFactory.create_batch(2, archived=True)
    failed = JobFactory.create(finished=True, monitoring_status=MonitoringStatus.FAILED)
    due = timezone.now() - timedelta(seconds=1)  # the clock of SQLite has milliseconds
    ArchiveTask.objects.create(job=failed, not_before=due, attempts=12, error="disk full")
    assert len(queue.claim_for_removal("dead", [edited.pk, untouched.pk, failed.pk])) == 3
    queue.record_edit([edited.pk])
    ArchiveTask.objects.update(not_before=timezone.now() - timedelta(seconds=1))

    queue.reclaim_expired()

    left = ArchiveTask.objects.order_by("attempts").values_list("pk", "worker", "edits", "attempts", "error")
    assert list(left) == [(edited.pk, "", 1, 0, ""), (failed.pk, "", 0, 12, "disk full")]
    assert [claim.row_id for claim in queue.claim_edited("worker", 10)] == [edited.pk]


def test_the_columns_of_an_older_worker_s_claim_are_enough() -> None:
    """While the servers are updated one by one, the old statement goes on to claim."""
    job = JobFactory.create(finished=True)
    with connection.cursor() as cursor:
        cursor.execute(
            'INSERT INTO "jobs_archivetask" ("job_id", "worker", "not_before", "edits", "attempts", "error") '
            "SELECT %s, 'old:1:a', CURRENT_TIMESTAMP, 0, 0, ''",
            [job.pk],
        )
    assert ArchiveTask.objects.get().purpose == TaskPurpose.WRITE


def test_leases_and_pauses_from_before_the_clock_was_set_back_end_at_once() -> None:
    """A lease of seconds, a pause of hours, a day ahead; and those that can be, which stay."""
    claimed, paused, alive, pausing = JobFactory.create_batch(4, finished=True)
    for job, worker, ahead in (
        (claimed, "dead", timedelta(days=1)),
        (paused, "", timedelta(days=1)),
        (alive, "alive", queue.LEASE),
        (pausing, "", timedelta(hours=6)),
    ):
        ArchiveTask.objects.create(job=job, worker=worker, not_before=timezone.now() + ahead, attempts=1)

    queue.reclaim_expired()

    assert {claim.row_id for claim in queue.claim_waiting("worker", "testcluster", 10)} == {claimed.pk, paused.pk}
    assert ArchiveTask.objects.get(pk=alive.pk).worker == "alive"
