"""send_digest: what the week was like, by mail; off until there are addresses."""

import time
from typing import Any

import pytest
from django.core.mail import EmailMessage

from jobs.models import JobTag
from jobs.overview.digest import DAY, digest, text_of
from jobs.records import TagRule, Usage
from tests.support.commands import Run
from tests.support.factories import JobFactory, TagFactory

NOW = 20_000 * DAY + 3600


def used(day: int, user: str, jobs: int, hours: int, state: str = "completed") -> None:
    """Book usage of a day."""
    kind = {"cluster": "c", "sub_cluster": "", "partition": "", "project": "p", "user": user, "job_state": state}
    Usage.objects.create(day=day, jobs=jobs, node_seconds=hours * 3600, **kind)


@pytest.mark.usefixtures("run")
def test_the_digest_counts_the_last_seven_whole_days(db: None) -> None:
    used(20_000, "today", 100, 100)
    used(19_992, "earlier", 100, 100)
    used(19_999, "alice", 5, 20)
    used(19_993, "alice", 2, 10, "failed")
    used(19_993, "bob", 1_000, 3_000, "timeout")
    tag, gone = TagFactory.create(type="perf", name="bad"), TagFactory.create()
    TagRule.objects.create(words="state:failed", tag=tag)
    TagRule.objects.create(words="colour:blue", tag=tag, error="'colour' is no field")
    TagRule.objects.create(words="user:x", tag=tag, is_enabled=False)
    TagRule.objects.create(words="user:y", tag=gone)
    for start in (19_992, 19_993, 19_999, 20_000):
        JobFactory.create(start_time=start * DAY + 5, tags=[tag])
    gone.delete()

    assert text_of(digest(NOW)) == (
        "Jobs from 2024-09-27 to 2024-10-03 (UTC)\n\n"
        "1,007 jobs ended, 1,002 of them badly; 3,030 node hours.\n"
        "         1,000  timeout\n"
        "             5  completed\n"
        "             2  failed\n\n"
        "Top users, by node hours:\n"
        "         3,000  bob: 1,000 jobs ended, 1,000 badly\n"
        "            30  alice: 7 jobs ended, 2 badly\n\n"
        "Jobs that started in these days and have the tag of a rule:\n"
        "             2  perf:bad (colour:blue; state:failed)\n"
        "                a rule tags no jobs: 'colour' is no field\n"
        "             0  (deleted) (user:y)\n"
        "                a rule tags no jobs: the tag was deleted\n"
    )
    assert JobTag.objects.count() == 4


def test_a_week_without_jobs_has_a_digest_too(db: None) -> None:
    assert "0 jobs ended, 0 of them badly; 0 node hours." in text_of(digest(NOW))


def test_it_is_off_until_there_are_addresses(run: Run, db: None, settings: Any, mailoutbox: list[EmailMessage]) -> None:
    outcome = run("send_digest")
    assert (outcome.status, "DIGEST_TO is empty" in outcome.err, mailoutbox) == (2, True, [])
    assert "jobs ended" in run("send_digest", "--dry-run").out

    settings.DIGEST_TO = ["staff@example.org", "ops@example.org"]
    used(int(time.time()) // DAY - 1, "alice", 3, 1)
    outcome = run("send_digest")

    assert (outcome.status, outcome.out) == (0, "Digest sent to staff@example.org, ops@example.org.\n")
    Usage.objects.update(jobs=1, node_seconds=3600)
    assert "1 job ended, 0 of them badly; 1 node hour." in run("send_digest", "--dry-run").out
    (mail,) = mailoutbox
    assert mail.to == ["staff@example.org", "ops@example.org"]
    assert mail.subject.endswith("3 jobs in a week")
    assert "alice" in mail.body


def test_a_mail_that_cannot_be_sent_is_a_failure(run: Run, db: None, settings: Any) -> None:
    settings.DIGEST_TO = ["staff@example.org"]
    settings.EMAIL_BACKEND = "django.core.mail.backends.smtp.EmailBackend"
    settings.EMAIL_HOST, settings.EMAIL_PORT = "127.0.0.1", 1
    outcome = run("send_digest")
    assert (outcome.status, "could not be sent" in outcome.err) == (1, True)
