"""archive_jobs: what waits is archived now, and each failure has its reason."""

import json
from datetime import timedelta
from pathlib import Path

import pytest
from django.utils import timezone

from archive.storage.store import ArchiveStore
from jobs.archiving import queue
from jobs.models import ArchiveTask, Job
from jobs.states import MonitoringStatus
from tests.support.commands import Machine, Run
from tests.support.factories import JobFactory


def paused(job: Job) -> ArchiveTask:
    """Let a job pause for an hour after a failure."""
    later = timezone.now() + timedelta(hours=1)
    return ArchiveTask.objects.create(job=job, not_before=later, attempts=1, error="an old reason")


@pytest.fixture
def blocked(archive_root: Path) -> str:
    """Return the name of a cluster whose folder cannot be made."""
    (archive_root / "blocked").write_text("a file in the way")
    return "blocked"


def test_all_that_waits_is_archived_pauses_or_not(run: Run, archive_root: Path) -> None:
    jobs = JobFactory.create_batch(3, finished=True)
    paused(jobs[1])
    JobFactory.create()
    outcome = run("archive_jobs")
    assert outcome.status == 0
    assert outcome.lines == ["3 jobs archived, 0 failed."]
    assert set(ArchiveStore(archive_root).iter_jobs()) == {job.key for job in jobs}
    assert Job.objects.archived().count() == 3
    assert not ArchiveTask.objects.exists()


def test_only_the_named_jobs(run: Run) -> None:
    first, second, third = JobFactory.create_batch(3, finished=True)
    assert run("archive_jobs", "--job", first.pk, "--job", third.pk).status == 0
    assert set(Job.objects.archived()) == {first, third}
    assert set(Job.objects.awaiting_archive()) == {second}


def test_unknown_ids_are_bad_usage_and_nothing_is_done(run: Run) -> None:
    job = JobFactory.create(finished=True)
    outcome = run("archive_jobs", "--job", job.pk, job.pk + 1000, 2**62)
    assert outcome.status == 2
    assert str(job.pk + 1000) in outcome.err
    assert not Job.objects.archived().exists()


def test_a_failure_has_its_reason_and_holds_nothing_up(run: Run, blocked: str) -> None:
    good, bad = JobFactory.create(finished=True), JobFactory.create(finished=True, cluster=blocked)
    old = JobFactory.create(finished=True, monitoring_status=MonitoringStatus.FAILED)
    paused(old)
    outcome = run("archive_jobs")
    assert outcome.status == 1
    assert f"job {bad.pk} (blocked {bad.job_id}): " in outcome.err
    assert "blocked" in outcome.err
    assert "an old reason" not in outcome.err
    assert outcome.lines == ["1 job archived, 1 failed."]
    assert Job.objects.get(pk=good.pk).is_archived
    assert ArchiveTask.objects.get(pk=bad.pk).attempts == 1


def test_failed_jobs_are_left_alone_until_asked_for(run: Run) -> None:
    job = JobFactory.create(finished=True, monitoring_status=MonitoringStatus.FAILED)
    paused(job)
    outcome = run("archive_jobs", "--job", job.pk)
    assert outcome.status == 0
    assert "--failed" in outcome.err
    assert Job.objects.get(pk=job.pk).monitoring_status == MonitoringStatus.FAILED
    outcome = run("archive_jobs", "--failed")
    assert outcome.status == 0
    assert "1 failed job will be tried again" in outcome.err
    assert Job.objects.get(pk=job.pk).is_archived
    assert not ArchiveTask.objects.exists()


def test_jobs_with_nothing_to_do_are_explained(run: Run) -> None:
    running = JobFactory.create()
    disabled = JobFactory.create(finished=True, monitoring_status=MonitoringStatus.DISABLED)
    outcome = run("archive_jobs", "--job", running.pk, disabled.pk)
    assert outcome.status == 0
    assert f"job {running.pk} is running" in outcome.err
    assert f"job {disabled.pk} is never archived" in outcome.err


def test_what_another_worker_holds_is_left_to_it(run: Run) -> None:
    job = JobFactory.create(finished=True)
    assert queue.claim_waiting("another", "testcluster", 1)
    outcome = run("archive_jobs")
    assert outcome.status == 0
    assert "0 jobs archived, 0 failed, 1 still wait" in outcome.out
    assert ArchiveTask.objects.get(pk=job.pk).worker == "another"


def test_an_archive_that_lost_its_jobs_is_refused(run: Run) -> None:
    JobFactory.create(archived=True)
    failed = JobFactory.create(finished=True, monitoring_status=MonitoringStatus.FAILED)
    assert run("archive_jobs", "--failed").status == 1
    assert Job.objects.get(pk=failed.pk).monitoring_status == MonitoringStatus.FAILED


def test_exit_statuses(typed: Run, machine: Machine) -> None:
    machine.add_job(1)
    assert typed("archive_jobs", "--job", "0").status == 2
    assert typed("archive_jobs", "--job", "9" * 30).status == 2
    assert typed("archive_jobs", "--job", "4711").status == 2
    outcome = machine.run("archive_jobs", "-v", "0")
    assert (outcome.status, outcome.out, outcome.err) == (0, "", "")
    assert machine.execute("SELECT monitoring_status FROM jobs_job") == [(3,)]
    machine.add_job(2, cluster="blocked")
    (machine.folder / "archive" / "blocked").write_text("a file in the way")
    outcome = machine.run("archive_jobs")
    assert outcome.status == 1
    assert "could not be archived" in outcome.err
    assert "Traceback" not in outcome.err


def test_json_has_the_counts_and_the_reasons(run: Run, archive_root: Path) -> None:
    good, bad = JobFactory.create(finished=True), JobFactory.create(finished=True, cluster="other")
    (archive_root / bad.cluster).write_text("a file in the way")
    outcome = run("archive_jobs", "--json")
    assert outcome.status == 1
    found = json.loads(outcome.out)
    assert (found["archived"], found["failed"], found["left"]) == (1, 1, 0)
    assert found["failures"][0]["id"] == bad.pk
    assert good.cluster != bad.cluster
