"""Statistics of a job list: bars that lead to the jobs they count, for each person those of the visible jobs."""

import re
from datetime import timedelta
from typing import Any

import pytest
from django.db import connection
from django.test import Client
from django.test.utils import CaptureQueriesContext
from django.utils import timezone

from accounts.models import User
from jobs.admin import list_statistics
from jobs.search import summary
from jobs.search.summary import Budget
from tests.support.admin_site import Login
from tests.support.booked_jobs import booked_job, give_slots
from tests.support.factories import JobFactory, TagFactory, UserFactory

pytestmark = pytest.mark.django_db

LIST = "/admin/jobs/job/"
PAGE = f"{LIST}statistics/"


def charts(client: Client, **query: Any) -> dict[str, dict[str, Any]]:
    """Return the bars by label, by the title of their chart."""
    context = client.get(PAGE, query).context
    return {chart.title: {bar.label: bar for bar in chart.bars} for chart in context["charts"]}


def counts(client: Client, **query: Any) -> dict[str, dict[str, int]]:
    """Return the counts of the bars that count anything."""
    found = charts(client, **query).items()
    return {title: {label: bar.count for label, bar in bars.items() if bar.count} for title, bars in found}


@pytest.fixture
def jobs() -> None:
    """Create jobs of three people."""
    give_slots("cpu_load", "mem_used")
    day = 86_400
    start = int(timezone.now().timestamp()) - 2 * day
    for number in range(24):
        user, project = (("alice", "cfd"), ("bob", "cfd"), ("charlie", "bio"), ("charlie", "secret"))[number % 4]
        figures = {"avg_share_1": number * 50, "avg_share_2": 990 if number % 2 else None, "waiting": number}
        duration = (20, 300, 3600, 50_000, 200_000)[number % 5]
        booked_job(
            {**figures, "walltime_share": round(duration / 50)},
            user=user,
            project=project,
            num_nodes=(1, 2, 3, 40)[number % 4],
            start_time=start + number,
            duration=duration,
            walltime=50_000,
            job_state=("completed", "failed", "out_of_memory")[number % 3],
        )
    JobFactory.create(user="alice", project="cfd", start_time=start + day, walltime=7 * day)
    JobFactory.create(user="charlie", project="secret", start_time=start + day, num_nodes=5)


@pytest.mark.usefixtures("jobs")
@pytest.mark.parametrize("query", [{}, {"q": "user:charlie", "state": "failed"}, {"started": "7d", "q": "nodes:>1"}])
def test_each_bar_leads_to_the_jobs_that_it_counts(query: dict[str, str], carol: User, login: Login) -> None:
    client = login(carol)
    found = charts(client, **query)
    assert list(found) == [
        *("State", "Duration", "Nodes", "Share of the requested time"),
        *("cpu_load, share of the peak", "mem_used, share of the peak"),
    ]
    for title, bars in found.items():
        for bar in bars.values():
            assert bool(bar.address) == bool(bar.count), (title, bar)
            if bar.count:
                listed = client.get(bar.address).context["cl"]
                assert (listed.problems, listed.result_count) == ([], bar.count), (title, bar)


PEOPLE = {
    "alice": {"completed": 2, "failed": 2, "out of memory": 2, "running": 1},
    "bob": {"completed": 4, "failed": 4, "out of memory": 4},
    "carol": {"completed": 8, "failed": 8, "out of memory": 8, "running": 2},
}


@pytest.mark.usefixtures("jobs")
@pytest.mark.parametrize("person", PEOPLE)
def test_a_person_sees_no_number_made_of_the_jobs_of_others(
    person: str, login: Login, request: pytest.FixtureRequest
) -> None:
    client = login(request.getfixturevalue(person))
    assert counts(client)["State"] == PEOPLE[person]
    facts = {fact.label: fact.value for fact in client.get(PAGE).context["facts"]}
    assert facts["Jobs"] == str(sum(PEOPLE[person].values()))
    assert bool(counts(client, q="project:secret")) == (person == "carol")
    assert ("33 to 64" in counts(client)["Nodes"]) == (person == "carol")
    if person != "carol":
        text = client.get(PAGE, {"q": "user:charlie project:secret"}).content.decode()
        assert "No matching jobs" in text


def test_for_people_without_a_role_there_is_nothing(login: Login) -> None:
    answer = login(UserFactory.create(roles=[])).get(PAGE)
    assert answer.status_code in (302, 403)


@pytest.mark.usefixtures("jobs")
def test_where_the_time_ends_the_page_says_it_and_counts_on(
    admin: User, login: Login, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(summary, "FIRST_STEP", 5)
    monkeypatch.setattr(list_statistics, "USUAL", Budget(9.0, 1))
    client = login(admin)
    page = client.get(PAGE, {"q": "-user:nobody"})
    text = " ".join(page.content.decode().split())
    assert re.search(r"Of the newest 6 jobs, started since <time.*?; older ones were not counted", text), text
    assert page.context["longer"] == f"{PAGE}?longer=1&q=-user%3Anobody"
    assert "Of all 26 jobs of this list" in client.get(page.context["longer"]).content.decode()
    nothing = " ".join(client.get(PAGE, {"q": "cores:9", "longer": "1"}).content.decode().split())
    assert "No matching jobs" in nothing
    nothing = " ".join(client.get(PAGE, {"q": "cores:9"}).content.decode().split())
    assert "No jobs found among those started since" in nothing


def test_what_is_not_understood_is_named(admin: User, login: Login) -> None:
    client = login(admin)
    text = client.get(PAGE, {"q": "nodes:many"}).content.decode()
    assert "Nothing was searched for: nodes:&#x27;many&#x27;: expected" in text
    assert client.get(PAGE, {"state": "odd"})["Location"] == f"{LIST}?e=1"


@pytest.mark.usefixtures("jobs")
def test_a_condition_is_added_once(admin: User, login: Login) -> None:
    bar = charts(login(admin), q="state:failed", user="alice")["State"]["failed"]
    assert bar.address == f"{LIST}?q=state%3Afailed&user=alice"
    bar = charts(login(admin), q="state:failed", user="alice", sort="-elapsed")["Nodes"]["1"]
    assert bar.address == f"{LIST}?q=state%3Afailed+nodes%3A1&sort=-elapsed&user=alice"


def test_a_metric_that_is_no_field_of_the_box_has_bars_without_links(admin: User, login: Login) -> None:
    give_slots("Mem<b>", "duration")
    booked_job({"avg_share_1": 500, "avg_share_2": 500})
    found = charts(login(admin))
    for metric in ("Mem<b>", "duration"):
        assert found[f"{metric}, share of the peak"]["50 to 60 %"].address == ""
    assert "Mem&lt;b&gt;" in login(admin).get(PAGE).content.decode()


@pytest.mark.usefixtures("jobs")
def test_a_page_takes_few_queries(admin: User, bob: User, login: Login) -> None:
    TagFactory.create()
    last_week = f"{timezone.now() - timedelta(days=7):%Y-%m-%d}"
    for user in (admin, bob):
        client = login(user)
        for query in ({}, {"started": "7d"}, {"from": last_week}, {"q": "user:alice"}, {"state": "failed"}):
            with CaptureQueriesContext(connection) as queries:
                client.get(PAGE, query)
            assert len(queries) <= 20, [each["sql"][:90] for each in queries.captured_queries]


@pytest.mark.usefixtures("jobs")
def test_the_list_has_a_panel_for_them_that_costs_it_nothing(admin: User, login: Login) -> None:
    text = login(admin).get(LIST, {"q": "user:alice"}).content.decode()
    assert f'href="{PAGE}?q=user%3Aalice"' in text
    assert "list-statistics" not in text
    assert 'id="statistics"' not in login(admin).get(LIST, {"q": "user:nobody"}).content.decode()
