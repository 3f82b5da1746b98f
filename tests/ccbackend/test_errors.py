"""Error pages for people: why there is no other page, and a way back."""

from collections.abc import Callable
from typing import Any, NoReturn

import pytest
from django.db import InterfaceError, OperationalError, connection
from django.test import Client
from playwright.sync_api import Browser, expect
from pytest_django.live_server_helper import LiveServer

from accounts.models import User
from tests.support.browser import IN_CHROMIUM, complaints

pytestmark = pytest.mark.django_db


@pytest.fixture
def browser_tab(archive_root: object, carol: User) -> Client:
    """Return a browser in which a person is logged in, and which shows error pages."""
    client = Client(raise_request_exception=False)
    client.force_login(carol)
    return client


@pytest.mark.parametrize(
    "error",
    [OperationalError("database or disk is full"), OperationalError("connection refused"), InterfaceError("closed")],
)
@pytest.mark.parametrize("path", ["/admin/", "/admin/jobs/job/", "/admin/jobs/job/1/change/", "/admin/login/"])
def test_a_page_without_a_database_is_a_503_in_the_site_s_dress(
    browser_tab: Client, error: Exception, path: str
) -> None:
    def fail(*_: Any) -> NoReturn:
        raise error

    with connection.execute_wrapper(fail):
        answer = browser_tab.get(path)

    text = answer.content.decode()
    assert answer.status_code == 503
    assert answer["Retry-After"] == "5"
    assert '<div id="site-name">' in text
    assert "Nothing was changed" in text
    assert str(error) in text


def test_a_fault_of_the_server_stays_a_500(browser_tab: Client) -> None:
    with connection.execute_wrapper(lambda *_: 1 / 0):
        answer = browser_tab.get("/admin/jobs/job/")
    text = answer.content.decode()
    assert answer.status_code == 500
    assert "<h1>An error of the server</h1>" in text
    assert "division" not in text


@pytest.mark.parametrize(
    ("ask", "status", "title"),
    [
        (lambda client: client.get("/nowhere/"), 404, "Not found"),
        (lambda client: client.get("/admin/clusters/none/"), 404, "Not found"),
        (lambda client: client.get("/admin/jobs/job/ghosts/"), 403, "You may not do this"),
        (lambda client: client.get("/admin/", headers={"Host": "a b"}), 400, "This cannot be understood"),
        (lambda client: client.post("/admin/jobs/job/", {"action": "x"}), 403, "The form was not accepted"),
    ],
)
def test_each_refusal_is_a_page_of_the_site_that_leads_back(
    ask: Callable[[Client], Any], status: int, title: str, alice: User, archive_root: object
) -> None:
    client = Client(enforce_csrf_checks=True)
    client.force_login(alice)

    answer = ask(client)

    text = answer.content.decode()
    assert answer.status_code == status
    assert f"<h1>{title}</h1>" in text
    assert '<a href="/admin/">To the overview</a>' in text
    assert "jobs/admin.css" in text


class TestInABrowser:
    """What somebody sees in Chromium."""

    pytestmark = IN_CHROMIUM

    @pytest.mark.parametrize("scheme", ["light", "dark"])
    def test_an_error_page_is_as_accessible_as_others_and_leads_back(
        self, scheme: Any, browser: Browser, live_server: LiveServer, archive_root: object
    ) -> None:
        page = browser.new_page(viewport={"width": 1280, "height": 800}, color_scheme=scheme)
        page.goto(f"{live_server.url}/no/such/page")
        assert complaints(page) == []
        page.get_by_role("link", name="To the overview").click()
        expect(page.get_by_label("Username")).to_be_visible()
        page.close()
