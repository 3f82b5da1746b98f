"""POST nodestate/: the latest state of each node is kept, by two statements."""

import json
import time
from pathlib import Path
from typing import Any

import pytest
from django.db import connection
from django.test.utils import CaptureQueriesContext

from accounts.models import User
from jobs.models import NodeState
from tests.support.clients import AppClient, at_once
from tests.support.factories import token_for

PATH = "/api/nodestate/"


def node(hostname: str = "n01", **changes: Any) -> dict[str, Any]:
    """Return a node as the adapter sends it."""
    return {
        "hostname": hostname,
        "states": ["IDLE"],
        "cpusAllocated": 0,
        "memoryAllocated": 0,
        "gpusAllocated": 0,
        "jobsRunning": 0,
    } | changes


def report(*nodes: dict[str, Any], cluster: str = "testcluster") -> dict[str, Any]:
    """Return a body."""
    return {"cluster": cluster, "nodes": list(nodes)}


def kept() -> dict[str, list[str]]:
    """Return the states that are kept, by host."""
    return {row.hostname: json.loads(row.states) for row in NodeState.objects.all()}


@pytest.mark.django_db
@pytest.mark.parametrize(("method", "path"), [("POST", PATH), ("PUT", PATH.rstrip("/"))])
def test_each_value_of_a_node_is_kept(method: str, path: str, api: AppClient, cluster: Path) -> None:
    before = int(time.time())
    values: dict[str, Any] = {"cpusAllocated": 72, "memoryAllocated": 2**40, "gpusAllocated": 4, "jobsRunning": 3}

    answer = api.request(method, path, report(node(states=["MIXED", "DRAIN"], **values)))

    assert (answer.status, answer.json) == (200, {"msg": "Successfully stored the states of 1 nodes"})
    row = NodeState.objects.get()
    assert (row.cluster, row.hostname, row.states) == ("testcluster", "n01", '["MIXED","DRAIN"]')
    assert (row.cpus_allocated, row.memory_allocated, row.gpus_allocated, row.jobs_running) == (72, 2**40, 4, 3)
    assert before <= row.reported_at <= int(time.time())


@pytest.mark.django_db
def test_a_later_report_takes_the_place_of_the_earlier_and_leaves_other_nodes_alone(
    api: AppClient, cluster: Path
) -> None:
    api.post(PATH, report(node("n01", jobsRunning=2, cpusAllocated=8), node("n02")))
    NodeState.objects.update(reported_at=1)
    assert api.post(PATH, report(node("n01", states=["DOWN"]))).status == 200

    assert kept() == {"n01": ["DOWN"], "n02": ["IDLE"]}
    first, second = NodeState.objects.order_by("hostname")
    assert (first.jobs_running, first.cpus_allocated) == (0, 0)
    assert (first.reported_at > 1, second.reported_at) == (True, 1)


@pytest.mark.django_db
def test_nodes_of_the_same_name_on_two_clusters_are_two(api: AppClient) -> None:
    api.post(PATH, report(node(states=["IDLE"]), cluster="one"))
    api.post(PATH, report(node(states=["DOWN"]), cluster="two"))

    states = NodeState.objects.values_list("cluster", "states")
    assert set(states) == {("one", '["IDLE"]'), ("two", '["DOWN"]')}


@pytest.mark.django_db
def test_of_a_host_that_comes_twice_the_last_counts(api: AppClient, cluster: Path) -> None:
    answer = api.post(PATH, report(node("n01"), node("n02"), node("n01", states=["DOWN"])))

    assert (answer.status, answer.json["msg"]) == (200, "Successfully stored the states of 2 nodes")
    assert kept() == {"n01": ["DOWN"], "n02": ["IDLE"]}


@pytest.mark.django_db
@pytest.mark.parametrize("body", [report(), {"cluster": "testcluster", "nodes": None}, {"cluster": "testcluster"}])
def test_no_nodes_are_fine(body: Any, api: AppClient, cluster: Path) -> None:
    assert api.post(PATH, body).status == 200
    assert kept() == {}


@pytest.mark.django_db
@pytest.mark.parametrize(
    ("states", "words"),
    [
        (["idle", "Drain"], ["IDLE", "DRAIN"]),
        ("idle", ["IDLE"]),
        ("MIXED+DRAIN", ["MIXED", "DRAIN"]),
        (["DOWN", "", "DOWN"], ["DOWN"]),
        (["SOMETHING_NEW"], ["SOMETHING_NEW"]),
        ("", []),
        ([], []),
        (None, []),
    ],
)
def test_states_are_taken_as_words_in_upper_case(states: Any, words: list[str], api: AppClient, cluster: Path) -> None:
    assert api.post(PATH, report(node(states=states))).status == 200
    assert kept() == {"n01": words}


@pytest.mark.django_db
def test_keys_in_any_case_nulls_and_decimal_strings_are_taken(api: AppClient, cluster: Path) -> None:
    body = {
        "CLUSTER": "testcluster",
        "Nodes": [{"HostName": "n01", "STATES": ["IDLE"], "cpusallocated": "8", "memoryAllocated": None}],
    }
    assert api.post(PATH, body).status == 200
    row = NodeState.objects.get()
    assert (row.cpus_allocated, row.memory_allocated) == (8, 0)


@pytest.mark.django_db
def test_a_host_that_no_cluster_json_names_is_kept_too(api: AppClient, cluster: Path) -> None:
    assert api.post(PATH, report(node("login-9.example.org"), node("<b>x</b>"))).status == 200
    assert set(kept()) == {"login-9.example.org", "<b>x</b>"}


@pytest.mark.django_db
def test_texts_that_a_database_refuses_are_cleaned(api: AppClient, cluster: Path) -> None:
    body = b'{"cluster":"testcluster","nodes":[{"hostname":"n\\u000001","states":["I\\ud800DLE"]},{"hostname":"\xff"}]}'
    assert api.post(PATH, body).status == 200
    assert kept() == {"n01": ["I\ufffdDLE"], "\ufffd": []}


@pytest.mark.django_db
@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        ({"hostname": ""}, "field 'nodes[1].hostname': expected a host name, got none"),
        ({"hostname": None}, "field 'nodes[1].hostname': expected a host name, got none"),
        ({"cpusAllocated": -1}, "field 'nodes[1].cpusAllocated': expected int >= 0, got -1"),
        ({"cpusAllocated": 2**31}, "field 'nodes[1].cpusAllocated': expected int <= 2147483647, got 2147483648"),
        ({"memoryAllocated": 2**63}, "field 'nodes[1].memoryAllocated': "),
        ({"jobsRunning": 1.5}, "field 'nodes[1].jobsRunning': expected int, got 1.5"),
        ({"states": [5]}, "field 'nodes[1].states[0]': expected str, got 5"),
        ({"states": 5}, "field 'nodes[1].states': expected "),
        ({"load": 5}, "unknown field 'load' in nodes[1]"),
    ],
)
def test_what_is_wrong_is_named_and_nothing_of_the_body_is_kept(
    wrong: dict[str, Any], message: str, api: AppClient, cluster: Path
) -> None:
    answer = api.post(PATH, report(node("n01"), node("n02") | wrong))

    assert answer.status == 400
    assert message in answer.error
    assert kept() == {}


@pytest.mark.django_db
def test_an_unknown_cluster_is_refused_where_clusters_are_configured(api: AppClient, cluster: Path) -> None:
    answer = api.post(PATH, report(node(), cluster="other"))
    assert (answer.status, answer.error) == (400, "no such cluster: other")
    assert api.post(PATH, {"nodes": [node()]}).error == "no such cluster: "
    assert kept() == {}


@pytest.mark.django_db
def test_any_cluster_that_could_be_one_is_taken_where_none_is_configured(api: AppClient) -> None:
    assert api.post(PATH, report(node(), cluster="any")).status == 200
    answer = api.post(PATH, report(node(), cluster="../x"))
    assert (answer.status, "field 'cluster'" in answer.error) == (400, True)


@pytest.mark.django_db
def test_only_the_role_api_and_only_post_and_put_are_served(anonymous: AppClient, api: AppClient, alice: User) -> None:
    assert anonymous.post(PATH, report(node())).status == 401
    answer = anonymous.as_(token_for(alice)).post(PATH, report(node()))
    assert (answer.status, answer.error) == (403, "missing role: api")
    for method in ("GET", "PATCH", "DELETE"):
        assert api.request(method, PATH, report(node())).status == 405
    assert kept() == {}


@pytest.mark.django_db
def test_a_thousand_nodes_are_kept_by_two_statements(api: AppClient, cluster: Path) -> None:
    body = report(*(node(f"n{number:04}") for number in range(1000)))
    api.get("/api/jobs/?items-per-page=0")  # the token is known from now on
    for _ in range(2):
        with CaptureQueriesContext(connection) as captured:
            assert api.post(PATH, body).status == 200
        statements = [
            query["sql"]
            for query in captured
            if not query["sql"].startswith(("BEGIN", "COMMIT", "SAVEPOINT", "RELEASE"))
        ]
        assert len(statements) == 2
        assert all("jobs_nodestate" in statement for statement in statements)
    assert NodeState.objects.count() == 1000


@pytest.mark.django_db(transaction=True)
def test_reports_of_the_same_nodes_in_different_order_at_once_all_succeed(api: AppClient, cluster: Path) -> None:
    nodes = [node(f"n{number:04}") for number in range(1000)]
    token = api.token

    def send(step: int) -> int:
        try:
            return api.as_(token).post(PATH, report(*nodes[::step])).status
        finally:
            connection.close()  # this thread's own

    for _ in range(4):
        assert at_once([lambda step=step: send(step) for step in (1, -1) * 3]) == [200] * 6  # type: ignore[misc]
    assert NodeState.objects.count() == 1000
