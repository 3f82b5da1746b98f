"""The policies that pages carry for browsers, and that a real one keeps to them without missing anything."""

from pathlib import Path

import pytest
from django.test import Client
from playwright.sync_api import Browser, Page, expect
from pytest_django.live_server_helper import LiveServer

from tests.support.browser import IN_CHROMIUM
from tests.support.factories import JobFactory

PAGES = ("/", "/admin/", "/admin/login/", "/api/docs/", "/no/such/page", "/api/no/such/path")


@pytest.mark.django_db
@pytest.mark.parametrize("path", PAGES)
def test_each_page_runs_scripts_of_this_server_alone_and_tells_others_nothing(path: str) -> None:
    headers = Client().get(path).headers
    policy = dict(part.strip().split(" ", 1) for part in headers["Content-Security-Policy"].split(";"))
    assert policy.get("script-src", policy["default-src"]) == "'self'"
    assert policy["object-src"] == policy["base-uri"] == policy["frame-ancestors"] == "'none'"
    assert headers["Referrer-Policy"] == "same-origin"
    assert "camera=()" in headers["Permissions-Policy"]


@pytest.mark.django_db
def test_the_interactive_page_asks_no_other_server() -> None:
    """Swagger UI would let a foreign server check the description, and show its verdict as a picture."""
    assert '"validatorUrl": null' in Client().get("/api/docs/?script=").content.decode()


class TestInChromium:
    """The fixture `page` fails a test whose pages were refused something."""

    pytestmark = IN_CHROMIUM

    def test_no_page_wants_what_is_forbidden(
        self, logged_in: Page, live_server: LiveServer, cluster: Path, synthetic: None
    ) -> None:
        page = logged_in
        job = JobFactory.create()
        for path in ("/", "/admin/jobs/job/", "/admin/accounts/user/add/", "/admin/accounts/apitoken/own/"):
            page.goto(f"{live_server.url}{path}")
        page.goto(f"{live_server.url}/admin/jobs/job/{job.pk}/change/")
        expect(page.locator("#plots")).to_have_attribute("data-drawn", "2", timeout=20_000)
        page.goto(f"{live_server.url}/api/docs/")
        expect(page.get_by_text("/api/jobs/start_job/").first).to_be_visible()
        page.context.clear_cookies()
        page.goto(f"{live_server.url}/admin/login/")
        expect(page.get_by_label("Username")).to_be_focused()

    def test_a_script_that_got_into_a_page_does_not_run(self, browser: Browser, live_server: LiveServer) -> None:
        page = browser.new_page()
        page.goto(f"{live_server.url}/")
        add = "const s = document.createElement('script'); s.textContent = 'window.ran = true'; document.body.append(s)"
        with page.expect_console_message(lambda said: "Content Security Policy" in said.text):
            page.evaluate(add)
        assert page.evaluate("window.ran") is None
        page.close()
