"""500 jobs with a wrong project, corrected and undone in a real Chromium with few clicks; and what axe-core finds."""

import pytest
from playwright.sync_api import Page, expect
from pytest_django.live_server_helper import LiveServer

from jobs.admin.changelist import JobPages
from jobs.bulk import changing, selecting
from jobs.models import Job
from tests.support.browser import IN_CHROMIUM, check_all, complaints
from tests.support.factories import JobFactory

pytestmark = IN_CHROMIUM

WRONG = 500


@pytest.fixture(autouse=True)
def _wrong_jobs() -> None:
    Job.objects.bulk_create(JobFactory.build_batch(WRONG, project="wrong"))
    JobFactory.create_batch(2)


def search(page: Page, live_server: LiveServer) -> None:
    """Show the jobs of the wrong project."""
    page.goto(f"{live_server.url}/admin/jobs/job/")
    page.locator("#searchbar").fill("project:wrong")
    page.keyboard.press("Enter")


def test_500_wrong_projects_take_two_clicks_and_undoing_one(
    logged_in: Page, live_server: LiveServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(selecting, "BATCH", 100)
    monkeypatch.setattr(changing, "STEP", 0.0)  # so that the page goes on by itself
    page = logged_in
    search(page, live_server)

    page.get_by_role("button", name="Correct all 500 jobs").click()
    assert complaints(page) == []
    page.get_by_label("Project", exact=True).fill("chem")
    page.get_by_label("Note").fill("ticket 4711")
    page.get_by_role("button", name="Correct 500 jobs").click()

    expect(page.get_by_text("500 of 500 jobs changed. Done.")).to_be_visible(timeout=20_000)
    assert Job.objects.filter(project="chem").count() == WRONG
    assert complaints(page) == []
    page.get_by_role("button", name="Undo").click()
    expect(page.get_by_text("500 of 500 jobs restored. Done.")).to_be_visible(timeout=20_000)
    assert Job.objects.filter(project="wrong").count() == WRONG


def test_more_than_the_list_counts_are_chosen_by_select_all(
    logged_in: Page, live_server: LiveServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(JobPages, "limit", 200)
    monkeypatch.setattr(selecting, "_READ", 100)
    monkeypatch.setattr(selecting, "STEP", 0.0)
    page = logged_in
    search(page, live_server)

    check_all(page)
    page.get_by_role("button", name="Select all matching jobs").click()
    expect(page.get_by_text("All matching jobs selected")).to_be_visible()
    page.locator("select[name=action]").select_option("add_tag")
    page.locator(".actions button[name=index]").click()
    expect(page.get_by_text("500 jobs selected")).to_be_visible(timeout=20_000)
    page.get_by_label("Type").fill("perf")
    page.get_by_label("Name").fill("bad")
    page.get_by_role("button", name="Tag 500 jobs").click()

    expect(page.get_by_text("500 of 500 jobs changed. Done.")).to_be_visible(timeout=20_000)
    assert Job.objects.filter(tags__name="bad").count() == WRONG
