"""Questions that staff ask, in a real Chromium, with as many clicks as they may take from the job list."""

import time
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from playwright.sync_api import Page, expect
from pytest_django.live_server_helper import LiveServer

from jobs.archiving.worker import ArchiveWorker
from jobs.models import Job
from tests.support.browser import IN_CHROMIUM
from tests.support.factories import JobFactory, on_hosts

pytestmark = IN_CHROMIUM

HOUR = 3600


class Clicks:
    """Clicks on a page, counted; typing and Enter are none."""

    def __init__(self, page: Page, live_server: LiveServer) -> None:
        self.page = page
        self.count = 0
        page.goto(f"{live_server.url}/admin/jobs/job/")

    def on(self, role: str, name: str) -> None:
        """Click on what has a role and a name."""
        self.count += 1
        self.page.get_by_role(role, name=name, exact=True).first.click()  # type: ignore[arg-type]

    def search(self, text: str) -> None:
        """Type into the search box, which a key focuses."""
        self.page.keyboard.press("/")
        self.page.keyboard.type(text)
        self.page.keyboard.press("Enter")


@pytest.fixture
def clicks(logged_in: Page, live_server: LiveServer) -> Clicks:
    """Return the job list, and how often somebody has clicked since."""
    return Clicks(logged_in, live_server)


@pytest.fixture
def jobs(cluster: Path, synthetic: None) -> list[Job]:
    """Return two jobs of project bio on n01, one after the other, that ended yesterday."""
    start = int(time.time()) - 30 * HOUR
    there = {"finished": True, "duration": HOUR, "project": "bio", "resources": on_hosts("n01")}
    found = [JobFactory.create(start_time=start + number * 2 * HOUR, **there) for number in range(2)]
    ArchiveWorker().drain()
    return found


def test_jobs_of_a_project_with_low_flops_last_week_take_no_click(jobs: list[Job], clicks: Clicks) -> None:
    clicks.search("project:bio flops_any:<5% start:7d")
    expect(clicks.page.get_by_text("No matching jobs.")).to_be_visible()
    clicks.search("project:bio flops_any:>5% start:7d")
    expect(clicks.page.locator("#result_list tbody tr")).to_have_count(2)
    assert clicks.count == 0


def test_who_was_on_a_node_at_a_moment_takes_two_clicks(jobs: list[Job], clicks: Clicks) -> None:
    clicks.search("host:n01")
    clicks.on("link", "Node n01")
    moment = datetime.fromtimestamp(jobs[0].start_time + 600, UTC)
    clicks.page.get_by_label("Who was there at").fill(f"{moment:%Y-%m-%dT%H:%M}")
    clicks.on("button", "Show")

    expect(clicks.page.locator("#then tbody tr")).to_have_count(1)
    expect(clicks.page.locator("#then")).to_contain_text(str(jobs[0].job_id))
    assert clicks.count <= 2


def test_the_usage_of_a_project_last_month_as_csv_takes_three_clicks(clicks: Clicks, cluster: Path) -> None:
    last_month = datetime.now(UTC).replace(day=1) - timedelta(days=10)
    for number, project in enumerate(("bio", "chem")):
        start = int(last_month.timestamp()) + number
        JobFactory.create(start_time=start, project=project, user=f"{project}-user", finished=True)
    ArchiveWorker().drain()

    clicks.on("link", "Usage")
    clicks.page.get_by_label("Project").fill("bio")
    clicks.page.keyboard.press("Enter")
    clicks.on("link", "Month before")
    with clicks.page.expect_download() as started:
        clicks.on("link", "CSV")

    assert started.value.suggested_filename.startswith(f"usage-by-user-{last_month:%Y-%m}-01")
    text = started.value.path().read_text()
    assert "bio-user" in text
    assert "chem-user" not in text
    assert clicks.count == 3


def test_comparing_two_runs_takes_three_clicks(jobs: list[Job], clicks: Clicks) -> None:
    boxes = clicks.page.locator("input.action-select")
    for number in range(2):
        clicks.count += 1
        boxes.nth(number).check()
    clicks.on("link", "Compare")

    expect(clicks.page.get_by_role("heading", name="2 jobs compared")).to_be_visible()
    assert clicks.count == 3
    clicks.page.go_back()
    expect(clicks.page.get_by_role("link", name="Compare", exact=True)).to_be_hidden()
