"""The samples behind the plots of the job page: from where, for whom, and why there are none."""

import gzip
import json
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from django.templatetags.static import static
from django.test import Client
from pytest_django import DjangoAssertNumQueries

from accounts.models import User
from archive.format.layout import job_folder
from jobs.archiving.worker import ArchiveWorker
from jobs.models import Job
from jobs.samples import plots
from tests.support.admin_site import Login
from tests.support.factories import JobFactory, UserFactory
from tests.support.fake_metric_store import FakeStore
from tests.support.http_store import respond

pytestmark = pytest.mark.django_db


def address(job: Job) -> str:
    """Return where the plots of a job are."""
    return f"/admin/jobs/job/{job.pk}/plots/"


def answer(client: Client, job: Job, **query: Any) -> Any:
    """Return what the page gets of a job."""
    response = client.get(address(job), query)
    assert response.status_code == 200
    assert response["Content-Type"] == "application/json"
    return response.json()


def hosts(count: int) -> str:
    """Return the resources of a job on some nodes."""
    return json.dumps([{"hostname": f"n{number:02}"} for number in range(1, count + 1)])


@pytest.fixture
def page(admin: User, login: Login) -> Client:
    """Return an administrator's browser."""
    return login(admin)


@pytest.fixture
def archived(cluster: Path, synthetic: None) -> Job:
    """Return a job of one node that the worker wrote to the archive."""
    job = JobFactory.create(finished=True, duration=3600)
    assert ArchiveWorker().drain().archived == 1
    return Job.objects.get(pk=job.pk)


@pytest.fixture
def metric_store(settings: Any) -> Iterator[FakeStore]:
    """Return a store on loopback that is the source of every cluster."""
    with FakeStore() as store:
        settings.METRIC_SOURCES = {"*": {"kind": "cc-metric-store", "url": store.url, "timeout": 0.5}}
        yield store


# --- from where ---


def test_an_archived_job_is_drawn_from_the_archive(page: Client, archived: Job, settings: Any) -> None:
    settings.METRIC_SOURCES = {"*": {"kind": "none"}}

    found = answer(page, archived)

    assert (found["start"], found["end"]) == (archived.start_time, archived.start_time + 3600)
    assert (found["archived"], found["reason"], found["failed"]) == (True, "", False)
    assert [metric["name"] for metric in found["metrics"]] == ["cpu_load", "flops_any"]
    load, flops = found["metrics"]
    assert (load["scope"], load["unit"], load["timestep"], load["series"]) == ("node", "", 60, 1)
    assert (flops["scope"], flops["unit"]) == ("node", "GF/s")
    assert load["thresholds"] == {"normal": 4, "caution": 2, "alert": 1}
    (line,) = load["lines"]
    assert (line["host"], line["id"], line["at"], len(line["values"])) == ("n01", None, None, 60)
    stored = json.loads(
        gzip.decompress((job_folder(settings.ARCHIVE_ROOT, archived.key) / "data.json.gz").read_bytes())
    )
    assert line["values"] == stored["cpu_load"]["node"]["series"][0]["data"]
    assert load["statistics"] == stored["cpu_load"]["node"]["series"][0]["statistics"]


def test_a_finer_scope_is_offered_and_given_where_there_is_one(page: Client, archived: Job) -> None:
    found = answer(page, archived, scope="core")

    assert found["scopes"] == ["node", "core"]
    assert [metric["scope"] for metric in found["metrics"]] == ["node", "core"]
    assert [line["id"] for line in found["metrics"][1]["lines"]] == ["0", "1", "2", "3"]
    assert found["metrics"][1]["thresholds"] == {"normal": 12.5, "caution": 2.5, "alert": 1.25}


def test_a_subcluster_s_own_thresholds_count(page: Client, cluster: Path, synthetic: None) -> None:
    document = json.loads(cluster.read_text())
    document["metricConfig"][0]["subClusters"] = [{"name": "gpu", "normal": 8, "caution": 4, "alert": 3}]
    cluster.write_text(json.dumps(document))
    job = JobFactory.create(sub_cluster="gpu", finished=True, duration=600)

    (load,) = answer(page, job)["metrics"]  # the other one is removed there

    assert load["thresholds"] == {"normal": 8, "caution": 4, "alert": 3}


@pytest.mark.parametrize(("nodes", "lines"), [(16, 16), (17, 0)])
def test_above_sixteen_nodes_there_is_a_band(
    nodes: int, lines: int, page: Client, cluster: Path, synthetic: None
) -> None:
    job = JobFactory.create(finished=True, duration=86_400, num_nodes=nodes, resources=hosts(nodes))
    live = answer(page, job)
    ArchiveWorker().drain()
    found = answer(page, job)

    assert found["metrics"] == live["metrics"]
    load = found["metrics"][0]
    assert (load["series"], len(load["lines"]), load["band"] is not None) == (nodes, lines, lines == 0)
    for points in [load["band"]] if load["band"] else load["lines"]:
        assert all(250 < len(points[key]) < 700 for key in points.keys() - {"host", "id"})


def test_a_part_of_the_time_has_every_sample(page: Client, cluster: Path, synthetic: None) -> None:
    job = JobFactory.create(finished=True, duration=86_400)
    ArchiveWorker().drain()

    found = answer(page, job, **{"from": job.start_time + 36_000, "to": job.start_time + 39_600})

    assert found["metrics"][0]["lines"][0]["at"] == list(range(600, 662))


@pytest.mark.parametrize(
    "state", [{}, {"finished": True, "duration": 1200}, {"finished": True, "monitoring_status": 2}]
)
def test_a_job_that_is_not_archived_is_drawn_live_from_its_source(
    page: Client, cluster: Path, metric_store: FakeStore, state: dict[str, Any]
) -> None:
    cluster.write_text(cluster.read_text().replace("cpu_load", "load").replace("flops_any", "flops"))
    job = JobFactory.create(start_time=int(time.time()) - 1200, **state)

    found = answer(page, job)

    assert found["reason"] == ""
    assert not found["archived"]
    assert [metric["name"] for metric in found["metrics"]] == ["load", "flops"]
    assert len(found["metrics"][0]["lines"][0]["values"]) == job.elapsed // 60
    assert metric_store.requests


def test_times_are_in_the_site_s_zone(page: Client, archived: Job, settings: Any) -> None:
    assert (answer(page, archived)["zone"], answer(page, archived)["offset"]) == ("UTC", 0)
    settings.TIME_ZONE = "Asia/Kolkata"
    found = answer(page, archived)
    assert (found["zone"], found["offset"]) == ("Asia/Kolkata", 19_800)


# --- why there is nothing ---


@pytest.mark.parametrize(
    ("state", "sentence"),
    [
        ({"monitoring_status": 0}, "This job is not monitored"),
        ({"monitoring_status": 0, "finished": True}, "This job is not monitored"),
        ({}, "Cluster testcluster has no metric source"),
        ({"finished": True}, "Cluster testcluster has no metric source"),
        ({"archived": True}, "The job's files are no longer in the archive."),
    ],
)
def test_a_sentence_says_why_nothing_is_drawn(state: dict[str, Any], sentence: str, page: Client) -> None:
    found = answer(page, JobFactory.create(**state))

    assert found["reason"].startswith(sentence)
    assert (found["metrics"], found["scopes"], found["failed"]) == ([], [], False)


def test_a_job_archived_without_samples_says_so(page: Client) -> None:
    job = JobFactory.create(finished=True)
    ArchiveWorker().drain()

    assert answer(page, job)["reason"].startswith("The job was archived without samples")


def test_a_job_too_young_for_samples_says_so(page: Client, cluster: Path, metric_store: FakeStore) -> None:
    cluster.write_text(cluster.read_text().replace("cpu_load", "load").replace("flops_any", "flops"))

    running = answer(page, JobFactory.create(start_time=int(time.time()) - 20))
    ended = answer(page, JobFactory.create(finished=True, duration=30))

    assert running["reason"].startswith("The job has been running for 2")
    assert ended["reason"].startswith("The job ran for only 30 s")


def test_a_source_that_knows_nothing_of_the_nodes_is_named(
    page: Client, cluster: Path, metric_store: FakeStore
) -> None:
    cluster.write_text(cluster.read_text().replace("cpu_load", "load").replace("flops_any", "flops"))
    metric_store.absent_hosts = {"n01"}

    assert answer(page, JobFactory.create())["reason"].startswith("The metric source has no sample")


def test_an_archive_without_any_sample_says_so(page: Client, archived: Job, archive_root: Path) -> None:
    (job_folder(archive_root, archived.key) / "data.json.gz").write_bytes(gzip.compress(b"{}"))

    assert answer(page, archived)["reason"] == "The archive has no sample of this job."


def test_a_source_that_fails_is_named_with_its_reason(page: Client, cluster: Path, metric_store: FakeStore) -> None:
    metric_store.misbehave = lambda handler: respond(handler, 503, b"the disk is full")

    found = answer(page, JobFactory.create())

    assert found["reason"].startswith(f"The samples could not be loaded: {metric_store.url}")
    assert "503" in found["reason"]
    assert "the disk is full" in found["reason"]
    assert found["failed"]


def test_a_source_that_does_not_answer_is_given_up(page: Client, cluster: Path, metric_store: FakeStore) -> None:
    metric_store.misbehave = lambda handler: metric_store.leaving.wait(20)

    assert "no answer within 0.5 s" in answer(page, JobFactory.create())["reason"]


@pytest.mark.parametrize("text", [None, b"{", b"[]", b'{"cpu_load":{"node":[]}}'])
def test_a_broken_file_is_named_with_its_reason(
    text: bytes | None, page: Client, archived: Job, archive_root: Path
) -> None:
    content = b"no gzip" if text is None else gzip.compress(text)
    (job_folder(archive_root, archived.key) / "data.json.gz").write_bytes(content)

    found = answer(page, archived)

    assert "data.json" in found["reason"]
    assert found["failed"]


@pytest.mark.parametrize("resources", ["no json", '{"hostname": 1}', "[1]"])
def test_odd_resources_do_not_break_the_answer(resources: str, page: Client, cluster: Path, synthetic: None) -> None:
    job = JobFactory.create(resources=resources)

    assert answer(page, job)["failed"]


def test_a_start_that_is_no_time_does_not_break_the_answer(page: Client, cluster: Path) -> None:
    assert answer(page, JobFactory.create(start_time=2**62))["offset"] == 0


@pytest.mark.parametrize("name", ["data.json.gz", "data.json"])
def test_a_job_with_too_many_samples_is_not_read(
    name: str, page: Client, archived: Job, archive_root: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = job_folder(archive_root, archived.key)
    plain = gzip.decompress((folder / "data.json.gz").read_bytes())
    if name == "data.json":
        (folder / "data.json.gz").unlink()
        (folder / name).write_bytes(plain)
    monkeypatch.setattr(plots, "MOST_BYTES", len(plain) - 1)
    assert "more than can be shown" in answer(page, archived)["reason"]
    monkeypatch.setattr(plots, "MOST_BYTES", len(plain))
    assert answer(page, archived)["reason"] == ""


def test_only_so_many_archived_jobs_are_in_memory_at_once(
    page: Client, archived: Job, monkeypatch: pytest.MonkeyPatch
) -> None:
    full = threading.BoundedSemaphore(1)
    full.acquire()
    monkeypatch.setattr(plots, "_places", full)
    monkeypatch.setattr(plots, "_WAIT", 0.05)

    assert "try again" in answer(page, archived)["reason"]
    full.release()
    assert answer(page, archived)["reason"] == ""


# --- for whom ---


@pytest.mark.parametrize(
    ("person", "seen"),
    [
        ("alice", {"alice bio", "alice chem"}),
        ("bob", {"alice bio", "zoe bio"}),
        ("carol", {"alice bio", "alice chem", "zoe bio", "zoe chem"}),
        ("admin", {"alice bio", "alice chem", "zoe bio", "zoe chem"}),
    ],
)
def test_each_role_gets_the_plots_of_the_jobs_that_it_sees(
    person: str, seen: set[str], login: Login, request: pytest.FixtureRequest
) -> None:
    client = login(request.getfixturevalue(person))
    jobs = [JobFactory.create(user=user, project=project) for user in ("alice", "zoe") for project in ("bio", "chem")]

    statuses = {f"{job.user} {job.project}": client.get(address(job)).status_code for job in jobs}

    assert {job for job, status in statuses.items() if status == 200} == seen
    assert {status for job, status in statuses.items() if job not in seen} <= {404}


def test_a_job_that_is_not_seen_and_one_that_is_not_there_look_the_same(alice: User, login: Login) -> None:
    client, job = login(alice), JobFactory.create(user="zoe")

    hidden, absent = client.get(address(job)), client.get("/admin/jobs/job/999999/plots/")

    assert (hidden.status_code, hidden.content) == (absent.status_code, absent.content) == (404, absent.content)


@pytest.mark.parametrize("person", [None, "bench", "inactive"])
def test_who_may_not_use_the_site_is_sent_to_the_log_in(
    person: str | None, login: Login, request: pytest.FixtureRequest
) -> None:
    if person is None:
        client = Client()
    elif person == "inactive":
        user = UserFactory.create(username="alice")
        client = login(user)
        User.objects.filter(pk=user.pk).update(is_active=False)
    else:
        client = login(request.getfixturevalue(person))

    response = client.get(address(JobFactory.create()))

    assert response.status_code == 302
    assert response["Location"].startswith("/admin/login/")


def test_plots_are_only_read(page: Client) -> None:
    assert page.post(address(JobFactory.create())).status_code == 405


@pytest.mark.parametrize("query", ["scope=x", "scope=", "from=1", "to=1", "from=a&to=2", "from=-1&to=2", "from=1&to="])
def test_a_malformed_parameter_is_refused_with_a_sentence(query: str, page: Client) -> None:
    response = page.get(f"{address(JobFactory.create())}?{query}")

    assert response.status_code == 400
    assert "expected" in response.json()["reason"]


def test_a_number_that_no_row_can_have_is_no_job(page: Client) -> None:
    assert page.get(f"/admin/jobs/job/{10**30}/plots/").status_code == 404


def test_the_answer_takes_few_queries_and_reads_no_script(
    page: Client, archived: Job, django_assert_max_num_queries: DjangoAssertNumQueries
) -> None:
    with django_assert_max_num_queries(5) as queries:
        answer(page, archived)
    assert not [query for query in queries.captured_queries if "meta_data" in query["sql"]]


def test_the_page_loads_bokeh_from_this_server_without_holding_up_the_rest(page: Client, archived: Job) -> None:
    text = page.get(f"/admin/jobs/job/{archived.pk}/change/").content.decode()

    assert f'data-address="{address(archived)}"' in text
    for name, how in (
        ("bokeh/bokeh.min.js", "defer"),
        ("bokeh/bokeh-api.min.js", "defer"),
        ("jobs/plots.js", "module"),
    ):
        attribute = 'type="module"' if how == "module" else how
        assert f'<script {attribute} src="{static(name)}"></script>' in text
        assert page.get(static(name)).status_code == 200
    assert "bokeh" not in page.get("/admin/jobs/job/").content.decode()
