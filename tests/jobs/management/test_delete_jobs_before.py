"""delete_jobs_before: what it says before it asks, and what goes."""

import argparse
import os
import pwd
import signal
import socket
from collections.abc import Callable
from datetime import UTC, datetime
from typing import Any

import pytest
from django.contrib.admin.models import DELETION, LogEntry
from django.db import OperationalError

from accounts.models import User
from jobs import console, history
from jobs.deletion import services, steps
from jobs.models import Job, Tag
from tests.support.commands import Machine, Run
from tests.support.factories import START, JobFactory, TagFactory, UserFactory


@pytest.fixture
def jobs(db: None) -> dict[str, Job]:
    """Return jobs that differ in what counts here; all but `late` and `at` start before START + 100."""
    return {
        "running": JobFactory.create(start_time=START),
        "waiting": JobFactory.create(start_time=START + 1, finished=True),
        "archived": JobFactory.create(start_time=START + 2, archived=True),
        "tagged": JobFactory.create(start_time=START + 3, archived=True, tags=[TagFactory.create()]),
        "other": JobFactory.create(start_time=START + 99, archived=True, cluster="other"),
        "at": JobFactory.create(start_time=START + 100, archived=True),
        "late": JobFactory.create(start_time=START + 101),
    }


def left(jobs: dict[str, Job]) -> set[str]:
    """Return which of the jobs are there."""
    there = set(Job.objects.values_list("pk", flat=True))
    return {name for name, job in jobs.items() if job.pk in there}


def test_jobs_that_started_before_go_and_tags_stay(run: Run, jobs: dict[str, Job]) -> None:
    outcome = run("delete_jobs_before", START + 100, "--yes")
    assert outcome.status == 0
    assert left(jobs) == {"at", "late"}
    assert outcome.lines[-1] == "5 jobs deleted."
    assert Tag.objects.count() == 1


def test_the_history_names_the_shell_s_user_and_the_account_of_that_name(run: Run, jobs: dict[str, Job]) -> None:
    name = pwd.getpwuid(os.geteuid()).pw_name
    user = UserFactory.create(username=name)

    run("delete_jobs_before", START + 100, "--yes", "--omit-tagged")

    entry = LogEntry.objects.get()
    assert (entry.user, entry.action_flag) == (user, DELETION)
    assert history.text_of(entry) == (
        "Deleted 4 of 4 jobs that started before 2023-11-14 22:15:00 UTC, but tagged ones.\n"
        f"Through the shell of {name} on {socket.gethostname()}."
    )


def test_a_shell_s_user_without_an_account_stands_beside_one_that_nobody_can_use(
    run: Run, jobs: dict[str, Job]
) -> None:
    run("delete_jobs_before", START + 2, "--yes")
    run("delete_jobs_before", START + 100, "--yes")

    first, second = LogEntry.objects.all()
    assert first.user == second.user == User.objects.get()
    assert first.user.username == "manage.py"
    assert not first.user.is_active
    assert not first.user.roles
    assert not first.user.has_usable_password()
    assert "Through the shell of " in history.text_of(first)


@pytest.mark.parametrize("arguments", [("--dry-run",), ("--yes",)])
def test_what_deletes_nothing_is_not_in_the_history(run: Run, arguments: tuple[str, ...], db: None) -> None:
    if "--dry-run" in arguments:
        JobFactory.create(start_time=START)
    assert run("delete_jobs_before", START + 100, *arguments).status == 0
    assert not LogEntry.objects.exists()
    assert not User.objects.exists()


def test_an_interrupted_deletion_is_in_the_history_as_far_as_it_came(
    run: Run, jobs: dict[str, Job], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(services, "_DELETE_BATCH", 2)
    delete_rows, calls = services._delete_rows, []

    def interrupted(row_ids: list[int]) -> int:
        calls.append(row_ids)
        if len(calls) == 3:
            raise KeyboardInterrupt
        return delete_rows(row_ids)

    monkeypatch.setattr(services, "_delete_rows", interrupted)
    outcome = run("delete_jobs_before", START + 100, "--yes")

    assert outcome.status == 130
    assert "4 jobs of 5 deleted" in outcome.err
    assert history.text_of(LogEntry.objects.get()).startswith("Deleted 4 of 5 jobs that started before")
    assert len(left(jobs)) == 3


def test_a_ctrl_c_after_a_commit_leaves_nothing_uncounted(
    run: Run, jobs: dict[str, Job], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(services, "_DELETE_BATCH", 2)
    real = steps._delete_batch

    def pressed(entry: int) -> tuple[int, steps.Progress]:
        done = real(entry)
        signal.raise_signal(signal.SIGINT)
        return done

    monkeypatch.setattr(steps, "_delete_batch", pressed)
    outcome = run("delete_jobs_before", START + 100, "--yes")
    assert outcome.status == 130
    assert "2 jobs of 5 deleted" in outcome.err
    assert len(left(jobs)) == 5


def test_the_last_batch_may_be_a_full_one(run: Run, jobs: dict[str, Job], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(services, "_DELETE_BATCH", 2)
    outcome = run("delete_jobs_before", START + 3, "--cluster", "testcluster", "--yes")
    assert outcome.lines[-1] == "3 jobs deleted."
    outcome = run("delete_jobs_before", START + 101, "--cluster", "testcluster", "--yes")
    assert outcome.lines[-1] == "2 jobs deleted."
    assert left(jobs) == {"other", "late"}


def test_a_dry_run_says_what_would_go_and_deletes_nothing(run: Run, jobs: dict[str, Job]) -> None:
    outcome = run("delete_jobs_before", START + 100, "--dry-run")
    assert outcome.status == 0
    assert left(jobs) == jobs.keys()
    assert "1 running, 1 waiting for the archive" in outcome.lines[0]
    assert [line.split() for line in outcome.lines[1:4]] == [
        ["other", "completed", "1"],
        ["testcluster", "completed", "3"],
        ["testcluster", "running", "1"],
    ]
    assert "5 jobs would be deleted, 0 were" in outcome.lines[-1]


def test_options_keep_tagged_jobs_and_other_clusters(run: Run, jobs: dict[str, Job]) -> None:
    run("delete_jobs_before", START + 100, "--yes", "--omit-tagged", "--cluster", "testcluster")
    assert left(jobs) == {"tagged", "other", "at", "late"}


@pytest.mark.parametrize(("text", "deletes"), [("y", True), ("YES", True), ("n", False), ("", False), ("yo", False)])
def test_it_asks_on_a_terminal(
    run: Run,
    jobs: dict[str, Job],
    answer: Callable[[str], None],
    capsys: pytest.CaptureFixture[str],
    text: str,
    deletes: bool,
) -> None:
    answer(text)
    outcome = run("delete_jobs_before", START + 100)
    assert outcome.status == (0 if deletes else 1)
    assert (left(jobs) == {"at", "late"}) is deletes
    assert "Delete 5 jobs from the database (1 running, 1 waiting for the archive)?" in capsys.readouterr().err


def test_without_a_terminal_and_without_yes_it_is_refused(run: Run, jobs: dict[str, Job]) -> None:
    outcome = run("delete_jobs_before", START + 100)
    assert outcome.status == 2
    assert "--yes" in outcome.err
    assert left(jobs) == jobs.keys()


def test_nothing_to_delete_is_done_without_a_question(
    run: Run, jobs: dict[str, Job], answer: Callable[[str], None]
) -> None:
    answer("n")
    outcome = run("delete_jobs_before", 1)
    assert outcome.status == 0
    assert outcome.lines[-1] == "0 jobs deleted."


@pytest.mark.parametrize(
    ("error", "status"), [(KeyboardInterrupt(), 130), (OperationalError("server closed the connection"), 1)]
)
def test_an_interrupted_deletion_says_how_far_it_came(
    run: Run, jobs: dict[str, Job], monkeypatch: pytest.MonkeyPatch, error: BaseException, status: int
) -> None:
    def interrupted(*, progress: Callable[[int], None], **which: Any) -> int:
        progress(3)
        raise error

    monkeypatch.setattr("jobs.management.commands.delete_jobs_before.delete_jobs_before", interrupted)
    outcome = run("delete_jobs_before", START + 100, "--yes")
    assert outcome.status == status
    assert "3 jobs of 5 deleted" in outcome.err
    assert "run it again" in outcome.err


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("0", 0),
        ("1700000000", 1700000000),
        ("2024-07-01", datetime(2024, 6, 30, 22, tzinfo=UTC).timestamp()),
        ("2024-07-01T06:00", datetime(2024, 7, 1, 4, tzinfo=UTC).timestamp()),
        ("2024-07-01 06:00:00Z", datetime(2024, 7, 1, 6, tzinfo=UTC).timestamp()),
        ("2024-07-01T06:00:00+02:00", datetime(2024, 7, 1, 4, tzinfo=UTC).timestamp()),
        ("2024-07-01T06:00:00.5Z", datetime(2024, 7, 1, 6, 0, 1, tzinfo=UTC).timestamp()),
    ],
)
def test_when_counts_in_the_configured_zone(db: None, text: str, expected: float, settings: Any) -> None:
    settings.TIME_ZONE = "Europe/Berlin"
    assert console.parse_when(text) == expected


@pytest.mark.parametrize("text", ["yesterday", "-1", "1e9", "2024-13-01", "9" * 19, "9" * 30, "", "12:00"])  # fmt: skip
def test_a_when_that_cannot_be_is_named(text: str) -> None:
    with pytest.raises(argparse.ArgumentTypeError, match="expected epoch seconds"):
        console.parse_when(text)


def test_exit_statuses(typed: Run, machine: Machine) -> None:
    machine.add_job(1)
    machine.add_job(2, job_state="running", duration=0)
    assert typed("delete_jobs_before", "yesterday", "--yes").status == 2
    assert machine.run("delete_jobs_before", "2030-01-01").status == 2  # without a terminal to ask on
    JobFactory.create(finished=True)
    assert typed("delete_jobs_before", "2030-01-01", "--dry-run", "-v", "0").out == ""
    assert Job.objects.count() == 1
    assert machine.execute("SELECT count(*) FROM jobs_job") == [(2,)]
    outcome = machine.run("delete_jobs_before", "2030-01-01", "--yes", "-v", "0")
    assert (outcome.status, outcome.out, outcome.err) == (0, "", "")
    assert machine.execute("SELECT count(*) FROM jobs_job") == [(0,)]
