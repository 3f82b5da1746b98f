"""Log-in by password: what is said, and what is locked after many failures, for whom and until when."""

from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from axes.models import AccessAttempt
from django.core.management import call_command
from django.test import Client

from accounts.models import User
from jobs.health import counting
from tests.support.ccbackend_database import BCRYPT, RELEASES, CcBackendDatabase
from tests.support.ccbackend_database import PASSWORD as THEIR_PASSWORD

pytestmark = pytest.mark.django_db

LOG_IN = "/admin/login/"
PASSWORD, WRONG = "correct horse battery", "wrong horse"
LOCKED = "try again in 15 minutes"


@pytest.fixture(autouse=True)
def _few(settings: Any) -> None:
    settings.LOGIN_FAILURES = settings.AXES_FAILURE_LIMIT = 3


@pytest.fixture
def people(alice: User, bob: User) -> None:
    """Give alice and bob a password."""
    for user in (alice, bob):
        user.set_password(PASSWORD)
        user.save()


def attempt(name: str, password: str = WRONG, address: str = "192.0.2.1", **headers: str) -> Any:
    """Try to log in with a browser of its own."""
    return Client(REMOTE_ADDR=address).post(LOG_IN, {"username": name, "password": password}, headers=headers)


def said(answer: Any) -> str:
    """Return the text of a page on one line."""
    return " ".join(answer.content.decode().split())


@pytest.mark.usefixtures("people")
def test_after_the_last_failure_the_name_is_locked_for_the_address(caplog: pytest.LogCaptureFixture) -> None:
    told = [said(attempt("alice", **{"User-Agent": f"browser {number}"})) for number in range(3)]
    assert ["The username or the password is wrong" in text for text in told] == [True, True, False]
    assert LOCKED in told[2]
    assert LOCKED in said(attempt("alice", PASSWORD))
    assert [attempt(*who).status_code for who in (("bob", PASSWORD), ("alice", PASSWORD, "192.0.2.2"))] == [302, 302]
    lines = [record.getMessage() for record in caplog.records if "log-in" in record.name or "log_in" in record.name]
    assert lines.count("log-in refused from 192.0.2.1 as alice") == 4
    assert lines.count("log-ins from 192.0.2.1 as alice locked for 15 min after 3 failures") == 1
    assert PASSWORD not in caplog.text
    assert sum(tally.calls for key, tally in counting._memory.found.items() if key.operation == counting.LOG_IN) == 4


@pytest.mark.usefixtures("people")
def test_the_lock_ends_after_its_time_however_often_somebody_tries() -> None:
    for _ in range(5):
        attempt("alice")
    AccessAttempt.objects.update(attempt_time=AccessAttempt.objects.latest("pk").attempt_time - timedelta(minutes=15))
    assert attempt("alice", PASSWORD).status_code == 302


@pytest.mark.usefixtures("people")
def test_a_log_in_forgets_the_failures_before_it() -> None:
    for _ in range(2):
        attempt("alice")
        attempt("alice")
        assert attempt("alice", PASSWORD).status_code == 302
    assert not AccessAttempt.objects.exists()


@pytest.mark.usefixtures("adopted_passwords", "archive_root")
def test_a_password_of_cc_backend_logs_in_and_failures_before_that_are_counted(tmp_path: Path) -> None:
    theirs = CcBackendDatabase(tmp_path / "job.db", RELEASES[0])
    theirs.add_user("ada", "user", password=BCRYPT)
    theirs.add_user("eve", "user", password=BCRYPT)
    call_command("import_ccbackend", theirs.path, verbosity=0)
    for _ in range(2):
        assert "The username or the password is wrong" in said(attempt("ada"))
        assert "The username or the password is wrong" in said(attempt("eve"))
    assert attempt("ada", THEIR_PASSWORD).status_code == 302
    assert not AccessAttempt.objects.filter(username="ada").exists()
    assert LOCKED in said(attempt("eve"))
    assert LOCKED in said(attempt("eve", THEIR_PASSWORD))
    assert attempt("ada", THEIR_PASSWORD).status_code == 302  # hashed anew meanwhile


@pytest.mark.usefixtures("people")
def test_behind_a_trusted_proxy_the_address_is_the_client_s(settings: Any) -> None:
    settings.TRUSTED_PROXIES = ["127.0.0.1"]
    for _ in range(3):
        attempt("alice", address="127.0.0.1", **{"X-Forwarded-For": "192.0.2.7"})
    assert LOCKED in said(attempt("alice", PASSWORD, "127.0.0.1", **{"X-Forwarded-For": "192.0.2.7"}))
    assert attempt("alice", PASSWORD, "127.0.0.1", **{"X-Forwarded-For": "192.0.2.8"}).status_code == 302


def test_a_client_on_a_unix_socket_can_be_locked_too() -> None:
    assert LOCKED in said([attempt("alice", address="") for _ in range(3)][-1])


@pytest.mark.usefixtures("people")
def test_no_part_of_a_password_is_stored() -> None:
    attempt("alice", "hunter2-and-more")
    attempt("alice", "hunter2-and-more")
    assert "hunter2" not in str(AccessAttempt.objects.values())
