"""An administrator's round in a real Chromium: find a job, tag it, open it, make a token and revoke it."""

import os
import shutil
from collections.abc import Iterator

import pytest
from django.db import connection
from playwright.sync_api import Page, expect, sync_playwright
from pytest_django.live_server_helper import LiveServer

from accounts.models import ApiToken, User
from jobs.models import Job
from tests.factories import JobFactory

CHROMIUM = shutil.which("chromium")
PASSWORD = "a long enough one"

pytestmark = [
    pytest.mark.browser,
    pytest.mark.django_db(transaction=True),
    pytest.mark.skipif(CHROMIUM is None, reason="Debian's chromium is not installed (apt-get install chromium)"),
]


@pytest.fixture
def page(monkeypatch: pytest.MonkeyPatch) -> Iterator[Page]:
    """Return an empty tab; whatever the pages report as an error fails the test."""
    # Playwright's sync API runs an event loop in this thread, and Django refuses its ORM beside one.
    monkeypatch.setitem(os.environ, "DJANGO_ALLOW_ASYNC_UNSAFE", "true")
    arguments = ["--no-sandbox", "--disable-gpu", "--disable-background-networking", "--no-first-run"]
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=CHROMIUM, args=arguments)
        tab = browser.new_page(viewport={"width": 1280, "height": 800})
        errors: list[str] = []
        tab.on("pageerror", lambda error: errors.append(str(error)))
        tab.on("response", lambda answer: errors.append(answer.url) if answer.status >= 400 else None)
        tab.on("dialog", lambda dialog: errors.append(f"dialog: {dialog.message}"))
        yield tab
        browser.close()
        connection.close()  # beside Playwright's event loop this is another one than the test session's own
    assert errors == []


@pytest.fixture
def logged_in(page: Page, live_server: LiveServer, admin: User) -> Page:
    """Log in as admin by the form."""
    admin.set_password(PASSWORD)
    admin.save()
    page.goto(f"{live_server.url}/")
    page.get_by_role("link", name="Admin site").click()
    page.get_by_label("Username").fill("admin")
    page.get_by_label("Password").fill(PASSWORD)
    page.get_by_role("button", name="Log in").click()
    expect(page.get_by_role("heading", name="Overview")).to_be_visible()
    return page


def test_a_job_is_found_tagged_opened_and_untagged(logged_in: Page) -> None:
    page = logged_in
    job = JobFactory.create(user="alice", meta_data='{"jobName":"<script>alert(1)</script>","jobScript":"srun ./a"}')
    JobFactory.create(user="charlie")
    page.get_by_label("Sections").get_by_role("link", name="Jobs").click()
    page.locator("#searchbar").fill("alice")
    page.get_by_role("button", name="Search").click()
    expect(page.locator("#result_list tbody tr")).to_have_count(1)

    page.locator("input.action-select").check()
    page.locator("select[name=action]").select_option(label="Add a tag to selected jobs")
    page.get_by_role("button", name="Go").click()
    page.get_by_label("Type").fill("perf")
    page.get_by_label("Name").fill("memory-bound")
    page.get_by_role("button", name="Add tag").click()
    expect(page.get_by_text("1 job tagged perf:memory-bound.")).to_be_visible()
    expect(page.locator("#result_list .chip")).to_have_text("perf:memory-bound")

    page.get_by_role("link", name=str(job.job_id)).click()
    expect(page.get_by_role("heading", name=f"Job {job.job_id} on testcluster")).to_be_visible()
    expect(page.get_by_text("<script>alert(1)</script>").first).to_be_visible()
    expect(page.locator("pre")).to_have_text("srun ./a")
    page.get_by_role("button", name="Remove tag perf:memory-bound").click()
    expect(page.get_by_text("No tags.")).to_be_visible()
    page.get_by_label("Type").fill("ticket")
    page.get_by_label("Name").fill("4711")
    page.get_by_role("button", name="Add tag").click()
    expect(page.locator(".chip")).to_contain_text("ticket:4711")


def test_a_job_is_deleted_after_the_question(logged_in: Page, live_server: LiveServer) -> None:
    page = logged_in
    job = JobFactory.create(archived=True)
    page.goto(f"{live_server.url}/admin/jobs/job/{job.pk}/change/")

    page.get_by_role("link", name="Delete").click()
    page.get_by_role("button", name="Delete 1 job").click()

    expect(page.get_by_text("1 job deleted. The archive keeps the files.")).to_be_visible()
    assert not Job.objects.exists()


def test_a_token_is_created_shown_once_and_revoked(logged_in: Page, bench: User) -> None:
    page = logged_in
    page.get_by_label("Sections").get_by_role("link", name="Users").click()
    page.get_by_role("link", name="bench").click()
    tokens = page.locator("#tokens")
    tokens.get_by_label("Name").fill("hook on mgmt1")
    tokens.get_by_role("button", name="Create token").click()

    secret = page.locator("#new-token").inner_text()
    assert secret.startswith("ccb_")
    expect(page.locator("#curl-line")).to_contain_text(secret)

    page.get_by_role("link", name="I have copied it").click()
    expect(page.locator("body")).not_to_contain_text(secret)
    page.get_by_role("button", name=f"Revoke token {ApiToken.objects.get().prefix}").click()
    expect(page.get_by_text("1 token revoked")).to_be_visible()
    expect(page.locator(".pill-revoked")).to_be_visible()
    assert ApiToken.objects.get().status == "revoked"
