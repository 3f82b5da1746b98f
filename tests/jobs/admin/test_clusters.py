"""The pages of clusters: facts for everybody, running jobs by visible_to, states of nodes with their age."""

import json
import re
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from django.db import connection
from django.test import Client
from django.test.utils import CaptureQueriesContext

from accounts.formatting import NOTHING
from accounts.models import User
from archive.clusters import registry_for
from jobs.health.hooks import STALE
from jobs.intake.nodes import record_nodestate
from jobs.messages import NodeReport
from jobs.models import NodeState
from jobs.overview import cluster_pages
from tests.conftest import TEST_CLUSTER
from tests.support.admin_site import Login
from tests.support.factories import START, JobFactory

pytestmark = pytest.mark.django_db

LIST = "/admin/clusters/"
PAGE = "/admin/clusters/testcluster/"


def report(*hosts: str, cluster: str = "testcluster", age: int = 0, **values: Any) -> None:
    """Keep a report of some nodes, that came `age` seconds ago."""
    values = {"states": ["IDLE"]} | values
    record_nodestate(cluster=cluster, nodes=[NodeReport(hostname=host, **values) for host in hosts])
    NodeState.objects.filter(hostname__in=hosts).update(reported_at=int(time.time()) - age)


def rows(client: Client, **query: str) -> dict[str, str]:
    """Return the lines of the table of nodes without their markup, by host."""
    response = client.get(PAGE, query)
    assert response.status_code == 200
    section = response.content.decode().partition('id="nodes"')[2].partition("</section>")[0]
    lines = re.findall(r'<tr[^>]*>\s*<th scope="row">(?:<a [^>]*>)?(.*?)(?:</a>)?</th>(.*?)</tr>', section, re.DOTALL)
    return {host: " ".join(re.sub("<[^>]*>", " ", text).split()) for host, text in lines}


def text_of(client: Client, path: str) -> str:
    """Return a page's text without markup."""
    response = client.get(path)
    assert response.status_code == 200
    return " ".join(re.sub("<[^>]*>", " ", response.content.decode()).split())


def write_cluster(root: Path, name: str, **changes: Any) -> None:
    """Put a cluster like testcluster into the archive."""
    path = root / name / "cluster.json"
    path.parent.mkdir(exist_ok=True)
    path.write_text(json.dumps(TEST_CLUSTER | {"name": name} | changes))


# --- who sees what ---


@pytest.mark.parametrize(
    ("person", "seen", "others"),
    [
        ("admin", {"alice", "charlie", "dora"}, ""),
        ("carol", {"alice", "charlie", "dora"}, ""),
        ("bob", {"charlie"}, "and 2 other jobs"),
        ("alice", {"alice"}, "and 2 other jobs"),
        ("stranger", set(), "3 jobs"),
    ],
)
def test_of_running_jobs_those_that_the_role_may_see_are_named_and_others_counted(
    person: str, seen: set[str], others: str, cluster: Path, login: Login, request: pytest.FixtureRequest
) -> None:
    owners = {"alice": "chem", "charlie": "bio", "dora": "cfd"}
    jobs = {
        owner: JobFactory.create(user=owner, project=project, meta_data='{"jobName":"secret"}')
        for owner, project in owners.items()
    }
    user = request.getfixturevalue(person) if person != "stranger" else _stranger()
    client = login(user)

    page, row = client.get(PAGE).content.decode(), rows(client)["n01"]

    for owner, job in jobs.items():
        assert (owner in row) == (str(job.job_id) in page) == (owner in seen)
        assert (f"/admin/jobs/job/{job.pk}/change/" in page) == (owner in seen)
    assert others in row
    assert ("other" in row) == others.startswith("and")
    assert "secret" not in page
    assert ("of others only the number is shown" in page) == bool(others)
    words = str(len(seen)) if len(seen) == 3 else f"{len(seen)} of 3"
    assert re.search(rf"44 {words} no reports yet", text_of(client, LIST))


def _stranger() -> User:
    user = User.objects.create_user("stranger")
    user.add_roles(["user"])
    return user


@pytest.mark.parametrize("person", ["admin", "carol", "bob", "alice"])
def test_facts_and_states_are_for_everybody_who_may_log_in(
    person: str, cluster: Path, login: Login, request: pytest.FixtureRequest
) -> None:
    report("n01", states=["DOWN"])
    client = login(request.getfixturevalue(person))

    assert '<a href="/admin/clusters/" aria-current="page">Clusters</a>' in client.get(LIST).content.decode()
    assert 'href="/admin/clusters/"' in client.get("/admin/").content.decode()
    assert "testcluster" in text_of(client, LIST)
    assert rows(client)["n01"].startswith("main down ")


@pytest.mark.parametrize("person", ["bench", None])
@pytest.mark.parametrize("path", [LIST, PAGE])
def test_who_is_no_staff_is_sent_to_the_login_page(
    person: str | None, path: str, cluster: Path, login: Login, request: pytest.FixtureRequest
) -> None:
    client = login(request.getfixturevalue(person)) if person else Client()

    response = client.get(path)

    assert (response.status_code, response["Location"].partition("?")[0]) == (302, "/admin/login/")


@pytest.mark.parametrize("path", [LIST, PAGE])
def test_the_pages_only_show(path: str, cluster: Path, admin: User, login: Login) -> None:
    assert login(admin).post(path).status_code == 405


# --- the list ---


def test_without_clusters_the_list_says_where_they_come_from(admin: User, login: Login) -> None:
    text = text_of(login(admin), LIST)
    assert "No cluster is configured. Put a cluster.json into a directory of the job archive" in text


def test_the_list_has_states_last_report_and_last_start_of_each_cluster(
    archive_root: Path, admin: User, login: Login
) -> None:
    write_cluster(archive_root, "one")
    write_cluster(archive_root, "two")
    report("n01", "n02", cluster="one")
    report("n03", cluster="one", states=["IDLE", "DRAIN"])
    report("n04", cluster="one", states=["DOWN"], age=STALE + 10)
    JobFactory.create(cluster="one", start_time=START)
    JobFactory.create(cluster="one", start_time=START + 86_400, finished=True)
    JobFactory.create(cluster="gone", start_time=START)

    text = text_of(login(admin), LIST)

    when = r"\d{4}-\d\d-\d\d \d\d:\d\d"
    assert re.search(rf"one main, gpu 44 1 down 1 drain 1 idle 3 stale 1 {when} 2023-11-15 \d\d:\d\d two", text)
    assert f"two main, gpu 44 0 no reports yet {NOTHING} {NOTHING}" in text
    assert "gone" not in text


def test_the_number_of_queries_does_not_depend_on_clusters_nodes_and_jobs(
    archive_root: Path, alice: User, login: Login, django_assert_max_num_queries: Any
) -> None:
    client = login(alice)

    def grow(cluster: str, count: int) -> None:
        write_cluster(archive_root, cluster)
        registry_for(archive_root)._next_check = 0.0
        report(*(f"n{number:02}" for number in range(1, count + 1)), cluster=cluster)
        JobFactory.create_batch(count, cluster=cluster)
        JobFactory.create_batch(count, cluster=cluster, user="charlie")

    grow("testcluster", 1)
    counts = []
    for more in (("second", 1), ("third", 30)):
        with django_assert_max_num_queries(15) as captured:
            assert client.get(LIST).status_code == 200
        with django_assert_max_num_queries(15) as of_page:
            assert client.get(PAGE).status_code == 200
        counts.append((len(captured), len(of_page)))
        grow(*more)
        grow("testcluster", 30)
    assert counts[0] == counts[1]


def test_running_jobs_are_found_by_their_small_index_and_without_large_columns(
    cluster: Path, bob: User, login: Login
) -> None:
    JobFactory.create_batch(3)
    client = login(bob)
    with CaptureQueriesContext(connection) as captured:
        client.get(LIST)
        client.get(PAGE)

    queries = [query["sql"] for query in captured if 'FROM "jobs_job"' in query["sql"]]
    assert len(queries) == 5
    for sql in queries:
        assert "meta_data" not in sql
        assert '"statistics"' not in sql
    if connection.vendor == "sqlite":
        with connection.cursor() as cursor:
            for sql in queries:
                cursor.execute(f"EXPLAIN QUERY PLAN {sql}")
                plan = " ".join(row[-1] for row in cursor.fetchall())
                wanted = "jobs_by_cluster (cluster>? AND cluster<?)" if "DESC" in sql else "jobs_running"
                assert wanted in plan
                assert ("jobs_by_cluster" in plan) == ("DESC" in sql)


# --- the page of a cluster ---


def test_an_unknown_cluster_is_not_found(cluster: Path, admin: User, login: Login) -> None:
    client = login(admin)
    for name in ("other", "..", "%2e%2e%2fetc"):
        assert client.get(f"{LIST}{name}/").status_code == 404


def test_subclusters_topology_and_metrics_are_shown_for_people(archive_root: Path, alice: User, login: Login) -> None:
    subclusters = json.loads(json.dumps(TEST_CLUSTER["subClusters"]))
    subclusters[0]["topology"] |= {
        "socket": [[0, 1], [2, 3]],
        "accelerators": [{"id": "00000000:01:00.0", "type": "Nvidia GPU", "model": "A40"}],
    }
    metrics = json.loads(json.dumps(TEST_CLUSTER["metricConfig"]))
    metrics[0]["subClusters"] = [{"name": "gpu", "peak": 8, "alert": 2.5}]
    write_cluster(archive_root, "testcluster", subClusters=subclusters, metricConfig=metrics)

    text = text_of(login(alice), PAGE)

    assert "Processor X Sockets per node 1 Cores per socket 4 Threads per core 1" in text
    assert "Flop rate, scalar 14 GF/s Flop rate, SIMD 112 GF/s Memory bandwidth 24 GB/s" in text
    assert "40 : n[01-40]" in text
    assert "Topology of a node: 4 cores, 4 hardware threads, 1 accelerator " in text
    assert "Socket 0 0-1 0-1 0 Socket 1 2-3 2-3 0" in text
    assert "00000000:01:00.0 Nvidia GPU A40" in text
    assert "cpu_load node avg 1:00 4 4 2 1 cpu_load on gpu 8 4 2 2.5" in text
    assert "flops_any GF/s hwthread sum 1:00 100 50 10 5 flops_any on gpu not measured there" in text


def test_a_cluster_json_that_says_little_is_no_error(archive_root: Path, alice: User, login: Login) -> None:
    write_cluster(archive_root, "testcluster", metricConfig=None, subClusters=[{"name": "all", "nodes": "*"}])
    JobFactory.create(user="alice", resources='[{"hostname":"x7"}]')
    client = login(alice)

    text = text_of(client, PAGE)

    assert "Nodes any host" in text
    assert "cluster.json names no metrics" in text
    assert rows(client)["x7"].startswith("all no report ")
    assert "testcluster all any 1" in text_of(client, LIST)


def test_a_cluster_json_that_cannot_be_read_is_told_and_its_reason_to_administrators(
    archive_root: Path, admin: User, alice: User, login: Login
) -> None:
    path = archive_root / "testcluster" / "cluster.json"
    path.parent.mkdir()
    path.write_text('{"name": 5')
    report_host = "n01"
    NodeState.objects.create(cluster="testcluster", hostname=report_host, states='["IDLE"]', reported_at=time.time())

    for user in (admin, alice):
        client = login(user)
        assert "testcluster cluster.json cannot be read" in text_of(client, LIST)
        text = text_of(client, PAGE)
        assert "cannot be read: subclusters and metrics are unknown, and jobs of the cluster are refused." in text
        assert ("Expected `str`" in text) == (str(path) in text) == (user is admin)
        assert rows(client)[report_host].startswith("not in cluster.json idle ")


def test_what_was_read_before_a_cluster_json_broke_is_still_shown(
    cluster: Path, archive_root: Path, alice: User, login: Login
) -> None:
    client = login(alice)
    assert "cannot be read" not in text_of(client, PAGE)
    cluster.write_text("{")
    registry_for(archive_root)._next_check = 0.0

    text = text_of(client, PAGE)

    assert "cannot be read; this page shows its last valid version." in text
    assert "Subcluster gpu" in text


def test_a_node_shows_its_latest_state_and_what_is_in_use(cluster: Path, alice: User, login: Login) -> None:
    report("n01", states=["MIXED", "DRAIN"], cpus_allocated=36, memory_allocated=120_000, gpus_allocated=2)
    report("n02", memory_allocated=512)

    listed = rows(login(alice))

    assert re.fullmatch(rf"main mixed drain \d s ago 36 117.2 GiB 2 {NOTHING}", listed["n01"])
    assert re.fullmatch(rf"main idle \d s ago 0 512 MiB 0 {NOTHING}", listed["n02"])
    assert listed["n03"] == f"main no report {NOTHING}"
    assert next(iter(listed)) == "n01"
    assert len(listed) == 44


def test_a_report_of_more_than_five_minutes_ago_is_marked_with_its_age(
    cluster: Path, alice: User, login: Login
) -> None:
    report("n01", age=STALE - 20)
    report("n02", age=7260)

    listed = rows(login(alice))

    assert "stale" not in listed["n01"]
    assert re.match(r"main idle stale 2:01:0\d ago", listed["n02"])


def test_a_node_that_no_list_names_is_shown_where_it_was_reported_or_a_job_runs_on_it(
    cluster: Path, admin: User, login: Login
) -> None:
    report("login1", "n02")
    JobFactory.create(resources='[{"hostname":"odd2"},{"hostname":"n02"}]')
    JobFactory.create(finished=True, resources='[{"hostname":"done3"}]')
    JobFactory.create(cluster="elsewhere", resources='[{"hostname":"far4"}]')

    listed = rows(login(admin))

    assert listed["login1"].startswith("not in cluster.json idle ")
    assert listed["odd2"].startswith("not in cluster.json no report ")
    assert listed["n02"].startswith("main idle ")
    assert not {"done3", "far4"} & listed.keys()
    assert len(listed) == 46


def test_another_number_of_jobs_than_the_scheduler_counts_is_told(cluster: Path, alice: User, login: Login) -> None:
    report("n01", jobs_running=1)
    report("n02", jobs_running=3)
    report("n03", jobs_running=3, age=STALE + 1)
    JobFactory.create(user="charlie")

    listed = rows(login(alice))

    assert "the scheduler counts" not in listed["n01"] + listed["n03"]
    assert f"{NOTHING} (the scheduler counts 3)" in listed["n02"]


@pytest.mark.parametrize(
    ("query", "hosts"),
    [
        ({"subcluster": "gpu"}, {"g01", "g02", "g03", "g04"}),
        ({"state": "DRAIN"}, {"n01", "g01"}),
        ({"state": "stale"}, {"n02"}),
        ({"state": "DRAIN", "subcluster": "main"}, {"n01"}),
        ({"state": "no report", "host": "g0"}, {"g02", "g03", "g04"}),
        ({"host": " n9 "}, set()),
        ({"host": "n40"}, {"n40"}),
        ({"state": "NONSENSE"}, set()),
    ],
)
def test_nodes_can_be_chosen_by_subcluster_state_and_host(
    query: dict[str, str], hosts: set[str], cluster: Path, alice: User, login: Login
) -> None:
    report("n01", "g01", states=["IDLE", "DRAIN"])
    report("n02", age=STALE + 1)
    client = login(alice)

    assert set(rows(client, **query)) == hosts
    assert ("No matching nodes." in client.get(PAGE, query).content.decode()) == (not hosts)


def test_of_very_many_nodes_the_first_are_shown_and_the_others_can_be_chosen(
    archive_root: Path, alice: User, login: Login
) -> None:
    write_cluster(archive_root, "testcluster", subClusters=[{"name": "big", "nodes": "n[0001-1200],m[1-999999999]"}])
    client = login(alice)

    assert list(rows(client)) == [f"n{number:04}" for number in range(1, cluster_pages.MOST_ROWS + 1)]
    assert "The first 1,000 of 20,000 nodes" in text_of(client, PAGE)
    assert list(rows(client, host="n1200")) == ["n1200"]


def test_of_very_many_jobs_on_a_node_the_first_are_named(cluster: Path, admin: User, login: Login) -> None:
    JobFactory.create_batch(cluster_pages.MOST_LINKS + 3)
    row = rows(login(admin))["n01"]
    assert row.count("alice") == cluster_pages.MOST_LINKS
    assert "and 3 other jobs" in row


def test_html_in_names_is_shown_as_text(archive_root: Path, admin: User, login: Login) -> None:
    evil = "<script>alert(1)</script>"
    subcluster = TEST_CLUSTER["subClusters"][0] | {"name": evil, "processorType": evil}
    metric = TEST_CLUSTER["metricConfig"][0] | {"name": evil, "unit": {"base": evil}, "aggregation": evil}
    metric |= {"subClusters": [{"name": evil, "peak": 8}]}
    write_cluster(archive_root, "testcluster", subClusters=[subcluster], metricConfig=[metric])
    report(evil, "n01", states=[evil])
    JobFactory.create(user=evil, resources=json.dumps([{"hostname": evil}]))
    client = login(admin)

    for path in (LIST, PAGE, f"{PAGE}?host={evil}&state={evil}&subcluster={evil}"):
        text = client.get(path).content.decode()
        assert "alert(1)" in text.lower()
        assert evil not in text
        assert evil.upper() not in text


def test_resources_of_a_form_that_no_start_writes_are_passed_over(cluster: Path, admin: User, login: Login) -> None:
    for resources in ("[]", "{}", '[{"hostname":null}]', '[{"x":1}]', '"text"'):
        JobFactory.create(resources=resources)
    assert len(rows(login(admin))) == 44


AddCluster = Callable[[str], Path]


@pytest.mark.parametrize("name", ["emmy", "alex"])
def test_the_pages_show_clusters_of_many_metrics(name: str, add_cluster: AddCluster, alice: User, login: Login) -> None:
    add_cluster(name)
    client = login(alice)
    assert name in text_of(client, LIST)
    assert f"Cluster {name}" in text_of(client, f"{LIST}{name}/")
