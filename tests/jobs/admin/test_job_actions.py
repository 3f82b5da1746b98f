"""What staff do to jobs: tag, archive again, delete; each through the services and only within what they see."""

from typing import Any

import pytest
from django.contrib.admin.models import LogEntry
from django.test import Client
from django.utils import timezone

from accounts.models import User
from jobs import history
from jobs.admin import selection
from jobs.models import ArchiveTask, Job, JobTag, Tag
from jobs.states import MonitoringStatus
from tests.support.admin_site import Login
from tests.support.factories import JobFactory, TagFactory

pytestmark = pytest.mark.django_db

LIST = "/admin/jobs/job/"


def run(client: Client, action: str, *jobs: Job) -> Any:
    """Run an action of the list on jobs."""
    return client.post(LIST, {"action": action, "_selected_action": [str(job.pk) for job in jobs]})


def tags_of(job: Job) -> set[str]:
    """Return the job's tags as type:name."""
    return {str(tag) for tag in Tag.objects.filter(jobs=job)}


@pytest.mark.parametrize("person", ["admin", "carol", "bob"])
def test_tags_are_added_to_a_selection(person: str, login: Login, request: pytest.FixtureRequest) -> None:
    jobs = JobFactory.create_batch(2, project="bio", archived=True)
    client = login(request.getfixturevalue(person))

    form = run(client, "add_tag", *jobs)
    assert "2 jobs selected" in form.content.decode()
    row_ids = form.context["row_ids"]
    response = client.post(
        form.context["action_url"], {"jobs": row_ids, "type": "perf", "name": "bad", "back": f"{LIST}?user=alice"}
    )

    assert response["Location"] == f"{LIST}?user=alice"
    assert [tags_of(job) for job in jobs] == [{"perf:bad"}, {"perf:bad"}]
    assert ArchiveTask.objects.count() == 2  # meta.json will follow
    assert [history.text_of(entry) for entry in LogEntry.objects.all()] == ["Added tag perf:bad."] * 2


def test_a_tag_without_a_name_is_asked_for_again(admin: User, login: Login) -> None:
    job = JobFactory.create()

    response = login(admin).post(f"{LIST}selection/tag/", {"jobs": job.pk, "type": "perf", "name": " "})

    assert response.status_code == 200
    assert "This field is required" in response.content.decode()
    assert not Tag.objects.exists()


def test_a_tag_is_removed_from_a_selection(carol: User, login: Login) -> None:
    tag, other = TagFactory.create(), TagFactory.create()
    jobs = [JobFactory.create(tags=[tag, other]), JobFactory.create(tags=[tag]), JobFactory.create()]
    client = login(carol)

    form = run(client, "remove_tag", *jobs)
    response = client.post(form.context["action_url"], {"jobs": form.context["row_ids"], "tag": tag.pk}, follow=True)

    assert f"Tag {tag} removed from 2 jobs." in response.content.decode()
    assert list(JobTag.objects.values_list("tag", flat=True)) == [other.pk]


def test_removing_offers_only_tags_of_the_selection(carol: User, login: Login) -> None:
    TagFactory.create(name="elsewhere")
    client = login(carol)

    assert "elsewhere" not in run(client, "remove_tag", JobFactory.create(tags=[TagFactory.create()])).content.decode()
    assert run(client, "remove_tag", JobFactory.create()).status_code == 302


@pytest.mark.parametrize("path", ["tag", "untag", "archive", "delete"])
def test_a_form_reaches_only_jobs_that_its_sender_sees(path: str, bob: User, login: Login) -> None:
    tag = TagFactory.create()
    mine, other = JobFactory.create(project="bio"), JobFactory.create(project="cfd", user="charlie")
    client = login(bob)

    for row_ids in (str(other.pk), f"{mine.pk},{other.pk}"):
        client.post(f"{LIST}selection/{path}/", {"jobs": row_ids, "type": "a", "name": "b", "tag": tag.pk})

    assert tags_of(other) == set()
    assert Job.objects.count() == 2


@pytest.mark.parametrize(
    ("person", "refused"),
    [
        ("alice", ["tag", "untag", "archive", "delete"]),
        ("bob", ["archive", "delete"]),
        ("carol", ["archive", "delete"]),
    ],
)
def test_who_may_not_is_refused(person: str, refused: list[str], login: Login, request: pytest.FixtureRequest) -> None:
    job = JobFactory.create(user="alice", project="bio")
    client = login(request.getfixturevalue(person))

    for path in refused:
        data = {"jobs": job.pk, "type": "a", "name": "b"}
        assert client.post(f"{LIST}selection/{path}/", data).status_code == 403, path
    assert client.get(f"{LIST}{job.pk}/delete/").status_code == 403
    assert tags_of(job) == set()
    assert Job.objects.count() == 1


@pytest.mark.parametrize("jobs", ["", "x", "1,,2", "-1", "9" * 30])
def test_a_selection_that_is_none_is_refused(jobs: str, admin: User, login: Login) -> None:
    assert login(admin).post(f"{LIST}selection/delete/", {"jobs": jobs}).status_code == 403


def test_jobs_that_were_deleted_meanwhile_are_named_as_the_reason(admin: User, bob: User, login: Login) -> None:
    JobFactory.create(pk=5, project="concealed")
    for person, row_id in ((admin, 4711), (bob, 5), (bob, 4711)):
        answer = login(person).post(f"{LIST}selection/tag/", {"jobs": row_id, "type": "a", "name": "b"})
        assert (answer.status_code, "No such job is there any more" in answer.content.decode()) == (403, True)


@pytest.mark.parametrize("path", ["tag", "untag", "archive", "delete"])
def test_what_changes_something_needs_a_post_with_a_csrf_token(path: str, admin: User) -> None:
    job = JobFactory.create()
    client = Client(enforce_csrf_checks=True)
    client.force_login(admin)

    assert client.get(f"{LIST}selection/{path}/").status_code == 405
    assert client.post(f"{LIST}selection/{path}/", {"jobs": job.pk}).status_code == 403


def test_deleting_shows_counts_and_asks_and_the_archive_keeps_the_files(
    admin: User, login: Login, django_assert_max_num_queries: Any
) -> None:
    tag = TagFactory.create()
    jobs = [
        *JobFactory.create_batch(20, archived=True, tags=[tag]),
        JobFactory.create(),
        JobFactory.create(finished=True),
    ]
    client = login(admin)

    with django_assert_max_num_queries(14):
        form = run(client, "delete_jobs", *jobs)
    text = form.content.decode()
    assert "Delete 22 jobs?" in text
    assert "The job archive keeps the files" in text
    assert "1 of them is still running" in text
    assert "1 of them waits for the archive" in text
    assert Job.objects.count() == 22

    response = client.post(form.context["action_url"], {"jobs": form.context["row_ids"]}, follow=True)

    assert "22 jobs deleted" in response.content.decode()
    assert not Job.objects.exists()
    assert Tag.objects.get() == tag
    assert LogEntry.objects.count() == 22


def test_one_job_is_deleted_from_its_page(admin: User, login: Login) -> None:
    job, other = JobFactory.create(archived=True), JobFactory.create()
    client = login(admin)

    form = client.get(f"{LIST}{job.pk}/delete/")
    client.post(form.context["action_url"], {"jobs": form.context["row_ids"]})

    assert f"Delete job {job.job_id} of alice on testcluster?" in form.content.decode()
    assert Job.objects.get() == other


def test_too_large_a_selection_is_refused(admin: User, login: Login, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(selection, "MOST_COUNTED", 2)
    JobFactory.create_batch(3)

    data = {"action": "annotate", "_selected_action": "0", "select_across": "1"}
    response = login(admin).post(LIST, data, follow=True)

    assert "More than 2 jobs are selected; nothing was done" in response.content.decode()
    assert Job.objects.count() == 3


def test_failed_archiving_is_explained_and_asked_for_again(admin: User, login: Login) -> None:
    failed = JobFactory.create(finished=True, monitoring_status=MonitoringStatus.FAILED)
    ArchiveTask.objects.create(job=failed, not_before=timezone.now(), attempts=2, error="SourceError: <no> answer")
    waiting = JobFactory.create(finished=True)
    client = login(admin)

    page = client.get(f"{LIST}{failed.pk}/change/").content.decode()
    assert "Archiving failed after 2 attempts: SourceError: &lt;no&gt; answer" in page
    assert "Archive again" in page
    response = run(client, "archive_again", failed, waiting)

    assert response.status_code == 302
    failed.refresh_from_db()
    assert failed.monitoring_status == MonitoringStatus.ARCHIVING
    assert "Archive again" not in client.get(f"{LIST}{failed.pk}/change/").content.decode()


def test_where_a_form_leads_back_to_lies_on_the_job_pages(admin: User, login: Login) -> None:
    job = JobFactory.create()

    for back in ("https://elsewhere.example/", "//elsewhere.example/", f"{LIST}selection/tag/"):
        data = {"jobs": job.pk, "type": "a", "name": "b", "back": back}
        assert login(admin).post(f"{LIST}selection/tag/", data)["Location"] == LIST
