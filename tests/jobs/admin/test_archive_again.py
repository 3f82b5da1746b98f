"""Archived jobs are archived again: samples come anew, and nothing that the archive has is lost."""

import dataclasses
import io
import json
from pathlib import Path
from typing import Any

import pytest
from django.contrib.admin.models import LogEntry
from django.core.management import call_command
from django.test import Client

from accounts.models import User
from archive import root
from archive.exceptions import SourceError
from archive.format.layout import job_folder
from archive.root import store
from archive.sources.synthetic import SyntheticSource
from jobs import history
from jobs.archiving import queue
from jobs.archiving.worker import ArchiveWorker
from jobs.messages import TagName
from jobs.models import ArchiveTask, Job
from jobs.states import MonitoringStatus
from jobs.tags.services import tag_job
from tests.support.admin_site import Login
from tests.support.factories import JobFactory

pytestmark = [pytest.mark.django_db, pytest.mark.usefixtures("cluster")]

LIST = "/admin/jobs/job/"


@pytest.fixture
def client(admin: User, login: Login) -> Client:
    """Return the administrator's browser."""
    return login(admin)


@pytest.fixture
def job(synthetic: None) -> Job:
    """Return a job that the worker archived, with samples."""
    job = JobFactory.create(finished=True)
    ArchiveWorker().drain()
    job.refresh_from_db()
    assert job.is_archived
    return job


def files(root: Path, job: Job) -> dict[str, bytes]:
    """Return what lies in the job's folder."""
    return {path.name: path.read_bytes() for path in job_folder(root, job.key).iterdir()}


def again(client: Client, *jobs: Job) -> str:
    """Send the form for jobs and return the page that follows."""
    data = {"jobs": ",".join(str(job.pk) for job in jobs), "back": f"{LIST}{jobs[0].pk}/change/"}
    return str(client.post(f"{LIST}selection/archive/", data, follow=True).content.decode())


class Source:
    """A metric source that gives what a test wants."""

    archives_data = True

    def __init__(self, change: Any) -> None:
        """Remember what becomes of the synthetic samples."""
        self.change = change

    def load(self, job: Any, cluster: Any, metrics: Any = None) -> Any:
        """Return changed samples."""
        return self.change(SyntheticSource().load(job, cluster, metrics))


def test_samples_are_fetched_anew_and_replace_the_files(client: Client, job: Job, archive_root: Path) -> None:
    before, statistics = files(archive_root, job), job.statistics
    store().write_job(job.key, before["meta.json"], b"{}")  # what a broken store gave that day
    page = client.get(f"{LIST}{job.pk}/archive/").content.decode()
    assert f"Fetch the samples of job {job.job_id} of alice on testcluster anew?" in page

    text = again(client, job)

    assert "1 job will be archived again." in text
    job.refresh_from_db()
    assert Job.objects.awaiting_archive().get() == job
    assert job.statistics == statistics
    assert "the samples are fetched anew" in history.text_of(LogEntry.objects.get())
    assert ArchiveWorker().drain().archived == 1
    job.refresh_from_db()
    assert (job.is_archived, job.statistics) == (True, statistics)
    assert files(archive_root, job) == before
    assert not ArchiveTask.objects.exists()


def _nothing(data: Any) -> Any:
    return {}


def _one_metric_less(data: Any) -> Any:
    data.pop(next(iter(data)))
    return data


def _fewer_samples(data: Any) -> Any:
    for scopes in data.values():
        for metric in scopes.values():
            metric.series[0].data[:3] = float("nan")
    return data


def _other_hosts(data: Any) -> Any:
    return {
        name: {
            scope: dataclasses.replace(
                metric, series=[dataclasses.replace(series, hostname="n02") for series in metric.series * 2]
            )
            for scope, metric in scopes.items()
        }
        for name, scopes in data.items()
    }


def _fails(data: Any) -> Any:
    raise SourceError("gone for good", transient=False)


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        (_nothing, "has no samples of this job any more"),
        (_one_metric_less, "fewer samples than the archive, of "),
        (_fewer_samples, "fewer samples than the archive, of cpu_load, flops_any"),
        (_other_hosts, "fewer samples than the archive, of cpu_load, flops_any"),
        (_fails, "gone for good"),
    ],
)
def test_a_load_that_fails_or_brings_less_leaves_the_files_as_they_are(
    change: Any, reason: str, client: Client, job: Job, archive_root: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    before = files(archive_root, job)
    again(client, job)
    monkeypatch.setattr(root, "source_of", lambda cluster: Source(change))

    assert ArchiveWorker().drain().failed == 1

    assert files(archive_root, job) == before
    row = Job.objects.get(pk=job.pk)
    assert (row.is_archived, row.statistics) == (True, job.statistics)
    page = client.get(f"{LIST}{job.pk}/change/").content.decode()
    assert "Archiving again was given up; the archive is unchanged" in page
    assert reason in page
    monkeypatch.undo()
    again(client, job)
    assert ArchiveWorker().drain().archived == 1
    assert "given up" not in client.get(f"{LIST}{job.pk}/change/").content.decode()


@pytest.mark.parametrize("damage", [b"no gzip", None])
def test_a_damaged_or_missing_data_file_is_replaced_where_the_source_has_its_metrics(
    damage: bytes | None, client: Client, job: Job, archive_root: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    before = files(archive_root, job)
    path = job_folder(archive_root, job.key) / "data.json.gz"
    path.unlink()
    if damage is not None:
        path.write_bytes(damage)
    again(client, job)
    with monkeypatch.context() as patch:
        patch.setattr(root, "source_of", lambda cluster: Source(_one_metric_less))
        assert ArchiveWorker().drain().failed == 1
    again(client, job)

    assert ArchiveWorker().drain().archived == 1

    assert files(archive_root, job) == before


def test_a_source_that_never_answers_is_given_up_after_the_usual_attempts(
    client: Client, job: Job, archive_root: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def no_answer(data: Any) -> Any:
        raise SourceError("no answer", transient=True)

    before = files(archive_root, job)
    again(client, job)
    monkeypatch.setattr(root, "source_of", lambda cluster: Source(no_answer))
    for attempts in range(1, 13):
        row = Job.objects.get(pk=job.pk)
        assert row.monitoring_status == MonitoringStatus.ARCHIVING
        ArchiveWorker(at_once=True).drain()
        assert ArchiveTask.objects.get().attempts == attempts

    row = Job.objects.get(pk=job.pk)
    assert (row.is_archived, row.statistics) == (True, job.statistics)
    assert files(archive_root, job) == before


def test_check_rebuild_and_retention_leave_it_alone_until_the_worker_is_done(
    client: Client, job: Job, archive_root: Path
) -> None:
    before = files(archive_root, job)
    again(client, job)

    output = io.StringIO()
    call_command("check_archive", "--against-database", stdout=output, stderr=output)
    call_command("rebuild_jobs", stdout=output, stderr=output)
    call_command("retain_archive", "--older-than=1", "--do=delete", "--yes", stdout=output, stderr=output)

    assert files(archive_root, job) == before, output.getvalue()
    assert Job.objects.awaiting_archive().get() == job
    assert ArchiveWorker().drain().archived == 1


def test_a_cluster_without_a_metric_source_is_refused_with_a_sentence(client: Client, job: Job, settings: Any) -> None:
    settings.METRIC_SOURCES = {"*": {"kind": "none"}}

    reason = "cluster testcluster has no metric source, so there are no samples to fetch"
    assert reason in client.get(f"{LIST}{job.pk}/archive/").content.decode()
    assert reason in again(client, job)

    assert Job.objects.archived().get() == job
    assert not LogEntry.objects.exists()


def test_a_source_that_is_taken_away_meanwhile_loses_nothing(
    client: Client, job: Job, archive_root: Path, settings: Any
) -> None:
    before = files(archive_root, job)
    again(client, job)
    settings.METRIC_SOURCES = {"*": {"kind": "none"}}

    ArchiveWorker().drain()

    assert files(archive_root, job) == before
    assert Job.objects.get(pk=job.pk).statistics == job.statistics


def test_an_edit_while_it_waits_reaches_meta_json_also_where_the_load_is_given_up(
    client: Client, job: Job, archive_root: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    again(client, job)
    tag_job(row_id=job.pk, tags=[TagName(type="perf", name="bad")])
    monkeypatch.setattr(root, "source_of", lambda cluster: Source(_nothing))

    ArchiveWorker().drain()
    ArchiveWorker(at_once=True).drain()

    assert json.loads(files(archive_root, job)["meta.json"])["tags"][0]["name"] == "bad"
    assert not ArchiveTask.objects.exists()


def test_what_runs_waits_or_is_not_monitored_is_named(client: Client, job: Job) -> None:
    running, waiting = JobFactory.create(), JobFactory.create(finished=True)
    off = JobFactory.create(finished=True, monitoring_status=MonitoringStatus.DISABLED)
    failed = JobFactory.create(finished=True, monitoring_status=MonitoringStatus.FAILED)

    text = again(client, job, running, waiting, off, failed)

    assert "2 jobs will be archived again." in text
    for words in ("it is still running", "it waits already", "it is not monitored"):
        assert words in text
    assert set(Job.objects.awaiting_archive()) == {job, waiting, failed}


def test_a_job_whose_meta_json_is_being_written_is_left_for_later(client: Client, job: Job) -> None:
    queue.record_edit([job.pk])
    assert queue.claim_edited("somebody", 1, only=[job.pk])

    assert "is being written at this moment" in again(client, job)
    assert Job.objects.archived().get() == job


def test_the_list_asks_where_archived_jobs_are_among_the_selection(client: Client, job: Job) -> None:
    failed = JobFactory.create(finished=True, monitoring_status=MonitoringStatus.FAILED)

    response = client.post(LIST, {"action": "archive_again", "_selected_action": [str(job.pk), str(failed.pk)]})

    text = response.content.decode()
    assert "Fetch the samples of 1 job anew?" in text
    assert "Archive 2 jobs again" in text
    assert Job.objects.archived().get() == job
