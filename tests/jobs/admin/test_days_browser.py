"""A day of each role in a real Chromium: what it finds, looks at, changes and takes along, what it is not offered."""

import json
from pathlib import Path
from typing import Any

import pytest
from playwright.sync_api import Page, expect
from pytest_django.live_server_helper import LiveServer

from accounts.models import ApiToken, User
from archive.format.layout import job_folder
from jobs.archiving.worker import ArchiveWorker
from jobs.models import Job
from tests.support.browser import IN_CHROMIUM, complaints, log_in
from tests.support.factories import JobFactory, TagFactory

pytestmark = IN_CHROMIUM


@pytest.fixture
def job(cluster: Path, synthetic: None) -> Job:
    """Return a failed job of alice in project bio, archived with samples, beside a job of somebody else."""
    job: Job = JobFactory.create(
        user="alice", project="bio", job_state="failed", duration=7200, meta_data='{"jobName":"water <b>box</b>"}'
    )
    JobFactory.create(user="charlie", project="secret")
    ArchiveWorker().drain()
    return job


def meta_of(root: Path, job: Job) -> dict[str, Any]:
    """Return a job's meta.json."""
    document: dict[str, Any] = json.loads((job_folder(root, job.key) / "meta.json").read_text())
    return document


def sections(page: Page) -> list[str]:
    """Return the names of the sections in the header."""
    return page.get_by_label("Sections").get_by_role("link").all_inner_texts()


def find(page: Page, text: str) -> None:
    """Search the job list."""
    page.get_by_label("Sections").get_by_role("link", name="Jobs", exact=True).click()
    page.get_by_label("Search", exact=True).fill(text)
    page.get_by_role("button", name="Search").click()


def download(page: Page, link: str) -> str:
    """Return the job list as a file."""
    with page.expect_download() as started:
        page.get_by_role("link", name=link, exact=True).click()
    return started.value.path().read_text()


def test_support_finds_a_failing_job_looks_at_its_plots_tags_it_and_leaves_a_note(
    page: Page, live_server: LiveServer, carol: User, job: Job, archive_root: Path
) -> None:
    log_in(page, live_server, carol)
    assert sections(page) == ["Overview", "Jobs", "Usage", "Clusters", "Tags", "Health"]

    find(page, "user:alice state:failed")
    page.get_by_label("Save filter as").fill("alice's failures")
    page.get_by_role("button", name="Save", exact=True).click()
    expect(page.get_by_label("Saved filters").get_by_role("link")).to_have_text("alice's failures")
    page.get_by_role("link", name=str(job.job_id)).click()
    expect(page.locator("#plots")).to_have_attribute("data-drawn", "2", timeout=20_000)
    page.get_by_label("Type").fill("perf")
    page.get_by_label("Name", exact=True).fill("bad")
    page.get_by_role("button", name="Add tag").click()
    expect(page.locator(".chip")).to_contain_text("perf:bad")
    page.get_by_label("Note").fill("asked the user")
    page.get_by_role("button", name="Add note").click()
    # The page is where it was, with the note and the message in sight, whatever the plots do above.
    expect(page.locator("#plots")).to_have_attribute("data-drawn", "2", timeout=20_000)
    for seen in (page.get_by_role("button", name="Add note"), page.get_by_text("Note added to 1 job.")):
        expect(seen).to_be_in_viewport()
    expect(page.locator("#history")).to_contain_text("asked the user")

    meta = meta_of(archive_root, job)
    assert [tag["name"] for tag in meta["tags"]] == ["bad"]
    for forbidden in ("Correct", "Delete", "Stop by hand", "Archive again"):
        expect(page.get_by_role("link", name=forbidden)).to_have_count(0)


def test_a_manager_sees_the_project_tags_and_takes_its_list_along(
    page: Page, live_server: LiveServer, bob: User, job: Job
) -> None:
    log_in(page, live_server, bob)
    assert sections(page) == ["Overview", "My jobs", "Jobs", "Usage", "Clusters", "Tags"]

    find(page, "bio")
    expect(page.locator("#result_list tbody tr")).to_have_count(1)
    page.locator("input.action-select").check()
    page.locator("select[name=action]").select_option(label="Add a tag to selected jobs")
    page.get_by_role("button", name="Go").click()
    page.get_by_label("Type").fill("review")
    page.get_by_label("Name").fill("ours")
    page.get_by_role("button", name="Add tag").click()
    page.goto(f"{live_server.url}/admin/jobs/job/")
    text = download(page, "CSV")

    assert "review:ours" in text
    assert "secret" not in text
    assert len(text.splitlines()) == 2


def test_a_user_sees_own_jobs_changes_nothing_and_keeps_own_tokens(
    page: Page, live_server: LiveServer, alice: User, job: Job
) -> None:
    log_in(page, live_server, alice)
    assert sections(page) == ["Overview", "My jobs", "Jobs", "Usage", "Clusters"]
    expect(page.get_by_role("heading", name="Ended badly")).to_be_visible()

    find(page, "")
    expect(page.locator("#result_list tbody tr")).to_have_count(1)
    expect(page.locator("select[name=action] option")).to_have_text(["---------", "Compare selected jobs"])
    page.get_by_role("link", name=str(job.job_id)).click()
    expect(page.locator("#plots")).to_have_attribute("data-drawn", "2", timeout=20_000)
    expect(page.get_by_role("button", name="Add tag")).to_have_count(0)
    page.locator("#user-tools").get_by_role("link", name="My API tokens").click()
    page.get_by_role("button", name="Create token").click()
    expect(page.locator("#new-token")).to_contain_text("ccb_")
    page.locator("#user-tools").get_by_role("link", name="My API tokens").click()
    page.get_by_role("button", name="Revoke").click()
    expect(page.locator(".pill-revoked")).to_be_visible()
    assert ApiToken.objects.get().status == "revoked"


def test_an_admin_corrects_a_project_exports_and_revokes_a_token(
    page: Page, live_server: LiveServer, admin: User, bench: User, job: Job, archive_root: Path
) -> None:
    ApiToken.issue(user=bench, name="hook")
    log_in(page, live_server, admin)
    assert sections(page) == ["Overview", "Jobs", "Usage", "Clusters", "Tags", "Users", "API tokens", "Health"]

    find(page, str(job.job_id))  # the only one is opened
    page.get_by_role("link", name="Correct").click()
    page.get_by_label("Project").fill("chem")
    page.get_by_label("Note").fill("the user asked")
    page.get_by_role("button", name="Save").click()
    expect(page.locator(".last-note")).to_contain_text("the user asked")
    meta = meta_of(archive_root, job)
    assert meta["project"] == "chem"

    find(page, "project:chem")
    assert json.loads(download(page, "NDJSON").splitlines()[0])["project"] == "chem"
    page.get_by_label("Sections").get_by_role("link", name="Users").click()
    page.get_by_role("link", name="bench").click()
    page.get_by_role("button", name="Revoke").click()
    expect(page.locator(".pill-revoked")).to_be_visible()


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_axe_finds_nothing_on_lists_job_pages_clusters_and_the_pages_before_the_log_in(
    scheme: str, page: Page, live_server: LiveServer, admin: User, job: Job
) -> None:
    page.emulate_media(color_scheme=scheme)  # type: ignore[arg-type]
    found = {}
    for path in ("/", "/admin/login/", "/api/docs/"):
        page.goto(live_server.url + path)
        if path == "/api/docs/":
            expect(page.get_by_text("/api/jobs/start_job/").first).to_be_visible()
            page.locator(".opblock-summary-control").first.click()
            expect(page.locator(".responses-table").first).to_be_visible()
        found[path] = complaints(page)
    log_in(page, live_server, admin)
    JobFactory.create(tags=[TagFactory.create()])
    find(page, "host:n01")
    page.get_by_label("Save filter as").fill("mine")
    page.get_by_role("button", name="Save", exact=True).click()
    other = JobFactory.create(archived=True)
    compared = f"compare/?jobs={job.pk},{other.pk}"
    for path in ("?q=host:n01&nodes_from=1", "?q=nonsense:x", "?state=preempted", f"{job.pk}/change/", compared):
        page.goto(f"{live_server.url}/admin/jobs/job/{path}")
        if "change" in path:
            expect(page.locator("#plots")).to_have_attribute("data-drawn", "2", timeout=20_000)
        found[path] = complaints(page)
    clusters = ("clusters/", "clusters/testcluster/", "clusters/testcluster/n01/")
    for path in (*clusters, "usage/?month=2023-11", "my-jobs/", "health/", "jobs/refusedcall/", "jobs/job/ghosts/"):
        page.goto(f"{live_server.url}/admin/{path}")
        found[path] = complaints(page)

    assert not any(found.values()), found


def test_the_findings_of_health_are_read_on_a_phone_without_scrolling_sideways(
    logged_in: Page, live_server: LiveServer
) -> None:
    logged_in.set_viewport_size({"width": 390, "height": 844})
    logged_in.goto(f"{live_server.url}/admin/health/")
    region = logged_in.get_by_role("region", name="Findings")
    expect(region).to_contain_text("The database answers and is migrated.")
    assert region.evaluate("region => region.scrollWidth <= region.clientWidth")
    assert complaints(logged_in) == []


def test_times_are_in_the_zone_of_the_browser(page: Page, live_server: LiveServer, admin: User, job: Job) -> None:
    assert page.context.browser is not None
    tab = page.context.browser.new_page(timezone_id="Asia/Tokyo")
    log_in(tab, live_server, admin)
    tab.goto(f"{live_server.url}/admin/jobs/job/?q=user:{job.user}")

    shown = tab.locator("#result_list time").first
    expect(shown).to_have_text("2023-11-15 07:13")
    expect(shown).to_have_attribute("title", "2023-11-14 22:13:20 UTC")
