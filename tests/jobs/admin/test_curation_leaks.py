"""Who may not curate reaches no page and changes nothing, whatever address or row id it sends."""

import pytest
from django.contrib.admin.models import LogEntry
from django.test import Client

from jobs.models import Job
from tests.support.admin_site import Login
from tests.support.factories import JobFactory

pytestmark = pytest.mark.django_db

LIST = "/admin/jobs/job/"
PAGES = ("{}/correct/", "{}/stop/", "{}/archive/", "delete-before/", "delete-before/?before=2030-01-01T00:00")
FORMS = ("selection/stop/", "selection/archive/", "selection/note/", "{}/correct/", "delete-before/")
DATA = {
    "state": "failed",
    "note": "x",
    "project": "stolen",
    "project_opened": "x",
    "partition": "stolen",
    "partition_opened": "x",
    "key-TOTAL_FORMS": "0",
    "key-INITIAL_FORMS": "0",
}
REFUSED = {
    "alice": FORMS,
    "bob": FORMS,
    "carol": tuple(path for path in FORMS if path != "selection/note/"),
    "bench": FORMS,
    "nobody": FORMS,
}


def browser(person: str, login: Login, request: pytest.FixtureRequest) -> Client:
    """Return a person's browser."""
    return Client() if person == "nobody" else login(request.getfixturevalue(person))


@pytest.mark.parametrize("person", REFUSED)
def test_pages_and_forms_refuse_who_may_not(person: str, login: Login, request: pytest.FixtureRequest) -> None:
    job = JobFactory.create(user="alice", project="bio")
    expected = 302 if person in ("bench", "nobody") else 403
    client = browser(person, login, request)

    for path in PAGES:
        response = client.get(LIST + path.format(job.pk))
        assert response.status_code == expected, path
        assert expected == 403 or "/admin/login/" in response["Location"]
    for path in REFUSED[person]:
        response = client.post(LIST + path.format(job.pk), DATA | {"jobs": str(job.pk)})
        assert response.status_code == expected, path
    assert Job.objects.running().get().project == "bio"
    assert not LogEntry.objects.exists()


@pytest.mark.parametrize(
    ("person", "offered"),
    [
        ("admin", {"Correct", "Stop by hand", "Add note"}),
        ("carol", {"Add note"}),
        ("bob", set()),
        ("alice", set()),
    ],
)
def test_the_job_page_offers_what_the_role_may(
    person: str, offered: set[str], login: Login, request: pytest.FixtureRequest
) -> None:
    job = JobFactory.create(user="alice", project="bio")

    text = browser(person, login, request).get(f"{LIST}{job.pk}/change/").content.decode()

    assert {word for word in ("Correct", "Stop by hand", "Add note", "Delete before") if word in text} == offered


@pytest.mark.parametrize(("person", "is_offered"), [("admin", True), ("carol", False), ("bob", False)])
def test_the_list_offers_the_deletion_before_a_time_to_who_may(
    person: str, is_offered: bool, login: Login, request: pytest.FixtureRequest
) -> None:
    assert ("delete-before/" in browser(person, login, request).get(LIST).content.decode()) is is_offered


@pytest.mark.parametrize("action", ["annotate", "stop_jobs", "archive_again"])
@pytest.mark.parametrize("person", ["alice", "bob"])
def test_actions_of_the_list_refuse_who_may_not(
    action: str, person: str, login: Login, request: pytest.FixtureRequest
) -> None:
    job = JobFactory.create(user="alice", project="bio")

    response = browser(person, login, request).post(LIST, {"action": action, "_selected_action": [str(job.pk)]})

    assert b"testcluster" not in response.content or b'class="ask"' not in response.content
    assert Job.objects.running().get() == job


def test_row_ids_of_jobs_that_do_not_exist_do_nothing(login: Login, request: pytest.FixtureRequest) -> None:
    client = browser("admin", login, request)

    for path in FORMS[:3]:
        assert client.post(LIST + path, DATA | {"jobs": "99999"}).status_code == 403
    for page in PAGES[:3]:
        for name in ("99999", "x", "9" * 40):
            assert client.get(LIST + page.format(name)).status_code == 403


@pytest.mark.parametrize("path", FORMS)
def test_what_changes_something_needs_a_csrf_token(path: str, request: pytest.FixtureRequest) -> None:
    job = JobFactory.create()
    client = Client(enforce_csrf_checks=True)
    client.force_login(request.getfixturevalue("admin"))

    assert client.post(LIST + path.format(job.pk), DATA | {"jobs": str(job.pk)}).status_code == 403
    if path.startswith("selection/"):
        assert client.get(LIST + path).status_code == 405
    assert not LogEntry.objects.exists()
