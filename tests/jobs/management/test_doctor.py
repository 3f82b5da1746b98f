"""manage.py doctor: one page, a JSON document, and an exit status."""

import json
from pathlib import Path
from typing import Any

import pytest
from django.core.mail import EmailMessage

from jobs.archiving.heartbeat import Heartbeat
from jobs.health import mail
from tests.support.commands import Run

pytestmark = pytest.mark.django_db


def test_doctor_says_what_is_wrong_and_what_to_do(run: Run, archive_root: Path) -> None:
    Heartbeat("here:1:a").beat(archived=0, failed=0, clusters={})
    good = run("doctor")
    assert good.status == 0
    assert "ok      database: " in good.out
    assert not {"WARNING", "ERROR"} & set(good.out.split())

    (archive_root / "version.txt").unlink()
    bad = run("doctor")
    assert bad.status == 1
    assert "WARNING archive: The archive" in bad.out
    assert "echo 1 >" in bad.out
    assert "1 of 14 findings needs a hand." in bad.err
    assert all(len(line) < 200 for line in bad.lines)

    document = json.loads(run("doctor", "--json").out)
    assert document["state"] == "warning"
    assert {"check", "state", "sentence", "since", "cure"} == document["findings"][0].keys()


@pytest.fixture
def mails(db: None, settings: Any, tmp_path: Path, mailoutbox: list[EmailMessage]) -> list[EmailMessage]:
    """Return the mails that were sent; nothing is wrong and nothing was said so far."""
    Heartbeat("here:1:a").beat(archived=0, failed=0, clusters={})
    settings.ADMINS = [("", "ops@example.org")]
    settings.MAILED_STATE = tmp_path / "new" / "state.json"
    return mailoutbox


def test_a_mail_comes_when_a_state_changes_and_once_a_day_while_it_lasts(
    run: Run, archive_root: Path, mails: list[EmailMessage], monkeypatch: pytest.MonkeyPatch
) -> None:
    assert run("doctor", "--mail").out == "Nothing new.\n"
    (archive_root / "version.txt").unlink()
    for _ in range(3):
        assert run("doctor", "--mail").status == 0
    (first,) = mails
    assert first.to == ["ops@example.org"]
    assert first.subject.startswith("[ccbackend] ")
    assert first.subject.endswith(": warning: archive")
    assert str(first.body).startswith("WARNING archive: The archive")
    assert "echo 1 >" in first.body
    assert "ok      database: " in first.body

    away = archive_root.rename(archive_root.with_name("away"))
    run("doctor", "--mail")
    assert mails[-1].subject.endswith(": error: archive")
    monkeypatch.setattr(mail, "AGAIN", 0)
    run("doctor", "--mail")
    assert len(mails) == 3
    away.rename(archive_root)
    (archive_root / "version.txt").write_text("1")
    run("doctor", "--mail")
    assert mails[-1].subject.endswith(": mended: archive")
    run("doctor", "--mail")
    assert len(mails) == 4


def test_a_mail_that_cannot_be_sent_is_sent_by_the_next_call(
    run: Run, archive_root: Path, mails: list[EmailMessage], settings: Any
) -> None:
    (archive_root / "version.txt").unlink()
    working = settings.EMAIL_BACKEND
    settings.EMAIL_BACKEND, settings.EMAIL_PORT = "django.core.mail.backends.smtp.EmailBackend", 1
    outcome = run("doctor", "--mail")
    assert outcome.status == 1
    assert "The mail could not be sent: " in outcome.err
    settings.EMAIL_BACKEND = working
    assert run("doctor", "--mail").status == 0
    assert len(mails) == 1
    settings.MAILED_STATE.write_text("{")
    run("doctor", "--mail")
    assert len(mails) == 2, "what was said is not known any more"


def test_without_admins_there_is_nobody_to_tell(run: Run, settings: Any) -> None:
    settings.ADMINS = []
    outcome = run("doctor", "--mail")
    assert outcome.status == 2
    assert "ADMINS is empty" in outcome.err
