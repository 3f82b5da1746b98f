"""Searching all day, in a real Chromium: the box, conditions, steps that go on by themselves, columns and order."""

import pytest
from playwright.sync_api import Page, expect
from pytest_django.live_server_helper import LiveServer

from jobs.admin import list_statistics
from jobs.search import find, summary
from jobs.search.summary import Budget
from tests.support.booked_jobs import booked_job, give_slots
from tests.support.browser import IN_CHROMIUM, complaints
from tests.support.factories import JobFactory, TagFactory

pytestmark = IN_CHROMIUM

LONG = "a-very-long-name-of-a-job-that-a-script-made-up-" * 3


def test_the_box_is_reached_by_a_key_and_conditions_are_taken_away(logged_in: Page, live_server: LiveServer) -> None:
    page = logged_in
    tag = TagFactory.create(name=LONG)
    for user in ("alice", "bob"):
        JobFactory.create(user=user, meta_data=f'{{"jobName":"{LONG}"}}', tags=[tag])
    page.goto(f"{live_server.url}/admin/jobs/job/")
    page.keyboard.press("/")
    page.keyboard.type("alice state:running,failed")
    page.keyboard.press("Enter")

    expect(page.locator("#result_list tbody tr")).to_have_count(1)
    expect(page).to_have_title("user alice, state running,failed | Jobs | Job control")
    expect(page.locator(".breadcrumbs")).to_contain_text(
        "Jobs \N{SINGLE RIGHT-POINTING ANGLE QUOTATION MARK} user alice, state running,failed"
    )
    heights = "[...document.querySelectorAll('#result_list tbody tr')].map(row => row.getBoundingClientRect().height)"
    assert page.evaluate(heights) == [36]

    page.locator("#result_list tbody th a").click()
    page.locator(".breadcrumbs").get_by_role("link", name="Jobs").click()
    page.get_by_role("link", name="Remove condition user alice").click()
    expect(page.locator("#result_list tbody tr")).to_have_count(2)
    expect(page.locator("#searchbar")).to_have_value("state:running,failed")
    for width in (1280, 768, 390):
        page.set_viewport_size({"width": width, "height": 800})
        assert page.evaluate("document.documentElement.scrollWidth") <= width
        assert complaints(page) == []


def test_a_search_in_steps_goes_on_by_itself_to_the_end(
    logged_in: Page, live_server: LiveServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(find, "FIRST_STEP", 2)
    monkeypatch.setattr(find, "_MOST_STEPS", 1)
    for number in range(1, 12):
        JobFactory.create(job_id=number, num_hwthreads=8 if number in (2, 11) else 4)
    page = logged_in

    page.goto(f"{live_server.url}/admin/jobs/job/?q=cores:8")
    expect(page.locator("#result_list tbody tr")).to_have_count(2)
    expect(page.locator("#searching")).to_have_count(0)
    expect(page.locator("body")).not_to_contain_text("so far")

    page.goto(f"{live_server.url}/admin/jobs/job/?q=cores:9")
    expect(page.get_by_text("No matching jobs.")).to_be_visible()


def test_columns_are_chosen_and_sort(logged_in: Page, live_server: LiveServer) -> None:
    give_slots("flops_any")
    for job_id, share in ((1, 900), (2, 20), (3, 300)):
        booked_job({"avg_share_1": share, "avg_1": 1.5}, job_id=job_id)
    page = logged_in
    page.goto(f"{live_server.url}/admin/jobs/job/")

    page.get_by_text("Columns", exact=True).click()
    page.get_by_label("flops_any").check()
    page.get_by_label("Archiving").uncheck()
    assert complaints(page) == []
    page.get_by_role("button", name="Show these").click()
    expect(page.locator("#result_list meter")).to_have_count(3)
    expect(page.locator("#result_list thead")).not_to_contain_text("Archiving")

    page.get_by_role("link", name="flops_any").click()
    expect(page.locator("#result_list tbody th")).to_contain_text(["1", "3", "2"])
    page.get_by_role("link", name="flops_any").click()
    expect(page.locator("#result_list tbody th")).to_contain_text(["2", "3", "1"])
    expect(page.locator("#result_list th[aria-sort=ascending]")).to_have_text("flops_any")
    assert complaints(page) == []


def test_statistics_are_loaded_when_they_are_opened_and_their_bars_filter_by_keyboard(
    logged_in: Page, live_server: LiveServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(summary, "FIRST_STEP", 2)
    monkeypatch.setattr(list_statistics, "USUAL", Budget(9.0, 1))
    give_slots("cpu_load")
    for number in range(8):
        state = "failed" if number % 4 == 0 else "completed"
        booked_job({"avg_share_1": 100 * number}, user="alice", duration=60 * number, job_state=state)
    page = logged_in
    asked: list[str] = []
    page.on("request", lambda request: asked.append(request.url))

    page.goto(f"{live_server.url}/admin/jobs/job/?q=alice")
    assert not any("/statistics/" in address for address in asked)
    page.get_by_text("Statistics of this list").focus()
    page.keyboard.press("Enter")
    panel = page.locator("#list-statistics")
    expect(panel).to_contain_text("Of the newest 3 jobs, started since")

    panel.get_by_role("link", name="Count for longer").click()
    expect(panel).to_contain_text("Of all 8 jobs of this list.")
    expect(panel.get_by_role("table", name="State").get_by_role("row", name="failed")).to_contain_text("2")
    for width in (1280, 768, 390):
        page.set_viewport_size({"width": width, "height": 800})
        assert page.evaluate("document.documentElement.scrollWidth") <= width
        assert complaints(page) == []

    panel.get_by_role("link", name="failed").focus()
    page.keyboard.press("Enter")
    expect(page.locator("#result_list tbody tr")).to_have_count(2)
    expect(page.locator("#searchbar")).to_have_value("alice state:failed")

    page.emulate_media(color_scheme="dark")
    page.goto(f"{live_server.url}/admin/jobs/job/statistics/?q=alice")
    expect(page.get_by_role("table", name="Duration")).to_be_visible()
    assert complaints(page) == []


@pytest.mark.parametrize("width", [768, 390])
def test_filters_are_above_the_rows_where_there_is_no_room_beside_them(
    width: int, logged_in: Page, live_server: LiveServer
) -> None:
    JobFactory.create(job_id=1)
    JobFactory.create(job_id=2, finished=True)
    page = logged_in
    page.goto(f"{live_server.url}/admin/jobs/job/")
    expect(page.get_by_role("link", name="running", exact=True)).to_be_visible()

    page.set_viewport_size({"width": width, "height": 800})
    expect(page.get_by_role("link", name="running", exact=True)).to_be_hidden()
    filters = page.get_by_text("Filters", exact=True)
    places = [place.bounding_box() for place in (filters, page.locator("#result_list"))]
    assert places[0] is not None
    assert places[1] is not None
    assert places[0]["y"] < places[1]["y"] < 800
    filters.click()
    page.get_by_role("link", name="running", exact=True).click()
    expect(page.locator("#result_list tbody tr")).to_have_count(1)
