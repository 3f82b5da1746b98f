"""What happened on a node: its states between reports, the jobs that ran there, and in which rows they are drawn."""

import time
from collections.abc import Sequence
from typing import Any

import pytest

from accounts.models import User
from jobs.archiving.worker import ArchiveWorker
from jobs.intake.nodes import record_nodestate
from jobs.messages import NodeReport
from jobs.models import Job
from jobs.overview import node_history
from jobs.overview.node_history import Failed, Span, failed_among, failed_of_cluster, jobs_on, lanes, states_of
from jobs.records import NodeChange
from tests.support.factories import JobFactory, on_hosts

pytestmark = pytest.mark.django_db


def report(monkeypatch: pytest.MonkeyPatch, at: int, states: Sequence[str], host: str = "n01") -> None:
    """Report a node's states at a time."""
    monkeypatch.setattr(time, "time", lambda: float(at))
    record_nodestate(cluster="testcluster", nodes=[NodeReport(hostname=host, states=list(states))])
    monkeypatch.undo()


@pytest.fixture
def reported(cluster: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """Report n01 as idle at 1000, still at 1060, allocated at 1120, and down at 1180."""
    for at, state in ((1000, "IDLE"), (1060, "IDLE"), (1120, "ALLOCATED"), (1180, "DOWN")):
        report(monkeypatch, at, [state])
    report(monkeypatch, 1120, ["MIXED"], host="n02")


@pytest.mark.usefixtures("reported")
def test_only_a_change_of_states_leaves_a_row() -> None:
    rows = NodeChange.objects.filter(hostname="n01").order_by("at")
    assert list(rows.values_list("at", "before", "states")) == [
        (1000, "", '["IDLE"]'),
        (1120, '["IDLE"]', '["ALLOCATED"]'),
        (1180, '["ALLOCATED"]', '["DOWN"]'),
    ]


@pytest.mark.usefixtures("reported")
@pytest.mark.parametrize(
    ("begin", "end", "spans"),
    [
        (900, 1150, [(900, 1000, ()), (1000, 1120, ("IDLE",)), (1120, 1150, ("ALLOCATED",))]),
        (1060, 1100, [(1060, 1100, ("IDLE",))]),
        (1120, 1121, [(1120, 1121, ("ALLOCATED",))]),
        (1200, 1300, [(1200, 1300, ("DOWN",))]),
        (100, 200, [(100, 200, ())]),
    ],
)
def test_the_states_of_a_range_have_no_gaps(begin: int, end: int, spans: list[Any]) -> None:
    assert states_of("testcluster", "n01", begin, end) == [Span(*span) for span in spans]


@pytest.mark.usefixtures("reported")
def test_what_was_forgotten_is_told_by_the_change_after_it_or_by_the_latest_report() -> None:
    NodeChange.objects.filter(at=1000).delete()
    assert states_of("testcluster", "n01", 1050, 1100) == [Span(1050, 1100, ("IDLE",))]
    NodeChange.objects.all().delete()
    assert states_of("testcluster", "n01", 1050, 1100) == [Span(1050, 1100, ("DOWN",))]


@pytest.mark.usefixtures("reported")
def test_changes_that_are_too_old_are_deleted(settings: Any) -> None:
    settings.NODE_HISTORY_DAYS = 1
    new = NodeChange.objects.create(cluster="c", hostname="h", at=int(time.time()) - 80_000, before="", states="[]")
    assert NodeChange.objects.drop_old() == 4
    assert NodeChange.objects.get() == new


def test_ended_waiting_and_running_jobs_of_a_node_are_found_by_time_and_visibility(
    cluster: Any, alice: User, admin: User
) -> None:
    there = on_hosts("n01", "n02")
    booked = JobFactory.create(finished=True, start_time=1000, duration=100, resources=there, user="bob")
    ArchiveWorker().drain()
    waiting = JobFactory.create(finished=True, start_time=1050, duration=100, resources=there, user="alice")
    running = JobFactory.create(start_time=1060, resources=there, user="alice")
    JobFactory.create(start_time=1060, resources=on_hosts("n010"), user="alice")
    JobFactory.create(start_time=1060, resources=there, cluster="other", user="alice")

    def found(user: User, begin: int, end: int) -> list[Job]:
        jobs, is_short = jobs_on(Job.objects.visible_to(user), "testcluster", "n01", begin, end)
        assert not is_short
        return jobs

    assert found(admin, 1000, 2000) == [running, waiting, booked]
    assert found(alice, 1000, 2000) == [running, waiting]
    assert found(admin, 1100, 2000) == [running, waiting]
    assert found(admin, 900, 1050) == [booked]
    assert found(admin, 5000, 6000) == [running]
    assert failed_among(found(admin, 1000, 2000)) == Failed(2, 0)


def test_of_very_many_jobs_that_have_yet_to_be_booked_the_newest_are_looked_at(
    cluster: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    jobs = [
        JobFactory.create(archived=True, start_time=1000 + number, duration=100, resources=on_hosts("n01"))
        for number in range(4)
    ]
    assert jobs_on(Job.objects.all(), "testcluster", "n01", 1000, 2000) == (jobs[::-1], False)
    monkeypatch.setattr(node_history, "_MOST_TESTED", 3)
    assert jobs_on(Job.objects.all(), "testcluster", "n01", 1000, 2000) == (jobs[:0:-1], True)


def test_the_failed_jobs_of_a_cluster_are_counted_by_the_day_of_their_end(cluster: Any) -> None:
    for state, start in (("failed", 0), ("timeout", 10), ("completed", 20), ("cancelled", 30), ("failed", 86_400)):
        JobFactory.create(finished=True, job_state=state, start_time=86_400 * 100 + start, duration=50)
    ArchiveWorker().drain()
    found = failed_of_cluster("testcluster", 86_400 * 100, 86_400 * 101)
    assert (found.jobs, found.failed, found.share) == (4, 2, 0.5)
    assert failed_of_cluster("testcluster", 0, 86_400).share == 0


def test_jobs_at_the_same_time_are_drawn_in_different_rows() -> None:
    jobs = [
        JobFactory.build(finished=True, start_time=start, duration=duration)
        for start, duration in ((100, 50), (120, 50), (150, 10), (180, 0), (90, 200))
    ]
    rows = lanes(jobs, 100, 200)
    assert [[(first, last) for _, first, last in row] for row in rows] == [
        [(100, 200)],
        [(100, 150), (150, 160), (180, 181)],
        [(120, 170)],
    ]
