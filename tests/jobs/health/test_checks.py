"""The report of all checks: a token that expires, the worst state, a check or a query that fails or hangs."""

import contextlib
import os
import shutil
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest
from django.core.cache import cache
from django.db import OperationalError, connection
from django.test import Client

from accounts.models import ApiToken, User
from jobs.archiving.heartbeat import Heartbeat
from jobs.health import checks, report
from jobs.health.look import Look
from jobs.health.report import Finding, NoAnswerError, State, queries_within_limit, within_limit
from jobs.models import Job
from tests.jobs.health.conftest import Tell
from tests.support.waiting import wait_for

pytestmark = pytest.mark.django_db


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
    assert str(archive_root) in shown
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
