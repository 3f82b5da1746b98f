"""The literal calls of the real clients, their answers decoded as strictly as they do."""

import json
import urllib.parse
from typing import Annotated, Any

import msgspec
import pytest
from msgspec import Meta, Struct

from jobs.models import Job, NodeState
from tests.support.clients import Answer, AppClient
from tests.support.factories import START, STATISTICS, JobFactory, TagFactory

Int32 = Annotated[int, Meta(ge=-(2**31), le=2**31 - 1)]
Int64 = Annotated[int, Meta(ge=-(2**63), le=2**63 - 1)]


class Unit(Struct, forbid_unknown_fields=True):
    """A unit, as Go decodes it."""

    base: str
    prefix: str = ""


class Statistics(Struct, forbid_unknown_fields=True):
    """Statistics of a metric."""

    unit: Unit
    avg: float
    min: float
    max: float


class Resource(Struct, forbid_unknown_fields=True):
    """A node."""

    hostname: str
    hwthreads: list[int] = []
    accelerators: list[str] = []
    configuration: str = ""


class Tag(Struct, forbid_unknown_fields=True):
    """A tag."""

    id: Int64
    type: str
    name: str


class Links(Struct, forbid_unknown_fields=True):
    """What concurrentJobs holds."""

    items: list[dict[str, int]] | None
    count: int


class JobMeta(Struct, forbid_unknown_fields=True, rename="camel"):
    """A job of a list, as cc-slurm-adapter's Go types take it: one wrong type fails the whole sync."""

    id: Int64
    job_id: Int64
    user: str
    project: str
    cluster: str
    sub_cluster: str
    num_nodes: Int32
    exclusive: Int32
    monitoring_status: Int32
    job_state: str
    duration: Int32
    resources: list[Resource]
    meta_data: dict[str, str | None] | None
    concurrent_jobs: Links
    start_time: Int64
    statistics: dict[str, Statistics] | None
    partition: str = ""
    array_job_id: Int64 = 0
    num_hwthreads: Int32 = 0
    num_acc: Int32 = 0
    smt: Int32 = 0
    walltime: Int64 = 0
    tags: list[Tag] = []


class Listed(Struct, forbid_unknown_fields=True):
    """A list."""

    jobs: list[JobMeta]
    items: int
    page: int


class Started(Struct, forbid_unknown_fields=True):
    """What a start answers."""

    id: Int64


def decoded(answer: Answer, kind: Any) -> Any:
    """Decode an answer strictly."""
    assert answer.headers["content-type"].startswith("application/json")
    return msgspec.json.decode(answer.body, type=kind, strict=True)


# cc-slurm-adapter

ADAPTER_LIST = "/api/jobs/?state=running&items-per-page=9999999&page=1&with-metadata=false"


class Adapter:
    """Calls as cc-slurm-adapter does."""

    def __init__(self, api: AppClient) -> None:
        """Take the token of a client."""
        self.client = api.as_(None)
        headers = {"accept": "application/ld+json", "Content-Type": "application/json"}
        self.headers = headers | {"X-AUTH-TOKEN": str(api.token)}

    def get(self, path: str) -> Answer:
        """GET with its headers, content type included."""
        return self.client.get(path, headers=self.headers)

    def post(self, path: str, text: str) -> Answer:
        """POST a literal body."""
        return self.client.post(path, text.encode(), headers=self.headers)


ADAPTER_START = """{"cluster":"fritz","subCluster":"","partition":"main","project":"acc","user":"u1","shared":"none",
 "jobState":"","resources":[{"hostname":"f0001","hwthreads":[0,1],"accelerators":["00000000:00:10.0"]}],
 "energyFootprint":null,"footprint":null,
 "metaData":{"jobName":"x","slurmInfo":"several\\nlines","submitTime":"1700000000","jobScript":"#!/bin/bash ..."},
 "concurrentJobs":{"items":null,"count":0},"energy":0,"walltime":86400,"jobId":123,"duration":0,"numAcc":1,"numHwthreads":72,
 "numNodes":1,"statistics":null,"startTime":1700000000}"""


@pytest.fixture
def adapter(api: AppClient) -> Adapter:
    """Return an adapter with a token."""
    return Adapter(api)


def test_the_adapter_starts_lists_and_stops_a_job(adapter: Adapter) -> None:
    started = decoded(adapter.post("/api/jobs/start_job/", ADAPTER_START), Started)
    (job,) = decoded(adapter.get(ADAPTER_LIST), Listed).jobs
    assert (job.id, job.job_id, job.start_time, job.exclusive) == (started.id, 123, 1700000000, 1)
    assert (job.num_acc, job.num_hwthreads, job.meta_data) == (1, 72, None)
    stop = '{"jobId":123,"cluster":"fritz","jobState":"completed","stopTime":1700003600}'
    answer = adapter.post("/api/jobs/stop_job/", stop)
    assert (answer.status, decoded(answer, JobMeta).duration) == (200, 3600)
    assert decoded(adapter.get(ADAPTER_LIST), Listed).jobs == []
    assert adapter.post("/api/jobs/stop_job/", stop).status == 422


def test_the_adapter_gets_201_then_422_for_the_same_start_however_often(adapter: Adapter) -> None:
    statuses = [adapter.post("/api/jobs/start_job/", ADAPTER_START).status for _ in range(3)]
    assert statuses == [201, 422, 422]
    assert Job.objects.count() == 1


def test_the_adapter_that_lost_its_memory_sends_all_again_and_nothing_changes(adapter: Adapter) -> None:
    stop = '{"jobId":123,"cluster":"fritz","jobState":"failed","stopTime":1700003600}'
    for statuses in ((201, 200), (422, 422)):
        assert adapter.post("/api/jobs/start_job/", ADAPTER_START).status == statuses[0]
        assert adapter.post("/api/jobs/stop_job/", stop).status == statuses[1]
    assert Job.objects.get().duration == 3600


@pytest.mark.parametrize(("word", "state"), [("pending", "failed"), ("deadline", "failed"), ("boot_fail", "failed")])
def test_the_adapter_stops_a_requeued_run_and_starts_the_next(adapter: Adapter, word: str, state: str) -> None:
    assert adapter.post("/api/jobs/start_job/", ADAPTER_START).status == 201
    second = ADAPTER_START.replace("1700000000}", "1700000040}")
    stop = '{"jobId":123,"cluster":"fritz","jobState":"%s","stopTime":1700000020}'
    assert adapter.post("/api/jobs/stop_job/", stop % word).status == 200
    assert adapter.post("/api/jobs/start_job/", second).status == 201
    first, last = Job.objects.order_by("start_time")
    assert (first.job_state, first.duration, last.job_state) == (state, 20, "running")


def test_the_adapter_s_job_of_zero_seconds_is_settled(adapter: Adapter) -> None:
    assert adapter.post("/api/jobs/start_job/", ADAPTER_START).status == 201
    stop = '{"jobId":123,"cluster":"fritz","jobState":"cancelled","stopTime":1700000000}'
    assert decoded(adapter.post("/api/jobs/stop_job/", stop), JobMeta).duration == 0


def test_the_adapter_s_stop_of_an_unknown_job_is_settled_with_a_422(adapter: Adapter) -> None:
    stop = '{"jobId":9,"cluster":"fritz","jobState":"completed","stopTime":1700000000}'
    assert adapter.post("/api/jobs/stop_job/", stop).status == 422


@pytest.mark.parametrize(("walltime", "shown"), [("-120", 0), ("257698037700", 257698037700), ("0", 0)])
def test_the_adapter_s_odd_walltimes_are_taken(adapter: Adapter, walltime: str, shown: int) -> None:
    body = ADAPTER_START.replace('"walltime":86400', f'"walltime":{walltime}')
    assert adapter.post("/api/jobs/start_job/", body).status == 201
    assert decoded(adapter.get(ADAPTER_LIST), Listed).jobs[0].walltime == shown


def test_the_adapter_s_job_that_was_seen_too_late_is_taken(adapter: Adapter) -> None:
    """Hosts without hardware threads, numAcc without accelerators, no script."""
    body = json.loads(ADAPTER_START) | {"resources": [{"hostname": "f0001"}], "numAcc": 4, "metaData": {"jobName": "x"}}
    del body["walltime"], body["numHwthreads"], body["partition"]
    assert adapter.post("/api/jobs/start_job/", json.dumps(body)).status == 201
    (job,) = decoded(adapter.get(ADAPTER_LIST), Listed).jobs
    assert (job.num_acc, job.walltime, job.partition) == (4, 0, "")


def test_the_adapter_s_states_of_nodes_are_kept_before_its_jobs(adapter: Adapter) -> None:
    body = """{"cluster":"fritz","nodes":[{"hostname":"f0001","states":["MIXED","DRAIN"],"cpusAllocated":36,
     "memoryAllocated":120000,"gpusAllocated":0,"jobsRunning":2},{"hostname":"f0002","states":null,"cpusAllocated":0,
     "memoryAllocated":0,"gpusAllocated":0,"jobsRunning":0}]}"""
    for _ in range(2):
        assert adapter.post("/api/nodestate/", body).status == 200
    states = NodeState.objects.order_by("hostname").values_list("cluster", "hostname", "states", "jobs_running")
    assert list(states) == [("fritz", "f0001", '["MIXED","DRAIN"]', 2), ("fritz", "f0002", "[]", 0)]


def test_the_adapter_decodes_every_kind_of_job(adapter: Adapter, api: AppClient) -> None:
    JobFactory.create(job_id=2**62, array_job_id=2**62, smt=2, num_acc=1, num_hwthreads=8, start_time=START)
    JobFactory.create(tags=[TagFactory.create()], meta_data='{"a":null,"b":"c"}', start_time=START + 2**31)
    JobFactory.create(monitoring_status=0, resources='[{"hostname":"n01","hwthreads":[0,1],"accelerators":["x"]}]')
    JobFactory.create(archived=True, statistics=json.dumps(STATISTICS))
    JobFactory.create(archived=True, statistics="{}")
    for query in ("state=running&items-per-page=9999999&page=1&with-metadata=false", "with-metadata=true"):
        listed = decoded(adapter.get(f"/api/jobs/?{query}"), Listed)
        assert listed.items == len(listed.jobs) > 0


# cc-slurm-sync


def test_slurm_sync_lists_starts_and_stops_with_a_bearer_token(api: AppClient) -> None:
    client, headers = api.as_(None), {"Authorization": f"Bearer {api.token}"}
    listing = "/api/jobs/?cluster=fritz&items-per-page=10000000&state=running"
    assert client.get(listing, headers=headers).json["jobs"] == []
    start = {
        "jobId": 42,
        "user": "u1",
        "cluster": "fritz",
        "numNodes": 1,
        "numHwthreads": 4,
        "numAcc": 0,
        "startTime": START,
        "walltime": 60,
        "resources": [{"hostname": "f0001", "hwthreads": [0, 1, 2, 3]}],
        "metadata": {"jobName": "lower case"},
        "exclusive": 3,
    }
    answer = client.post("/api/jobs/start_job/", start, headers=headers)
    assert (answer.status, set(answer.json)) == (201, {"id"})
    (job,) = client.get(listing, headers=headers).json["jobs"]
    assert (type(job["jobId"]), job["jobId"], job["startTime"], job["cluster"]) == (int, 42, START, "fritz")
    assert job["exclusive"] == 0
    stop = {"jobId": 42, "cluster": "fritz", "startTime": START, "stopTime": START + 60, "jobState": "stopped"}
    answer = client.post("/api/jobs/stop_job/", stop, headers=headers)
    assert (answer.status, decoded(answer, JobMeta).job_state) == (200, "stopped")
    assert Job.objects.get().metadata == {"jobName": "lower case"}


# cc-condor-sync

CONDOR_ID = 530239482495005


def test_condor_runs_the_same_job_again_seconds_after_its_end(api: AppClient) -> None:
    client, headers = api.as_(None), {"Authorization": f"Bearer {api.token}"}
    for start in (START, START + 20, START + 40):
        body = {
            "jobId": CONDOR_ID,
            "user": "u1",
            "project": "p",
            "cluster": "condor",
            "numNodes": 1,
            "numAcc": 0,
            "exclusive": 0,
            "startTime": start,
            "resources": [{"hostname": "w1"}],
            "metadata": {"jobName": "x"},
        }
        started = client.post("/api/jobs/start_job/", body, headers=headers)
        assert started.status == 201
        stop = {"jobId": CONDOR_ID, "cluster": "condor", "startTime": start, "stopTime": start + 10}
        path = f"/api/jobs/stop_job/{started.json['id']}"
        assert client.post(path, stop | {"jobState": "completed"}, headers=headers).status == 200
    assert Job.objects.filter(job_id=CONDOR_ID, duration=10).count() == 3


def test_condor_s_one_resource_for_several_nodes_is_refused(api: AppClient) -> None:
    assert api.start(jobId=CONDOR_ID, numNodes=2).status == 400


def test_condor_s_script_pages_until_a_page_is_short(api: AppClient) -> None:
    for _ in range(205):
        JobFactory.create()
    page, seen = 1, set()
    while True:
        jobs = api.get(f"/api/jobs/?state=running&items-per-page=100&page={page}").json["jobs"]
        seen |= {job["id"] for job in jobs}
        if len(jobs) < 100:
            break
        page += 1
    assert (page, len(seen)) == (3, 205)


# cc-util and older hooks


def test_cc_util_reads_statistics_inline_page_by_page(api: AppClient) -> None:
    for number in range(60):
        JobFactory.create(archived=True, start_time=START + number, job_state=("completed", "failed")[number % 2])
    query = f"cluster=testcluster&state=completed&state=failed&state=stopped&start-time={START}-{START + 100}"
    pages = [api.get(f"/api/jobs/?{query}&items-per-page=50&page={page}").json["jobs"] for page in (1, 2, 3)]
    assert [len(page) for page in pages] == [50, 10, 0]
    assert {job["statistics"]["cpu_load"]["avg"] for page in pages for job in page} == {3.5}


@pytest.mark.parametrize("method", ["POST", "PATCH"])
def test_cc_util_tags_a_job(api: AppClient, method: str) -> None:
    job = JobFactory.create()
    answer = api.request(method, f"/api/jobs/tag_job/{job.pk}", b'[{"name":"bad","type":"class"}]')
    assert (answer.status, answer.json["tags"][0]["type"]) == (200, "class")


def test_an_old_hook_puts_a_stop_with_its_number_as_text(api: AppClient) -> None:
    job = JobFactory.create(start_time=START)
    headers = {"Content-Type": "application/ld+json", "Accept": "application/ld+json"}
    answer = api.request("PUT", f"/api/jobs/stop_job/{job.pk}", b'{"stopTime": "1700003600"}', headers=headers)
    assert (answer.status, answer.json["duration"], answer.json["jobState"]) == (200, 3600, "completed")


def test_an_old_hook_starts_a_job_with_all_numbers_as_text(api: AppClient) -> None:
    text = {"jobId": "5", "numNodes": "1", "startTime": str(START), "exclusive": "1", "walltime": "60", "smt": "0"}
    assert api.start(**text).status == 201
    (job,) = decoded(api.get("/api/jobs/"), Listed).jobs
    assert (job.job_id, job.start_time, job.walltime) == (5, START, 60)


# A prolog in the shell


def test_a_prolog_posts_json_as_curl_does_without_the_slash(api: AppClient) -> None:
    client = api.as_(None)
    headers = {"X-Auth-Token": str(api.token), "Content-Type": "application/x-www-form-urlencoded", "Accept": "*/*"}
    body = {
        "jobId": 7,
        "user": "u1",
        "cluster": "fritz",
        "subCluster": "main",
        "numNodes": 1,
        "startTime": START,
        "resources": [{"hostname": "f0001"}],
        "metaData": {"jobScript": "a=b&c=%20 + ü"},
    }
    raw = json.dumps(body, ensure_ascii=False).encode()
    assert client.post("/api/jobs/start_job", raw, headers=headers).status == 201
    assert Job.objects.get().metadata == {"jobScript": "a=b&c=%20 + ü"}
    stop = json.dumps({"jobId": 7, "stopTime": START + 5}).encode()
    assert client.post("/api/jobs/stop_job", stop, headers=headers).status == 200


def test_a_prolog_in_latin_1_is_taken(api: AppClient) -> None:
    raw = '{"jobId":7,"user":"jörg","cluster":"c","numNodes":1,"startTime":1700000000,"resources":[{"hostname":"n"}]}'
    assert api.post("/api/jobs/start_job", raw.encode("latin-1")).status == 201
    assert Job.objects.get().user == "j\ufffdrg"


def test_an_administrator_s_script_manages_users_by_query_and_form(admin_api: AppClient) -> None:
    query = urllib.parse.urlencode(
        {"username": "dora", "password": "a long enough one", "role": "manager", "project": "bio"}
    )
    assert admin_api.request("PUT", f"/api/users?{query}").status == 200
    assert admin_api.form("POST", "/api/user/dora", {"add-project": "chem"}).text == "Add Project Success"
    assert admin_api.get("/api/users?not-just-user=true").json[-1]["projects"] == ["bio", "chem"]
    assert admin_api.delete("/api/users?username=dora").status == 200
