"""The tag pages: counts, rights, and that the archive follows."""

from typing import Any

import pytest
from django.test.utils import CaptureQueriesContext

from accounts.models import User
from jobs.models import ArchiveTask, Job, Tag
from tests.admin.conftest import Login
from tests.factories import JobFactory, TagFactory

pytestmark = pytest.mark.django_db

LIST = "/admin/jobs/tag/"


@pytest.mark.parametrize(
    ("person", "statuses"),
    [
        ("admin", {"": 200, "add/": 200, "delete/": 200}),
        ("carol", {"": 200, "add/": 200, "delete/": 403}),
        ("bob", {"": 200, "add/": 403, "delete/": 403}),
        ("alice", {"": 403, "add/": 403, "delete/": 403}),
    ],
)
def test_rights_follow_the_role(
    person: str, statuses: dict[str, int], login: Login, request: pytest.FixtureRequest
) -> None:
    tag = TagFactory.create()
    client = login(request.getfixturevalue(person))

    found = {path: client.get(LIST + (f"{tag.pk}/{path}" if path == "delete/" else path)) for path in statuses}

    assert {path: response.status_code for path, response in found.items()} == statuses


def test_the_count_is_of_jobs_that_the_viewer_sees(admin: User, bob: User, login: Login) -> None:
    tag = TagFactory.create()
    JobFactory.create(project="bio", tags=[tag])
    JobFactory.create(project="cfd", tags=[tag])

    assert f'?tag={tag.pk}">2</a>' in login(admin).get(LIST).content.decode()
    assert f'?tag={tag.pk}">1</a>' in login(bob).get(LIST).content.decode()


def test_the_number_of_queries_does_not_depend_on_the_rows(
    admin: User, login: Login, django_assert_max_num_queries: Any
) -> None:
    client = login(admin)
    TagFactory.create()
    with django_assert_max_num_queries(9) as few:
        client.get(LIST)
    JobFactory.create_batch(5, tags=TagFactory.create_batch(20))

    with CaptureQueriesContext(few.connection) as many:
        client.get(LIST)

    assert len(many) == len(few)


def test_deleting_a_tag_takes_it_from_jobs_and_lets_the_archive_follow(admin: User, login: Login) -> None:
    tag = TagFactory.create()
    archived = JobFactory.create(archived=True, tags=[tag])
    JobFactory.create(tags=[tag])
    client = login(admin)

    question = client.get(f"{LIST}{tag.pk}/delete/").content.decode()
    response = client.post(f"{LIST}selection/delete/", {"tags": str(tag.pk)}, follow=True)

    assert '<td class="number">2</td>' in question
    assert f"Deleted {tag}; 2 jobs had it." in response.content.decode()

    assert not Tag.objects.exists()
    assert Job.objects.count() == 2
    assert [task.job_id for task in ArchiveTask.objects.all()] == [archived.pk]


def test_renaming_a_tag_lets_the_archive_follow(admin: User, login: Login) -> None:
    tag = TagFactory.create()
    job = JobFactory.create(archived=True, tags=[tag])

    login(admin).post(f"{LIST}{tag.pk}/rename/", {"type": "class", "name": "renamed"})

    assert (Tag.objects.get().pk, Tag.objects.get().name) == (tag.pk, "renamed")
    assert ArchiveTask.objects.get().job_id == job.pk
