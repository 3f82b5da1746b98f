"""POST jobs/events/: many calls in one, each answered as if it had come alone."""

import gzip
import json
import re
import tracemalloc
from functools import partial
from typing import Any

import pytest
from django.db import OperationalError, connection, connections, transaction
from django.test.utils import CaptureQueriesContext

from accounts.models import User
from jobs.api import events
from jobs.api.events import process, sent_parts
from jobs.exceptions import InvalidJobError
from jobs.history import Actor, of_job, text_of
from jobs.intake.events import MOST, Call, carry_out, is_away
from jobs.models import ArchiveTask, Job, JobTag, NodeState
from tests.support.clients import Answer, AppClient, at_once, start_body
from tests.support.factories import START, JobFactory, TagFactory, token_for

PATHS = {
    "start_job": "jobs/start_job/",
    "stop_job": "jobs/stop_job/",
    "tag_job": "jobs/tag_job/",
    "nodestate": "nodestate/",
}

NODES = {"cluster": "testcluster", "nodes": [{"hostname": "n01", "states": "idle+drain"}]}


def start(job_id: int, **changes: Any) -> dict[str, Any]:
    """Return the event of a start."""
    return {"operation": "start_job", "body": start_body(jobId=job_id, **changes)}


def stop(job_id: int | None = None, row_id: int | None = None, **changes: Any) -> dict[str, Any]:
    """Return the event of a stop, by jobId or by database id."""
    body = {"stopTime": START + 600, "jobState": "completed"} | ({} if job_id is None else {"jobId": job_id}) | changes
    return {"operation": "stop_job", "body": body} | ({} if row_id is None else {"id": row_id})


def tag(row_id: int, name: str = "slow") -> dict[str, Any]:
    """Return the event of a tag."""
    return {"operation": "tag_job", "id": row_id, "body": [{"type": "perf", "name": name}]}


def ndjson(*lines: Any) -> bytes:
    """Return lines of JSON; bytes as they are."""
    return b"\n".join(line if isinstance(line, bytes) else json.dumps(line).encode() for line in lines) + b"\n"


def send(api: AppClient, *lines: Any, **headers: str) -> list[dict[str, Any]]:
    """Send events, packed if there are headers, and return the answer to each line."""
    body = ndjson(*lines)
    answer = api.post("/api/jobs/events/", gzip.compress(body) if headers else body, headers=headers)
    assert answer.status == 200, answer
    assert answer.headers["content-type"] == "application/x-ndjson"
    return [json.loads(line) for line in answer.body.splitlines()]


def alone(api: AppClient, event: dict[str, Any]) -> Answer:
    """Send the single call of an event."""
    row_id = event.get("id", "")
    return api.post(f"/api/{PATHS[event['operation']]}{row_id}", event["body"])


def stored(job: Job) -> list[list[Any]]:
    """Return all that events may change, without the ids that the database assigns; the history of one job."""
    columns = [field.name for field in Job._meta.concrete_fields if not field.primary_key]
    return [
        list(Job.objects.order_by("job_id", "start_time").values_list(*columns)),
        list(JobTag.objects.order_by("job__job_id", "tag__name").values_list("job__job_id", "tag__name")),
        list(NodeState.objects.values_list("hostname", "states")),
        list(ArchiveTask.objects.values_list("edits", flat=True)),
        [text_of(entry) for entry in of_job(job.pk)],
    ]


def without_ids(document: Any) -> str:
    """Return a document as text without the ids that the database has assigned."""
    return re.sub(r"(\"id\": |dbid: )\d+", r"\1N", json.dumps(document))


@pytest.mark.usefixtures("cluster")
def test_each_line_is_answered_and_stored_as_the_single_call_would_have_been(api: AppClient) -> None:
    running = JobFactory.create(tags=[TagFactory.create()])
    ended = JobFactory.create(finished=True)
    lines = [
        start(1),
        start(1),
        stop(1),
        stop(1),
        start(1, startTime=START + 700),
        stop(1, startTime=START + 700, stopTime=START + 800, cluster="testcluster"),
        start(2, user=""),
        start(3, tags=[{"type": "a", "name": "b"}]),
        start(3, tags=[{"type": "a", "name": "b"}]),
        stop(3, jobState="CANCELLED by 7"),
        start(4, startTime=START + 10),
        stop(4),
        stop(4, stopTime=START + 5),
        stop(4, cluster="elsewhere"),
        stop(4, cluster="x" * 300),
        stop(99),
        stop(5, jobState="no state"),
        stop(row_id=running.pk, jobState="node_fail", stopTime=START + 60_000),
        stop(row_id=ended.pk),
        stop(row_id=987_654_321),
        tag(ended.pk),
        tag(ended.pk),
        tag(987_654_321),
        {"operation": "nodestate", "body": NODES},
        {"operation": "nodestate", "body": NODES | {"cluster": "unknown"}},
        {"operation": "start_job", "body": {"JOBID": "6", "User": "ada"} | start_body(jobId=None, user=None)},
        {"operation": "start_job", "body": {"jobID": 7, "wrong": 1}},
        {"operation": "stop_job", "body": {"jobId": 7}},
    ]
    singles: list[tuple[int, str]] = []
    with transaction.atomic():
        singles += [(answer.status, without_ids(answer.json)) for answer in (alone(api, line) for line in lines)]
        expected = stored(ended)
        transaction.set_rollback(True)

    outcomes = send(api, *lines)

    assert [outcome["line"] for outcome in outcomes] == list(range(1, len(lines) + 1))
    assert [outcome["operation"] for outcome in outcomes] == [line["operation"] for line in lines]
    for line, outcome, single in zip(lines, outcomes, singles, strict=True):
        assert (outcome["status"], without_ids(outcome["body"])) == single, line
    assert stored(ended) == expected
    assert {status for status, _ in singles} == {200, 201, 400, 404, 422}


@pytest.mark.usefixtures("cluster")
def test_sent_again_the_same_lines_change_nothing_and_are_answered_as_repeated(api: AppClient) -> None:
    lines = [start(1), start(2, tags=[{"type": "a", "name": "b"}]), stop(1), {"operation": "nodestate", "body": NODES}]
    assert [outcome["status"] for outcome in send(api, *lines)] == [201, 201, 200, 200]
    stored = list(Job.objects.order_by("pk").values())

    again = send(api, *lines)

    assert [outcome["status"] for outcome in again] == [422, 422, 422, 200]
    assert "already exists" in again[0]["body"]["error"]
    assert "is not running" in again[2]["body"]["error"]
    assert list(Job.objects.order_by("pk").values()) == stored


@pytest.mark.usefixtures("cluster")
def test_many_lines_take_few_statements_and_transactions(api: AppClient) -> None:
    number = 2 * MOST
    with CaptureQueriesContext(connection) as queries:
        outcomes = send(api, *(line for job_id in range(1, number + 1) for line in (start(job_id), stop(job_id))))
    assert [outcome["status"] for outcome in outcomes] == [201, 200] * number
    assert Job.objects.awaiting_first_archive().count() == number
    statements = [query["sql"].split()[0] for query in queries]
    assert len(statements) < number / 10


WRONG: list[tuple[Any, str, str]] = [
    (b"not json", "", 'expected {"operation": ..., "body": ...}'),
    (b"[]", "", "got array"),
    (b'{"operation": "start_job"', "", "truncated"),
    (b'{"body": {}}', "", "operation"),
    (b'{"operation": "\xff", "body": {}}', "", "utf-8"),
    (b'{"operation": "start_job", "body": ' + b"[" * 9999 + b"]" * 9999 + b"}", "", "expected"),
    ({"operation": "delete_job", "body": {}}, "delete_job", "expected one of start_job, stop_job, tag_job, nodestate"),
    ({"operation": "x" * 99, "body": {}}, "x" * 60, "expected one of"),
    ({"operation": "start_job", "body": {}, "more": 1}, "", "unknown field more"),
    ({"operation": "start_job"}, "start_job", "got an empty body"),
    ({"operation": "start_job", "id": 1, "body": start_body()}, "start_job", "'id': expected none"),
    ({"operation": "nodestate", "id": 1, "body": NODES}, "nodestate", "'id': expected none"),
    ({"operation": "tag_job", "body": []}, "tag_job", "'id' is required"),
    ({"operation": "stop_job", "id": "1", "body": {}}, "", "int"),
    ({"operation": "stop_job", "body": {"stopTime": START}}, "stop_job", "'jobId' is required"),
    ({"operation": "tag_job", "id": 1, "body": {}}, "tag_job", "array"),
]


@pytest.mark.usefixtures("cluster")
@pytest.mark.parametrize(("line", "operation", "reason"), WRONG)
def test_a_wrong_line_is_answered_400_and_leaves_the_others_alone(
    api: AppClient, line: Any, operation: str, reason: str
) -> None:
    outcomes = send(api, start(1), b"", line, start(2))
    assert [(outcome["line"], outcome["status"]) for outcome in outcomes] == [(1, 201), (3, 400), (4, 201)]
    assert outcomes[1]["operation"] == operation
    assert reason in outcomes[1]["body"]["error"]
    assert outcomes[1]["body"]["status"] == "Bad Request"


@pytest.mark.usefixtures("cluster")
def test_a_line_that_is_too_long_is_answered_400(api: AppClient, settings: Any) -> None:
    settings.DATA_UPLOAD_MAX_MEMORY_SIZE = 300_000
    huge = start(2, metaData={"jobScript": "x" * 400_000})
    outcomes = send(api, start(1), huge, start(3), **{"Content-Encoding": "gzip"})
    assert [outcome["status"] for outcome in outcomes] == [201, 400, 201]
    assert "line too long" in outcomes[1]["body"]["error"]


@pytest.mark.usefixtures("cluster")
def test_what_the_database_refuses_fails_alone(api: AppClient) -> None:
    """A trigger stands for whatever the checks before do not foresee."""
    with connection.cursor() as cursor:
        for statement in REFUSE_13[connection.vendor]:
            cursor.execute(statement)
    outcomes = send(api, start(12), start(13), stop(12), start(14))
    assert [outcome["status"] for outcome in outcomes] == [201, 500, 200, 201]
    assert outcomes[1]["body"] == {"status": "Internal Server Error", "error": "internal error, see the server's log"}
    assert set(Job.objects.values_list("job_id", "job_state")) == {(12, "completed"), (14, "running")}


REFUSE_13 = {
    "sqlite": [
        "CREATE TRIGGER refuse BEFORE INSERT ON jobs_job WHEN NEW.job_id = 13 BEGIN SELECT RAISE(ABORT, 'no'); END"
    ],
    "postgresql": [
        "CREATE FUNCTION refuse() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN RAISE unique_violation; END $$",
        "CREATE TRIGGER refuse BEFORE INSERT ON jobs_job FOR EACH ROW WHEN (NEW.job_id = 13) EXECUTE FUNCTION refuse()",
    ],
}


@pytest.mark.usefixtures("cluster", "db")
def test_once_the_database_is_away_no_later_call_is_tried() -> None:
    done: list[int] = []

    def locked() -> None:
        raise OperationalError("database is locked")

    calls = [Call(1, partial(done.append, 1)), Call(2, locked), Call(3, partial(done.append, 3))]
    carry_out(calls)
    assert [is_away(call.result) for call in calls] == [False, True, True]
    assert done[-1:] == [1]


@pytest.mark.usefixtures("cluster")
def test_packed_lines_are_taken_whole_or_packed_one_by_one(api: AppClient) -> None:
    files = b"".join(gzip.compress(ndjson(start(job_id))) for job_id in range(1, 40))
    answer = api.post("/api/jobs/events/", files, headers={"Content-Encoding": "gzip"})
    assert answer.body.count(b'"status":201') == 39
    assert send(api, start(40), **{"Content-Encoding": "GZIP"})[0]["status"] == 201
    assert Job.objects.count() == 40


PACKED = gzip.compress(b"".join(ndjson(start(job_id, project=f"{job_id**9}")) for job_id in range(1, 200)))


@pytest.mark.usefixtures("cluster")
@pytest.mark.parametrize(
    ("body", "encoding", "reason"),
    [
        (b"no gzip", "gzip", "not gzip"),
        (gzip.compress(ndjson(start(1)))[:20], "gzip", "ends too early"),
        (ndjson(start(1)), "br", "Content-Encoding: expected gzip or none, got 'br'"),
    ],
)
def test_a_body_that_cannot_be_unpacked_is_refused(api: AppClient, body: bytes, encoding: str, reason: str) -> None:
    answer = api.post("/api/jobs/events/", body, headers={"Content-Encoding": encoding})
    assert (answer.status, Job.objects.count()) == (400, 0)
    assert reason in answer.error


@pytest.mark.usefixtures("cluster")
def test_what_can_be_unpacked_before_an_error_is_carried_out(api: AppClient) -> None:
    answer = api.post("/api/jobs/events/", PACKED[:-20], headers={"Content-Encoding": "gzip"})
    *stored, last = [json.loads(line) for line in answer.body.splitlines()]
    assert {outcome["status"] for outcome in stored} == {201}
    assert 0 < Job.objects.count() == len(stored) < 199
    assert (last["line"], last["status"]) == (len(stored) + 1, 400)
    assert "ends too early" in last["body"]["error"]


@pytest.mark.parametrize("filler", [b"\0", b"\n", b"x\n"])
def test_a_body_that_unpacks_to_very_much_costs_little_memory_and_ends(
    db: None, settings: Any, monkeypatch: pytest.MonkeyPatch, filler: bytes
) -> None:
    settings.DATA_UPLOAD_MAX_MEMORY_SIZE = 1 << 20
    monkeypatch.setattr(events, "MOST_UNPACKED", 8 << 20)
    bomb = gzip.compress(filler * ((16 << 20) // len(filler)))
    failed: Exception | None = None
    tracemalloc.start()
    try:
        for outcome in process(sent_parts(bomb, "gzip"), actor=Actor(1), most_lines=2000):
            failed = outcome.error
    except InvalidJobError as error:
        failed = error
    finally:
        peak = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
    assert str(failed).startswith("too many lines" if b"\n" in filler else "the unpacked body is too large")
    assert peak < 5 << 20


def test_only_callers_with_the_role_api_may_send_events(api: AppClient, alice: User) -> None:
    assert api.post("/api/jobs/events/", ndjson(start(1)), token=None).status == 401
    assert api.as_(token_for(alice)).post("/api/jobs/events/", ndjson(start(1))).status == 403
    assert api.get("/api/jobs/events/").status in (400, 404, 405)
    assert not Job.objects.exists()


def test_no_lines_are_no_error(api: AppClient) -> None:
    assert send(api, b"\n \n") == []


@pytest.mark.usefixtures("cluster")
def test_large_jobs_are_answered_whole(api: AppClient) -> None:
    resources = [{"hostname": "n01", "configuration": "x" * 100_000}]
    scripts = {"jobScript": "y" * 100_000}
    job = JobFactory.create(resources=json.dumps(resources), meta_data=json.dumps(scripts), start_time=START)
    stopped, tagged = send(api, stop(job.job_id), tag(job.pk))
    assert stopped["body"]["resources"] == tagged["body"]["resources"] == resources
    assert stopped["body"]["metaData"] is None
    assert tagged["body"]["metaData"] == scripts


@pytest.mark.usefixtures("cluster")
def test_tags_are_recorded_with_the_token_and_wait_for_the_worker(api: AppClient) -> None:
    job = JobFactory.create(archived=True)
    send(api, tag(job.pk))
    assert "perf:slow" in text_of(of_job(job.pk).get())
    assert ArchiveTask.objects.get().edits == 1


@pytest.mark.django_db(transaction=True)
@pytest.mark.usefixtures("cluster")
def test_calls_with_the_same_jobs_in_opposite_order_carry_each_out_once(api: AppClient) -> None:
    """Their transactions may lock each other's jobs; PostgreSQL then ends one, which is done call by call."""

    def in_thread(lines: list[Any]) -> list[dict[str, Any]]:
        try:
            return send(api, *lines)
        finally:
            connections.close_all()

    numbers = range(1, 41)
    for event, expected in ((start, [201, 422]), (stop, [200, 422])):
        lines = [event(job_id) for job_id in numbers]
        forward, backward = at_once([partial(in_thread, lines), partial(in_thread, lines[::-1])])
        statuses = zip(forward, reversed(backward), strict=True)
        assert {tuple(sorted((one["status"], other["status"]))) for one, other in statuses} == {tuple(expected)}
    assert Job.objects.filter(job_state="completed").count() == len(numbers)


@pytest.mark.django_db(transaction=True)
@pytest.mark.usefixtures("cluster")
def test_a_locked_database_is_a_503_and_nothing_is_changed(api: AppClient, settings: Any) -> None:
    settings.DATABASE_WAIT = 0
    other = connection.copy()
    with connection.cursor() as cursor, other.cursor() as holder:
        if connection.vendor == "postgresql":
            cursor.execute("SET lock_timeout = '20ms'")
            holder.execute("BEGIN")
            holder.execute("LOCK TABLE jobs_job IN EXCLUSIVE MODE")
        else:
            holder.execute("BEGIN IMMEDIATE")
        answer = api.post("/api/jobs/events/", ndjson(start(1), start(2)))
        holder.execute("ROLLBACK")
    other.close()
    connection.close()
    assert answer.status == 503
    assert not Job.objects.exists()
