"""POST and PATCH tag_job: new and known tags, all or none, and the archive that follows."""

import json
from pathlib import Path
from typing import Any

import pytest

from archive.format.layout import job_folder
from jobs.archiving.worker import ArchiveWorker
from jobs.models import ArchiveTask, Job, JobTag, Tag
from tests.support.clients import AppClient
from tests.support.factories import START, JobFactory, TagFactory


def path_of(job: Job) -> str:
    """Return the path of tag_job for a job."""
    return f"/api/jobs/tag_job/{job.pk}"


def archived_tags(root: Path, job: Job) -> list[tuple[str, str]]:
    """Return the tags in a job's meta.json."""
    document = json.loads((job_folder(root, job.key) / "meta.json").read_bytes())
    return [(tag["type"], tag["name"]) for tag in document.get("tags", [])]


@pytest.mark.parametrize("method", ["POST", "PATCH"])
@pytest.mark.parametrize("slash", ["", "/"])
def test_post_and_patch_tag_a_job_and_answer_with_all_its_tags(api: AppClient, method: str, slash: str) -> None:
    old = TagFactory.create(type="z", name="old")
    job = JobFactory.create(start_time=START, tags=[old])
    answer = api.request(method, f"{path_of(job)}{slash}", [{"type": "debug", "name": "one"}])
    new = Tag.objects.get(type="debug")
    assert answer.status == 200
    assert answer.json["tags"] == [
        {"id": old.pk, "type": "z", "name": "old"},
        {"id": new.pk, "type": "debug", "name": "one"},
    ]
    assert answer.json["metaData"] == {"jobName": "a job"}
    assert answer.json["startTime"] == "2023-11-14T22:13:20Z"
    assert "statistics" not in answer.json


def test_a_known_tag_is_used_again(api: AppClient) -> None:
    tag = TagFactory.create(type="class", name="io")
    job = JobFactory.create()
    assert api.post(path_of(job), [{"type": "class", "name": "io"}]).json["tags"][0]["id"] == tag.pk
    assert Tag.objects.count() == 1


@pytest.mark.parametrize("times", [1, 2])
def test_a_tag_that_the_job_has_is_no_error(api: AppClient, times: int) -> None:
    job = JobFactory.create()
    for _ in range(2):
        assert api.post(path_of(job), [{"type": "a", "name": "b"}] * times).status == 200
    assert JobTag.objects.count() == 1


def test_an_empty_list_answers_with_the_job(api: AppClient) -> None:
    job = JobFactory.create(tags=[TagFactory.create()])
    answer = api.post(path_of(job), [])
    assert (answer.status, len(answer.json["tags"])) == (200, 1)


@pytest.mark.parametrize("tag", [{"type": "", "name": "x"}, {"type": "x", "name": ""}, {"name": "x"}, {"type": "x"}])
def test_type_and_name_must_not_be_empty_and_then_none_of_the_list_is_taken(
    api: AppClient, tag: dict[str, str]
) -> None:
    job = JobFactory.create()
    assert api.post(path_of(job), [{"type": "good", "name": "one"}, tag]).status == 400
    assert not Tag.objects.exists()
    assert not JobTag.objects.exists()


@pytest.mark.parametrize("body", [{"type": "x", "name": "y"}, None, b"null", [None], [1], "x", b""])
def test_a_body_that_is_no_list_of_tags_is_refused(api: AppClient, body: Any) -> None:
    job = JobFactory.create()
    assert api.post(path_of(job), body).status == 400


def test_id_and_scope_of_newer_clients_are_taken_and_ignored(api: AppClient) -> None:
    job = JobFactory.create()
    answer = api.post(path_of(job), [{"id": 12345, "type": "x", "name": "y", "scope": "global"}])
    assert answer.status == 200
    assert answer.json["tags"][0]["id"] != 12345
    assert set(answer.json["tags"][0]) == {"id", "type", "name"}


def test_an_unknown_key_is_refused_by_name(api: AppClient) -> None:
    job = JobFactory.create()
    answer = api.post(path_of(job), [{"type": "x", "name": "y", "colour": "red"}])
    assert answer.status == 400
    assert "colour" in answer.error


def test_an_unknown_job_is_a_404_and_makes_no_tag(api: AppClient) -> None:
    assert api.post("/api/jobs/tag_job/99999", [{"type": "x", "name": "y"}]).status == 404
    assert not Tag.objects.exists()


def test_an_id_that_is_no_number_is_a_400(api: AppClient) -> None:
    answer = api.post("/api/jobs/tag_job/abc", [])
    assert answer.status == 400
    assert "abc" in answer.error


def test_a_text_longer_than_its_column_is_refused(api: AppClient) -> None:
    job = JobFactory.create()
    answer = api.post(path_of(job), [{"type": "x", "name": "y" * 256}])
    assert answer.status == 400
    assert "name" in answer.error


def test_meta_json_of_an_archived_job_follows_at_once(api: AppClient, archive_root: Path) -> None:
    job = JobFactory.create(finished=True)
    ArchiveWorker().drain()
    assert api.post(path_of(job), [{"type": "late", "name": "tag"}]).json["monitoringStatus"] == 3
    assert archived_tags(archive_root, job) == [("late", "tag")]
    assert not ArchiveTask.objects.exists()


def test_archiving_takes_the_tags_of_a_waiting_job_along(api: AppClient, archive_root: Path) -> None:
    job = JobFactory.create(finished=True)
    assert api.post(path_of(job), [{"type": "early", "name": "tag"}]).status == 200
    ArchiveWorker().drain()
    assert archived_tags(archive_root, job) == [("early", "tag")]


def test_a_job_without_monitoring_is_tagged_without_an_orphan(api: AppClient, archive_root: Path) -> None:
    job = JobFactory.create(finished=True, monitoring_status=0)
    assert api.post(path_of(job), [{"type": "a", "name": "b"}]).status == 200
    ArchiveWorker().drain()
    assert not ArchiveTask.objects.exists()
    assert not list(archive_root.rglob("meta.json"))


def test_an_archive_that_cannot_be_written_fails_no_tagging_and_is_made_up_for(
    api: AppClient, archive_root: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    job = JobFactory.create(finished=True)
    ArchiveWorker().drain()
    with monkeypatch.context() as broken:

        def fail(*args: Any, **options: Any) -> None:
            raise OSError("disk full")

        broken.setattr("archive.storage.store.ArchiveStore.write_job", fail)
        assert api.post(path_of(job), [{"type": "a", "name": "b"}]).status == 200
    assert "disk full" in ArchiveTask.objects.get().error
    assert ArchiveWorker(at_once=True).drain().archived == 1
    assert archived_tags(archive_root, job) == [("a", "b")]
    job.refresh_from_db()
    assert job.monitoring_status == 3


def test_statistics_stay_in_meta_json_when_it_is_written_anew(
    api: AppClient, archive_root: Path, cluster: Path, synthetic: None
) -> None:
    job = JobFactory.create(finished=True)
    ArchiveWorker().drain()
    path = job_folder(archive_root, job.key) / "meta.json"
    before = json.loads(path.read_bytes())
    data = (path.parent / "data.json.gz").read_bytes()
    assert set(before["statistics"]) == {"cpu_load", "flops_any"}
    api.post(path_of(job), [{"type": "a", "name": "b"}])
    after = json.loads(path.read_bytes())
    tags = after.pop("tags")
    assert (after, len(tags)) == (before, 1)
    assert (path.parent / "data.json.gz").read_bytes() == data
