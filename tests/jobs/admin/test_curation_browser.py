"""Curation in a real Chromium: correct with a note, stop by hand, delete before a time; and what axe-core finds."""

import json
from collections.abc import Callable
from datetime import timedelta

import pytest
from django.contrib.admin.models import LogEntry
from django.utils import timezone
from playwright.sync_api import Page, expect
from pytest_django.live_server_helper import LiveServer

from jobs import history
from jobs.deletion import services, steps
from jobs.models import Job
from tests.support.browser import IN_CHROMIUM, check_all, complaints
from tests.support.factories import JobFactory

pytestmark = IN_CHROMIUM

Visit = Callable[[str], Page]

BEFORE = "2023-11-15T00:00:00"


@pytest.fixture
def visit(logged_in: Page, live_server: LiveServer) -> Visit:
    """Return a function that opens a page below the jobs."""

    def open_(path: str) -> Page:
        logged_in.goto(f"{live_server.url}/admin/jobs/job/{path}")
        return logged_in

    return open_


def test_a_job_is_corrected_with_a_note(visit: Visit) -> None:
    script = "\n#!/bin/bash\nsrun ./a\n"
    job = JobFactory.create(meta_data=json.dumps({"jobName": "alpha", "jobScript": script, "account": None}))
    page = visit(f"{job.pk}/change/")

    page.get_by_role("link", name="Correct").click()
    page.get_by_label("Project").fill("cfd")
    page.get_by_label("Text of jobName").fill("beta")
    page.locator("#id_key-3-key").fill("queue")
    page.locator("#id_key-3-text").fill("long")
    page.get_by_label("Note").fill("the user asked for it\nin ticket 4711")
    page.get_by_role("button", name="Save correction").click()

    expect(page.get_by_text("Corrected: project, metaData.jobName, metaData.queue.")).to_be_visible()
    history = page.locator("#history")
    expect(history).to_contain_text("project: bio → cfd")
    expect(history).to_contain_text("in ticket 4711")
    job.refresh_from_db()
    assert job.metadata == {"jobName": "beta", "jobScript": script, "account": None, "queue": "long"}


def test_the_second_of_two_editors_sees_what_the_first_changed(visit: Visit) -> None:
    job = JobFactory.create()
    page = visit(f"{job.pk}/correct/")
    Job.objects.filter(pk=job.pk).update(project="cfd")

    page.get_by_label("Project").fill("chem")
    page.get_by_label("Note").fill("x")
    page.get_by_role("button", name="Save correction").click()

    expect(page.get_by_text("project was changed to cfd by a program")).to_be_visible()
    expect(page.get_by_label("Project")).to_have_value("chem")
    page.get_by_role("button", name="Save correction").click()
    expect(page.get_by_text("Corrected: project.")).to_be_visible()
    assert Job.objects.get(pk=job.pk).project == "chem"


def test_ghosts_of_the_list_are_stopped_by_hand(visit: Visit) -> None:
    JobFactory.create_batch(3)
    page = visit("?state=running")

    check_all(page)
    page.locator("select[name=action]").select_option(label="Stop selected jobs by hand")
    page.get_by_role("button", name="Go").click()
    page.get_by_label("State").select_option("cancelled")
    page.get_by_label("Ended").fill("2023-11-15T10:00:00")
    page.get_by_label("Note").fill("the node is dead")
    page.get_by_role("button", name="Stop 3 jobs").click()

    expect(page.get_by_text("3 jobs stopped by hand.")).to_be_visible()
    assert {(job.job_state, job.stop_time) for job in Job.objects.all()} == {("cancelled", 1_700_042_400)}


def test_everything_before_a_time_is_deleted_with_progress(visit: Visit, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(services, "_DELETE_BATCH", 5)
    monkeypatch.setattr(steps, "STEP", 0.0)
    JobFactory.create_batch(42)
    kept = JobFactory.create(start_time=1_800_000_000)
    page = visit("")

    page.get_by_role("link", name="Delete before a time").click()
    page.get_by_label("Started before").fill(BEFORE)
    page.get_by_role("button", name="Preview").click()
    page.get_by_label("Type the number of jobs").fill("42")
    page.get_by_role("button", name="Delete 42 jobs").click()

    expect(page.get_by_text("42 of 42 jobs deleted. Done.")).to_be_visible(timeout=20_000)
    assert list(Job.objects.all()) == [kept]
    assert history.text_of(LogEntry.objects.get()).startswith("Deleted 42 of 42 jobs")


def test_a_deletion_is_stopped_and_continued(visit: Visit, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(services, "_DELETE_BATCH", 1)
    monkeypatch.setattr(steps, "STEP", 0.0)
    JobFactory.create_batch(300)
    page = visit(f"delete-before/?before={BEFORE}")

    page.get_by_label("Type the number of jobs").fill("300")
    page.get_by_role("button", name="Delete 300 jobs").click()
    page.locator("#stop-steps").click()
    expect(page.get_by_text("jobs deleted. Stopped.")).to_be_visible()
    left = Job.objects.count()
    assert 0 < left < 300
    monkeypatch.setattr(steps, "STEP", 5.0)
    page.get_by_role("button", name="Continue").click()

    expect(page.get_by_text("300 of 300 jobs deleted. Done.")).to_be_visible(timeout=20_000)
    assert not Job.objects.exists()


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_axe_finds_nothing(scheme: str, visit: Visit, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(services, "_DELETE_BATCH", 1)
    monkeypatch.setattr(steps, "STEP", 0.0)
    running, archived = JobFactory.create(), JobFactory.create(archived=True)
    page = visit(f"{running.pk}/change/")
    page.emulate_media(color_scheme="dark" if scheme == "dark" else "light")
    page.get_by_label("Note").fill("seen")
    page.get_by_role("button", name="Add note").click()
    before = f"{timezone.now() + timedelta(days=1):%Y-%m-%dT%H:%M:%S}"
    paths = [f"{running.pk}/{name}/" for name in ("change", "history", "correct", "stop")]
    paths += [f"{archived.pk}/archive/", "delete-before/", f"delete-before/?before={before}"]

    found = {path: complaints(visit(path)) for path in paths}
    page.get_by_label("Type the number of jobs").fill("2")
    page.get_by_role("button", name="Delete 2 jobs").click()
    expect(page.get_by_text("Done.")).to_be_visible()
    found["progress"] = complaints(page)

    assert not any(found.values()), found
