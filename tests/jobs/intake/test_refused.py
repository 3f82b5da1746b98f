"""The intake log: a call that was authorised and refused is answered as ever, and kept."""

import json
import random
import re
import time
from collections import Counter
from functools import partial
from typing import Any

import pytest
from django.db import OperationalError, connection
from django.db.models import Count, Max
from django.test.utils import CaptureQueriesContext

from accounts.models import User
from ccbackend.waiting import WouldWait
from jobs import querysets
from jobs.intake import refused
from jobs.intake.refused import MOST_BYTES, kind_of
from jobs.models import Job, RefusedCall
from tests.support.clients import AppClient, at_once, start_body
from tests.support.factories import START, token_for

pytestmark = [pytest.mark.django_db, pytest.mark.usefixtures("cluster")]

FAR = [{"hostname": "x99"}]
STOP = {"jobId": 77, "stopTime": START + 60, "jobState": "completed"}
NOT_FOUND = "finding job failed: no job with jobId 77 that started by"


@pytest.mark.parametrize(
    ("path", "body", "kept", "reason"),
    [
        ("jobs/start_job/", start_body(subCluster=None, resources=FAR), ("start_job", "", 400), "no subcluster found"),
        ("jobs/start_job", b"{no json", ("start_job", "", 400), "parsing request body failed: not JSON"),
        ("jobs/start_job/", b"", ("start_job", "", 400), "expected a JSON object, got an empty body"),
        ("jobs/stop_job/", STOP, ("stop_job", "", 422), NOT_FOUND),
        ("jobs/stop_job/", STOP | {"jobState": "preempted+"}, ("stop_job", "", 422), NOT_FOUND),
        ("jobs/stop_job/4711", {"stopTime": START}, ("stop_job", "4711", 422), "no job with database id 4711"),
        ("jobs/stop_job/x", {"stopTime": START}, ("stop_job", "x", 400), "integer expected in path for id"),
        ("jobs/tag_job/4711/", [{"type": "a", "name": "b"}], ("tag_job", "4711", 404), "no job with database id"),
        ("nodestate/", {"cluster": "elsewhere"}, ("nodestate", "", 400), "no such cluster: elsewhere"),
    ],
)
def test_a_refused_call_is_kept_as_it_came(
    anonymous: AppClient, bench: User, path: str, body: Any, kept: tuple[str, str, int], reason: str
) -> None:
    before = int(time.time())
    api = anonymous.as_(token_for(bench, name="hooks on mgmt1"))

    answer = api.post(f"/api/{path}", body)

    (call,) = RefusedCall.objects.all()
    assert (call.operation, call.row_id, call.status) == kept
    assert answer.status == call.status
    assert answer.error == call.reason
    assert reason in call.reason
    assert call.body == (body.decode() if isinstance(body, bytes) else json.dumps(body))
    assert (call.user, call.address, call.is_open, call.is_cut) == ("bench", "127.0.0.1", True, False)
    assert call.token.startswith("ccb_")
    assert call.token.endswith("(hooks on mgmt1)")
    assert before <= call.received_at <= time.time()


def test_what_loses_nothing_is_not_kept(api: AppClient, anonymous: AppClient, alice: User) -> None:
    api.started()
    row_id = api.started(jobId=2)
    assert api.start().status == 422  # identical
    end = {"stopTime": START + 60, "jobState": "completed"}
    assert [api.stop(jobId=1001, **end).status for _ in range(2)] == [200, 422]
    assert [api.post(f"/api/jobs/stop_job/{row_id}", end).status for _ in range(2)] == [200, 422]
    assert anonymous.start(resources=FAR).status == 401
    assert anonymous.as_(token_for(alice)).start(resources=FAR).status == 403
    assert api.get("/api/jobs/?state=odd").status == 400
    assert api.get("/api/jobs/4711").status == 422
    assert api.delete("/api/jobs/delete_job/4711").status == 422
    assert api.delete("/api/jobs/tag_job/4711", [{"type": "a", "name": "b"}]).status == 404
    assert RefusedCall.objects.count() == 0


def test_a_start_that_another_run_is_in_the_way_of_is_kept(api: AppClient) -> None:
    """It may be a run of its own that the window takes for the other one."""
    api.started(startTime=START)
    assert api.start(startTime=START + 5).status == 422
    assert json.loads(RefusedCall.objects.get().body)["startTime"] == START + 5


def test_refused_lines_of_many_calls_in_one_are_kept(api: AppClient) -> None:
    lines: list[Any] = [
        {"operation": "start_job", "body": start_body()},
        {"operation": "start_job", "body": start_body()},  # known
        {"operation": "start_job", "body": start_body(jobId=2, numNodes=3)},
        {"operation": "stop_job", "id": 4711, "body": {"stopTime": START}},
        {"operation": "tag_job", "id": 4712, "body": [{"type": "a", "name": "b"}]},
        {"operation": "scancel", "body": {}},
        "no call",
    ]
    answer = api.post("/api/jobs/events/", "\n".join(map(json.dumps, lines)).encode())

    assert [json.loads(line)["status"] for line in answer.body.splitlines()] == [201, 422, 400, 422, 404, 400, 400]
    calls = RefusedCall.objects.order_by("pk")
    assert list(calls.values_list("operation", "row_id", "status")) == [
        ("start_job", "", 400),
        ("stop_job", "4711", 422),
        ("tag_job", "4712", 404),
        ("events", "", 400),
        ("events", "", 400),
    ]
    assert [json.loads(body) for body in calls.values_list("body", flat=True)] == [
        start_body(jobId=2, numNodes=3),
        {"stopTime": START},
        [{"type": "a", "name": "b"}],
        *lines[5:],
    ]


def test_many_calls_in_one_that_cannot_be_read_leave_their_reason(api: AppClient) -> None:
    assert api.post("/api/jobs/events/", b"no gzip", headers={"Content-Encoding": "gzip"}).status == 400
    call = RefusedCall.objects.get()
    assert (call.operation, call.body) == ("events", "")
    assert "not gzip" in call.reason


@pytest.mark.parametrize(
    ("sent", "kept", "is_cut"),
    [
        (b"[\0\xff]", "[\N{REPLACEMENT CHARACTER}]", False),
        (b"[" * MOST_BYTES, "[" * MOST_BYTES, False),
        (b"[" * MOST_BYTES + b"]", "[" * MOST_BYTES, True),
    ],
    ids=["no text", "64 kB", "more"],
)
def test_a_body_is_kept_up_to_64_kb(api: AppClient, sent: bytes, kept: str, is_cut: bool) -> None:
    assert api.post("/api/jobs/start_job/", sent).status == 400
    call = RefusedCall.objects.get()
    assert (call.body, call.is_cut) == (kept, is_cut)


def test_a_call_that_cannot_be_kept_is_answered_as_ever(api: AppClient, caplog: pytest.LogCaptureFixture) -> None:
    def fail(execute: Any, sql: str, params: Any, many: bool, context: Any) -> Any:
        if "jobs_refusedcall" in sql:
            raise OperationalError("the disk is full")
        return execute(sql, params, many, context)

    with connection.execute_wrapper(fail):
        answer = api.start(numNodes=2)
    assert (answer.status, answer.error) == (400, "len(resources) does not equal numNodes (1 vs 2)")
    assert "1 refused call of bench not kept: the disk is full" in caplog.text


def test_a_call_that_is_not_refused_does_nothing_for_the_log(api: AppClient) -> None:
    with CaptureQueriesContext(
        connection,
    ) as queries:
        api.started()
        assert api.stop(jobId=1001, stopTime=START + 60, jobState="completed").status == 200
    assert [query["sql"] for query in queries if "refused" in query["sql"]] == []


@pytest.mark.parametrize(
    ("reason", "kind"),
    [
        (
            "no subcluster found for cluster fritz and host 'f0123'",
            "no subcluster found for cluster fritz and host 'f…'",
        ),
        (
            "field 'startTime': expected a number above 0, got -17",
            "field 'startTime': expected a number above …, got …",
        ),
        (f"{NOT_FOUND} {START}", "finding job failed: no job with jobId … that started by …"),
    ],
)
def test_reasons_are_alike_that_differ_in_numbers_and_values_alone(reason: str, kind: str) -> None:
    assert kind_of(reason) == kind


def add(number: int, *, received_at: int) -> None:
    """Keep some calls."""
    call = {"user": "bench", "address": "::1", "operation": "start_job", "status": 400, "kind": "k", "reason": "r"}
    RefusedCall.objects.bulk_create([RefusedCall(received_at=received_at, **call) for _ in range(number)])


def test_old_calls_are_deleted(settings: Any) -> None:
    settings.INTAKE_LOG_DAYS = 3
    now = int(time.time())
    add(4, received_at=now - 3 * 86_400 - 60)
    add(2, received_at=now - 3 * 86_400 + 60)
    assert RefusedCall.objects.drop_old() == 4
    assert RefusedCall.objects.count() == 2
    assert RefusedCall.objects.drop_old() == 0


def test_the_oldest_calls_make_way_for_new_ones(api: AppClient, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(querysets, "MOST_REFUSED", 5)
    monkeypatch.setattr(refused, "_DROP_EVERY", 2)
    for job_id in range(1, 20):
        api.start(jobId=job_id, numNodes=2)
        assert RefusedCall.objects.count() <= 6
    jobs = [json.loads(body)["jobId"] for body in RefusedCall.objects.values_list("body", flat=True)]
    assert {15, 16, 17, 18, 19} <= set(jobs)


def test_the_groups_are_read_from_their_index_alone() -> None:
    if connection.vendor == "postgresql":
        with connection.cursor() as cursor:
            cursor.execute("SET LOCAL enable_seqscan = off")  # for a table that is not as small as this one
    groups = RefusedCall.objects.open().values("operation", "kind", "token", "user").annotate(Count("pk"), Max("pk"))
    one = (
        RefusedCall.objects.open().filter(operation="o", kind="k", token="t", user="u").order_by("-received_at", "-pk")
    )
    assert re.search("(COVERING INDEX|Index Only Scan using) jobs_refused_alike", groups.explain())
    assert "jobs_refused_alike" in one.explain()
    assert "TEMP B-TREE" not in one.explain()
    assert "Sort" not in one.explain()


@pytest.mark.parametrize("statement", ["INSERT", "DELETE"])
def test_a_call_that_would_wait_for_the_log_goes_to_a_thread_and_is_kept_once(
    api: AppClient, monkeypatch: pytest.MonkeyPatch, statement: str
) -> None:
    monkeypatch.setattr(refused, "_DROP_EVERY", 1)

    def wait(execute: Any, sql: str, params: Any, many: bool, context: Any) -> Any:
        if sql.startswith(statement) and "jobs_refusedcall" in sql:
            raise WouldWait
        return execute(sql, params, many, context)

    with connection.execute_wrapper(wait), pytest.raises(WouldWait):  # as in the main loop
        api.start(numNodes=2)
    assert api.start(numNodes=2).status == 400
    assert RefusedCall.objects.count() == 1


@pytest.mark.django_db(transaction=True)
def test_under_load_what_was_received_is_stored_or_kept(api: AppClient) -> None:
    """Four clients at once, singly and many in one; each call is in the table of jobs, known, or kept."""
    counts = sum(at_once([partial(work, api, number) for number in range(4)]), Counter[str]())
    jobs, ended, kept = Job.objects.count(), Job.objects.exclude(duration=0).count(), RefusedCall.objects.count()
    assert jobs + ended + counts["known"] + kept == counts["received"] == 4 * CALLS
    assert min(jobs, ended, counts["known"], kept) > 10, counts


CALLS = 150


def work(client: AppClient, number: int) -> Counter[str]:
    """Send starts and stops, of which some are refused, and count them; those in lines are half of all."""
    rng, counts = random.Random(number), Counter[str]()
    lines: list[tuple[str, dict[str, Any]]] = []
    begun: list[int] = []
    for call in range(CALLS):
        job_id = 1 + number * CALLS + call
        if begun and rng.random() < 0.3:
            job_id = rng.choice(begun)
            name, body = "stop_job", {"jobId": job_id, "stopTime": START + 60, "jobState": "completed"}
        else:
            wrong = {"numNodes": 2} if rng.random() < 0.3 else {}
            job_id = rng.choice(begun) if begun and rng.random() < 0.2 else job_id
            begun.append(job_id)
            name, body = "start_job", start_body(jobId=job_id, startTime=START, **wrong)
        counts["received"] += 1
        if call % 2:
            lines.append((name, body))
        else:
            answer = client.post(f"/api/jobs/{name}/", body)
            counts["known"] += is_known(answer.status, answer.text)
        if len(lines) == 10 or call == CALLS - 1:
            sent = "\n".join(json.dumps({"operation": name, "body": body}) for name, body in lines)
            answers = client.post("/api/jobs/events/", sent.encode()).body.splitlines()
            counts["known"] += sum(is_known(json.loads(line)["status"], line.decode()) for line in answers)
            lines.clear()
    connection.close()
    return counts


def is_known(status: int, text: str) -> bool:
    """Return whether an answer says that the call was carried out before."""
    assert status in {200, 201, 400, 422}, text
    return status == 422 and ("already exists" in text or "is not running" in text)
