"""The first page in a real Chromium: its charts and where they lead, no errors, nothing that axe-core finds."""

import re
import time
from typing import Any

import pytest
from playwright.sync_api import ConsoleMessage, Page, expect
from pytest_django.live_server_helper import LiveServer

from jobs.models import Job
from tests.support.browser import IN_CHROMIUM, complaints
from tests.support.factories import JobFactory

pytestmark = IN_CHROMIUM


@pytest.fixture
def week(db: None) -> None:
    """Create jobs of the last three days in all outcomes, on two clusters of which one went quiet."""
    now = int(time.time())
    rows = [
        JobFactory.build(
            job_state=("completed", "completed", "failed", "timeout")[number % 4],
            monitoring_status=2 if number % 50 == 0 else 3,
            cluster="quiet" if number % 3 == 0 and number < 500 else "testcluster",
            user=f"user{number % 12}",
            project=f"project{number % 5}",
            start_time=now - 3 * 86_400 + number * 300,
            duration=900,
        )
        for number in range(800)
    ]
    Job.objects.bulk_create([*rows, JobFactory.build(start_time=now - 600), JobFactory.build(start_time=now - 60)])


@pytest.fixture
def dashboard(week: None, logged_in: Page, live_server: LiveServer) -> Page:
    """Open the page."""
    return logged_in


def errors_of_the_console(page: Page) -> list[str]:
    """Return the list into which what the console reports as errors or warnings will go."""
    found: list[str] = []

    def note(message: ConsoleMessage) -> None:
        if message.type in ("error", "warning"):
            found.append(message.text)

    page.on("console", note)
    return found


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_the_chart_has_bars_in_the_colours_of_its_key(scheme: Any, dashboard: Page) -> None:
    page = dashboard
    errors = errors_of_the_console(page)
    page.emulate_media(color_scheme=scheme)
    page.reload()

    assert errors == []
    for colour in ("good", "bad", "warn", "run", "1", "2"):
        bar, key = page.locator(f".chart-bars .bar-{colour}").first, page.locator(f".key-{colour}")
        box = bar.bounding_box()
        assert box is not None
        assert box["width"] > 10
        painted = bar.evaluate("bar => getComputedStyle(bar).fill")
        assert painted == key.evaluate("key => getComputedStyle(key).backgroundColor") != "rgb(0, 0, 0)"
    expect(page.locator(".chart-key").first).to_have_text("completedfailedotherrunning")
    expect(page.locator(".chart-key").last).to_have_text("quiettestcluster")


def test_a_part_of_a_bar_leads_to_its_jobs_and_says_how_many(dashboard: Page) -> None:
    page = dashboard
    errors = errors_of_the_console(page)
    bar = page.locator(".chart-bars .bar-bad").first
    count = re.search(r": ([0-9]+) jobs? started, failed", bar.text_content() or "")
    assert count is not None

    bar.click()

    expect(page.locator(".paginator")).to_contain_text(f"{count[1]} jobs")
    assert errors == []


def test_the_range_is_chosen_and_stays_in_the_headings(dashboard: Page) -> None:
    page = dashboard
    page.get_by_label("Range").get_by_role("link", name="30 days").click()

    expect(page.get_by_label("Range").locator("[aria-current]")).to_have_text("30 days")
    expect(page.get_by_role("heading", name="Jobs and node hours, last 30 days")).to_be_visible()


def test_the_table_under_the_chart_opens_by_keyboard(dashboard: Page) -> None:
    page = dashboard
    expect(page.locator(".chart-table")).to_be_hidden()

    page.locator("#chart summary").focus()
    page.keyboard.press("Enter")

    expect(page.locator(".chart-table")).to_be_visible()
    expect(page.locator(".chart-table tbody tr").first.get_by_role("link").first).to_be_visible()


def test_a_figure_leads_to_its_list(dashboard: Page) -> None:
    page = dashboard
    page.get_by_role("link", name="Running").click()

    expect(page.locator("#result_list tbody tr")).to_have_count(2)


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("width", [1280, 768])
def test_axe_finds_nothing(scheme: Any, width: int, dashboard: Page) -> None:
    page = dashboard
    page.set_viewport_size({"width": width, "height": 900})
    page.emulate_media(color_scheme=scheme)
    page.reload()
    page.locator("#chart summary").click()
    expect(page.get_by_text("no start and no stop for")).to_be_visible()

    assert complaints(page) == []
    overflow = page.evaluate("document.documentElement.scrollWidth - document.documentElement.clientWidth")
    assert overflow <= 0
