"""DELETE delete_job, by request body and by database id: one job out of the database, its files stay."""

from pathlib import Path
from typing import Any

import pytest

from archive.format.layout import job_folder
from jobs.archiving.worker import ArchiveWorker
from jobs.models import ArchiveTask, Job, JobTag, Tag
from tests.support.clients import AppClient
from tests.support.factories import START, JobFactory, TagFactory

PATH = "/api/jobs/delete_job/"


@pytest.mark.parametrize("slash", ["", "/"])
@pytest.mark.parametrize("by_id", [True, False])
def test_a_job_is_deleted_with_and_without_the_slash(api: AppClient, slash: str, by_id: bool) -> None:
    job, other = JobFactory.create(), JobFactory.create()
    path = f"{PATH}{job.pk}{slash}" if by_id else f"{PATH.rstrip('/')}{slash}"
    answer = api.delete(path, None if by_id else {"jobId": job.job_id})
    assert (answer.status, answer.json) == (200, {"msg": f"Successfully deleted job {job.pk}"})
    assert list(Job.objects.all()) == [other]


@pytest.mark.parametrize("keys", [{}, {"cluster": "testcluster"}, {"startTime": START}])
def test_the_keys_name_the_job(api: AppClient, keys: dict[str, Any]) -> None:
    job = JobFactory.create(job_id=1, start_time=START)
    assert api.delete(PATH, {"jobId": 1} | keys).json["msg"].endswith(f" {job.pk}")


@pytest.mark.parametrize("other", [{"jobId": 2}, {"cluster": "other"}, {"startTime": START + 1}])
def test_all_given_keys_must_match(api: AppClient, other: dict[str, Any]) -> None:
    JobFactory.create(job_id=1, start_time=START)
    answer = api.delete(PATH, {"jobId": 1} | other)
    assert answer.status == 422
    assert answer.error.startswith("finding job failed")
    assert Job.objects.count() == 1


def test_of_several_matches_the_newest_start_is_deleted(api: AppClient) -> None:
    older, newest = (JobFactory.create(job_id=1, start_time=START + second) for second in (0, 100))
    assert api.delete(PATH, {"jobId": 1}).json["msg"].endswith(f" {newest.pk}")
    assert Job.objects.get() == older


@pytest.mark.parametrize("body", [{}, {"cluster": "testcluster"}, {"jobId": None}])
def test_a_missing_job_id_is_refused(api: AppClient, body: dict[str, Any]) -> None:
    answer = api.delete(PATH, body)
    assert (answer.status, answer.error) == (400, "the field 'jobId' is required")


def test_an_unknown_id_is_a_422_and_so_is_the_second_deletion(api: AppClient) -> None:
    job = JobFactory.create()
    assert api.delete(f"{PATH}{job.pk}").status == 200
    assert api.delete(f"{PATH}{job.pk}").status == 422


def test_an_id_that_is_no_number_is_a_400(api: AppClient) -> None:
    assert api.delete(f"{PATH}abc").status == 400


@pytest.mark.parametrize("body", [b"", b"[]", b'{"jobId": 1, "foo": 2}', b"{"])
def test_a_body_that_is_no_request_is_refused(api: AppClient, body: bytes) -> None:
    assert api.delete(PATH, body).status == 400


def test_links_to_tags_go_and_tags_stay(api: AppClient) -> None:
    tag = TagFactory.create()
    job, other = JobFactory.create(tags=[tag]), JobFactory.create(tags=[tag])
    assert api.delete(f"{PATH}{job.pk}").status == 200
    assert list(JobTag.objects.values_list("job_id", flat=True)) == [other.pk]
    assert Tag.objects.get() == tag


def test_the_archive_keeps_its_files(api: AppClient, archive_root: Path) -> None:
    job = JobFactory.create(finished=True)
    ArchiveWorker().drain()
    assert api.delete(f"{PATH}{job.pk}").status == 200
    assert (job_folder(archive_root, job.key) / "meta.json").is_file()


@pytest.mark.parametrize("state", [{}, {"finished": True}])
def test_running_and_waiting_jobs_are_deleted_too(api: AppClient, archive_root: Path, state: dict[str, Any]) -> None:
    job = JobFactory.create(**state)
    if state:
        ArchiveTask.objects.create(job=job, worker="a:1:x", not_before="2001-01-01T00:00Z")
    assert api.delete(f"{PATH}{job.pk}").status == 200
    assert not ArchiveTask.objects.exists()
    assert ArchiveWorker().drain().archived == 0
    assert not list(archive_root.rglob("meta.json"))
