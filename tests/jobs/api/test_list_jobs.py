"""GET jobs/: filters, pages, order, and what a job looks like in a list."""

import json
import time
import tracemalloc
from pathlib import Path
from typing import Any

import pytest
from django.db import connection
from django.test.utils import CaptureQueriesContext

from accounts.models import User
from archive.format.layout import job_folder
from ccbackend.fastpath.heads import Content
from jobs.api.views import JobViewSet
from jobs.models import Job, JobTag
from jobs.rows import encoding
from jobs.rows.select import select_rows
from tests.support.clients import Answer, AppClient
from tests.support.factories import START, STATISTICS, JobFactory, TagFactory, token_for

PATH = "/api/jobs/"
STOPPED_AS = (
    *("node_fail", "NODE_FAIL by root", "NODE+", "boot_fail", "PENDING", "failed"),
    *("CANCELLED by 1022", "out_of_memory"),
)
COLONS = [("a:b", "c"), ("a", "b:c")]


@pytest.fixture(params=["direct", "by the view"])
def api(
    request: pytest.FixtureRequest, anonymous: AppClient, bench: User, monkeypatch: pytest.MonkeyPatch
) -> AppClient:
    """Return a client with a token of role api, whose lists have a view, or none after the first one."""
    client = anonymous.as_(token_for(bench))
    if request.param == "direct":
        assert client.get(f"{PATH}?items-per-page=0").status == 200
    else:
        monkeypatch.setattr("jobs.api.direct.answer_list", lambda call, pages: None)
    return client


def ids(answer: Answer) -> list[int]:
    """Return the database ids of a list, in order."""
    assert answer.status == 200, answer
    return [job["id"] for job in answer.json["jobs"]]


def test_an_empty_list_has_no_items(api: AppClient) -> None:
    assert api.get(PATH).body == b'{"jobs":[],"items":0,"page":1}\n'


def test_a_running_job_as_job_meta_has_no_zero_or_empty_keys(api: AppClient) -> None:
    job = JobFactory.create(partition="", walltime=0, start_time=int(time.time()) - 100)
    (found,) = api.get(PATH).json["jobs"]
    assert 100 <= found.pop("duration") <= 110
    assert list(found.items()) == [
        ("id", job.pk),
        ("jobId", job.job_id),
        ("user", "alice"),
        ("project", "bio"),
        ("cluster", "testcluster"),
        ("subCluster", "main"),
        ("numNodes", 1),
        ("exclusive", 1),
        ("monitoringStatus", 1),
        ("jobState", "running"),
        ("resources", [{"hostname": "n01"}]),
        ("metaData", None),
        ("concurrentJobs", {"items": None, "count": 0}),
        ("startTime", job.start_time),
        ("statistics", None),
    ]


def test_a_monitoring_status_of_0_is_shown(api: AppClient) -> None:
    JobFactory.create(monitoring_status=0)
    assert api.get(PATH).json["jobs"][0]["monitoringStatus"] == 0


def test_a_job_that_starts_in_the_future_has_duration_0(api: AppClient) -> None:
    JobFactory.create(start_time=int(time.time()) + 1000)
    assert api.get(PATH).json["jobs"][0]["duration"] == 0


def test_an_archived_job_shows_its_statistics_and_a_waiting_one_null(api: AppClient) -> None:
    JobFactory.create(archived=True, start_time=START + 2)
    JobFactory.create(archived=True, statistics="{}", start_time=START + 1)
    JobFactory.create(finished=True, start_time=START)
    assert [job["statistics"] for job in api.get(PATH).json["jobs"]] == [STATISTICS, {}, None]


def test_tags_come_in_the_order_of_their_ids(api: AppClient) -> None:
    tags = [TagFactory.create(type=type_, name="x") for type_ in ("z", "a", "m")]
    JobFactory.create(tags=[tags[2], tags[0], tags[1]])
    found = api.get(PATH).json["jobs"][0]["tags"]
    assert found == [{"id": tag.pk, "type": tag.type, "name": "x"} for tag in tags]


def test_the_newest_start_comes_first_and_of_equal_starts_the_highest_id(api: AppClient) -> None:
    first, second, third = (JobFactory.create(start_time=start) for start in (START + 5, START + 9, START + 5))
    assert ids(api.get(PATH)) == [second.pk, third.pk, first.pk]


@pytest.mark.parametrize("query", ["", "?with-metadata=false"])
def test_metadata_is_null_unless_asked_for(api: AppClient, query: str) -> None:
    JobFactory.create()
    assert api.get(f"{PATH}{query}").json["jobs"][0]["metaData"] is None


def test_metadata_comes_when_asked_for(api: AppClient) -> None:
    JobFactory.create(start_time=START)
    JobFactory.create(meta_data=None, start_time=START - 1)
    found = api.get(f"{PATH}?with-metadata=true").json["jobs"]
    assert [job["metaData"] for job in found] == [{"jobName": "a job"}, None]


def test_states_are_joined_by_or(api: AppClient) -> None:
    jobs = {state: JobFactory.create(job_state=state) for state in ("running", "completed", "failed")}
    assert ids(api.get(f"{PATH}?state=running")) == [jobs["running"].pk]
    assert set(ids(api.get(f"{PATH}?state=completed&state=failed"))) == {jobs["completed"].pk, jobs["failed"].pk}
    assert ids(api.get(f"{PATH}?state=timeout")) == []


@pytest.mark.parametrize(
    ("query", "change"),
    [
        ("cluster=other", {"cluster": "other"}),
        ("project=chem", {"project": "chem"}),
        ("user=zoe", {"user": "zoe"}),
        ("job-id=77", {"job_id": 77}),
        ("sub-cluster=gpu", {"sub_cluster": "gpu"}),
        ("partition=big", {"partition": "big"}),
    ],
)
def test_each_filter_finds_its_jobs_alone(api: AppClient, query: str, change: dict[str, object]) -> None:
    JobFactory.create()
    wanted = JobFactory.create(**change)
    assert ids(api.get(f"{PATH}?{query}")) == [wanted.pk]
    assert ids(api.get(f"{PATH}?{query}&state=failed")) == []


@pytest.mark.parametrize(
    ("query", "found"),
    [
        ("state=Node_Fail", {"node_fail", "NODE_FAIL by root", "NODE+"}),
        ("state=node_f%2B", {"node_fail", "NODE_FAIL by root", "NODE+"}),
        ("state=pending&state=RUNNING", {"pending", "running"}),
        ("state=pending&state=boot_fail&state=cancelled", {"pending", "boot_fail", "CANCELLED by 1022"}),
        ("state=failed", {"failed", "node_fail", "NODE_FAIL by root", "NODE+", "boot_fail", "pending"}),
        ("state=failed&state=node_fail", {"failed", "node_fail", "NODE_FAIL by root", "NODE+", "boot_fail", "pending"}),
        ("state=CANCELLED+by+1022", {"CANCELLED by 1022"}),
        ("state=OUT_OF_ME%2B", {"out_of_memory"}),
        ("state=deadline", set()),
    ],
)
@pytest.mark.parametrize("more", ["", "&user=alice&items-per-page=-1"])
def test_a_state_is_found_by_every_word_that_a_stop_takes(
    api: AppClient, query: str, found: set[str], more: str
) -> None:
    assert {state_sent(job) for job in stopped(api, query + more)} == found


def stopped(api: AppClient, query: str) -> list[dict[str, Any]]:
    """Stop jobs with words of different schedulers, and return those that a query finds."""
    for number, word in enumerate(STOPPED_AS, start=1):
        JobFactory.create(job_id=number, meta_data=None if number % 2 else '{"jobName":"node_fail"}')
        assert api.stop(jobId=number, stopTime=START + 999, jobState=word).status == 200
    JobFactory.create()
    JobFactory.create(job_state="failed", meta_data='{"schedulerState":null,"jobName":"node_fail"}')
    return api.get(f"{PATH}?with-metadata=true&{query}").json["jobs"]  # type: ignore[no-any-return]


def state_sent(job: dict[str, Any]) -> str:
    """Return the word that a job was stopped with."""
    return str((job["metaData"] or {}).get("schedulerState") or job["jobState"])


def test_a_tag_is_found_wherever_its_colons_are(api: AppClient) -> None:
    wanted = {JobFactory.create(tags=[TagFactory.create(type=type_, name=name)]).pk for type_, name in COLONS}
    JobFactory.create(tags=[TagFactory.create(type="a", name="b")])
    assert set(ids(api.get(f"{PATH}?tag=a:b:c"))) == wanted
    assert ids(api.get(f"{PATH}?tag={':' * 3000}")) == []


def test_a_tag_is_found_by_type_and_name_a_colon_in_the_name_included(api: AppClient) -> None:
    JobFactory.create(tags=[TagFactory.create(type="other", name="b:c")])
    wanted = JobFactory.create(tags=[TagFactory.create(type="a", name="b:c")])
    assert ids(api.get(f"{PATH}?tag=a:b%3Ac")) == [wanted.pk]


def test_the_range_of_start_times_includes_both_ends(api: AppClient) -> None:
    jobs = [JobFactory.create(start_time=START + second) for second in range(5)]
    assert ids(api.get(f"{PATH}?start-time={START + 1}-{START + 3}")) == [job.pk for job in reversed(jobs[1:4])]


@pytest.mark.parametrize("many", [1000, 5], ids=["near", "far"])
def test_pages_are_25_jobs_by_default_and_items_counts_this_page(
    api: AppClient, many: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    jobs = [JobFactory.create(start_time=START + number) for number in range(27)]
    first, second = api.get(PATH).json, api.get(f"{PATH}?page=2").json
    assert (len(first["jobs"]), first["items"], first["page"]) == (25, 25, 1)
    assert ([job["id"] for job in second["jobs"]], second["items"], second["page"]) == (
        [jobs[1].pk, jobs[0].pk],
        2,
        2,
    )
    monkeypatch.setattr("jobs.rows.select._MANY", many)
    assert ids(api.get(f"{PATH}?items-per-page=10&page=3")) == [job.pk for job in reversed(jobs[:7])]
    assert api.get(f"{PATH}?items-per-page=10&page=4").json == {"jobs": [], "items": 0, "page": 4}


def test_0_items_per_page_is_an_empty_list(api: AppClient) -> None:
    JobFactory.create()
    assert api.get(f"{PATH}?items-per-page=0").json == {"jobs": [], "items": 0, "page": 1}


@pytest.mark.parametrize("size", ["-1", "9999999", "10000000", "9223372036854775807"])
def test_minus_1_and_very_large_pages_hold_all_jobs(api: AppClient, size: str) -> None:
    for _ in range(30):
        JobFactory.create()
    answer = api.get(f"{PATH}?items-per-page={size}")
    assert (len(ids(answer)), answer.json["items"]) == (30, 30)
    assert ids(api.get(f"{PATH}?items-per-page={size}&page=2")) == []


def _bulk(count: int) -> None:
    """Make many jobs quickly, with a script of 2 kB each."""
    meta = json.dumps({"jobScript": "x" * 2000})
    Job.objects.bulk_create(
        [JobFactory.build(start_time=START + number, meta_data=meta) for number in range(count)], batch_size=500
    )


def test_a_list_longer_than_a_part_is_whole_and_in_order(api: AppClient) -> None:
    _bulk(2002)
    jobs = list(Job.objects.order_by("-start_time", "-id").values_list("pk", flat=True))
    for size in (999, 1000, 1001, 2001, -1):
        answer = api.get(f"{PATH}?items-per-page={size}")
        wanted = jobs[: size if size > 0 else None]
        assert ids(answer) == wanted, size
        assert (answer.json["items"], answer.json["page"]) == (len(wanted), 1)


def test_memory_does_not_grow_with_the_list(api: AppClient) -> None:
    _bulk(5000)
    application = api.application
    peaks: list[int] = []

    def streaming(environ: dict[str, object], start_response: object) -> list[bytes]:
        tracemalloc.start()
        for _ in (result := application(environ, start_response)):
            pass
        peaks.append(tracemalloc.get_traced_memory()[1])
        tracemalloc.stop()
        result.close()
        return [b'{"jobs":[],"items":0,"page":1}']

    api.application = streaming
    for size in (2000, -1):
        api.get(f"{PATH}?items-per-page={size}&with-metadata=true")
    assert peaks[1] < 1.3 * peaks[0], "the memory grows with the list"


@pytest.mark.parametrize(
    "query",
    [
        "bogus=1",
        "state=foo",
        "state=running&state=",
        "start-time=1700000000-",
        "start-time=-1700000000",
        "start-time=1700000000",
        "start-time=a-b",
        "start-time=1-99999999999999999999",
        "items-per-page=abc",
        "items-per-page=-2",
        "items-per-page=1.5",
        "items-per-page=",
        "items-per-page=99999999999999999999",
        "page=0",
        "page=-1",
        "page=x",
        "with-metadata=1",
        "with-metadata=TRUE",
        "with-metadata=",
        "job-id=x",
        "tag=x",
        "tag=:x",
        "tag=x:",
        "Cluster=x",
    ],
)
def test_a_parameter_that_is_unknown_or_does_not_parse_is_refused_by_name(api: AppClient, query: str) -> None:
    JobFactory.create()
    answer = api.get(f"{PATH}?{query}")
    assert answer.status == 400
    assert query.rpartition("&")[2].partition("=")[0] in answer.error


def test_an_unknown_cluster_is_an_empty_list(api: AppClient) -> None:
    JobFactory.create()
    assert ids(api.get(f"{PATH}?cluster=nope")) == []


@pytest.mark.parametrize("text", ["%00", "a%00b", "%ff%fe", "%ed%a0%80", "'; DROP TABLE jobs_job; --", "%25s", "%"])
def test_no_text_in_a_filter_breaks_the_list(api: AppClient, text: str) -> None:
    JobFactory.create()
    for name in ("cluster", "user", "project", "partition", "sub-cluster"):
        assert ids(api.get(f"{PATH}?{name}={text}")) == []
    assert ids(api.get(f"{PATH}?tag=x{text}:y{text}")) == []


def test_an_unreadable_archive_file_does_not_break_the_list(api: AppClient, archive_root: Path) -> None:
    job = JobFactory.create(archived=True)
    folder = job_folder(archive_root, job.key)
    folder.mkdir(parents=True)
    (folder / "meta.json").write_bytes(b"\x00 cut")
    (folder / "data.json.gz").write_bytes(b"no gzip")
    assert api.get(PATH).json["jobs"][0]["statistics"] == STATISTICS


@pytest.mark.parametrize("path", ["/api/jobs", "/api/jobs?cluster=testcluster"])
def test_the_list_answers_without_the_slash_and_without_a_redirect(api: AppClient, path: str) -> None:
    job = JobFactory.create()
    assert ids(api.get(path)) == [job.pk]


def test_the_partial_list_of_a_changing_table_stays_json(api: AppClient) -> None:
    JobFactory.create(user='quote"', project="ü<&>", partition="tab\t")
    job = api.get(PATH).json["jobs"][0]
    assert (job["user"], job["project"], job["partition"]) == ('quote"', "ü<&>", "tab\t")


def test_a_page_reads_as_each_job_does_alone(api: AppClient) -> None:
    """A page may be written by the database; it must be what jobs.rows.encoding writes, byte for byte."""
    text = "".join(map(chr, range(1, 0x80))) + "\xe9\u2028\U0001f600%s%%d'"
    jobs = [
        JobFactory.create(start_time=2**41),
        JobFactory.create(archived=True, user=text, project=text, cluster=text, sub_cluster=text, partition=text),
        JobFactory.create(finished=True, partition="", meta_data=json.dumps({"jobScript": text, "quote": "'\""})),
        JobFactory.create(
            **dict.fromkeys(("array_job_id", "num_hwthreads", "num_acc", "smt", "walltime", "exclusive"), 2),
            start_time=2**40,
            job_state="out_of_memory",
        ),
    ]
    for tag in (TagFactory.create(type=text[:100], name=text[:100]), TagFactory.create()):
        for job in jobs[1:3]:
            JobTag.objects.create(job=job, tag=tag)
    for with_metadata in (False, True):
        rows = [row for part in select_rows([], with_metadata=with_metadata, limit=None) for row in part]
        answer = api.get(f"{PATH}?with-metadata={str(with_metadata).lower()}")
        assert answer.body == b'{"jobs":[%b],"items":4,"page":1}\n' % encoding.encode_part(rows)


@pytest.mark.parametrize("api", ["direct"], indirect=True)
def test_a_short_list_of_a_known_token_needs_no_view(api: AppClient, monkeypatch: pytest.MonkeyPatch) -> None:
    def no_view(*_: object) -> None:
        raise AssertionError

    monkeypatch.setattr(JobViewSet, "dispatch", no_view)
    job = JobFactory.create()
    assert ids(api.get(f"{PATH}?cluster=testcluster&items-per-page=1000")) == [job.pk]
    assert ids(api.get(f"{PATH}?page=2")) == []


def test_a_nul_character_is_looked_for_as_the_replacement_character(api: AppClient) -> None:
    job = JobFactory.create(user="a\ufffdb")
    JobFactory.create(user="ab")
    assert ids(api.get(f"{PATH}?user=a%00b")) == [job.pk]


@pytest.mark.parametrize("api", ["direct"], indirect=True)
def test_calls_that_share_their_pages_read_a_page_once(api: AppClient, anonymous: AppClient, alice: User) -> None:
    JobFactory.create(user="alice")
    JobFactory.create(user="bob", job_state="failed", duration=1)
    limited = anonymous.as_(token_for(alice, scope="read"))
    assert len(ids(limited.get(PATH))) == 1
    pages: dict[str, bytes] = {}
    for client in (api, limited):
        client.environ["wsgi.input"] = Content()
        client.environ["wsgi.input"].pages = pages
    with CaptureQueriesContext(connection) as queries:
        answers = [api.get(PATH).body for _ in range(3)]
    assert len(queries) == 1
    assert answers == [answers[0]] * 3
    assert len(ids(limited.get(PATH))) == 1
    assert len(ids(api.get(f"{PATH}?state=failed"))) == 1
    assert api.get(f"{PATH}?page=x").status == 400
    assert sorted(pages) == ["", "state=failed"]
