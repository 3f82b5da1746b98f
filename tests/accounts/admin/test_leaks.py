"""Every address of users and tokens, as everybody but an administrator sees it: nothing."""

from collections.abc import Iterator
from typing import Any

import pytest
from django.apps import apps
from django.contrib import admin as django_admin
from django.db.models import ForeignKey
from django.urls import URLPattern, URLResolver

from accounts.models import ApiToken, User
from tests.support.admin_site import Login
from tests.support.factories import UserFactory

pytestmark = pytest.mark.django_db

OTHERS = ["carol", "bob", "alice"]
OWN = {"accounts_apitoken_own", "accounts_apitoken_revoke_own"}  # see test_own_tokens.py


@pytest.fixture
def victim() -> User:
    """Return somebody with a token, whose names are easily found in a page."""
    user = UserFactory.create(username="xavier", name="Xavier Secret", roles=["api"])
    ApiToken.issue(user=user, name="xylophone")
    return user


def patterns(resolver: Any, prefix: str = "") -> Iterator[tuple[str, str]]:
    """Yield the routes of a site as (route, name)."""
    for entry in resolver:
        route = prefix + str(entry.pattern)
        if isinstance(entry, URLResolver):
            yield from patterns(entry.url_patterns, route)
        elif isinstance(entry, URLPattern):
            yield route, entry.name or ""


def addresses(victim: User) -> list[str]:
    """Return every address of the accounts app, with the victim's ids put in."""
    ids = {"user": str(victim.pk), "apitoken": str(victim.tokens.get().pk)}
    found = []
    for route, name in patterns(django_admin.site.get_urls()):
        if route.startswith("accounts/") and name not in OWN:
            row_id = ids[route.split("/")[1]]
            for hole in ("<path:object_id>", "<id>", "<int:user_id>", "<int:token_id>"):
                route = route.replace(hole, row_id)
            assert "<" not in route, f"this test does not know how to fill {route}"
            found.append(f"/admin/{route}")
    return [*found, "/admin/accounts/"]


def test_the_walk_finds_the_pages(admin: User, victim: User, login: Login) -> None:
    found = addresses(victim)

    for part in ("user/", "user/add/", f"user/{victim.pk}/token/", f"apitoken/{victim.tokens.get().pk}/history/"):
        assert f"/admin/accounts/{part}" in found
    shown = [address for address in found if "Xavier Secret" in login(admin).get(address).content.decode()]
    assert len(shown) >= 2


@pytest.mark.parametrize("person", OTHERS)
@pytest.mark.parametrize("query", ["", "?_to_field=id&_popup=1", "?_to_field=username"])
def test_no_address_shows_or_changes_anything(
    person: str, query: str, victim: User, login: Login, request: pytest.FixtureRequest
) -> None:
    client = login(request.getfixturevalue(person))
    before = (list(User.objects.order_by("pk").values()), list(ApiToken.objects.order_by("pk").values()))
    forged = {"post": "yes", "active": "0", "name": "taken over", "roles": ["admin"], "username": "new"}

    for address in addresses(victim):
        for answer in (client.get(address + query), client.post(address + query, forged)):
            text = answer.content.decode()
            assert answer.status_code in (302, 400, 403, 404, 405), address
            assert answer.get("Location", "/admin/accounts/").startswith("/admin/accounts/"), address
            for secret in ("xavier", "Xavier", "xylophone", victim.tokens.get().prefix):
                assert secret not in text, address

    assert before == (list(User.objects.order_by("pk").values()), list(ApiToken.objects.order_by("pk").values()))


@pytest.mark.parametrize("person", OTHERS)
def test_no_autocomplete_names_users_or_tokens(
    person: str, victim: User, login: Login, request: pytest.FixtureRequest
) -> None:
    client = login(request.getfixturevalue(person))
    fields = [
        (model._meta.app_label, str(model._meta.model_name), field.name)
        for model in apps.get_models()
        for field in model._meta.get_fields()
        if isinstance(field, ForeignKey) and field.related_model in (User, ApiToken)
    ]
    assert ("accounts", "apitoken", "user") in fields

    for app, model, field in fields:
        query = {"app_label": app, "model_name": model, "field_name": field, "term": "x"}
        answer = client.get("/admin/autocomplete/", query)
        assert answer.status_code == 403, (model, field)
        assert "xavier" not in answer.content.decode()


@pytest.mark.parametrize("person", OTHERS)
def test_the_first_page_does_not_lead_there(person: str, login: Login, request: pytest.FixtureRequest) -> None:
    page = login(request.getfixturevalue(person)).get("/admin/").content.decode()

    assert "/admin/accounts/user/" not in page
    assert 'href="/admin/accounts/apitoken/"' not in page


@pytest.mark.parametrize("query", ["user__password__startswith=p", "digest__startswith=a", "user__tokens__digest=a"])
def test_an_administrator_does_not_search_for_hashes_either(
    query: str, admin: User, victim: User, login: Login
) -> None:
    answers = [login(admin).get(f"/admin/accounts/apitoken/?{query}")]
    answers.append(login(admin).get("/admin/accounts/user/?tokens__digest__startswith=a"))

    for answer in answers:
        assert answer.status_code in (302, 400)
