"""Times after the year 3000: each entrance refuses them; a row that has one is shown and can be deleted."""

import argparse
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from accounts.models import User
from jobs.admin.forms import DeleteBeforeForm, StopForm
from jobs.console import parse_when
from jobs.deletion.steps import Plan
from jobs.exceptions import InvalidJobError
from jobs.models import Job
from jobs.text import LATEST_TIME
from tests.support.admin_site import Login, _archive, _forgotten_numbers, login
from tests.support.clients import Answer, AppClient
from tests.support.factories import START, JobFactory, TagFactory

__all__ = ["_archive", "_forgotten_numbers", "login"]

HINT = "seconds, not milliseconds?"
MILLISECONDS = START * 1000  # as seconds, the year 55,840
TOO_LATE = [LATEST_TIME + 1, MILLISECONDS, 2**63 - 1]

Call = Callable[[AppClient, Any], Answer]
CALLS: dict[str, Call] = {
    "start_job": lambda api, time: api.start(startTime=time),
    "stop_job": lambda api, time: api.stop(jobId=1, stopTime=time),
    "stop_job with a start": lambda api, time: api.stop(jobId=1, startTime=time, stopTime=START),
    "stop_job by id": lambda api, time: api.post("/api/jobs/stop_job/1", {"stopTime": time}),
    "delete_job": lambda api, time: api.delete("/api/jobs/delete_job/", {"jobId": 1, "startTime": time}),
    "delete_job_before": lambda api, time: api.delete(f"/api/jobs/delete_job_before/{time}"),
    "a list from a time": lambda api, time: api.get(f"/api/jobs/?start-time={time}-{time}"),
    "a list up to a time": lambda api, time: api.get(f"/api/jobs/?start-time=0-{time}"),
}


@pytest.mark.parametrize("call", CALLS.values(), ids=CALLS)
def test_a_call_with_a_time_after_the_year_3000_is_refused_and_changes_nothing(api: AppClient, call: Call) -> None:
    job = JobFactory.create(job_id=1)
    for time in [*TOO_LATE, *map(str, TOO_LATE)]:
        answer = call(api, time)
        assert answer.status == 400
        assert HINT in answer.error
        assert str(time) in answer.error
    assert list(Job.objects.running()) == [job]


@pytest.mark.parametrize("call", CALLS.values(), ids=CALLS)
def test_the_last_second_of_the_year_3000_is_a_time(api: AppClient, call: Call) -> None:
    assert call(api, LATEST_TIME).status in (200, 201, 422)


@pytest.mark.parametrize("text", [str(time) for time in TOO_LATE] + ["3001-01-01T00:00Z", "9999-12-31"])
def test_commands_refuse_a_time_after_the_year_3000(text: str) -> None:
    with pytest.raises(argparse.ArgumentTypeError, match=HINT.replace("?", r"\?")):
        parse_when(text)
    assert parse_when("3000-12-31T23:59:59Z") == LATEST_TIME


@pytest.mark.parametrize("year", ["3001-01-02", "9999-12-31"])
def test_forms_refuse_a_time_after_the_year_3000(archive_root: Path, year: str) -> None:
    for form, field in [
        (DeleteBeforeForm({"before": f"{year}T00:00:00"}), "before"),
        (StopForm({"ended": f"{year}T00:00:00"}), "ended"),
    ]:
        assert form.errors[field] == ["Expected a time up to the year 3000."]


def test_no_deletion_can_be_planned_for_a_time_after_the_year_3000() -> None:
    with pytest.raises(InvalidJobError, match=str(MILLISECONDS)):
        Plan(MILLISECONDS)


@pytest.fixture(params=[MILLISECONDS, 2**62], ids=["milliseconds", "far future"])
def odd(request: pytest.FixtureRequest, db: None) -> Job:
    """Return a finished job that started after the year 3000, as an older release or an import may have stored it."""
    return JobFactory.create(job_id=7, start_time=request.param, archived=True, tags=[TagFactory.create()])


def test_a_row_with_such_a_time_is_listed_shown_and_tagged(api: AppClient, odd: Job) -> None:
    running = JobFactory.create(job_id=8, start_time=odd.start_time)
    for query in ("", "&state=completed", "&items-per-page=-1", "&with-metadata=true", "&cluster=testcluster"):
        jobs = api.get(f"/api/jobs/?job-id=7{query}").json["jobs"]
        assert [(job["id"], job["startTime"]) for job in jobs] == [(odd.pk, odd.start_time)]
    assert [job["duration"] for job in api.get("/api/jobs/?state=running").json["jobs"]] == [0]
    assert api.get(f"/api/jobs/{running.pk}").status == 200
    assert api.post(f"/api/jobs/tag_job/{odd.pk}", [{"type": "a", "name": "b"}]).status == 200


@pytest.mark.parametrize("keys", [{"jobId": 7}, {"jobId": 7, "startTime": True}, None], ids=str)
def test_a_row_with_such_a_time_can_be_deleted(api: AppClient, odd: Job, keys: dict[str, Any] | None) -> None:
    if keys and "startTime" in keys:
        keys = keys | {"startTime": odd.start_time}
    answer = api.delete(f"/api/jobs/delete_job/{'' if keys else odd.pk}", keys)
    assert (answer.status, Job.objects.count()) == (200, 0)


def test_the_admin_site_shows_a_row_with_such_a_time_and_deletes_it(admin: User, login: Login, odd: Job) -> None:
    client = login(admin)
    running = JobFactory.create(job_id=8, start_time=odd.start_time)
    pages = ["/admin/", "/admin/jobs/job/", "/admin/jobs/job/?q=7", "/admin/jobs/job/?ran_from=1"]
    pages += ["/admin/clusters/", f"/admin/jobs/job/?beside={odd.pk}"]
    for job in (odd, running):
        pages += [f"/admin/jobs/job/{job.pk}/{page}" for page in ("change/", "history/", "delete/", "plots/")]
    for page in pages:
        assert client.get(page, follow=True).status_code == 200, page
    answer = client.post("/admin/jobs/job/selection/delete/", {"jobs": f"{odd.pk},{running.pk}"})
    assert (answer.status_code, Job.objects.count()) == (302, 0)
