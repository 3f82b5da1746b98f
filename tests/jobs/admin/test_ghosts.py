"""The page "Ghost jobs": a selection is stopped, each job at the end that the page proposed."""

import re
import time

import pytest
from django.test import Client

from accounts.models import User
from jobs.history import of_job, text_of
from jobs.models import Job
from tests.support.admin_site import Login
from tests.support.factories import START, JobFactory

pytestmark = pytest.mark.django_db

PAGE = "/admin/jobs/job/ghosts/"


@pytest.fixture
def late() -> list[Job]:
    """Return two jobs that run for years beyond their requested time, and one that does not."""
    JobFactory.create(job_id=9, start_time=int(time.time()) - 60)
    return [JobFactory.create(job_id=number, start_time=START + number, walltime=3600 * number) for number in (1, 2)]


def boxes(text: str) -> list[str]:
    """Return the values of the boxes that are checked."""
    return re.findall(r'name="ghost" value="([^"]+)"[^>]* checked', text)


def test_ghosts_are_stopped_at_their_proposed_ends(admin: User, login: Login, late: list[Job]) -> None:
    client = login(admin)
    shown = boxes(client.get(PAGE).content.decode())
    assert [int(box.split(":")[0]) for box in shown] == [job.pk for job in late]

    data = {"ghost": shown, "state": "timeout", "note": "node n01 died"}
    text = client.post(PAGE, data, follow=True).content.decode()

    assert "2 jobs stopped at the proposed ends." in text
    assert "No ghost:" in text
    assert list(Job.objects.order_by("job_id").values_list("job_state", "duration")) == [
        ("timeout", 3600),
        ("timeout", 7200),
        ("running", 0),
    ]
    assert text_of(of_job(late[0].pk).get()) == (
        "Stopped as a ghost: timeout, ended 2023-11-14 23:13:21 UTC (start and requested time).\nNote: node n01 died"
    )


def test_only_what_is_chosen_is_stopped(admin: User, login: Login, late: list[Job]) -> None:
    client = login(admin)
    shown = boxes(client.get(PAGE).content.decode())
    client.post(PAGE, {"ghost": shown[1:], "state": "failed", "note": "x"})
    assert set(Job.objects.running().values_list("job_id", flat=True)) == {1, 9}


@pytest.mark.parametrize(
    ("data", "text"),
    [
        ({"ghost": [], "state": "failed", "note": "x"}, "Choose the jobs to stop."),
        ({"ghost": ["1:1700003700:walltime"], "state": "failed", "note": ""}, "This field is required."),
        ({"ghost": ["1:32000000000:now"], "state": "failed", "note": "x"}, "the end lies in the future"),
    ],
)
def test_a_wrong_form_says_so_and_stops_nothing(
    admin: User, login: Login, late: list[Job], data: dict[str, object], text: str
) -> None:
    assert text in login(admin).post(PAGE, data).content.decode()
    assert Job.objects.running().count() == 3


@pytest.mark.parametrize("box", ["x:1:now", "1:1", "1:1:elsewhere", "1:x:now"])
def test_a_made_up_box_is_refused(admin: User, login: Login, box: str) -> None:
    assert login(admin).post(PAGE, {"ghost": [box], "state": "failed", "note": "x"}).status_code == 403


def test_support_sees_ghosts_and_stops_none(carol: User, bob: User, login: Login, late: list[Job]) -> None:
    client: Client = login(carol)
    page = client.get(PAGE).content.decode()
    assert f"/admin/jobs/job/{late[0].pk}/change/" in page
    assert 'name="ghost"' not in page
    assert client.post(PAGE, {"ghost": ["1:1:now"], "state": "failed", "note": "x"}).status_code == 403
    assert login(bob).get(PAGE).status_code == 403


def test_health_leads_to_the_page(carol: User, login: Login, late: list[Job]) -> None:
    page = login(carol).get("/admin/health/").content.decode()
    assert f'href="{PAGE}"' in page
    assert 'href="/admin/jobs/refusedcall/"' in page
