"""index_jobs: jobs from before there were books."""

import threading

import pytest
from django.db import OperationalError, connection

from jobs.ledger import audit, backlog
from jobs.models import Job
from jobs.records import JobFootprint, JobNode, Usage
from tests.support.commands import Run
from tests.support.factories import JobFactory
from tests.support.waiting import patience

pytestmark = pytest.mark.django_db


def test_all_ended_jobs_are_indexed_once_and_running_or_waiting_ones_are_not(run: Run) -> None:
    JobFactory.create_batch(3, archived=True)
    JobFactory.create(finished=True, monitoring_status=0)
    JobFactory.create(finished=True)
    JobFactory.create()

    assert run("index_jobs").lines == ["4 jobs indexed."]
    assert (Usage.objects.get(job_state="completed").jobs, JobNode.objects.count()) == (4, 4)
    assert set(Job.objects.filter(is_booked=True)) == {one.job for one in JobFootprint.objects.select_related("job")}
    assert run("index_jobs").lines == ["0 jobs indexed."]
    assert list(audit.differences()) == []


def test_an_interrupted_run_says_so_and_the_next_one_goes_on(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    JobFactory.create_batch(3, archived=True)
    book = backlog.book_next

    def pressed(most: int, *, below: int | None) -> list[int]:
        if below is not None:
            raise KeyboardInterrupt
        return book(2, below=below)

    monkeypatch.setattr(backlog, "book_next", pressed)
    outcome = run("index_jobs")
    assert outcome.status == 130
    assert "2 jobs indexed. Run index_jobs to go on" in outcome.err

    monkeypatch.undo()
    assert run("index_jobs").lines == ["1 job indexed."]
    assert list(audit.differences()) == []


@pytest.mark.django_db(transaction=True)
@pytest.mark.skipif(connection.vendor != "postgresql", reason="SQLite has one writer at a time")
def test_two_threads_share_the_work(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    JobFactory.create_batch(6, archived=True)
    book, both, threads = backlog.book_next, threading.Barrier(2, timeout=patience(10)), set()

    def together(most: int, *, below: int | None) -> list[int]:
        if threading.get_ident() not in threads:
            threads.add(threading.get_ident())
            both.wait()
        return book(1, below=below)

    monkeypatch.setattr(backlog, "book_next", together)
    assert run("index_jobs").lines == ["6 jobs indexed."]
    assert (len(threads), Usage.objects.get().jobs, JobFootprint.objects.count()) == (2, 6, 6)
    assert list(audit.differences()) == []


@pytest.mark.django_db(transaction=True)
@pytest.mark.skipif(connection.vendor != "postgresql", reason="SQLite has one writer at a time")
def test_an_error_in_the_other_thread_is_told(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    JobFactory.create_batch(2, archived=True)
    book = backlog.book_next

    def failing(most: int, *, below: int | None) -> list[int]:
        if threading.current_thread() is not threading.main_thread():
            raise OperationalError("the disk is full")
        return book(most, below=below)

    monkeypatch.setattr(backlog, "book_next", failing)
    outcome = run("index_jobs")
    assert outcome.status == 1
    assert "It could not go on: the disk is full\n2 jobs indexed." in outcome.err
