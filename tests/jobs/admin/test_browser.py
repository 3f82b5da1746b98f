"""An administrator's round in a real Chromium: find a job, tag it, open it, make a token and revoke it."""

from pathlib import Path

from playwright.sync_api import Page, expect
from pytest_django.live_server_helper import LiveServer

from accounts.models import ApiToken, User
from jobs.intake.nodes import record_nodestate
from jobs.messages import NodeReport
from jobs.models import Job
from tests.support.browser import IN_CHROMIUM
from tests.support.factories import JobFactory

pytestmark = IN_CHROMIUM


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


def test_nodes_of_a_cluster_are_chosen_and_lead_to_their_jobs(logged_in: Page, cluster: Path) -> None:
    page = logged_in
    job = JobFactory.create(resources='[{"hostname":"n07"}]')
    reports = [NodeReport(hostname=host, states=["IDLE", "DRAIN"]) for host in ("n07", "<b>odd</b>")]
    record_nodestate(cluster="testcluster", nodes=reports)
    page.get_by_label("Sections").get_by_role("link", name="Clusters").click()
    page.get_by_role("link", name="testcluster").click()
    expect(page.locator("#nodes tbody tr")).to_have_count(45)

    page.get_by_label("State").select_option(label="drain (2)")
    page.get_by_role("button", name="Show", exact=True).click()
    expect(page.locator("#nodes tbody th")).to_have_text(["n07", "<b>odd</b>"])
    page.get_by_label("Host contains").fill("07")
    page.keyboard.press("Enter")
    expect(page.locator("#nodes tbody tr")).to_have_count(1)
    expect(page.locator("#nodes tbody .pill")).to_have_text(["idle", "drain"])

    page.locator("#nodes").get_by_role("link", name=str(job.job_id)).click()
    expect(page.get_by_role("heading", name=f"Job {job.job_id} on testcluster")).to_be_visible()
