"""Statistics of the jobs of a search: sums and bars, the same by footprints alone as by the jobs' rows."""

import time
from typing import Any

import pytest

from accounts.models import User
from jobs.models import Job
from jobs.querysets import seen_by
from jobs.search import booked, summary
from jobs.search.criteria import Criteria, by_cluster, by_state, by_user, with_value
from jobs.search.find import Search
from jobs.search.summary import Budget, Summary, summarise
from jobs.states import JobState, MonitoringStatus
from tests.support.booked_jobs import book, booked_job, give_slots
from tests.support.factories import START, JobFactory, UserFactory

pytestmark = pytest.mark.django_db

EVERYTHING = with_value(num_nodes__gte=1)
"""A condition that each job matches, so that their rows are read."""


def counted(
    criteria: Criteria, seen: Any = None, *, seconds: float = 60.0, steps: int = 100, now: int | None = None
) -> Summary:
    """Return the statistics."""
    search = Search(seen=seen, criteria=criteria)
    return summarise(search, Budget(seconds, steps), now=int(time.time()) if now is None else now)


@pytest.fixture
def jobs() -> None:
    """Create jobs of all kinds: booked, running, not booked yet, to be written again."""
    give_slots("cpu_load", "Other:metric")
    hour, measured = 3600, {"avg_share_1": 0, "waiting": 600, "energy": 1.5, "accelerators": 2}
    booked_job({**measured, "walltime_share": 100, "power": 5}, duration=hour, walltime=10 * hour)
    booked_job({"avg_share_1": 99, "walltime_share": 99}, duration=99, walltime=1000, num_nodes=4)
    booked_job({"avg_share_1": 100, "avg_share_2": 1500}, duration=59, walltime=0, num_nodes=2000)
    booked_job({"avg_share_1": 1000, "walltime_share": 1001}, duration=1001, walltime=1000, job_state="timeout")
    again = booked_job({"walltime_share": 600}, duration=600, walltime=1000, job_state="failed")
    Job.objects.filter(pk=again.pk).update(monitoring_status=MonitoringStatus.ARCHIVING)
    JobFactory.create(finished=True, duration=700, walltime=1000, job_state="failed")
    JobFactory.create(archived=True, duration=86_400, walltime=1000)
    JobFactory.create(start_time=int(time.time()) - 60, walltime=3600, num_nodes=3)


@pytest.mark.usefixtures("jobs")
def test_sums_and_bars_are_those_of_the_jobs() -> None:
    now = int(time.time())
    found = counted(Criteria(), now=now)

    assert (found.jobs, found.since, found.ended, found.measured, found.waited) == (8, None, 5, 1, 1)
    assert +found.states == {"completed": 4, "failed": 2, "timeout": 1, "running": 1}
    running = now - Job.objects.get(job_state=JobState.RUNNING).start_time
    of_ended = 3600 + 99 * 4 + 59 * 2000 + 1001 + 600 + 700 + 86_400
    assert found.node_seconds == of_ended + 3 * running
    assert found.core_seconds == 4 * (3600 + 99 + 59 + 1001 + 600)
    assert (found.accelerator_seconds, found.waiting, found.energy) == (2 * 3600, 600, 1.5)
    assert found.bars["duration"] == [1, 2, 2, 1, 1, 0, 0, 1, 0, 0]
    assert found.bars["nodes"] == [5, 0, 2, 0, 0, 0, 0, 0, 0, 0, 0, 1]
    assert found.bars["limit"] == [2, 1, 0, 0, 0, 0, 1, 1, 0, 0, 2]
    assert found.metrics == {"cpu_load": [2, 1] + [0] * 8 + [1], "Other:metric": [0] * 10 + [1]}


@pytest.mark.usefixtures("jobs")
def test_footprints_alone_tell_the_same_as_the_rows_of_jobs() -> None:
    now, starts = int(time.time()), sorted(Job.objects.values_list("start_time", flat=True))
    for since, until in ((None, None), (starts[1], None), (None, starts[-3]), (starts[2], starts[4]), (1, 2)):
        of_all, of_rows = Criteria(), Criteria([EVERYTHING])
        for criteria in (of_all, of_rows):
            criteria.between(since, until)
        by_footprint, by_row = counted(of_all, now=now), counted(of_rows, now=now)
        by_footprint.states, by_row.states = +by_footprint.states, +by_row.states
        assert vars(by_footprint) == vars(by_row)


@pytest.mark.usefixtures("jobs")
def test_while_many_jobs_have_yet_to_be_booked_the_rows_of_all_are_read(monkeypatch: pytest.MonkeyPatch) -> None:
    now = int(time.time())
    JobFactory.create_batch(3, archived=True)
    few = counted(Criteria(), now=now)
    monkeypatch.setattr(booked, "FEW", 2)
    monkeypatch.setattr(summary, "_add_booked", pytest.fail)
    many = counted(Criteria(), now=now)
    few.states, many.states = +few.states, +many.states
    assert vars(few) == vars(many)


@pytest.mark.parametrize("criteria", [[], [EVERYTHING], [by_cluster("testcluster")]])
def test_where_the_time_ends_it_says_since_when_all_are_counted(
    criteria: list[Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    for number in range(24):
        booked_job(start_time=START + number, duration=number)
    JobFactory.create(start_time=START + 24)
    monkeypatch.setattr(summary, "FIRST_STEP", 2)

    found = counted(Criteria(criteria), steps=2)
    assert found.since == START + 13
    since = Criteria([*criteria])
    since.between(since=found.since)
    monkeypatch.setattr(summary, "FIRST_STEP", 100)
    whole = counted(since)
    assert (found.jobs, found.bars, found.states) == (whole.jobs, whole.bars, whole.states)
    assert found.jobs == Job.objects.filter(start_time__gte=found.since).count()

    monkeypatch.setattr(summary, "FIRST_STEP", 2)
    at_once = counted(Criteria(criteria), seconds=-1.0)
    assert at_once.since == START + 22
    assert counted(Criteria(criteria)).jobs == 25


@pytest.mark.usefixtures("jobs")
def test_the_index_of_a_search_is_used_for_any_criteria() -> None:
    assert counted(Criteria([by_user("nobody")])).jobs == 0
    assert +counted(Criteria([by_state("failed")])).states == {"failed": 2}
    assert +counted(Criteria([by_state("running")])).states == {"running": 1}
    assert counted(Criteria(problems=["not understood"])).jobs == 0


def test_nobody_counts_the_jobs_of_others(alice: User, bob: User, carol: User) -> None:
    give_slots("cpu_load")
    for user, project, nodes in (("alice", "x", 1), ("bob", "y", 2), ("charlie", "bio", 4), ("charlie", "z", 8)):
        job = JobFactory.create(archived=True, user=user, project=project, num_nodes=nodes, duration=1)
        book(job, avg_share_1=100 * nodes)
        JobFactory.create(user=user, project=project, num_nodes=nodes)
    nobody = UserFactory.create(roles=[])
    for person, seen in ((alice, [1]), (bob, [2, 4]), (carol, [1, 2, 4, 8]), (nobody, [])):
        found = counted(Criteria(), seen_by(person))
        assert found.jobs == 2 * len(seen)
        assert found.core_seconds == 4 * len(seen)
        bars = found.metrics.get("cpu_load", [0] * 11)
        assert [place for place, count in enumerate(bars) if count] == seen
        assert sum(found.states.values()) == found.jobs
