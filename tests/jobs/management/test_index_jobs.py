"""index_jobs: jobs from before there were books."""

import pytest

from jobs.ledger import audit, backlog
from jobs.models import Job
from jobs.records import JobFootprint, JobNode, Usage
from tests.support.commands import Run
from tests.support.factories import JobFactory

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
    assert "2 jobs indexed. Run it again to go on." in outcome.err

    monkeypatch.undo()
    assert run("index_jobs").lines == ["1 job indexed."]
    assert list(audit.differences()) == []
