"""check_usage: sums that are right, and those that are not."""

import pytest

from jobs.ledger import backlog
from jobs.models import Job
from jobs.records import JobFootprint, Usage
from tests.support.commands import Run
from tests.support.factories import JobFactory

pytestmark = pytest.mark.django_db


@pytest.fixture
def _booked() -> None:
    JobFactory.create_batch(2, archived=True)
    backlog.book_next(10)


@pytest.mark.usefixtures("_booked")
def test_what_is_right_is_said_to_be_and_what_is_missing_is_counted(run: Run) -> None:
    assert run("check_usage").lines == ["Usage is what the jobs say."]
    JobFactory.create(archived=True)
    assert run("check_usage").lines == [
        "1 ended job not in it yet: run index_jobs.",
        "Usage is what the jobs say.",
    ]


@pytest.mark.usefixtures("_booked")
def test_a_difference_is_printed_and_repaired_if_asked(run: Run) -> None:
    Usage.objects.update(jobs=3)
    outcome = run("check_usage")
    assert outcome.status == 1
    assert outcome.lines == ["2023-11-14 testcluster main work bio alice completed: jobs 3 instead of 2"]
    assert "1 row of usage differed from the jobs." in outcome.err

    assert run("check_usage", "--repair").lines[-1] == "1 row of usage differed from the jobs, repaired."
    assert run("check_usage").lines == ["Usage is what the jobs say."]


@pytest.mark.usefixtures("_booked")
def test_a_mark_without_a_footprint_is_an_error(run: Run) -> None:
    JobFootprint.objects.filter(job=Job.objects.first()).delete()
    Usage.objects.update(jobs=1, node_seconds=600)
    outcome = run("check_usage")
    assert outcome.status == 1
    assert "1 job marked as booked without a footprint, or the reverse." in outcome.err
