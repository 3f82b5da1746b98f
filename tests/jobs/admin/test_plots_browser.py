"""Plots of the job page in a real Chromium: drawn, zoomed, refreshed, and said why there are none."""

import gzip
import json
import re
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from playwright.sync_api import Page, expect
from pytest_django.live_server_helper import LiveServer

from archive.format.layout import job_folder
from jobs.archiving.worker import ArchiveWorker
from jobs.models import Job
from tests.support.browser import IN_CHROMIUM
from tests.support.factories import JobFactory
from tests.support.fake_metric_store import FakeStore
from tests.support.http_store import respond

pytestmark = IN_CHROMIUM


@pytest.fixture
def plots(logged_in: Page) -> Iterator[Page]:
    """Return the administrator's tab; an error on the console fails the test."""
    said: list[str] = []
    logged_in.on("console", lambda message: said.append(message.text) if message.type == "error" else None)
    yield logged_in
    assert said == []


def open_plots(page: Page, live_server: LiveServer, job: Job, count: int) -> None:
    """Open a job's page and wait until so many plots are drawn."""
    page.goto(f"{live_server.url}/admin/jobs/job/{job.pk}/change/")
    expect(page.locator("#plots")).to_have_attribute("data-drawn", str(count), timeout=20_000)


def painted(page: Page) -> list[int]:
    """Return of each plot how many of its pixels are not empty; Bokeh has a second canvas over the first."""
    pixels = """(canvas) => canvas.getContext("2d").getImageData(0, 0, canvas.width, canvas.height).data
        .reduce((sum, value, place) => sum + (place % 4 === 3 && value > 0), 0)"""
    return [int(canvas.evaluate(pixels)) for canvas in page.locator(".plot-canvas canvas:first-of-type").all()]


def drag(page: Page, plot: int) -> None:
    """Draw the mouse across the second quarter of a plot."""
    canvas = page.locator(".plot-canvas").nth(plot)
    canvas.scroll_into_view_if_needed()
    box = canvas.bounding_box()
    assert box is not None
    page.mouse.move(box["x"] + box["width"] / 4, box["y"] + 80)
    page.mouse.down()
    page.mouse.move(box["x"] + box["width"] / 2, box["y"] + 90, steps=4)
    page.mouse.up()


def test_many_nodes_are_drawn_as_bands_in_light_and_dark_and_a_part_of_the_time_in_all(
    plots: Page, live_server: LiveServer, cluster: Path, synthetic: None
) -> None:
    page = plots
    hosts = json.dumps([{"hostname": f"n{number:02}"} for number in range(1, 18)])
    job = JobFactory.create(finished=True, duration=86_400, num_nodes=17, resources=hosts)
    ArchiveWorker().drain()

    open_plots(page, live_server, job, 2)

    assert len(painted(page)) == 2
    assert all(pixels > 5000 for pixels in painted(page))
    label = page.locator(".plot-canvas").first.get_attribute("aria-label") or ""
    assert label.startswith("cpu_load over time, node scope, 17 series; minimum ")
    assert label.endswith("lines at normal 4, caution 2, alert 1")
    assert page.locator(".plot-key li").all_inner_texts() == [
        "mean, in the band from minimum to maximum of all nodes",
        "normal",
        "caution",
        "alert",
    ]
    expect(page.locator(".plot-status")).to_be_hidden()

    colour = "(sample) => getComputedStyle(sample).borderTopColor"
    light = page.locator(".plot-sample").first.evaluate(colour)
    page.emulate_media(color_scheme="dark")
    expect(page.locator("#plots")).to_have_attribute("data-drawn", "2", timeout=20_000)
    assert page.locator(".plot-sample").first.evaluate(colour) != light
    assert all(pixels > 5000 for pixels in painted(page))

    drag(page, 1)
    whole = page.get_by_role("button", name="Whole time")
    expect(whole).to_be_visible()
    expect(page.locator("#plots")).to_have_attribute("data-refined", re.compile("[0-9]+ [0-9]+"))
    page.locator(".plot-canvas").first.hover()
    expect(page.get_by_text("Maximum", exact=True)).to_be_visible()
    whole.click()
    expect(whole).to_be_hidden()

    def view(begin: int, end: int) -> str:
        return f"{job.start_time + begin} {job.start_time + end}"

    page.get_by_role("button", name="Zoom in").press("Enter")
    page.get_by_role("button", name="Earlier").press("Enter")
    expect(page.locator("#plots")).to_have_attribute("data-refined", view(0, 43_200))
    page.get_by_role("button", name="Later").press("Enter")
    expect(page.locator("#plots")).to_have_attribute("data-refined", view(21_600, 64_800))


def test_the_finer_scope_of_a_job_of_one_node_has_a_line_for_each_unit(
    plots: Page, live_server: LiveServer, cluster: Path, synthetic: None
) -> None:
    page = plots
    job = JobFactory.create(finished=True, duration=3600)
    ArchiveWorker().drain()
    open_plots(page, live_server, job, 2)
    assert page.locator(".plot-key li").first.inner_text() == "n01"

    page.get_by_role("combobox", name="Scope").select_option("core")

    expect(page.locator(".plot-key li")).to_have_count(1 + 4 + 3)
    expect(page.locator("#plots")).to_have_attribute("data-drawn", "2")
    labels = [canvas.get_attribute("aria-label") or "" for canvas in page.locator(".plot-canvas").all()]
    assert "flops_any over time, core scope, 4 series" in labels[1]
    assert all(pixels > 2000 for pixels in painted(page))


def test_a_source_that_fails_is_told_and_asked_again(
    plots: Page, live_server: LiveServer, cluster: Path, settings: Any
) -> None:
    page = plots
    cluster.write_text(cluster.read_text().replace("cpu_load", "load").replace("flops_any", "flops"))
    with FakeStore() as store:
        settings.METRIC_SOURCES = {"*": {"kind": "cc-metric-store", "url": store.url}}
        store.misbehave = lambda handler: respond(handler, 503, b"<b>the disk is full</b>")
        job = JobFactory.create(start_time=int(time.time()) - 1200)
        page.goto(f"{live_server.url}/admin/jobs/job/{job.pk}/change/")
        expect(page.locator(".plot-status")).to_contain_text("<b>the disk is full</b>")
        assert not page.locator(".plot-canvas").count()

        store.misbehave = None
        page.get_by_role("button", name="Refresh").click()

        expect(page.locator("#plots")).to_have_attribute("data-drawn", "2")
        expect(page.locator(".plot-status")).to_be_hidden()
        assert all(pixels > 2000 for pixels in painted(page))


def write_data(root: Path, job: Job, metric: str, series: list[dict[str, Any]]) -> None:
    """Replace the samples of an archived job by those of one metric."""
    data = {metric: {"socket": {"timestep": 60, "unit": {"base": metric}, "series": series}}}
    (job_folder(root, job.key) / "data.json.gz").write_bytes(gzip.compress(json.dumps(data).encode()))


def test_a_sample_without_neighbours_is_a_dot(
    plots: Page, live_server: LiveServer, cluster: Path, synthetic: None, archive_root: Path
) -> None:
    page = plots
    job = JobFactory.create(finished=True, duration=600)
    ArchiveWorker().drain()
    # Pixels that are about the first colour, #0072b2.
    blue = """(canvas) => {
        const { data } = canvas.getContext("2d").getImageData(0, 0, canvas.width, canvas.height);
        let count = 0;
        for (let at = 0; at < data.length; at += 4) {
            count += data[at] < 60 && data[at + 2] > 150 && data[at + 3] > 200;
        }
        return count;
    }"""
    for samples in ([5], [None, None, 5, None]):
        write_data(archive_root, job, "load", [{"hostname": "n01", "data": samples}])
        open_plots(page, live_server, job, 1)
        assert page.locator(".plot-canvas canvas:first-of-type").first.evaluate(blue) >= 5


def test_a_threshold_far_above_the_samples_leaves_them_to_be_seen_and_is_told(
    plots: Page, live_server: LiveServer, cluster: Path, synthetic: None, archive_root: Path
) -> None:
    job = JobFactory.create(finished=True, duration=600)
    ArchiveWorker().drain()
    write_data(archive_root, job, "cpu_load", [{"hostname": "n01", "data": [0.1, 0.15] * 5}])

    open_plots(plots, live_server, job, 1)

    caption = plots.locator("figcaption")
    expect(caption).to_contain_text("normal at 4 cpu_load, caution at 2 cpu_load, above the picture")
    expect(caption).not_to_contain_text("alert")


def test_names_in_the_plots_are_text(
    plots: Page, live_server: LiveServer, cluster: Path, synthetic: None, archive_root: Path
) -> None:
    page, evil = plots, "<img src=x onerror=alert(1)>"
    job = JobFactory.create(finished=True, duration=600)
    ArchiveWorker().drain()
    write_data(archive_root, job, evil, [{"hostname": evil, "id": evil, "data": [1, 2] * 5}])

    open_plots(page, live_server, job, 1)

    expect(page.locator("figcaption")).to_contain_text(evil)
    expect(page.locator(".plot-key")).to_contain_text(evil)
    page.locator(".plot-canvas").hover()
    expect(page.locator("th", has_text=f"{evil} socket {evil}")).to_be_visible()
    assert not page.locator("img[src=x]").count()


def test_a_job_without_samples_says_why(plots: Page, live_server: LiveServer, archive_root: Path) -> None:
    job = JobFactory.create(finished=True)
    plots.goto(f"{live_server.url}/admin/jobs/job/{job.pk}/change/")
    expect(plots.get_by_text("Cluster testcluster has no metric source")).to_be_visible()
    expect(plots.get_by_role("button", name="Refresh")).to_be_hidden()


def test_a_session_that_ended_is_told(plots: Page, live_server: LiveServer, cluster: Path, synthetic: None) -> None:
    page = plots
    job = JobFactory.create(start_time=int(time.time()) - 1200)
    open_plots(page, live_server, job, 2)
    refresh = page.get_by_role("button", name="Refresh")

    page.context.clear_cookies()
    refresh.click()
    expect(page.locator(".plot-status")).to_have_text("You are logged out. Load the page again to log in.")
    expect(refresh).to_be_enabled()


def test_each_metric_of_compared_jobs_has_a_line_for_each_job(
    logged_in: Page, live_server: LiveServer, cluster: Path, synthetic: None
) -> None:
    jobs = [JobFactory.create(finished=True, duration=seconds) for seconds in (3600, 9000)]
    ArchiveWorker().drain()

    logged_in.goto(f"{live_server.url}/admin/jobs/job/compare/?jobs={jobs[0].pk},{jobs[1].pk}")

    expect(logged_in.locator("#compare-plots")).to_have_attribute("data-drawn", "2", timeout=20_000)
    expect(logged_in.locator(".plot-key li")).to_have_text([f"Job {job.job_id}" for job in jobs])
    label = logged_in.locator(".plot-canvas").first.get_attribute("aria-label") or ""
    assert all(f"Job {job.job_id}" in label for job in jobs)


def test_the_hours_of_compared_jobs_go_on_after_a_day(
    logged_in: Page, live_server: LiveServer, cluster: Path, synthetic: None
) -> None:
    jobs = [JobFactory.create(finished=True, duration=seconds) for seconds in (3600, 30 * 3600)]
    ArchiveWorker().drain()
    logged_in.goto(f"{live_server.url}/admin/jobs/job/compare/?jobs={jobs[0].pk},{jobs[1].pk}")
    expect(logged_in.locator("#compare-plots")).to_have_attribute("data-drawn", "2", timeout=20_000)
    words = "Bokeh.documents[0].roots()[0].below[0].formatter.doFormat([0, 93600], {})"
    assert logged_in.evaluate(words) == ["0:00:00", "26:00:00"]
