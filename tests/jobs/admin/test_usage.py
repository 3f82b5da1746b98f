"""The page of usage: sums of days by user, project and others, for each role what it may see, as page and files."""

import csv
import json
import time
from datetime import UTC, date, datetime
from typing import Any

import pytest
from django.test import Client

from accounts.models import User
from jobs.archiving.worker import ArchiveWorker
from jobs.overview import recent
from jobs.overview.usage import Days, Question, usage_by, usage_per_day
from tests.support.admin_site import Login
from tests.support.factories import JobFactory

pytestmark = pytest.mark.django_db
PAGE = "/admin/usage/"
HOUR, DAY = 3600, 86_400
FIRST = (date(2026, 10, 1) - date(1970, 1, 1)).days
OCTOBER = Days(FIRST, FIRST + 31)


@pytest.fixture
def booked(cluster: Any) -> None:
    """Book jobs of October 2026, and one of September."""
    start = FIRST * DAY
    for user, project, day, hours, nodes, state in (
        ("alice", "bio", 0, 2, 2, "completed"),
        ("alice", "chem", 1, 1, 1, "failed"),
        ("bob", "bio", 2, 5, 1, "completed"),
        ("bob", "=concealed", 3, 10, 1, "timeout"),
        ("alice", "bio", -1, 2, 1, "completed"),
        ("bob", "bio", 30, 30, 1, "completed"),  # 24 h of October, 6 h of November
    ):
        values = {"num_nodes": nodes, "duration": hours * HOUR, "job_state": state, "project": project}
        JobFactory.create(finished=True, user=user, start_time=start + day * DAY, **values)
    ArchiveWorker().drain()


def found(user: User, by: str = "user", /, **chosen: str) -> dict[str, tuple[int, float, float]]:
    """Return jobs, node hours, and those of the days before, by name."""
    lines = usage_by(user, Question(OCTOBER, by, chosen))
    return {line.name: (line.jobs, line.node_hours, line.node_hours_before) for line in lines}


def per_day(user: User) -> list[float]:
    """Return the node hours of each day."""
    return usage_per_day(user, Question(OCTOBER, "user"))


@pytest.mark.usefixtures("booked")
def test_usage_is_summed_over_whole_days_and_compared_with_those_before(admin: User) -> None:
    assert found(admin) == {"bob": (2, 39, 0), "alice": (2, 5, 2)}
    assert found(admin, "project", user="bob") == {"bio": (1, 29, 0), "=concealed": (1, 10, 0)}
    assert found(admin, "state") == {"completed": (2, 33, 2), "timeout": (1, 10, 0), "failed": (1, 1, 0)}
    days = per_day(admin)
    assert (days[:4], days[30], sum(days)) == ([4, 1, 5, 10], 24, 44)


@pytest.mark.usefixtures("booked")
def test_a_month_that_goes_on_is_compared_with_as_many_days_as_have_begun(
    admin: User, login: Login, monkeypatch: pytest.MonkeyPatch
) -> None:
    def at(day: int) -> None:
        monkeypatch.setattr(time, "time", lambda: float((FIRST + day) * DAY + HOUR))

    for day, before in ((0, 1), (4, 5), (30, 31), (100, 31), (-3, 31)):
        at(day)
        assert (OCTOBER.before.first, OCTOBER.before.end) == (FIRST - before, FIRST)
    at(0)
    assert found(admin)["alice"] == (2, 5, 2)
    JobFactory.create(finished=True, user="alice", start_time=(FIRST - 3) * DAY, duration=HOUR, project="bio")
    ArchiveWorker().drain()
    assert found(admin)["alice"] == (2, 5, 2)
    at(31)
    assert found(admin)["alice"] == (2, 5, 3)
    assert "as have begun" not in login(admin).get(PAGE, {"month": "2026-10"}).content.decode()


@pytest.mark.usefixtures("booked")
def test_nobody_sees_a_number_made_of_the_jobs_of_others(alice: User, bob: User, carol: User, bench: User) -> None:
    assert found(alice) == {"alice": (2, 5, 2)}
    assert found(alice, "project") == {"bio": (1, 4, 2), "chem": (1, 1, 0)}
    assert sum(per_day(alice)) == 5
    assert found(carol).keys() == {"alice", "bob"}  # support
    of_manager = found(bob, "project")  # manages bio, and has the jobs of bob
    assert of_manager.keys() == {"bio", "=concealed"}


@pytest.mark.usefixtures("booked")
def test_the_page_shows_a_month_with_shares_and_filters(admin: User, login: Login) -> None:
    response = login(admin).get(PAGE, {"month": "2026-10", "by": "project", "user": "alice"})
    ends = "<span>2026-10-01</span><span>up to 4</span><span>2026-10-31</span>"
    assert ends in response.content.decode()
    context = response.context
    rows = [(line.name, round(share, 2), change) for _, line, share, change in context["rows"]]
    assert rows == [("bio", 0.8, 1.0), ("chem", 0.2, None)]
    assert (str(context["first"]), str(context["last"]), context["total"]) == ("2026-10-01", "2026-10-31", 5)
    assert (context["earlier"], context["later"]) == ("2026-09", "2026-11" if _is_over("2026-11-01") else "")


@pytest.mark.usefixtures("booked")
def test_the_page_keeps_its_figures_for_a_minute_and_says_since_when(
    admin: User, alice: User, login: Login, monkeypatch: pytest.MonkeyPatch
) -> None:
    client, query, now = login(admin), {"month": "2026-10", "by": "user"}, time.time()

    def hours(passed: int, client: Client = client, **more: str) -> float:
        monkeypatch.setattr(time, "time", lambda: now + passed)
        answer = client.get(PAGE, query | more)
        counted_at = answer.context["counted_at"]
        assert f">{datetime.fromtimestamp(counted_at, UTC):%H:%M:%S}</time>" in answer.content.decode()
        total: float = answer.context["total"]
        return total

    assert hours(0) == 44
    JobFactory.create(finished=True, user="alice", start_time=FIRST * DAY, duration=HOUR)
    ArchiveWorker().drain()
    assert hours(recent.MOST_AGE - 2) == 44
    assert hours(0, user="alice") == 6
    assert json.loads(client.get(PAGE, query | {"format": "json"}).content)["usage"][1]["nodeHours"] == 6
    assert hours(0, login(alice)) == 6
    assert hours(recent.MOST_AGE + 1) == 45


def _is_over(day: str) -> bool:
    return date.fromisoformat(day) <= datetime.now(UTC).date()


@pytest.mark.usefixtures("booked")
def test_files_have_all_lines_under_a_name_that_says_what_they_are(admin: User, login: Login) -> None:
    client = login(admin)
    query = {"from": "2026-10-01", "to": "2026-10-04", "by": "project"}

    answer = client.get(PAGE, query | {"format": "csv"})
    rows = list(csv.DictReader(answer.content.decode().splitlines()))

    assert answer["Content-Disposition"] == 'attachment; filename="usage-by-project-2026-10-01-2026-10-04.csv"'
    assert [(row["project"], row["node_hours"], row["jobs"]) for row in rows] == [
        ("'=concealed", "10.000", "1"),
        ("bio", "9.000", "2"),
        ("chem", "1.000", "1"),
    ]
    document = json.loads(client.get(PAGE, query | {"format": "json"}).content)
    assert (document["from"], document["to"], document["by"]) == ("2026-10-01", "2026-10-04", "project")
    assert [line["name"] for line in document["usage"]] == ["=concealed", "bio", "chem"]


@pytest.mark.parametrize(
    "query",
    [
        {"month": "2026-13"},
        {"month": "october"},
        {"from": "2026-10-05", "to": "2026-10-04"},
        {"from": "0001-01-01", "to": "2026-10-04"},
        {"from": "2026-10-04", "to": "9999-99-99"},
        {"to": "2026-10-04"},
        {"month": "2026-10", "from": "2026-10-04"},
        {"by": "node"},
        {"state": "running"},
    ],
)
def test_days_that_cannot_be_are_explained(query: dict[str, str], admin: User, login: Login, cluster: Any) -> None:
    client: Client = login(admin)
    for extra in ({}, {"format": "csv"}):
        text = client.get(PAGE, query | extra).content.decode()
        assert "expected" in text
        assert "errornote" in text


def test_no_name_becomes_a_formula_of_a_spreadsheet(admin: User, login: Login, cluster: Any) -> None:
    JobFactory.create(finished=True, project="\uff1dconcealed", start_time=FIRST * DAY)
    ArchiveWorker().drain()
    answer = login(admin).get(PAGE, {"month": "2026-10", "by": "project", "format": "csv"})
    assert next(csv.DictReader(answer.content.decode().splitlines()))["project"] == "'\uff1dconcealed"


def test_without_usage_the_page_says_so(alice: User, login: Login) -> None:
    assert "No usage of jobs that you may see" in login(alice).get(PAGE, {"user": "\0"}).content.decode()


def test_the_mean_wait_is_that_of_the_jobs_whose_wait_is_known(cluster: Any, admin: User, login: Login) -> None:
    start = FIRST * DAY + HOUR
    for user, submitted in (("alice", start - HOUR), ("alice", 0), ("alice", start), ("bob", 0)):
        JobFactory.create(finished=True, user=user, start_time=start, duration=HOUR, submit_time=submitted)
    ArchiveWorker().drain()
    client = login(admin)

    lines = json.loads(client.get(PAGE, {"month": "2026-10", "format": "json"}).content)["usage"]
    assert {line["name"]: line["meanWait"] for line in lines} == {"alice": pytest.approx(0.5, abs=0.001), "bob": None}
    text = client.get(PAGE, {"month": "2026-10", "format": "csv"}).content.decode()
    assert [row["mean_wait"] for row in csv.DictReader(text.splitlines())] == ["0.500", ""]
    page = client.get(PAGE, {"month": "2026-10"}).content.decode()
    assert '<td class="number">0.5</td></tr>' in page
    assert '<td class="number">\u2013</td></tr>' in page
