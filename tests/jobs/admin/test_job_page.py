"""The page of one job: what it shows, and that it shows it as text."""

import json
from typing import Any

import pytest

from accounts import formatting
from accounts.models import User
from jobs.admin import display, job_page
from jobs.models import Job
from tests.support.admin_site import Login
from tests.support.factories import JobFactory, TagFactory

pytestmark = pytest.mark.django_db

EVIL = "<script>alert('x')</script>"


def page(login: Login, user: User, job: Job) -> str:
    """Return the HTML of the job's page."""
    response = login(user).get(f"/admin/jobs/job/{job.pk}/change/")
    assert response.status_code == 200
    return str(response.content.decode())


def test_the_page_shows_facts_statistics_nodes_and_script(alice: User, login: Login) -> None:
    hosts = [{"hostname": f"n{number:02}", "hwthreads": [0, 1, 2, 3, 7]} for number in range(1, 13)]
    script = "#!/bin/bash\nsrun ./solver\n"
    job = JobFactory.create(
        archived=True,
        num_nodes=12,
        duration=90_061,
        resources=json.dumps(hosts),
        meta_data=json.dumps({"jobName": "solver run", "jobScript": script, "account": "bio-1"}),
    )

    text = page(login, alice, job)

    for part in ("solver run", "1 d 01:01:01", "12 nodes, n01 and others", "<details>", "0-3, 7", script, "bio-1"):
        assert part in text
    assert "cpu_load" in text
    assert "3.5" in text
    assert 'name="type"' not in text  # a user does not tag


def test_everything_a_job_brings_is_shown_as_text(admin: User, login: Login) -> None:
    job = JobFactory.create(
        archived=True,
        user=EVIL,
        project=EVIL,
        cluster=EVIL,
        sub_cluster=EVIL,
        partition=EVIL,
        resources=json.dumps([{"hostname": EVIL, "accelerators": [EVIL], "configuration": EVIL}]),
        meta_data=json.dumps({"jobName": EVIL, "jobScript": EVIL, EVIL: EVIL, "slurmInfo": EVIL}),
        statistics=json.dumps({EVIL: {"unit": {"base": EVIL, "prefix": EVIL}, "avg": 1, "min": EVIL, "max": 2}}),
        tags=[TagFactory.create(type=EVIL, name=EVIL)],
    )
    client = login(admin)

    paths = [f"{job.pk}/change/", f"{job.pk}/delete/", f"{job.pk}/history/", "", f"?user={EVIL}", f"?q={EVIL}"]
    pages = [client.get(f"/admin/jobs/job/{path}").content.decode() for path in paths]
    pages.append(client.get("/admin/jobs/tag/").content.decode())
    client.post("/admin/jobs/job/selection/tag/", {"jobs": job.pk, "type": EVIL, "name": "b" + EVIL})
    pages.append(client.get("/admin/jobs/job/").content.decode())

    for text in pages:
        assert EVIL not in text
        assert "alert(" not in text or "&lt;script&gt;" in text


@pytest.mark.parametrize(
    ("column", "value"),
    [
        ("resources", "no json"),
        ("resources", '{"hostname": 1}'),
        ("statistics", "no json"),
        ("statistics", '{"a": 1}'),
        ("meta_data", "no json"),
        ("meta_data", '{"jobName": {"a": 1}, "jobScript": null}'),
    ],
)
def test_an_odd_column_does_not_break_the_page(column: str, value: str, admin: User, login: Login) -> None:
    job = JobFactory.create(archived=True)
    Job.objects.filter(pk=job.pk).update(**{column: value})

    page(login, admin, job)


def test_a_huge_script_is_cut(admin: User, login: Login) -> None:
    job = JobFactory.create(meta_data=json.dumps({"jobScript": "x" * (job_page.MOST_TEXT + 7)}))

    text = page(login, admin, job)

    assert "7 more characters are not shown" in text
    assert len(text) < job_page.MOST_TEXT + 20_000


def test_links_lead_to_the_jobs_of_user_project_and_array(admin: User, login: Login) -> None:
    text = page(login, admin, JobFactory.create(array_job_id=77))

    for query in ("?user=alice", "?project=bio", "?user=alice&amp;array_job_id=77", "?q=5"):
        assert query in text


@pytest.mark.parametrize(
    ("seconds", "text"),
    [(0, "0 s"), (59, "59 s"), (61, "1:01"), (3661, "1:01:01"), (86_400, "1 d 00:00:00"), (-5, "0 s")],
)
def test_durations_are_written_for_people(seconds: int, text: str) -> None:
    assert formatting.duration(seconds) == text


@pytest.mark.parametrize(
    ("numbers", "text"), [([], ""), ([3], "3"), ([0, 1, 2, 5], "0-2, 5"), ([2, 0, 1], "0-2"), (["a", 1], "1")]
)
def test_threads_are_shortened_to_ranges(numbers: list[Any], text: str) -> None:
    assert display.ranges(numbers) == text


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (0, "0"),
        (1234.5, "1,234.5"),
        (10, "10"),
        (100.0, "100"),
        (0.0001, "1.000e-04"),
        (2e12, "2.000e+12"),
        (None, formatting.NOTHING),
    ],
)
def test_numbers_have_few_digits(value: Any, text: str) -> None:
    assert formatting.number(value) == text
