"""The top of the job page in a real Chromium: what was found in the samples, where to see it, and as a text."""

import gzip
import json
import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from playwright.sync_api import Page, expect
from pytest_django.live_server_helper import LiveServer

from archive.format.data_json import MetricData, Series, encode_data
from archive.format.layout import job_folder
from jobs.archiving.worker import ArchiveWorker
from jobs.models import Job
from tests.jobs.samples.test_ending import QUANTITIES
from tests.support.browser import IN_CHROMIUM
from tests.support.factories import JobFactory

pytestmark = IN_CHROMIUM


@pytest.fixture
def idle_job(cluster: Path, synthetic: None, archive_root: Path) -> Job:
    """Return an archived job of four nodes, of which n03 was idle for 40 % of the time."""
    hosts = [f"n{number:02}" for number in range(1, 5)]
    job = JobFactory.create(
        finished=True,
        duration=7200,
        walltime=86_400,
        num_nodes=4,
        resources=json.dumps([{"hostname": host} for host in hosts]),
        meta_data=json.dumps({"jobName": "solver " * 20}),
    )
    ArchiveWorker().drain()
    busy = np.full(120, 4.0)
    idle = np.where(np.arange(120) < 48, 0.0, 4.0)
    loads = [Series(host, None, idle if host == "n03" else busy) for host in hosts]
    flops = [Series(host, None, busy * 1e4) for host in hosts]
    data = encode_data(
        {
            "cpu_load": {"node": MetricData({"base": ""}, 60, loads)},
            "flops_any": {"node": MetricData({"base": "F/s", "prefix": "G"}, 60, flops)},
            "mem_bw": {"node": MetricData({"base": "B/s", "prefix": "G"}, 60, flops)},
        }
    )
    (job_folder(archive_root, job.key) / "data.json.gz").write_bytes(gzip.compress(data))
    return job


def open_job(page: Page, live_server: LiveServer, job: Job) -> str:
    """Open the page of a job, wait until its plots are drawn, and return its address."""
    address = f"{live_server.url}/admin/jobs/job/{job.pk}/change/"
    page.goto(address)
    expect(page.locator("#plots")).to_have_attribute("data-drawn", "3", timeout=20_000)
    return address


def test_the_page_says_what_was_found_shows_it_in_the_plot_and_gives_it_as_text(
    logged_in: Page, live_server: LiveServer, idle_job: Job
) -> None:
    page = logged_in
    page.context.grant_permissions(["clipboard-read", "clipboard-write"])
    address = open_job(page, live_server, idle_job)
    found = "Node n03 idle for 40 % of the time (cpu_load)."

    top = page.locator(".plot").first.bounding_box()
    assert top is not None
    assert top["y"] < 440  # a finding takes a line; see also the next test
    page.get_by_role("button", name="Copy as text").click()
    expect(page.get_by_role("button", name="Copied")).to_be_visible()
    copied = page.evaluate("navigator.clipboard.readText()").splitlines()
    assert copied[0].startswith(f"Job {idle_job.job_id} on testcluster (solver solver")
    assert copied[0].endswith("user alice, project bio")
    assert copied[1:] == ["Completed after 2:00:00, 8 % of the 1 d 00:00:00 asked for.", f"- {found}", address]

    page.get_by_role("button", name=found).click()
    expect(page.locator('[data-role="whole"]')).to_be_hidden()  # it is the whole time

    hosts = page.locator("#use-of-nodes tbody th").all_inner_texts()
    assert hosts[0] == "n03"
    assert page.locator("#use-of-nodes tbody tr").first.locator("td").all_inner_texts() == ["2.4", "40 TF/s", "40 TB/s"]
    assert (page.locator(".roofline-canvas").get_attribute("aria-label") or "").startswith(
        "Roofline: 120 points, at most 40 TF/s"
    )
    assert page.locator(".plot figcaption").nth(1).inner_text().split() == ["flops_any", "TF/s"]


def test_one_tooltip_has_the_values_of_all_nodes(logged_in: Page, live_server: LiveServer, idle_job: Job) -> None:
    page = logged_in
    open_job(page, live_server, idle_job)
    canvas = page.locator(".plot-canvas").first
    canvas.scroll_into_view_if_needed()
    box = canvas.bounding_box()
    assert box is not None

    page.mouse.move(box["x"] + box["width"] / 4, box["y"] + 100, steps=3)

    expect(page.locator(".bk-Tooltip")).to_have_count(1)
    rows = page.locator(".bk-Tooltip tr")
    expect(rows).to_have_text([re.compile("^UTC"), "n014", "n024", "n030", "n044"])


@pytest.mark.parametrize(("width", "height"), [(1280, 800), (390, 800)])
def test_no_page_of_a_job_is_wider_than_the_window_and_long_names_wrap(
    logged_in: Page, live_server: LiveServer, idle_job: Job, width: int, height: int
) -> None:
    page = logged_in
    page.set_viewport_size({"width": width, "height": height})
    open_job(page, live_server, idle_job)
    assert page.evaluate("document.documentElement.scrollWidth") <= width


def test_the_script_writes_values_as_the_server_does(logged_in: Page, live_server: LiveServer, idle_job: Job) -> None:
    open_job(logged_in, live_server, idle_job)
    figures = logged_in.locator('script[src*="jobs/plots"]').get_attribute("src")
    assert figures is not None
    write = f"""async (values) => {{
        const {{ withUnit }} = await import("{figures.replace("plots", "figures")}");
        return values.map(([value, prefix, base]) => withUnit(value, prefix + base, prefix));
    }}"""
    values: list[Any] = [list(each[:3]) for each in QUANTITIES]
    written = logged_in.evaluate(write, values)
    assert written == [each[3] for each in QUANTITIES]


def test_on_paper_a_job_takes_two_pages(logged_in: Page, live_server: LiveServer, idle_job: Job) -> None:
    open_job(logged_in, live_server, idle_job)
    assert len(re.findall(rb"/Type\s*/Page\b", logged_in.pdf(format="A4"))) <= 2
