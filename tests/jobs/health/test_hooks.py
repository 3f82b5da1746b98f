"""The health of what schedulers send: events cease, calls are refused, reports are old, and all faces say so."""

from typing import Any

import pytest

from jobs.health.report import State
from jobs.intake.nodes import record_nodestate
from jobs.messages import NodeReport
from jobs.models import CallCount, Job, NodeState, RefusedCall
from jobs.states import JobState
from tests.jobs.health.conftest import Tell, now
from tests.support.clients import AppClient
from tests.support.factories import JobFactory

pytestmark = pytest.mark.django_db


def test_starts_and_stops_that_cease_show_apart(tell: Tell) -> None:
    starts = [now() - 86_400 + 150 * place for place in range(400)]  # the last of them 7.5 hours ago
    Job.objects.bulk_create(JobFactory.build(finished=True, start_time=start) for start in starts)
    JobFactory.create(start_time=starts[0])
    told = tell("events")
    assert told.state == State.WARNING
    assert "Cluster testcluster: no start and no stop for 7 h" in told.text
    assert told.since == starts[-1] + 600

    recent = [JobFactory.create(start_time=now() - 60 * place) for place in range(1, 5)]
    told = tell("events")
    assert told.state == State.WARNING
    assert "no stop for 7 h" in told.text
    assert "no start" not in told.text

    Job.objects.filter(pk=recent[-1].pk).update(job_state=JobState.COMPLETED, duration=30)
    assert tell("events").state == State.OK


def test_calls_that_were_refused_and_wait(tell: Tell, api: AppClient) -> None:
    assert tell("refused calls").state == State.OK
    for job_id in (1, 2):
        api.start(jobId=job_id, numNodes=2)
    told = tell("refused calls")
    assert told.state == State.WARNING
    assert "bench, token ccb_" in told.text
    assert "2 calls of start_job were refused in the last 24 h" in told.text
    assert "len(resources) does not equal numNodes (1 vs 2)" in told.text
    RefusedCall.objects.update(received_at=now() - 86_500)
    assert tell("refused calls").state == State.OK


def test_refused_calls_of_a_caller_are_named_once(tell: Tell, api: AppClient) -> None:
    for job_id in range(4):
        api.start(jobId=job_id, numNodes=2)
    api.post("/api/jobs/tag_job/4711", [])

    told = tell("API calls")
    assert told.state == State.WARNING
    assert "4 of 4 calls of start_job" in told.text
    assert "replay the calls on the page Refused calls" in told.text
    told = tell("refused calls")
    assert "1 call of tag_job was refused" in told.text
    assert "start_job" not in told.text
    RefusedCall.objects.filter(operation="tag_job").delete()
    told = tell("refused calls")
    assert (told.state, "named under API calls" in told.text) == (State.OK, True)

    CallCount.objects.all().delete()
    assert "4 calls of start_job were refused" in tell("refused calls").text
    RefusedCall.objects.all().delete()
    for _ in range(4):
        api.post("/api/jobs/start_job/", {}, token="nonsense")
    assert "Refused calls" not in tell("API calls").text


@pytest.mark.parametrize("path", ["events/", "stop_job/4711/"])
def test_calls_that_are_counted_under_another_name_are_named_once(path: str, tell: Tell, api: AppClient) -> None:
    body: Any = {"stopTime": 1, "jobState": "completed"}
    if path == "events/":
        body = b'{"operation": "stop_job", "body": {"jobId": 99, "stopTime": 1}}\n' * 3
    for _ in range(3):
        api.post(f"/api/jobs/{path}", body)
    assert RefusedCall.objects.filter(operation="stop_job").exists()
    assert tell("API calls").state != State.OK
    assert tell("refused calls").state == State.OK


def test_more_jobs_than_the_scheduler_counts(tell: Tell) -> None:
    JobFactory.create_batch(7, start_time=now() - 1000, walltime=86_400)
    record_nodestate(cluster="testcluster", nodes=[NodeReport(hostname="n01", states="mixed", jobs_running=1)])
    told = tell("walltimes")
    assert told.state == State.WARNING
    assert "Cluster testcluster: on its nodes 7 jobs run here, and the scheduler counts 1" in told.text
    record_nodestate(cluster="testcluster", nodes=[NodeReport(hostname="n01", states="mixed", jobs_running=7)])
    assert tell("walltimes").state == State.OK


def test_jobs_far_beyond_their_walltime(tell: Tell) -> None:
    JobFactory.create(start_time=now() - 3600 - 3000, walltime=3600)
    JobFactory.create(start_time=now() - 9 * 86_400, walltime=0)
    assert tell("walltimes").state == State.OK
    ghost = JobFactory.create(start_time=now() - 9 * 86_400, walltime=86_400)
    told = tell("walltimes")
    assert told.state == State.WARNING
    assert "Cluster testcluster: 1 job has run for more than 1 h beyond the requested time" in told.text
    assert "began 9 d ago" in told.text
    assert told.since == ghost.start_time
    Job.objects.filter(pk=ghost.pk).update(job_state=JobState.COMPLETED, duration=5)
    assert tell("walltimes").state == State.OK


def test_nodes_that_are_not_reported(tell: Tell) -> None:
    nodes = [NodeReport(hostname=f"n{number:02}", states=["IDLE"]) for number in range(1, 5)]
    record_nodestate(cluster="testcluster", nodes=nodes)
    assert tell("node reports").state == State.OK
    NodeState.objects.filter(hostname="n02").update(reported_at=now() - 400)
    told = tell("node reports")
    assert told.state == State.WARNING
    assert "1 of 4 nodes have not been reported" in told.text
    NodeState.objects.filter(hostname="n02").update(reported_at=now() - 2 * 86_400)
    assert tell("node reports").state == State.OK, "it was removed"
    NodeState.objects.update(reported_at=now() - 7200)
    told = tell("node reports")
    assert "the last report of its nodes came 2 h ago" in told.text
    record_nodestate(cluster="testcluster", nodes=nodes)
    assert tell("node reports").state == State.OK
