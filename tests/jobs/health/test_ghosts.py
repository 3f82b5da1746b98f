"""Ghosts are found by their requested time and the reports of their nodes, each with its probable end."""

from typing import Any

import pytest

from jobs.health import ghosts
from jobs.health.ghosts import Basis
from jobs.health.look import Look
from jobs.health.report import State
from jobs.intake.nodes import record_nodestate
from jobs.messages import NodeReport
from jobs.models import Job, NodeState
from tests.support.factories import START, JobFactory

pytestmark = pytest.mark.django_db

NOW = START + 10 * 86_400
DAY = 86_400


def job(*hosts: str, start: int = NOW - 1000, walltime: int = DAY, **changes: Any) -> Job:
    """Store a running job on some nodes."""
    resources = "[" + ",".join(f'{{"hostname":"{host}"}}' for host in hosts) + "]"
    return JobFactory.create(start_time=start, walltime=walltime, num_nodes=len(hosts), resources=resources, **changes)


def report(host: str, states: str, running: int = 0, *, at: int = NOW - 30) -> None:
    """Store the report of a node."""
    record_nodestate(cluster="testcluster", nodes=[NodeReport(hostname=host, states=states, jobs_running=running)])
    NodeState.objects.filter(hostname=host).update(reported_at=at)


def found() -> dict[int, tuple[int, Basis, bool]]:
    """Return end, basis and likelihood of the ghosts by row id."""
    return {ghost.job.pk: (ghost.stop_time, ghost.basis, ghost.is_likely) for ghost in ghosts.find(NOW)}


def test_a_job_within_its_time_on_a_busy_node_is_none() -> None:
    job("n01")
    job("n02", start=NOW - DAY - 3599)
    job("n03", start=START, walltime=0)
    report("n01", "mixed", 1)
    assert found() == {}


def test_a_job_beyond_its_time_ended_with_it() -> None:
    late = job("n01", start=NOW - 9 * DAY)
    assert found() == {late.pk: (NOW - 8 * DAY, Basis.WALLTIME, True)}
    (ghost,) = ghosts.find(NOW)
    assert ghost.reasons == ("8 d beyond its requested time",)
    assert ghost.duration == DAY


def test_it_ended_when_the_last_report_still_had_it() -> None:
    late = job("n01", start=NOW - 9 * DAY)
    report("n01", "allocated", 1, at=NOW - 9 * DAY + 5000)
    assert found() == {late.pk: (NOW - 9 * DAY + 5000, Basis.REPORT, True)}


def test_a_job_that_its_nodes_still_count_is_unsure() -> None:
    late = job("n01", start=NOW - 9 * DAY)
    report("n01", "allocated", 1)
    assert found() == {late.pk: (NOW - 30, Basis.REPORT, False)}
    assert ghosts.find(NOW)[0].reasons[-1] == "but its nodes still count it"


@pytest.mark.parametrize("states", ["idle", "down*", "DOWN+NOT_RESPONDING", "idle+drain", "drained"])
def test_a_job_on_a_node_that_is_idle_or_down_is_one(states: str) -> None:
    dead = job("n01", "n02", start=NOW - 5000)
    report("n01", states.replace("*", ""))
    report("n02", "mixed", 1, at=NOW - 4000)
    assert found() == {dead.pk: (NOW - 4000, Basis.REPORT, True)}


@pytest.mark.parametrize(("states", "count"), [("idle", 0), ("mixed", 1)])
def test_health_counts_the_jobs_on_nodes_without_any(states: str, count: int) -> None:
    job("n01")
    report("n01", states, count)
    sentences = [finding.sentence for finding in ghosts.check_walltime(Look(NOW)) if finding.state != State.OK]
    expected = [] if count else ["Cluster testcluster: 1 job has a node that is idle or down by its report."]
    assert sentences == expected


def test_without_a_report_that_had_it_it_ended_by_the_first_without_it() -> None:
    dead = job("n01", start=NOW - 5000)
    short = job("n02", start=NOW - 5000, walltime=4000)
    for host in ("n01", "n02"):
        report(host, "idle")
    assert found() == {
        dead.pk: (NOW - 30, Basis.ABSENCE, True),
        short.pk: (NOW - 1000, Basis.WALLTIME, True),
    }


def test_a_report_from_before_its_start_says_nothing() -> None:
    job("n01", start=NOW - 80)
    report("n01", "idle")
    assert found() == {}


def test_an_old_report_of_an_idle_node_says_nothing() -> None:
    job("n01", start=NOW - 5000)
    report("n01", "idle", at=NOW - 400)
    assert found() == {}


def test_where_the_scheduler_counts_fewer_each_is_unsure() -> None:
    two = [job("n01"), job("n01")]
    report("n01", "mixed", 1)
    assert found() == {each.pk: (NOW, Basis.NOW, False) for each in two}
    assert ghosts.find(NOW)[0].reasons == ("n01 runs 1 of 2 jobs",)


def test_an_adapter_that_counts_no_jobs_accuses_none() -> None:
    job("n01")
    report("n01", "allocated", 0)
    assert found() == {}


def test_clusters_are_compared_in_sum() -> None:
    for _ in range(4):
        job("n01", "n02")
    report("n01", "mixed", 1)
    report("n02", "mixed", 1)
    assert list(ghosts.miscounted(NOW)) == [("testcluster", 8, 2)]
    report("n02", "mixed", 2)
    assert list(ghosts.miscounted(NOW)) == []  # stops may be on the way
    report("n02", "mixed", 1, at=NOW - 400)
    assert list(ghosts.miscounted(NOW)) == []  # not all nodes are reported


@pytest.mark.usefixtures("cluster")
def test_a_cluster_of_which_some_nodes_are_reported_is_not_compared() -> None:
    for _ in range(6):
        job("n01")
    report("n02", "idle", 0)
    assert list(ghosts.miscounted(NOW)) == []


def test_a_cluster_without_jobs_by_the_scheduler_s_count_is_compared_if_its_nodes_are_idle() -> None:
    for _ in range(6):
        job("n01")
    report("n01", "idle", 0)
    assert list(ghosts.miscounted(NOW)) == [("testcluster", 6, 0)]
    report("n01", "allocated", 0)
    assert list(ghosts.miscounted(NOW)) == []
