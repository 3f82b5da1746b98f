"""Ghost jobs are stopped by hand, one or many, with state, end and a note."""

import time
from typing import Any

import pytest
from django.contrib.admin.models import LogEntry
from django.test import Client

from accounts.models import User
from jobs import curation, history
from jobs.exceptions import InvalidJobError, JobNotRunningError
from jobs.history import Actor
from jobs.intake.services import stop_job
from jobs.models import Job
from tests.support.admin_site import Login
from tests.support.clients import at_once
from tests.support.factories import START, JobFactory

pytestmark = pytest.mark.django_db

LIST = "/admin/jobs/job/"
END = "2023-11-15T00:00:00"  # UTC
END_SECONDS = 1_700_006_400


@pytest.fixture
def client(admin: User, login: Login) -> Client:
    """Return the administrator's browser."""
    return login(admin)


def stop(client: Client, *jobs: Job, **changes: str) -> Any:
    """Send the form for jobs."""
    row_ids = ",".join(str(job.pk) for job in jobs)
    data = {"jobs": row_ids, "state": "failed", "ended": END, "note": "node is dead"} | changes
    return client.post(f"{LIST}selection/stop/", data, follow=True)


def test_one_job_is_stopped_from_its_page_and_waits_for_the_archive(client: Client) -> None:
    job = JobFactory.create()

    form = client.get(f"{LIST}{job.pk}/stop/")
    assert f"Stop job {job.job_id} of alice on testcluster" in form.content.decode()
    assert form.context["back"] == f"{LIST}{job.pk}/change/"
    text = stop(client, job, back=form.context["back"]).content.decode()

    assert "1 job stopped by hand." in text
    job.refresh_from_db()
    assert (job.job_state, job.stop_time) == ("failed", END_SECONDS)
    assert Job.objects.awaiting_archive().get() == job
    message = history.text_of(LogEntry.objects.get(object_id=str(job.pk)))
    assert message == "Stopped by hand: failed, ended 2023-11-15 00:00:00 UTC.\nNote: node is dead"


def test_without_an_end_it_is_now(client: Client) -> None:
    job = JobFactory.create()

    stop(client, job, ended="")

    job.refresh_from_db()
    assert abs((job.stop_time or 0) - time.time()) < 10


def test_an_end_is_read_in_the_zone_of_the_site(client: Client, settings: Any) -> None:
    settings.TIME_ZONE = "Europe/Berlin"
    job = JobFactory.create()

    stop(client, job)

    job.refresh_from_db()
    assert job.stop_time == END_SECONDS - 3600


@pytest.mark.parametrize(
    ("changes", "error"),
    [
        ({"ended": "2999-01-01T00:00:00"}, "the end lies in the future"),
        ({"ended": "yesterday"}, "Enter a valid date/time"),
        ({"state": "running"}, "Select a valid choice"),
        ({"note": ""}, "This field is required"),
    ],
)
def test_what_cannot_be_is_asked_for_again(changes: dict[str, str], error: str, client: Client) -> None:
    job = JobFactory.create()

    assert error in stop(client, job, **changes).content.decode()
    assert Job.objects.running().get() == job


def test_an_end_within_the_clock_skew_is_taken(admin: User) -> None:
    job = JobFactory.create()
    given: dict[str, Any] = {"row_ids": [job.pk], "job_state": "failed", "note": "x", "actor": Actor(admin.pk)}

    with pytest.raises(InvalidJobError):
        curation.stop_jobs(stop_time=int(time.time()) + curation.CLOCK_SKEW + 30, **given)
    assert curation.stop_jobs(stop_time=int(time.time()) + 30, **given).done == [job.pk]


def test_a_selection_is_stopped_and_what_ended_or_started_later_is_named(client: Client) -> None:
    ghosts = JobFactory.create_batch(120)
    ended, later = JobFactory.create(), JobFactory.create(start_time=END_SECONDS + 1)
    chosen = [*ghosts, ended, later]
    action = {"action": "stop_jobs", "_selected_action": [str(job.pk) for job in chosen]}
    form = client.post(LIST, action)
    assert "Stop 122 jobs that the scheduler did not report as ended?" in form.content.decode()
    stop_job(row_id=ended.pk, job_state="completed", stop_time=START + 500)

    text = stop(client, *chosen).content.decode()

    assert "120 jobs stopped by hand." in text
    assert f"job {ended.job_id} on testcluster (dbid: {ended.pk}) is not running: completed" in text
    assert f"expected {later.start_time} or later" in text
    assert list(Job.objects.running()) == [later]
    assert LogEntry.objects.count() == 120


def test_what_does_not_run_is_left_out_of_the_selection(client: Client) -> None:
    running, ended = JobFactory.create(), JobFactory.create(finished=True)
    action = {"action": "stop_jobs", "_selected_action": [str(running.pk), str(ended.pk)]}

    form = client.post(LIST, action)

    assert form.context["row_ids"] == str(running.pk)
    assert "1 job of the selection had ended already" in form.content.decode()
    text = client.post(LIST, action | {"_selected_action": [str(ended.pk)]}, follow=True).content.decode()
    assert "None of the selected jobs is running." in text


def test_too_many_at_once_are_refused(client: Client, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("jobs.admin.curation.MOST_STOPPED", 2)
    jobs = JobFactory.create_batch(3)

    action = {"action": "stop_jobs", "_selected_action": [str(job.pk) for job in jobs]}
    assert "at most 2 are stopped in one go" in client.post(LIST, action, follow=True).content.decode()
    assert stop(client, *jobs).status_code == 403
    assert Job.objects.running().count() == 3


@pytest.mark.django_db(transaction=True)
def test_of_a_stop_by_hand_and_one_by_the_adapter_at_the_same_moment_one_wins(admin: User) -> None:
    def by_adapter() -> str:
        try:
            stop_job(row_id=job.pk, job_state="completed", stop_time=START + 9)
        except JobNotRunningError:
            return ""
        return "completed"

    def by_hand() -> str:
        outcome = curation.stop_jobs(
            row_ids=[job.pk], job_state="failed", stop_time=START + 99, note="x", actor=Actor(admin.pk)
        )
        assert len(outcome.done) + len(outcome.refused) == 1
        return "failed" if outcome.done else ""

    for _ in range(5):
        job = JobFactory.create(start_time=START)
        won = [word for word in at_once([by_adapter, by_hand]) if word]
        job.refresh_from_db()
        assert won == [job.job_state]
        assert LogEntry.objects.filter(object_id=str(job.pk)).exists() == (job.job_state == "failed")
