"""The pages before the log-in: the landing page, and the interactive description of the API."""

import re

import pytest
from django.test import Client

from accounts.models import User
from tests.support.admin_site import Login

pytestmark = pytest.mark.django_db


def links(text: str) -> list[tuple[str, str]]:
    """Return the links of a page as (address, text)."""
    found = re.findall(r'<a[^>]*?href="([^"]*)"[^>]*>(.*?)</a>', text, re.DOTALL)
    return [(address, " ".join(re.sub("<[^>]*>", " ", inside).split())) for address, inside in found]


def test_people_find_the_log_in_first(alice: User, login: Login) -> None:
    assert links(Client().get("/").content.decode())[0] == ("/admin/login/?next=/admin/", "Log in")
    page = login(alice).get("/").content.decode()
    assert links(page)[0] == ("/admin/", "To the jobs")
    assert "logged in as alice" in page


def test_the_account_of_a_program_is_offered_the_log_in(bench: User, login: Login) -> None:
    assert links(login(bench).get("/").content.decode())[0][1] == "Log in"


def test_the_interactive_description_has_a_language_a_title_and_a_way_back() -> None:
    page = Client().get("/api/docs/").content.decode()
    assert '<html lang="en">' in page
    assert "<title>Job control API</title>" in page
    assert [address for address, _ in links(page)] == ["/", "/admin/", "/admin/accounts/apitoken/own/", "/api/schema"]


def test_no_refused_log_in_speaks_of_staff(alice: User, bench: User) -> None:
    for user in (alice, bench):
        user.set_password("correct horse battery")
        user.save()
    for name, password in (("alice", "wrong"), ("nobody", "wrong"), ("bench", "correct horse battery")):
        answer = Client().post("/admin/login/?next=/admin/", {"username": name, "password": password})
        text = answer.content.decode()
        assert answer.status_code == 200
        assert "errornote" in text
        assert "staff" not in text.lower()
