"""GET usage/: the sums of the page Usage for programs, for each caller what it may see."""

from typing import Any

import pytest
from django.test import Client

from accounts.models import User
from jobs.api import examples
from jobs.records import Usage
from tests.support.clients import AppClient
from tests.support.factories import UserFactory, token_for

pytestmark = [pytest.mark.django_db, pytest.mark.usefixtures("cluster")]

DAY = 20_775  # 2026-11-18
QUERY = "from=2026-11-18&to=2026-11-18&by=project"


def book(**values: Any) -> None:
    """Book two node hours."""
    fluids = {"user": "ada", "project": "fluids", "cluster": "fritz", "job_state": "completed"}
    wait = {"jobs": 1, "waited": 1, "waiting_seconds": 1800}
    amounts = {"node_seconds": 7200, "core_seconds": 518_400, "energy": 2_520_000, **wait}
    Usage.objects.create(**{"day": DAY, "sub_cluster": "main", "partition": "work", **fluids, **amounts, **values})


@pytest.fixture
def booked() -> None:
    """Book the usage of the cast."""
    book(user="alice", project="none")
    book(user="charlie", project="bio", cluster="alex")
    book(user="bob", project="none", job_state="out_of_memory")
    book(user="charlie", project="secret", day=DAY - 1)
    book(user="charlie", project="secret")


def test_the_example_is_what_the_server_answers(api: AppClient) -> None:
    book()
    assert api.get(f"/api/usage/?{QUERY}").json == examples.USAGE


@pytest.mark.usefixtures("booked")
def test_the_page_gives_the_same(api: AppClient, carol: User) -> None:
    page = Client()
    page.force_login(carol)
    for query in (QUERY, "month=2026-11&by=state", "month=2026-11&user=charlie&by=cluster", ""):
        answer = api.get(f"/api/usage/?{query}").json
        assert answer == page.get(f"/admin/usage/?{query}&format=json").json()
        assert answer["usage"] or not query
    assert [line["name"] for line in api.get("/api/usage/?month=2026-11&by=state").json["usage"]] == [
        "completed",
        "out_of_memory",
    ]


SEEN = {
    "alice": {"none": 2.0},
    "bob": {"bio": 2.0, "none": 2.0},
    "carol": {"none": 4.0, "bio": 2.0, "secret": 2.0},
    "bench": {"none": 4.0, "bio": 2.0, "secret": 2.0},
}


@pytest.mark.usefixtures("booked")
@pytest.mark.parametrize("person", SEEN)
def test_a_person_s_own_token_sums_up_what_the_person_may_see(
    person: str, anonymous: AppClient, request: pytest.FixtureRequest
) -> None:
    client = anonymous.as_(token_for(request.getfixturevalue(person), scope="read"))
    answer = client.get(f"/api/usage/?{QUERY}").json
    assert {line["name"]: line["nodeHours"] for line in answer["usage"]} == SEEN[person]
    assert answer["nodeHoursPerDay"] == [sum(SEEN[person].values())]
    of_secret = client.get(f"/api/usage/?{QUERY}&project=secret").json
    assert bool(of_secret["usage"]) == bool(sum(of_secret["nodeHoursPerDay"])) == (person in ("carol", "bench"))


@pytest.mark.usefixtures("booked")
def test_a_token_for_clusters_sums_up_their_usage_alone(anonymous: AppClient, bench: User, bob: User) -> None:
    for user, scope in ((bench, "all"), (bob, "read")):
        client = anonymous.as_(token_for(user, scope=scope, clusters=["alex"]))
        answer = client.get(f"/api/usage/?{QUERY}").json
        assert ({line["name"] for line in answer["usage"]}, answer["nodeHoursPerDay"]) == ({"bio"}, [2.0])


@pytest.mark.usefixtures("booked")
def test_without_a_role_there_is_nothing_to_see(anonymous: AppClient) -> None:
    client = anonymous.as_(token_for(UserFactory.create(roles=[]), scope="read"))
    assert client.get(f"/api/usage/?{QUERY}").json["usage"] == []


@pytest.mark.parametrize(
    ("query", "named"),
    [
        ("month=2026-13", "month='2026-13', expected a month as 2026-10"),
        ("month=2026-10&from=2026-10-01", "month='2026-10', expected either"),
        ("from=yesterday", "from='yesterday', expected a day as 2026-10-05"),
        ("to=2026-10-01", "from='', expected a day"),
        ("from=2026-10-05&to=2026-10-04", "to='2026-10-04', expected a day as 2026-10-05, on or after 2026-10-05"),
        ("from=1990-01-01&to=2026-10-04", "less than 3,700 days later"),
        ("by=node", "by='node', expected one of user, project, cluster, sub-cluster, partition, state"),
        ("state=running", "state='running', expected one of completed"),
        ("state=node_fail", "state='node_fail', expected one of completed"),
        ("format=csv", "'format', expected month or from"),
    ],
)
def test_a_bad_parameter_is_named_with_value_and_expectation(query: str, named: str, api: AppClient) -> None:
    answer = api.get(f"/api/usage/?{query}")
    assert (answer.status, named in answer.error) == (400, True), answer.error
