"""The counts of calls and log-ins: by source and outcome, cheap, bounded, stored beside the calls, and shown."""

import atexit
import time
from collections.abc import Iterator
from typing import Any

import pytest
from django.db import OperationalError, connection
from django.db.models import F
from django.test import Client
from django.test.utils import CaptureQueriesContext

from accounts.models import ApiToken, User
from ccbackend.fastpath import counts
from jobs.health import calls, counting
from jobs.health.counting import OTHERS
from jobs.health.look import Look
from jobs.health.report import State
from jobs.models import CallCount
from jobs.states import CallOutcome
from tests.jobs.health.conftest import Tell
from tests.support.clients import AppClient, start_body
from tests.support.waiting import wait_for

pytestmark = pytest.mark.django_db


def counted() -> dict[tuple[str, str, str, str], int]:
    """Store, and return the calls by source, operation, outcome and reason."""
    counts.tally()
    counting.store()
    keys = ("source", "operation", "outcome", "reason")
    rows = CallCount.objects.values_list(*keys, "calls")
    return {(source, operation, outcome, reason): calls for source, operation, outcome, reason, calls in rows}


@pytest.fixture
def hook(bench: User, anonymous: AppClient, cluster: object) -> tuple[ApiToken, AppClient]:
    """Return a token with a name, and a client that uses it."""
    token, secret = ApiToken.issue(user=bench, name="hooks of alpha")
    return token, anonymous.as_(secret)


def test_calls_are_counted_by_token_operation_and_reason(hook: tuple[ApiToken, AppClient]) -> None:
    token, client = hook
    client.started(jobId=1)
    client.started(jobId=2)
    assert client.start(jobId=1).status == 422
    client.post("/api/jobs/tag_job/4711", [])
    client.post("/api/jobs/tag_job/4712", [])
    client.get("/api/nope")
    lines = b'{"operation": "stop_job", "body": {"jobId": 99, "stopTime": 1}}\n' * 2
    client.post("/api/jobs/events/", lines)
    known = "422 a job with that jobId, cluster and startTime already exists: dbid: … jobid: …"
    assert counted() == {
        (token.prefix, "start_job", "ok", ""): 2,
        (token.prefix, "start_job", "repeat", known): 1,
        (token.prefix, "tag_job", "refused", "404 no job with database id …"): 2,
        (token.prefix, "no_such_path", "refused", "404 no such path: /api/nope, see /api/docs/"): 1,
        (token.prefix, "events", "refused", "422 finding job failed: no job with jobId … that started by …"): 2,
        (token.prefix, "events", "ok", ""): 1,
    }


def test_callers_without_a_valid_token_are_counted_by_its_prefix_or_their_address(
    hook: tuple[ApiToken, AppClient], carol: User, client: Client
) -> None:
    token, api = hook
    assert api.get("/api/users/").status == 403
    token.revoke()
    api.as_(api.token).get("/api/jobs/")
    counts.tally()
    counting.forget()
    other, secret = ApiToken.issue(user=token.user, networks=["192.0.2.0/24"])
    from_elsewhere = api.as_(secret)
    from_elsewhere.environ["REMOTE_ADDR"] = "198.51.100.7"
    assert from_elsewhere.get("/api/jobs/").status == 403
    assert from_elsewhere.get("/api/jobs/", token="my password").status == 401
    assert from_elsewhere.get("/api/jobs/", token=None).status == 401
    client.force_login(carol)
    assert client.get("/api/jobs/").status_code == 403
    client.get("/api/docs/")

    found = counted()
    malformed = "401 malformed token: it is cut, mistyped, or not a token of this server"
    assert set(found) == {
        (other.prefix, "list_jobs", "refused", "403 this token may not be used from address …"),
        ("198.51.100.7", "list_jobs", "refused", malformed),
        (
            "198.51.100.7",
            "list_jobs",
            "refused",
            "401 no credentials: send X-Auth-Token or Authorization: Bearer <token>",
        ),
        ("user carol", "list_jobs", "refused", "403 missing role: api"),
    }
    assert "my password" not in str(list(CallCount.objects.values()))


def test_a_hook_that_is_refused_since_yesterday_shows_with_token_user_and_reason(
    tell: Tell, hook: tuple[ApiToken, AppClient]
) -> None:
    token, client = hook
    client.started(jobId=1)
    assert tell("API calls").state == State.OK
    for number in range(2):
        client.start(jobId=10 + number, cluster="beta")
    assert tell("API calls").state == State.OK, "somebody may have mistyped a name"
    client.start(jobId=12, cluster="beta")
    told = tell("API calls")
    assert told.state == State.WARNING

    hours = 22
    CallCount.objects.update(hour=F("hour") - hours, first_at=F("first_at") - hours * 3600 - 60)
    CallCount.objects.update(last_at=F("last_at") - hours * 3600)
    client.start(jobId=13, cluster="beta")
    told = tell("API calls")
    assert told.state == State.ERROR
    assert f"4 of 5 calls of start_job by the token {token.prefix}… (hooks of alpha) of bench were refused" in told.text
    assert "from 127.0.0.1: 400 no such cluster: beta" in told.text
    assert told.since == pytest.approx(time.time() - hours * 3600, abs=100)

    client.started(jobId=14)
    assert tell("API calls").state == State.WARNING, "many of the last calls were refused"
    for number in range(40):
        client.started(jobId=100 + number)
    assert tell("API calls").state == State.OK


def test_the_sentence_about_all_callers_is_short(tell: Tell, anonymous: AppClient) -> None:
    for caller in range(30):
        for number in range(8):
            counting.answered(f"ccb_{caller:08}", "start_job", time.time())
            refuse(number, is_known=True)
    told = tell("API calls")
    assert len(told.text) < 3000
    (summary,) = [text for text in _sentences() if text.startswith("Last 24 h: ")]
    assert "the unknown token ccb_known…: 30 refused (400 no such cluster: xxxxxxx), 30 refused" in summary
    assert ", 150 refused for other reasons; the unknown token" in summary
    assert "8 carried out" in summary
    assert "; and 21 others." in summary


def _sentences() -> list[str]:
    return [finding.sentence for finding in calls.check(Look(int(time.time())))]


def test_a_client_with_an_unknown_token_shows(tell: Tell, anonymous: AppClient) -> None:
    for _ in range(3):
        anonymous.post("/api/jobs/stop_job/", token="eyJhbGciOiJFZERTQSJ9")
    told = tell("API calls")
    assert told.state == State.WARNING
    assert "3 of 3 calls of stop_job by address 127.0.0.1 were refused" in told.text
    assert "create_token" in told.text
    assert "eyJ" not in told.text
    CallCount.objects.all().delete()
    assert tell("API calls").state == State.OK


def test_calls_that_the_server_fails_to_carry_out_show(
    tell: Tell, hook: tuple[ApiToken, AppClient], monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*args: Any, **options: Any) -> None:
        raise OperationalError("no more connections")

    _, client = hook
    with monkeypatch.context() as broken:
        broken.setattr("jobs.intake.services.insert_run", fail)
        assert {client.start(jobId=number).status for number in range(1, 5)} == {503}
    told = tell("API calls")
    assert told.state == State.WARNING
    assert "no more connections" in told.text
    assert "clients have to send these calls again" in told.text
    for number in range(1, 60):
        client.started(jobId=number)
    assert tell("API calls").state == State.OK


def test_refused_log_ins_are_logged_and_counted(
    tell: Tell, bench: User, alice: User, client: Client, caplog: pytest.LogCaptureFixture
) -> None:
    bench.set_password("right and long")
    bench.save()
    for name in ("root\nforged", "alice", "bench"):  # the last has no role for the site
        password = "right and long" if name == "bench" else "secret"
        client.post("/admin/login/", {"username": name, "password": password})
    lines = [record.getMessage() for record in caplog.records if record.name == "jobs.overview.log_in"]
    assert lines[1:] == ["log-in refused from 127.0.0.1 as alice", "log-in refused from 127.0.0.1 as bench"]
    assert "secret" not in caplog.text
    told = tell("log-ins")
    assert told.state == State.OK
    assert "3 log-ins refused" in told.text

    CallCount.objects.update(last_at=F("last_at") - 5)
    for _ in range(7):
        client.post("/admin/login/", {"username": "alice", "password": "secret"})
    told = tell("log-ins")
    assert told.state == State.WARNING
    assert "10 log-ins from 127.0.0.1 were refused in the last 24 h" in told.text
    assert "as alice" in told.text
    CallCount.objects.all().delete()
    assert tell("log-ins").state == State.OK


@pytest.fixture
def few_places(monkeypatch: pytest.MonkeyPatch) -> None:
    """Have little room, in memory and in the database."""
    for name in ("_MOST_KNOWN", "_MOST_UNKNOWN", "_MOST_ROWS_KNOWN", "_MOST_ROWS_UNKNOWN"):
        monkeypatch.setattr(counting, name, 5)


def refuse(number: int, *, is_known: bool) -> None:
    """Count a refused call, of many sources or with many reasons."""
    source = "ccb_known" if is_known else f"192.0.2.{number}"
    reason = "no such cluster: " + "x" * number
    outcome = CallOutcome.REFUSED
    counting.refused(source, "start_job", outcome, reason, address="", status=400, is_known=is_known)


@pytest.mark.parametrize("is_known", [True, False])
def test_the_words_of_clients_are_bounded(few_places: None, is_known: bool) -> None:
    for begin in range(0, 40, 4):  # less than the room in memory at once
        for number in range(begin, begin + 4):
            refuse(number, is_known=is_known)
        counting.store()
    assert CallCount.objects.count() <= 5 + 4
    for number in range(40, 80):
        refuse(number, is_known=is_known)
    refuse(7, is_known=not is_known)
    found = counted()
    assert len(found) <= 5 + 4 + 2
    assert sum(found.values()) == 81, "none is lost"
    assert found["ccb_known" if is_known else OTHERS, "start_job", "refused", ""] > 50


def test_words_that_no_database_takes_are_stored_all_the_same() -> None:
    counting.refused("a\0", "b\udc80", CallOutcome.REFUSED, "\0" * 999, address="\0", status=400, is_known=False)
    assert sum(counted().values()) == 1


def test_counts_of_several_processes_are_added_and_those_of_yesterday_go() -> None:
    counting.answered("ccb_a", "start_job", time.time())
    assert sum(counted().values()) == 1
    CallCount.objects.update(hour=F("hour") - 25)
    counting.answered("ccb_a", "start_job", time.time())
    assert sum(counted().values()) == 1
    counting.answered("ccb_a", "start_job", time.time())
    counting.answered("ccb_a", "start_job", time.time())
    assert sum(counted().values()) == 3
    assert CallCount.objects.count() == 1


def test_a_call_costs_no_query_for_its_count(hook: tuple[ApiToken, AppClient]) -> None:
    _, client = hook
    client.get("/api/jobs/0")
    with CaptureQueriesContext(connection) as queries:
        client.get("/api/jobs/0")
        client.post("/api/jobs/start_job/", start_body(jobId=0))
    assert not any("callcount" in query["sql"] for query in queries)


def test_if_storing_fails_the_counts_are_kept() -> None:
    def fail(*_: Any) -> None:
        raise OperationalError("gone")

    counting.answered("ccb_a", "start_job", time.time())
    with connection.execute_wrapper(fail):
        counting.store()
    counting.answered("ccb_a", "start_job", time.time())
    assert sum(counted().values()) == 2


@pytest.fixture
def thread(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Let this process count and store as a server does, but soon, until the end of the test."""
    monkeypatch.setattr(counts, "counts_by_itself", True)
    monkeypatch.setattr(counts, "EVERY", 0.01)
    monkeypatch.setattr(counting, "EVERY", 0.01)
    monkeypatch.setattr(atexit, "register", lambda work: None)
    yield
    counts.stopping.set()
    for each in counts._threads:
        each.join(60)
    counts._threads.clear()
    counts.stopping.clear()


@pytest.mark.django_db(transaction=True)
def test_a_thread_counts_and_stores(thread: None, api: AppClient) -> None:
    def calls() -> int:
        return sum(CallCount.objects.filter(outcome="ok").values_list("calls", flat=True))

    api.get("/api/jobs/")
    wait_for(lambda: calls() == 1)
    api.get("/api/jobs/")
    wait_for(lambda: calls() == 2)
    assert len(counts._threads) == 1
