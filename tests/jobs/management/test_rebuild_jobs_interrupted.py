"""rebuild_jobs in transactions: interrupted by a Ctrl-C or an error of the database, what is stored is counted."""

import itertools
import signal
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import pytest
from django.db import OperationalError
from django.db.models import Sum

from jobs.ledger import backlog
from jobs.maintenance import rebuild, restore
from jobs.management import indexing
from jobs.models import Job, Tag
from jobs.records import JobFootprint, JobNode, Node, Usage
from tests.support.commands import Run
from tests.support.foreign_archive import put_foreign

Put = Callable[..., Path]


@pytest.fixture
def put(archive_root: Path) -> Put:
    """Return a function that puts a meta.json of another writer into the archive, see `put_foreign`."""
    return partial(put_foreign, archive_root)


def test_what_was_committed_before_an_interruption_stays(run: Run, put: Put, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(rebuild, "_BATCH", 2)
    monkeypatch.setattr(rebuild, "_INSERTED_TOGETHER", 2)
    for job_id in range(1, 8):
        put(jobId=job_id)
    real, calls = restore.restore, iter([None, None])

    def interrupted(jobs: Any) -> int:
        for _ in calls:
            return real(jobs)
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(restore, "restore", interrupted)
        outcome = run("rebuild_jobs")
    assert outcome.status == 130
    assert "4 jobs restored, 0 there already, 0 refused. Run it again to go on." in outcome.err
    assert Job.objects.count() == 4
    assert run("rebuild_jobs").lines == ["3 jobs restored, 4 there already, 0 refused.", "7 jobs indexed."]


def test_a_ctrl_c_after_a_commit_leaves_nothing_uncounted(run: Run, put: Put, monkeypatch: pytest.MonkeyPatch) -> None:
    put()
    real = restore.restore

    def pressed(jobs: Any) -> int:
        restored = real(jobs)
        signal.raise_signal(signal.SIGINT)
        return restored

    monkeypatch.setattr(restore, "restore", pressed)
    outcome = run("rebuild_jobs")
    assert outcome.status == 130
    assert "Interrupted. 1 job restored, 0 there already, 0 refused." in outcome.err
    assert Job.objects.count() == 1


def test_an_interruption_while_jobs_are_indexed_leaves_that_to_index_jobs(
    run: Run, put: Put, monkeypatch: pytest.MonkeyPatch
) -> None:
    for job_id in range(1, 4):
        put(jobId=job_id)

    def pressed(most: int, *, below: int | None) -> list[int]:
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(backlog, "book_next", pressed)
        outcome = run("rebuild_jobs")
    assert outcome.status == 130
    assert outcome.lines == ["3 jobs restored, 0 there already, 0 refused."]
    assert "Interrupted. 0 jobs indexed. Run index_jobs to go on" in outcome.err
    assert Job.objects.filter(is_booked=False).count() == 3
    assert run("index_jobs").lines == ["3 jobs indexed."]
    assert run("check_usage").status == 0


@pytest.fixture
def small_transactions(transactional_db: None, monkeypatch: pytest.MonkeyPatch) -> None:
    """Let two jobs be a transaction."""
    monkeypatch.setattr(rebuild, "_BATCH", 2)
    monkeypatch.setattr(rebuild, "_INSERTED_TOGETHER", 2)
    monkeypatch.setattr(indexing, "_BATCH", 2)


@pytest.mark.usefixtures("small_transactions")
def test_transactions_share_hosts_tags_and_usage(run: Run, put: Put) -> None:
    tags = [{"type": "t", "name": name} for name in "cab"]
    for job_id in range(1, 22):
        put(jobId=job_id, tags=tags[job_id % 3 :])
    put(jobId=30, user="x" * 256)
    outcome = run("rebuild_jobs")
    assert outcome.lines == ["21 jobs restored, 0 there already, 1 refused.", "21 jobs indexed."]
    assert "user is 'xxxx" in outcome.err
    assert (Job.objects.count(), Tag.objects.count(), Node.objects.count()) == (21, 3, 1)
    assert JobNode.objects.count() == JobFootprint.objects.count() == 21
    assert Usage.objects.aggregate(jobs=Sum("jobs"))["jobs"] == 21
    assert run("check_usage").status == 0
    assert run("rebuild_jobs").lines[0] == "0 jobs restored, 21 there already, 1 refused."


@pytest.mark.usefixtures("small_transactions")
@pytest.mark.parametrize("at", [1, 3])
def test_what_was_in_work_at_a_ctrl_c_is_carried_out_and_counted(
    run: Run, put: Put, monkeypatch: pytest.MonkeyPatch, at: int
) -> None:
    for job_id in range(1, 22):
        put(jobId=job_id)
    real, calls = restore.restore, itertools.count(1)

    def pressed(jobs: Any) -> int:
        if next(calls) == at:
            signal.raise_signal(signal.SIGINT)
        return real(jobs)

    monkeypatch.setattr(restore, "restore", pressed)
    outcome = run("rebuild_jobs")
    assert outcome.status == 130
    assert 0 < Job.objects.count() < 21
    assert f"Interrupted. {Job.objects.count()} jobs restored, 0 there already, 0 refused." in outcome.err


@pytest.mark.usefixtures("small_transactions")
def test_an_error_of_the_database_ends_it_and_what_was_committed_is_counted(
    run: Run, put: Put, monkeypatch: pytest.MonkeyPatch
) -> None:
    for job_id in range(1, 22):
        put(jobId=job_id)
    real, calls = restore.restore, itertools.count(1)

    def failing(jobs: Any) -> int:
        if next(calls) == 3:
            raise OperationalError("the disk is full")
        return real(jobs)

    with monkeypatch.context() as patch:
        patch.setattr(restore, "restore", failing)
        outcome = run("rebuild_jobs")
    assert outcome.status == 1
    restored = Job.objects.count()
    assert f"It could not go on: the disk is full\n{restored} jobs restored, 0 there already" in outcome.err
    assert 0 < restored < 21
    assert run("rebuild_jobs").lines[0] == f"{21 - restored} jobs restored, {restored} there already, 0 refused."
