"""The health of archiving: workers are killed, jobs wait or fail, sources do not answer, and all faces say so."""

from datetime import timedelta

import pytest
from django.utils import timezone

from archive.exceptions import SourceError
from jobs.archiving import queue, writing
from jobs.archiving.heartbeat import Heartbeat
from jobs.health.report import State
from jobs.models import ArchiveTask, Job, WorkerHeartbeat
from jobs.states import MonitoringStatus
from tests.jobs.health.conftest import Tell, now
from tests.support.factories import JobFactory

pytestmark = pytest.mark.django_db


def test_a_worker_that_does_not_run_or_was_killed(tell: Tell) -> None:
    assert tell("archive worker").state == State.WARNING
    job = JobFactory.create(finished=True, start_time=now() - 660)
    told = tell("archive worker")
    assert told.state == State.ERROR
    assert "No archive worker runs, and 1 job waits." in told.text

    heartbeat = Heartbeat("here:1:a")
    heartbeat.beat(archived=5, failed=0, clusters={})
    assert tell("archive worker").state == State.OK

    Job.objects.filter(pk=job.pk).delete()
    WorkerHeartbeat.objects.update(seen_at=timezone.now() - timedelta(minutes=5))
    told = tell("archive worker")
    assert told.state == State.ERROR
    assert "last sign of life 5 min ago" in told.text
    assert told.since is not None
    assert abs(told.since - (now() - 300)) < 60

    Heartbeat("here:2:b").beat(archived=0, failed=0, clusters={})
    assert tell("archive worker").state == State.OK, "another one took its place on this host"
    WorkerHeartbeat.objects.create(
        worker="there:3:c",
        host="there",
        process=3,
        started_at=timezone.now(),
        seen_at=timezone.now() - timedelta(hours=2),
    )
    assert tell("archive worker").state == State.WARNING, "the one of another host is missing"


def test_jobs_that_wait_for_long(tell: Tell) -> None:
    job = JobFactory.create(finished=True, start_time=now() - 600 - 3600)
    told = tell("archiving")
    assert told.state == State.WARNING
    assert "1 job waits for the archive" in told.text
    assert "ended 1 h ago" in told.text
    assert told.since == job.start_time + 600
    Job.objects.update(monitoring_status=MonitoringStatus.ARCHIVED, statistics="{}")
    assert tell("archiving").state == State.OK


def _fail(job: Job, error: Exception, *, permanent: bool = False) -> None:
    """Let a worker claim a job and fail."""
    (claim,) = queue.claim_waiting("here:1:a", job.cluster, 1, only=[job.pk])
    of_source = isinstance(error, SourceError)
    queue.fail("here:1:a", claim, writing.describe(error), permanent=permanent, of_source=of_source)


def test_the_first_failed_attempt_shows_with_its_reason(tell: Tell) -> None:
    job = JobFactory.create(finished=True, start_time=now() - 600)
    _fail(job, OSError(28, "No space left on device"))
    told = tell("archiving")
    assert told.state == State.ERROR
    assert "No space left on device" in told.text
    ArchiveTask.objects.all().delete()
    assert tell("archiving").state == State.OK


def test_jobs_that_were_given_up(tell: Tell) -> None:
    job = JobFactory.create(finished=True, start_time=now() - 600)
    _fail(job, OSError("never"), permanent=True)
    told = tell("archiving")
    assert told.state == State.WARNING
    assert "1 job could not be archived" in told.text
    queue.retry_failed()
    ArchiveTask.objects.update(error="")
    assert tell("archiving").state == State.OK


def test_a_metric_source_that_fails(tell: Tell) -> None:
    job = JobFactory.create(finished=True, start_time=now() - 600)
    assert tell("metric sources").state == State.OK
    _fail(job, SourceError("http://store: connection refused", transient=True, source_failed=True))
    told = tell("metric sources")
    assert told.state == State.ERROR
    assert "Cluster testcluster" in told.text
    assert "http://store: connection refused" in told.text
    assert tell("archiving").state == State.OK, "it is said once"

    heartbeat = Heartbeat("here:1:a")
    heartbeat.beat(archived=0, failed=1, clusters={"testcluster": {"success": now() - 3600, "failure": now() - 60}})
    told = tell("metric sources")
    assert told.state == State.ERROR
    assert told.since == pytest.approx(now() - 3600, abs=60)
    heartbeat.beat(archived=1, failed=1, clusters={"testcluster": {"success": now(), "failure": now() - 60}})
    assert tell("metric sources").state == State.WARNING, "it answers, but not for this job"
    ArchiveTask.objects.all().delete()
    assert tell("metric sources").state == State.OK
