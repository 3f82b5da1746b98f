"""The first page as each role sees it: whose jobs it counts, where its figures lead, what it costs."""

import re
import time
from datetime import UTC, datetime, timedelta
from html import unescape
from typing import Any

import pytest
from django.db import connection
from django.test import Client
from django.test.utils import CaptureQueriesContext
from django.urls import reverse

from accounts.models import User
from jobs.health.checks import bad_now
from jobs.models import Job
from jobs.overview.dashboard import Overview
from jobs.states import MonitoringStatus
from tests.support.admin_site import Login
from tests.support.factories import JobFactory, UserFactory

pytestmark = pytest.mark.django_db

PAGE = "/admin/"


def now() -> int:
    """Return the time as the page takes it."""
    return int(time.time())


def seen_by(client: Client) -> Overview:
    """Return the numbers of the page."""
    found = client.get(PAGE).context["overview"]
    assert isinstance(found, Overview)
    return found


@pytest.fixture
def four_jobs() -> None:
    """Create jobs of two users, three projects and four clusters, each with a number of nodes of its own."""
    common = {"start_time": now() - 3600, "duration": 1800, "monitoring_status": MonitoringStatus.ARCHIVED}
    for number, (user, project, state) in enumerate(
        [("alice", "bio", "completed"), ("alice", "chem", "failed"), ("charlie", "bio", "timeout")]
    ):
        JobFactory.create(
            user=user, project=project, job_state=state, num_nodes=2**number, cluster=f"cluster{number}", **common
        )
    JobFactory.create(user="charlie", project="fluids", num_nodes=8, cluster="cluster3", start_time=now() - 1800)


@pytest.mark.parametrize("order", [["admin", "carol", "bob", "alice"], ["alice", "bob", "carol", "admin"]])
def test_each_role_sees_its_own_numbers_whoever_looked_before(
    order: list[str], four_jobs: None, login: Login, request: pytest.FixtureRequest
) -> None:
    # Node hours tell which jobs were counted: half of each job's number of nodes.
    everything = (
        {"alice", "charlie"},
        {"bio", "chem", "fluids"},
        {0, 1, 2, 3},
        7.5,
        {"completed", "failed", "timeout"},
        1,
    )
    expected = {
        "admin": everything,
        "carol": everything,
        "bob": ({"alice", "charlie"}, {"bio"}, {0, 2}, 2.5, {"completed", "failed", "timeout"}, 0),
        "alice": ({"alice"}, {"bio", "chem"}, {0, 1}, 1.5, {"completed", "failed"}, 0),
    }
    for person in order:
        client = login(request.getfixturevalue(person))
        seen = seen_by(client)
        users, projects, clusters, node_hours, states, running = expected[person]
        assert {owner.name for owner in seen.users} == users
        assert {owner.name for owner in seen.projects} == projects
        assert {cluster.name for cluster in seen.clusters} == {f"cluster{number}" for number in clusters}
        assert sum(cluster.node_seconds for cluster in seen.clusters) / 3600 == pytest.approx(node_hours, abs=0.1)
        assert sum(sum(series.values) for series in seen.chart.node_hours) == pytest.approx(node_hours, abs=0.1)
        assert {entry.state for entry in seen.ended} == states
        assert seen.running == running
        text = client.get(PAGE).content.decode()
        for secret in {"charlie", "chem", "fluids", "cluster0", "cluster1", "cluster2", "cluster3"}:
            allowed = secret in users | projects | {f"cluster{number}" for number in clusters}
            assert (secret in text) is allowed, (person, secret)


def test_two_people_of_the_same_role_do_not_share_numbers(
    four_jobs: None, alice: User, bob: User, login: Login
) -> None:
    charlie = UserFactory.create(username="charlie", roles=["user"])
    other_manager = UserFactory.create(username="dora", roles=["manager"], projects=["fluids"])

    assert [owner.name for owner in seen_by(login(alice)).projects] == ["chem", "bio"]
    assert [owner.name for owner in seen_by(login(charlie)).projects] == ["fluids", "bio"]
    assert [owner.name for owner in seen_by(login(bob)).projects] == ["bio"]
    assert [owner.name for owner in seen_by(login(other_manager)).projects] == ["fluids"]


@pytest.mark.parametrize(("person", "told"), [("admin", True), ("carol", True), ("bob", False), ("alice", False)])
def test_trouble_with_archiving_and_clusters_is_for_admin_and_support(
    person: str, told: bool, login: Login, request: pytest.FixtureRequest, cluster: Any
) -> None:
    since = now() - 86_400
    rows = [
        JobFactory.build(user="alice", project="bio", job_state="completed", start_time=since + number, duration=1)
        for number in range(1000)
    ]
    Job.objects.bulk_create(rows)

    text = login(request.getfixturevalue(person)).get(PAGE).content.decode()

    assert ("Cluster testcluster: no start and no stop for" in unescape(text)) is told
    assert ("quiet for " in text) is told
    assert ("Archiving failed" in text) is told
    assert ("?archiving=waiting" in text) is told


@pytest.mark.parametrize("person", ["bench", None])
def test_who_is_no_staff_gets_no_numbers(
    person: str | None, four_jobs: None, login: Login, request: pytest.FixtureRequest
) -> None:
    client = login(request.getfixturevalue(person)) if person else Client()

    response = client.get(PAGE)

    assert response.status_code == 302
    assert response.content == b""


@pytest.mark.parametrize(("person", "most"), [("admin", 19), ("carol", 19), ("bob", 12), ("alice", 12)])
def test_the_page_takes_at_most_twenty_queries_and_fewer_the_second_time(
    person: str, most: int, four_jobs: None, login: Login, request: pytest.FixtureRequest, cluster: Any
) -> None:
    client = login(request.getfixturevalue(person))
    JobFactory.create_batch(20, start_time=now() - 7200)
    bad_now()  # known for ten seconds, to all users

    with CaptureQueriesContext(connection) as first:
        client.get(PAGE)
        assert len(first) <= most
        counted = len(first)
    with CaptureQueriesContext(connection) as second:
        client.get(PAGE)
        assert len(second) == counted - 6
    for query in (*first, *second):
        assert not any(column in query["sql"] for column in ("meta_data", "statistics", "resources"))


def test_the_figures_lead_to_as_many_jobs_as_they_say(admin: User, login: Login) -> None:
    start = max(now() - 1800, now() // 86_400 * 86_400)
    JobFactory.create_batch(3, start_time=start, cluster="one two", user="a&b", project="p?q")
    JobFactory.create_batch(2, start_time=start, job_state="failed", monitoring_status=MonitoringStatus.FAILED)
    JobFactory.create(start_time=start, job_state="completed")
    client = login(admin)
    text = client.get(PAGE).content.decode()

    def listed(query: str) -> int:
        assert f"/admin/jobs/job/?{query}" in unescape(text), query
        return int(client.get(f"/admin/jobs/job/?{query}").context["cl"].result_count)

    today = datetime.now(UTC).date()
    week = f"from={today - timedelta(days=6)}T00:00Z"
    assert listed("state=running") == 3
    assert listed(f"from={today}T00:00Z") == 6
    assert listed(f"state=failed&{week}") == 2
    day = f"from={today}T00%3A00Z&to={today + timedelta(days=1)}T00%3A00Z"
    assert listed(f"state=failed&{day}") == 2
    assert listed(f"state=running&{day}") == 3
    assert listed("archiving=waiting") == 1
    assert listed("archiving=failed") == 2
    assert listed("cluster=one%20two&state=running") == 3
    assert listed(f"cluster=one%20two&{week}") == 3
    assert listed(f"user=a%26b&{week}") == 3
    assert listed(f"project=p%3Fq&{week}") == 3


def test_names_with_html_are_shown_as_text(admin: User, login: Login) -> None:
    nasty = "</script><script>alert(1)</script>"
    JobFactory.create(start_time=now() - 60, user=nasty, project=nasty, cluster=nasty)

    text = login(admin).get(PAGE).content.decode()

    assert "<script>alert(1)" not in text
    assert "&lt;script&gt;alert(1)" in text


def test_an_empty_installation_says_how_jobs_get_there(
    admin: User, carol: User, bob: User, alice: User, login: Login
) -> None:
    to_admin = login(admin).get(PAGE).content.decode()
    assert "No jobs yet" in to_admin
    assert reverse("docs") in to_admin
    assert "/admin/accounts/apitoken/add/" in to_admin
    assert "/admin/accounts/apitoken/add/" not in login(carol).get(PAGE).content.decode()
    for person in (bob, alice):
        text = login(person).get(PAGE).content.decode()
        assert "no job yet that you may see" in text
        assert "chart-bars" not in text


def test_without_jobs_on_the_last_days_the_page_says_what_there_is(admin: User, login: Login) -> None:
    JobFactory.create(archived=True)  # of 2023

    response = login(admin).get(PAGE)

    assert response.context["overview"].recent_jobs == 0
    assert "No job has started in the last 7 days" in response.content.decode()
    assert "chart-bars" not in response.content.decode()


def test_the_page_says_how_old_its_numbers_are(four_jobs: None, admin: User, login: Login) -> None:
    client = login(admin)
    counted_at = seen_by(client).counted_at

    text = client.get(PAGE).content.decode()

    assert "These figures are from <time" in text
    assert f">{datetime.fromtimestamp(counted_at, UTC):%H:%M:%S}</time>" in text


def test_the_table_has_the_numbers_of_the_chart(four_jobs: None, admin: User, login: Login) -> None:
    response = login(admin).get(PAGE)
    chart = response.context["overview"].chart
    text = response.content.decode()

    assert text.count('<tr><th scope="row">') == len(chart.days)
    table = text[text.index('<div class="chart-table"') : text.index("</details>")]
    jobs = sum(int(found) for found in re.findall(r'</th><td class="number">([\d,]+)</td>', table))
    assert jobs == sum(chart.started) == 4


def test_own_actions_stay_on_the_page_and_those_of_others_do_not(
    admin: User, carol: User, four_jobs: None, login: Login
) -> None:
    job = Job.objects.filter(user="alice").first()
    assert job is not None
    login(carol).post(
        "/admin/jobs/job/selection/tag/",
        {"jobs": str(job.pk), "type": "perf", "name": "bad", "back": "/admin/jobs/job/"},
    )

    assert "Added tag perf:bad." in login(carol).get(PAGE).content.decode()
    assert "Added tag perf:bad." not in login(admin).get(PAGE).content.decode()
