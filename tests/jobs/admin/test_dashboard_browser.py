"""The first page in a real Chromium: the chart in light and dark, no errors, nothing that axe-core finds serious."""

import re
import time
from typing import Any

import pytest
from playwright.sync_api import ConsoleMessage, Page, expect
from pytest_django.live_server_helper import LiveServer

from jobs.models import Job
from tests.support.browser import IN_CHROMIUM, serious
from tests.support.factories import JobFactory

pytestmark = IN_CHROMIUM

# How many points of a plot have one of the page's colours, by the name of its variable.
_COUNT_POINTS = """(plot, name) => {
    const style = getComputedStyle(document.documentElement).getPropertyValue(name).trim();
    const wanted = [1, 3, 5].map((place) => parseInt(style.slice(place, place + 2), 16));
    const canvases = [];
    const look = (part) => {
        for (const child of part.querySelectorAll("*")) {
            if (child.localName === "canvas") canvases.push(child);
            if (child.shadowRoot) look(child.shadowRoot);
        }
    };
    look(plot);
    let count = 0;
    for (const canvas of canvases) {
        if (!canvas.width || !canvas.height) continue;
        const { data } = canvas.getContext("2d").getImageData(0, 0, canvas.width, canvas.height);
        for (let place = 0; place < data.length; place += 4) {
            if (data[place + 3] === 255 && wanted.every((part, offset) => part === data[place + offset])) count++;
        }
    }
    return count;
}"""


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
    """Open the page with its chart drawn."""
    return logged_in


def drawn(page: Page) -> None:
    """Wait for the chart."""
    expect(page.locator("#chart[data-drawn='2']")).to_be_visible(timeout=15_000)


def points(page: Page, plot: str, colour: str) -> int:
    """Return how many points of a plot have a colour."""
    return int(page.locator(f"[data-plot={plot}]").evaluate(f"(plot) => ({_COUNT_POINTS})(plot, '{colour}')"))


def errors_of_the_console(page: Page) -> list[str]:
    """Return the list into which what the console reports as errors or warnings will go."""
    found: list[str] = []

    def note(message: ConsoleMessage) -> None:
        if message.type in ("error", "warning"):
            found.append(message.text)

    page.on("console", note)
    return found


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_the_chart_is_drawn_in_the_colours_of_the_page(scheme: Any, dashboard: Page) -> None:
    page = dashboard
    errors = errors_of_the_console(page)
    page.emulate_media(color_scheme=scheme)
    page.reload()
    drawn(page)

    assert errors == []
    for outcome in ("--bar-good", "--bar-bad", "--bar-warn"):
        assert points(page, "jobs", outcome) > 50, outcome
    for cluster in ("--bar-1", "--bar-2"):
        assert points(page, "nodeHours", cluster) > 50, cluster
    expect(page.locator("[data-key=jobs]")).to_have_text("completedfailedotherrunning")
    expect(page.locator("[data-key=nodeHours]")).to_have_text("quiettestcluster")


def test_the_chart_follows_a_change_of_the_theme(dashboard: Page) -> None:
    page = dashboard
    page.emulate_media(color_scheme="light")
    page.reload()
    drawn(page)
    light = page.evaluate("getComputedStyle(document.documentElement).getPropertyValue('--bar-good').trim()")

    page.get_by_role("button", name=re.compile("Toggle theme")).click()  # auto in a light system goes to dark

    expect(page.locator("html")).to_have_attribute("data-theme", "dark")
    drawn(page)
    dark = page.evaluate("getComputedStyle(document.documentElement).getPropertyValue('--bar-good').trim()")
    assert light != dark
    assert points(page, "jobs", "--bar-good") > 50


def test_the_numbers_of_an_hour_are_shown_on_hover(dashboard: Page) -> None:
    page = dashboard
    drawn(page)
    box = page.locator("[data-plot=jobs]").bounding_box()
    assert box is not None

    page.mouse.move(box["x"] + box["width"] * 0.8, box["y"] + box["height"] * 0.3)

    tip = page.locator(".bk-tooltip-content, .bk-Tooltip").first
    expect(tip).to_be_visible()
    expect(tip).to_contain_text(re.compile(r"\d{4}-\d\d-\d\d \d\d:00 to \d\d:00"))
    expect(tip).to_contain_text("failed")


def test_the_table_under_the_chart_opens_by_keyboard(dashboard: Page) -> None:
    page = dashboard
    expect(page.locator(".chart-table")).to_be_hidden()

    page.locator("#chart summary").focus()
    page.keyboard.press("Enter")

    expect(page.locator(".chart-table")).to_be_visible()
    expect(page.locator(".chart-table tbody tr").first.locator("time")).to_be_visible()


def test_a_figure_leads_to_its_list(dashboard: Page) -> None:
    page = dashboard
    page.get_by_role("link", name="Running").click()

    expect(page.locator("#result_list tbody tr")).to_have_count(2)


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("width", [1280, 768])
def test_axe_finds_nothing_serious(scheme: Any, width: int, dashboard: Page) -> None:
    page = dashboard
    page.set_viewport_size({"width": width, "height": 900})
    page.emulate_media(color_scheme=scheme)
    page.reload()
    drawn(page)
    page.locator("#chart summary").click()
    expect(page.get_by_text("went quiet")).to_be_visible()

    assert serious(page) == []
    overflow = page.evaluate("document.documentElement.scrollWidth - document.documentElement.clientWidth")
    assert overflow <= 0
