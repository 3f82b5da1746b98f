"""The page "My API tokens": everybody who may log in sees, creates and revokes its own tokens and no others."""

from typing import Any

import pytest
from django.contrib.admin.models import LogEntry
from django.test import Client

from accounts import tokens
from accounts.admin import own_tokens
from accounts.models import ApiToken, User
from tests.support.admin_site import Login
from tests.support.factories import UserFactory

pytestmark = pytest.mark.django_db

OWN = "/admin/accounts/apitoken/own/"
PEOPLE = ["admin", "carol", "bob", "alice"]


@pytest.fixture
def stranger() -> User:
    """Return somebody else, with a token."""
    user = UserFactory.create(username="dave", roles=["api"])
    ApiToken.issue(user=user, name="a secret matter")
    return user


@pytest.mark.parametrize("person", PEOPLE)
def test_the_header_leads_to_the_own_tokens_and_to_no_others(
    person: str, stranger: User, login: Login, request: pytest.FixtureRequest
) -> None:
    user = request.getfixturevalue(person)
    mine, _ = ApiToken.issue(user=user, name="notebook")
    client = login(user)

    assert f'href="{OWN}"' in client.get("/admin/").content.decode()
    page = client.get(OWN).content.decode()

    assert mine.prefix in page
    assert "notebook" in page
    assert stranger.tokens.get().prefix not in page
    assert "a secret matter" not in page


@pytest.mark.parametrize("person", PEOPLE)
def test_a_token_is_for_its_creator_whatever_the_form_says(
    person: str, stranger: User, login: Login, request: pytest.FixtureRequest
) -> None:
    user = request.getfixturevalue(person)
    forged = {"user": stranger.pk, "user_id": stranger.pk, "name": "notebook", "days": "7", "networks": "10.1.2.3"}

    response = login(user).post(OWN, forged)

    token = user.tokens.get()
    assert tokens.digest(response.context["secret"]) == token.digest
    assert (token.name, token.networks) == ("notebook", ["10.1.2.3/32"])
    assert token.expires_at is not None
    assert stranger.tokens.count() == 1
    assert "no-store" in response["Cache-Control"]
    assert LogEntry.objects.get(user=user).change_message == "Created."


@pytest.mark.parametrize("person", PEOPLE)
def test_the_own_tokens_are_revoked_and_those_of_others_do_not_exist_here(
    person: str, stranger: User, login: Login, request: pytest.FixtureRequest
) -> None:
    user = request.getfixturevalue(person)
    mine, _ = ApiToken.issue(user=user)
    client = login(user)

    answer = client.post(f"{OWN}{mine.pk}/revoke/", follow=True)
    assert f"Token {mine} revoked" in answer.content.decode()
    assert ApiToken.objects.get(pk=mine.pk).status == "revoked"
    assert LogEntry.objects.get(user=user).change_message == "Revoked."

    theirs = stranger.tokens.get()
    assert client.post(f"{OWN}{theirs.pk}/revoke/").status_code == 404
    assert client.post(f"{OWN}4711/revoke/").status_code == 404
    assert stranger.tokens.get().status == "active"


def test_revoking_twice_keeps_the_first_time(alice: User, login: Login) -> None:
    token, _ = ApiToken.issue(user=alice)
    client = login(alice)
    client.post(f"{OWN}{token.pk}/revoke/")
    when = alice.tokens.get().revoked_at

    answer = client.post(f"{OWN}{token.pk}/revoke/", follow=True)

    assert "was already revoked" in answer.content.decode()
    assert alice.tokens.get().revoked_at == when


def test_an_account_of_a_program_has_no_such_page(bench: User, login: Login) -> None:
    client = login(bench)

    assert client.get(OWN)["Location"].startswith("/admin/login/")
    assert client.post(OWN, {"name": "x"})["Location"].startswith("/admin/login/")
    assert not ApiToken.objects.exists()


def test_what_changes_tokens_is_sent_by_a_form_of_this_site(alice: User) -> None:
    token, _ = ApiToken.issue(user=alice)
    strict = Client(enforce_csrf_checks=True)
    strict.force_login(alice)

    assert strict.post(OWN, {"name": "x"}).status_code == 403
    assert strict.post(f"{OWN}{token.pk}/revoke/").status_code == 403
    assert strict.get(f"{OWN}{token.pk}/revoke/").status_code == 405
    assert alice.tokens.get().status == "active"


def test_without_the_role_api_the_page_offers_tokens_that_read(alice: User, login: Login) -> None:
    client = login(alice)
    words = "Other operations on jobs need the role api."
    assert words in " ".join(client.get(OWN).content.decode().split())
    client.post(OWN, {"name": ""})

    alice.add_roles(["api"])

    assert words not in " ".join(client.get(OWN).content.decode().split())
    client.post(OWN, {"name": ""})
    assert [token.scope for token in alice.tokens.all()] == ["read", "all"]


def test_a_wrong_value_is_named_and_nothing_is_created(alice: User, login: Login) -> None:
    page = login(alice).post(OWN, {"name": "x", "days": "0", "networks": "home"}).content.decode()

    assert "greater than or equal to 1" in page
    assert "expected an IPv4 or IPv6 address" in page
    assert not ApiToken.objects.exists()


def test_the_page_costs_the_same_for_many_and_shows_those_in_use_first(
    alice: User, login: Login, monkeypatch: pytest.MonkeyPatch, django_assert_max_num_queries: Any
) -> None:
    monkeypatch.setattr(own_tokens, "MOST_LISTED", 5)
    used, _ = ApiToken.issue(user=alice)
    for _ in range(8):
        ApiToken.issue(user=alice)[0].revoke()
    client = login(alice)

    with django_assert_max_num_queries(8):
        page = client.get(OWN).content.decode()

    assert page.count('<th scope="row">') == 5
    assert used.prefix in page
    assert "Older tokens are not listed" in page


def test_html_in_a_name_is_text(alice: User, login: Login) -> None:
    ApiToken.issue(user=alice, name="<script>alert(1)</script>")

    page = login(alice).get(OWN).content.decode()

    assert "<script>alert" not in page
    assert "&lt;script&gt;alert(1)" in page
