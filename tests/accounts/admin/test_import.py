"""The page that imports users: preview, apply, and only for administrators."""

import re

import pytest
from django.test import Client

from accounts.models import User
from tests.support.admin_site import Login

pytestmark = pytest.mark.django_db

PAGE = "/admin/accounts/user/import/"
TEXT = "username,name,roles,projects\ndora,<b>Dora</b>,user,\nbob,Bob,manager,chem\neve,,king,\n"


@pytest.fixture
def client(admin: User, login: Login) -> Client:
    """Return the administrator's browser."""
    return login(admin)


def digest(text: str) -> str:
    """Return the hidden field of a preview."""
    found = re.search('name="digest" value="([0-9a-f]+)"', text)
    assert found, text
    return found[1]


def test_a_preview_tells_all_and_changes_nothing_until_it_is_confirmed(client: Client, bob: User) -> None:
    assert PAGE in client.get("/admin/accounts/user/").content.decode()

    text = client.post(PAGE, {"text": TEXT}).content.decode()

    assert "<b>Dora" not in text
    assert re.findall(r"<h2>(.*?)</h2>", text) == ["1 line refused", "1 new user", "1 changed user"]
    cells = re.findall(r"<t[hd][^>]*>([^<]*)</t[hd]>", text)
    assert cells[cells.index("4") : cells.index("4") + 3] == ["4", "roles", "&#x27;king&#x27;"]
    assert cells[cells.index("bob") : cells.index("bob") + 4] == ["bob", "projects", "bio", "chem"]
    assert User.objects.count() == 2
    response = client.post(PAGE, {"text": TEXT.replace("\n", "\r\n"), "digest": digest(text)}, follow=True)

    said = response.content.decode()
    assert "1 user created, 1 changed." in said
    assert "1 line refused and left out." in said
    assert User.objects.get(username="bob").projects == ["chem"]
    assert User.objects.get(username="dora").name == "<b>Dora</b>"


def test_a_preview_that_is_out_of_date_is_shown_anew(client: Client, bob: User) -> None:
    text = client.post(PAGE, {"text": TEXT}).content.decode()
    bob.add_roles(["support"])

    answer = client.post(PAGE, {"text": TEXT, "digest": digest(text)}).content.decode()

    assert "Nothing was changed: users have changed since" in answer
    assert "manager, support" in answer
    assert User.objects.count() == 2


@pytest.mark.parametrize(
    "data",
    [
        {},
        {"text": " "},
        {"text": "x,y\n1,2\n"},
        {"text": "username\n\0\n"},
        {"text": f"username\n{'x' * 2_000_001}"},
    ],
)
def test_what_cannot_be_read_is_asked_for_again(data: dict[str, str], client: Client) -> None:
    answer = client.post(PAGE, data)
    assert answer.status_code == 200
    assert "errorlist" in answer.content.decode()
    assert User.objects.count() == 1


def test_forms_need_a_csrf_token(admin: User) -> None:
    client = Client(enforce_csrf_checks=True)
    client.force_login(admin)
    assert client.post(PAGE, {"text": TEXT}).status_code == 403
