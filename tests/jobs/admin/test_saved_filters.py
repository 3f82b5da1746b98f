"""Lists that somebody comes back to."""

import pytest
from django.test import Client

from accounts.models import User
from jobs.admin import saved_filters
from jobs.models import SavedFilter
from tests.support.admin_site import Login
from tests.support.factories import JobFactory

pytestmark = pytest.mark.django_db

LIST = "/admin/jobs/job/"
SAVED = f"{LIST}saved/"


def test_a_list_is_saved_shown_and_forgotten(alice: User, login: Login) -> None:
    JobFactory.create(user="alice")
    client = login(alice)

    answer = client.post(SAVED, {"name": "my <b>failures</b>", "query": "?state=failed&q=name:x&p=3&e=1"})
    page = client.get(LIST).content.decode()

    saved = SavedFilter.objects.get()
    assert answer["Location"] == f"{LIST}?state=failed&q=name%3Ax"
    assert (saved.owner, saved.query) == (alice, "state=failed&q=name%3Ax")
    assert "my &lt;b&gt;failures&lt;/b&gt;" in page
    assert f'href="{LIST}?state=failed&amp;q=name%3Ax"' in page

    client.post(f"{SAVED}{saved.pk}/")
    assert not SavedFilter.objects.exists()


def test_the_same_name_again_replaces_it(alice: User, login: Login) -> None:
    client = login(alice)
    for query in ("state=failed", "state=timeout"):
        client.post(SAVED, {"name": "mine", "query": query})

    assert SavedFilter.objects.get().query == "state=timeout"


def test_nobody_sees_or_forgets_those_of_others(alice: User, admin: User, login: Login) -> None:
    saved = SavedFilter.objects.create(owner=alice, name="hers", query="state=failed")
    client = login(admin)

    assert "hers" not in client.get(LIST).content.decode()
    assert client.post(f"{SAVED}{saved.pk}/").status_code == 404
    assert SavedFilter.objects.exists()


@pytest.mark.parametrize(
    ("data", "said"),
    [
        ({"name": "", "query": "state=failed"}, "name: This field is required."),
        ({"name": "x" * 101, "query": "state=failed"}, "at most 100 characters"),
        ({"name": "x", "query": "q=" + "y" * 5000}, "expected at most 4000 characters, got 5002"),
    ],
)
def test_what_cannot_be_saved_says_why(data: dict[str, str], said: str, alice: User, login: Login) -> None:
    response = login(alice).post(SAVED, data, follow=True)

    assert said in response.content.decode()
    assert not SavedFilter.objects.exists()


def test_nobody_saves_without_end(alice: User, login: Login, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(saved_filters, "_MOST", 2)
    client = login(alice)
    for name in ("a", "b", "c", "a"):
        response = client.post(SAVED, {"name": name, "query": "state=failed"}, follow=True)

    assert set(SavedFilter.objects.values_list("name", flat=True)) == {"a", "b"}
    assert "Saved as a." in response.content.decode()


def test_it_needs_a_log_in_a_post_and_csrf(alice: User, bench: User, login: Login) -> None:
    careful = Client(enforce_csrf_checks=True)
    careful.force_login(alice)

    assert careful.post(SAVED, {"name": "x", "query": ""}).status_code == 403
    assert login(alice).get(SAVED).status_code == 405
    assert Client().post(SAVED, {"name": "x", "query": ""}).status_code == 302
    assert login(bench).post(SAVED, {"name": "x", "query": ""}).status_code == 302
    assert not SavedFilter.objects.exists()
