"""Each check of health: something is made bad for real, all faces say so, it is mended, and all say that it is good."""

import contextlib
import json
import os
import re
import shutil
import threading
import time
from collections.abc import Callable, Iterator
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from django.core.cache import cache
from django.db import OperationalError, connection
from django.db.migrations.recorder import MigrationRecorder
from django.test import Client
from django.utils import timezone

from accounts.models import ApiToken, User
from archive.exceptions import SourceError
from jobs.archiving import queue, writing
from jobs.archiving.heartbeat import Heartbeat
from jobs.health import archive, checks, database, report
from jobs.health.look import Look
from jobs.health.report import Finding, NoAnswerError, State, queries_within_limit, within_limit
from jobs.intake.nodes import record_nodestate
from jobs.messages import NodeReport
from jobs.models import ArchiveTask, FreeSpace, Job, NodeState, RefusedCall, WorkerHeartbeat
from jobs.states import JobState, MonitoringStatus
from tests.conftest import TEST_CLUSTER
from tests.jobs.health.conftest import Tell
from tests.support.clients import AppClient
from tests.support.factories import JobFactory
from tests.support.waiting import wait_for

pytestmark = pytest.mark.django_db


def now() -> int:
    """Return the time in epoch seconds."""
    return int(time.time())


@pytest.fixture
def unreachable() -> Iterator[Callable[[], None]]:
    """Return a function after which no new connection to the database can be made."""
    before = dict(connection.settings_dict)

    def cut() -> None:
        connection.settings_dict |= {"NAME": "/nowhere/db.sqlite3"} if connection.vendor == "sqlite" else {"PORT": "1"}

    yield cut
    connection.settings_dict |= before


def test_a_database_that_cannot_be_reached(tell: Tell, unreachable: Callable[[], None], anonymous: AppClient) -> None:
    before = dict(connection.settings_dict)
    unreachable()
    told = tell("database")
    assert told.state == State.ERROR
    assert "cannot be reached" in told.text
    answer = anonymous.get("/readyz")
    assert answer.status == 503
    assert "cannot be reached" in answer.json["findings"][0]["sentence"]

    connection.settings_dict |= before
    assert tell("database").state == State.OK
    assert anonymous.get("/readyz").status == 200


def test_a_database_that_is_not_migrated(tell: Tell, anonymous: AppClient, transactional_db: None) -> None:
    """The application looks over a connection of its own, so the rows must be committed."""
    recorder = MigrationRecorder(connection)
    last = max(name for app, name in recorder.applied_migrations() if app == "jobs")
    recorder.record_unapplied("jobs", last)
    try:
        told = tell("database")
        assert told.state == State.ERROR
        assert f"jobs.{last}" in told.text
        assert "manage.py migrate" in told.text
        assert anonymous.get("/readyz").status == 503
    finally:
        recorder.record_applied("jobs", last)
    assert tell("database").state == State.OK


@pytest.mark.parametrize("name", ["MANY_CONNECTIONS", "NEARLY_ALL_CONNECTIONS"])
def test_few_connections_left(tell: Tell, monkeypatch: pytest.MonkeyPatch, name: str) -> None:
    if connection.vendor != "postgresql":
        pytest.skip("SQLite has no limit for connections")
    monkeypatch.setattr(database, "MANY_CONNECTIONS", 0.001)  # this one
    monkeypatch.setattr(database, name, 0.001)
    told = tell("database")
    assert told.state == (State.WARNING if name == "MANY_CONNECTIONS" else State.ERROR)
    assert "connections are in use" in told.text
    monkeypatch.undo()
    assert tell("database").state == State.OK


def test_an_archive_that_is_gone(tell: Tell, archive_root: Path, anonymous: AppClient) -> None:
    away = archive_root.rename(archive_root.with_name("away"))
    told = tell("archive")
    assert told.state == State.ERROR
    assert "cannot be written" in told.text
    answer = anonymous.get("/readyz")
    assert answer.status == 503
    assert [finding["check"] for finding in answer.json["findings"]] == ["archive"]

    away.rename(archive_root)
    assert tell("archive").state == State.OK
    assert anonymous.get("/readyz").json == {"ready": True, "findings": []}


def test_an_archive_that_cannot_be_written(tell: Tell, settings: Any, archive_root: Path) -> None:
    settings.ARCHIVE_ROOT = Path("/proc")  # not even for root
    told = tell("archive")
    assert told.state == State.ERROR
    assert "/proc cannot be written" in told.text
    settings.ARCHIVE_ROOT = archive_root
    assert tell("archive").state == State.OK


def test_an_archive_without_version(tell: Tell, archive_root: Path) -> None:
    (archive_root / "version.txt").unlink()
    told = tell("archive")
    assert told.state == State.WARNING
    assert "has no version.txt: is its file system mounted?" in told.text
    (archive_root / "version.txt").write_text("1\n")
    assert tell("archive").state == State.OK
    (archive_root / "version.txt").write_text("3\n")
    assert "archive version '3'" in tell("archive").text


@pytest.mark.parametrize(
    ("name", "state"), [("LITTLE_SPACE", State.WARNING), ("ALMOST_NO_SPACE", State.ERROR)], ids=str
)
def test_little_space_in_the_archive(tell: Tell, monkeypatch: pytest.MonkeyPatch, name: str, state: State) -> None:
    monkeypatch.setattr(archive, "LITTLE_SPACE", (0, 0))
    monkeypatch.setattr(archive, "ALMOST_NO_SPACE", (0, 0))
    assert tell("archive").state == State.OK
    monkeypatch.setattr(archive, name, (2, 1 << 62))  # more than any file system has
    told = tell("archive")
    assert told.state == state
    assert "nearly full" in told.text


def test_an_archive_that_fills_up(tell: Tell, monkeypatch: pytest.MonkeyPatch) -> None:
    found = archive.Space(10**12, 2 * 10**12)  # which nobody else writes to, unlike that of the tests
    monkeypatch.setattr(archive, "space", lambda: found)
    daily = found.free // 3  # in 3 days it is full
    FreeSpace.objects.create(hour=now() // 3600 - 3, free=found.free + daily)
    assert "days" not in tell("archive").text, "three hours say little"
    FreeSpace.objects.create(hour=now() // 3600 - 24, free=found.free + daily)
    told = tell("archive")
    assert told.state == State.WARNING
    assert "full in about 3 days at today's rate" in told.text
    FreeSpace.objects.filter(hour=now() // 3600 - 24).update(free=found.free + daily // 10)
    told = tell("archive")
    assert told.state == State.OK
    assert re.search("full in about 3[01] days", told.text), "the time since the full hour counts"
    FreeSpace.objects.update(free=found.free // 2)
    assert "days" not in tell("archive").text, "room was made"


def test_too_few_connections_for_the_processes_of_the_server(tell: Tell, settings: Any) -> None:
    if connection.vendor != "postgresql":
        pytest.skip("SQLite has no limit for connections")
    settings.SERVER_PROCESSES = 1000
    told = tell("database")
    assert told.state == State.WARNING
    assert "are too few for 1000 processes of the server: 0 for each, and 5 are needed" in told.text
    assert "Raise max_connections to 5020" in told.text
    settings.SERVER_PROCESSES = 1
    told = tell("database")
    assert told.state == State.OK
    assert "the server may open 16." in told.text


def _subclusters(*nodes: str) -> dict[str, Any]:
    part = TEST_CLUSTER["subClusters"][0]
    return {"subClusters": [part | {"name": f"part{place}", "nodes": each} for place, each in enumerate(nodes)]}


BAD_CLUSTERS: dict[str, tuple[dict[str, Any] | None, State, str]] = {
    "half a file": (None, State.ERROR, "its last valid version is in use"),
    "no subcluster": ({"subClusters": []}, State.ERROR, "no subcluster"),
    "no nodes": (_subclusters(""), State.ERROR, "no subcluster"),
    "one without nodes": (_subclusters("n[01-40]", ""), State.WARNING, "part1 in"),
    "twice in a list": (_subclusters("n[01-40],n07"), State.WARNING, "lists n07 more than once"),
    "in two lists": (_subclusters("n[01-40]", "n[39-44]"), State.WARNING, "lists n39, n40 more than once"),
    "a metric": ({"metricConfig": [{"name": "x", "timestep": "often"}]}, State.WARNING, "the metric is left out"),
}


@pytest.mark.parametrize(("changes", "state", "words"), BAD_CLUSTERS.values(), ids=BAD_CLUSTERS.keys())
def test_a_cluster_that_is_configured_badly(
    tell: Tell, cluster: Path, changes: dict[str, Any] | None, state: State, words: str
) -> None:
    good = cluster.read_text()
    assert tell("clusters").state == State.OK
    cluster.write_text(good[:200] if changes is None else json.dumps(json.loads(good) | changes))
    told = tell("clusters")
    assert told.state == state
    assert words in told.text
    assert "testcluster" in told.text
    cluster.write_text(good)
    assert tell("clusters").state == State.OK


def test_a_worker_that_does_not_run_or_was_killed(tell: Tell) -> None:
    assert tell("archive worker").state == State.WARNING
    job = JobFactory.create(finished=True, start_time=now() - 660)
    told = tell("archive worker")
    assert told.state == State.ERROR
    assert "No archive worker runs, and 1 job waits." in told.text

    heartbeat = Heartbeat("here:1:a")
    heartbeat.beat(archived=5, failed=0, clusters={})
    assert tell("archive worker").state == State.OK

    Job.objects.filter(pk=job.pk).delete()
    WorkerHeartbeat.objects.update(seen_at=timezone.now() - timedelta(minutes=5))
    told = tell("archive worker")
    assert told.state == State.ERROR
    assert "last sign of life 5 min ago" in told.text
    assert told.since is not None
    assert abs(told.since - (now() - 300)) < 60

    Heartbeat("here:2:b").beat(archived=0, failed=0, clusters={})
    assert tell("archive worker").state == State.OK, "another one took its place on this host"
    WorkerHeartbeat.objects.create(
        worker="there:3:c",
        host="there",
        process=3,
        started_at=timezone.now(),
        seen_at=timezone.now() - timedelta(hours=2),
    )
    assert tell("archive worker").state == State.WARNING, "the one of another host is missing"


def test_jobs_that_wait_for_long(tell: Tell) -> None:
    job = JobFactory.create(finished=True, start_time=now() - 600 - 3600)
    told = tell("archiving")
    assert told.state == State.WARNING
    assert "1 job waits for the archive" in told.text
    assert "ended 1 h ago" in told.text
    assert told.since == job.start_time + 600
    Job.objects.update(monitoring_status=MonitoringStatus.ARCHIVED, statistics="{}")
    assert tell("archiving").state == State.OK


def _fail(job: Job, error: Exception, *, permanent: bool = False) -> None:
    """Let a worker claim a job and fail."""
    (claim,) = queue.claim_waiting("here:1:a", job.cluster, 1, only=[job.pk])
    of_source = isinstance(error, SourceError)
    queue.fail("here:1:a", claim, writing.describe(error), permanent=permanent, of_source=of_source)


def test_the_first_failed_attempt_shows_with_its_reason(tell: Tell) -> None:
    job = JobFactory.create(finished=True, start_time=now() - 600)
    _fail(job, OSError(28, "No space left on device"))
    told = tell("archiving")
    assert told.state == State.ERROR
    assert "No space left on device" in told.text
    ArchiveTask.objects.all().delete()
    assert tell("archiving").state == State.OK


def test_jobs_that_were_given_up(tell: Tell) -> None:
    job = JobFactory.create(finished=True, start_time=now() - 600)
    _fail(job, OSError("never"), permanent=True)
    told = tell("archiving")
    assert told.state == State.WARNING
    assert "1 job could not be archived" in told.text
    queue.retry_failed()
    ArchiveTask.objects.update(error="")
    assert tell("archiving").state == State.OK


def test_a_metric_source_that_fails(tell: Tell) -> None:
    job = JobFactory.create(finished=True, start_time=now() - 600)
    assert tell("metric sources").state == State.OK
    _fail(job, SourceError("http://store: connection refused", transient=True, source_failed=True))
    told = tell("metric sources")
    assert told.state == State.ERROR
    assert "Cluster testcluster" in told.text
    assert "http://store: connection refused" in told.text
    assert tell("archiving").state == State.OK, "it is said once"

    heartbeat = Heartbeat("here:1:a")
    heartbeat.beat(archived=0, failed=1, clusters={"testcluster": {"success": now() - 3600, "failure": now() - 60}})
    told = tell("metric sources")
    assert told.state == State.ERROR
    assert told.since == pytest.approx(now() - 3600, abs=60)
    heartbeat.beat(archived=1, failed=1, clusters={"testcluster": {"success": now(), "failure": now() - 60}})
    assert tell("metric sources").state == State.WARNING, "it answers, but not for this job"
    ArchiveTask.objects.all().delete()
    assert tell("metric sources").state == State.OK


def test_starts_and_stops_that_cease_show_apart(tell: Tell) -> None:
    starts = [now() - 86_400 + 150 * place for place in range(400)]  # the last of them 7.5 hours ago
    Job.objects.bulk_create(JobFactory.build(finished=True, start_time=start) for start in starts)
    JobFactory.create(start_time=starts[0])
    told = tell("events")
    assert told.state == State.WARNING
    assert "Cluster testcluster: no start and no stop for 7 h" in told.text
    assert told.since == starts[-1] + 600

    recent = [JobFactory.create(start_time=now() - 60 * place) for place in range(1, 5)]
    told = tell("events")
    assert told.state == State.WARNING
    assert "no stop for 7 h" in told.text
    assert "no start" not in told.text

    Job.objects.filter(pk=recent[-1].pk).update(job_state=JobState.COMPLETED, duration=30)
    assert tell("events").state == State.OK


def test_calls_that_were_refused_and_wait(tell: Tell, api: AppClient) -> None:
    assert tell("refused calls").state == State.OK
    for job_id in (1, 2):
        api.start(jobId=job_id, numNodes=2)
    told = tell("refused calls")
    assert told.state == State.WARNING
    assert "bench, token ccb_" in told.text
    assert "2 calls of start_job were refused in the last 24 h" in told.text
    assert "len(resources) does not equal numNodes (1 vs 2)" in told.text
    RefusedCall.objects.update(received_at=now() - 86_500)
    assert tell("refused calls").state == State.OK


def test_more_jobs_than_the_scheduler_counts(tell: Tell) -> None:
    JobFactory.create_batch(7, start_time=now() - 1000, walltime=86_400)
    record_nodestate(cluster="testcluster", nodes=[NodeReport(hostname="n01", states="mixed", jobs_running=1)])
    told = tell("walltimes")
    assert told.state == State.WARNING
    assert "Cluster testcluster: on its nodes 7 jobs run here, and the scheduler counts 1" in told.text
    record_nodestate(cluster="testcluster", nodes=[NodeReport(hostname="n01", states="mixed", jobs_running=7)])
    assert tell("walltimes").state == State.OK


def test_jobs_far_beyond_their_walltime(tell: Tell) -> None:
    JobFactory.create(start_time=now() - 3600 - 3000, walltime=3600)
    JobFactory.create(start_time=now() - 9 * 86_400, walltime=0)
    assert tell("walltimes").state == State.OK
    ghost = JobFactory.create(start_time=now() - 9 * 86_400, walltime=86_400)
    told = tell("walltimes")
    assert told.state == State.WARNING
    assert "Cluster testcluster: 1 job has run for more than 1 h beyond the requested time" in told.text
    assert "began 9 d ago" in told.text
    assert told.since == ghost.start_time
    Job.objects.filter(pk=ghost.pk).update(job_state=JobState.COMPLETED, duration=5)
    assert tell("walltimes").state == State.OK


def test_nodes_that_are_not_reported(tell: Tell) -> None:
    nodes = [NodeReport(hostname=f"n{number:02}", states=["IDLE"]) for number in range(1, 5)]
    record_nodestate(cluster="testcluster", nodes=nodes)
    assert tell("node reports").state == State.OK
    NodeState.objects.filter(hostname="n02").update(reported_at=now() - 400)
    told = tell("node reports")
    assert told.state == State.WARNING
    assert "1 of 4 nodes have not been reported" in told.text
    NodeState.objects.filter(hostname="n02").update(reported_at=now() - 2 * 86_400)
    assert tell("node reports").state == State.OK, "it was removed"
    NodeState.objects.update(reported_at=now() - 7200)
    told = tell("node reports")
    assert "the last report of its nodes came 2 h ago" in told.text
    record_nodestate(cluster="testcluster", nodes=nodes)
    assert tell("node reports").state == State.OK


def test_a_token_that_expires_soon(tell: Tell, bench: User) -> None:
    token, _ = ApiToken.issue(user=bench, name="hooks of alpha", days=13)
    ApiToken.issue(user=bench, days=15)
    told = tell("API tokens")
    assert told.state == State.WARNING
    assert f"{token.prefix}… (hooks of alpha) of bench expires on" in told.text
    assert told.text.count("expires on") == 1
    token.revoke()
    assert tell("API tokens").state == State.OK


def test_the_first_page_shows_the_worst_state_to_admin_and_support(
    archive_root: Path, carol: User, bob: User, client: Client
) -> None:
    Heartbeat("here:1:a").beat(archived=0, failed=0, clusters={})
    client.force_login(carol)
    assert "all is well" in client.get("/admin/").content.decode()
    shutil.rmtree(archive_root)
    cache.clear()
    shown = client.get("/admin/").content.decode()
    assert 'pill pill-bad">error</span>' in shown
    assert "Health: 1 finding needs a hand" in shown
    client.force_login(bob)
    assert "/admin/health/" not in client.get("/admin/").content.decode()
    assert client.get("/admin/health/").status_code == 403


def test_a_check_that_fails_or_hangs_leaves_the_others_alone(
    tell: Tell, monkeypatch: pytest.MonkeyPatch, archive_root: Path
) -> None:
    def fail(look: Look) -> Iterator[Finding]:
        raise ZeroDivisionError

    monkeypatch.setitem(checks.OF_ROWS, "walltimes", fail)
    assert tell("walltimes").state == State.WARNING
    assert tell("API tokens").state == State.OK
    monkeypatch.undo()

    monkeypatch.setattr(report, "LIMIT", 0.05)
    os.mkfifo(archive_root / "pipe")
    with pytest.raises(NoAnswerError, match="no answer"):
        within_limit("a pipe", (archive_root / "pipe").read_bytes)  # as a file system that hangs
    threads = threading.active_count()
    with pytest.raises(NoAnswerError, match="no answer"):
        within_limit("a pipe", (archive_root / "pipe").read_bytes)
    assert threading.active_count() <= threads, "no other thread is left hanging"
    (archive_root / "pipe").write_bytes(b"now")
    wait_for(lambda: _reads(archive_root / "version.txt") == "1\n")


def _reads(path: Path) -> str | None:
    with contextlib.suppress(NoAnswerError):
        return within_limit("a pipe", path.read_text)
    return None


def test_a_query_that_takes_too_long_is_ended(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(report, "LIMIT", 0.05)
    endless = "WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n) SELECT max(i) FROM n"
    with pytest.raises(OperationalError), queries_within_limit(), connection.cursor() as cursor:
        cursor.execute(endless)
    assert Job.objects.count() == 0


def test_a_look_at_the_database_leaves_no_connection_open() -> None:
    if connection.vendor != "postgresql":
        pytest.skip("PostgreSQL counts its connections")
    with connection.cursor() as cursor:

        def sessions() -> int:
            cursor.execute("SELECT pg_stat_clear_snapshot()")
            cursor.execute("SELECT count(*) FROM pg_stat_activity WHERE datname = current_database()")
            return int(cursor.fetchone()[0])

        before = sessions()
        assert database.trouble() is None
        wait_for(lambda: sessions() <= before)
