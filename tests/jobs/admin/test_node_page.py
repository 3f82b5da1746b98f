"""The page of a node: who was there at a moment, for each role what it may see."""

import time
from datetime import UTC, datetime
from typing import Any

import pytest

from accounts.models import User
from jobs.archiving.worker import ArchiveWorker
from jobs.intake.nodes import record_nodestate
from jobs.messages import NodeReport
from jobs.overview import node_history, recent
from jobs.records import Usage
from tests.support.admin_site import Login
from tests.support.factories import JobFactory, on_hosts

pytestmark = pytest.mark.django_db
PAGE = "/admin/clusters/testcluster/n01/"


@pytest.fixture
def jobs(cluster: Any) -> Any:
    """Return a job of alice in project bio and one of charlie on n01, of 12:00 to 13:00 and 12:30 to 13:30 UTC."""
    start = 1_795_867_200
    there = {"finished": True, "duration": 3600, "resources": on_hosts("n01")}
    made = (
        JobFactory.create(start_time=start, user="alice", job_state="failed", **there),
        JobFactory.create(start_time=start + 1800, user="charlie", project="concealed", **there),
    )
    ArchiveWorker().drain()
    return made


def test_who_was_on_a_node_at_a_moment(admin: User, login: Login, jobs: Any) -> None:
    client = login(admin)
    for moment, then in (("12:10", [jobs[0]]), ("12:45", [jobs[1], jobs[0]]), ("13:10", [jobs[1]]), ("14:00", [])):
        context = client.get(PAGE, {"at": f"2026-11-28T{moment}+00:00"}).context
        assert context["then"] == then
    assert context["jobs"] == [jobs[1], jobs[0]]
    assert (context["here"].share, context["cluster_failed"].share) == (0.5, 0.5)


@pytest.mark.parametrize("person", ["alice", "bob"])
def test_users_and_managers_see_their_jobs_and_no_number_made_of_others(
    person: str, login: Login, jobs: Any, request: pytest.FixtureRequest
) -> None:
    answer = login(request.getfixturevalue(person)).get(PAGE, {"at": "2026-11-28T12:45+00:00"})
    text = answer.content.decode()
    assert answer.context["jobs"] == answer.context["then"] == [jobs[0]]
    assert not [secret for secret in ("concealed", "charlie", str(jobs[1].job_id)) if secret in text]
    assert answer.context["cluster_failed"] is None
    assert "1 of 1 job that ended here" in text


@pytest.mark.parametrize("person", ["admin", "alice"])
def test_where_there_are_too_many_jobs_the_page_says_so_and_still_knows_who_was_there_at_a_moment(
    person: str, login: Login, jobs: Any, request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch
) -> None:
    client = login(request.getfixturevalue(person))
    said = "Only the newest jobs"
    assert said not in client.get(PAGE, {"at": "2026-11-28T12:10+00:00"}).content.decode()
    monkeypatch.setattr(node_history, "MOST_JOBS", 1)
    answer = client.get(PAGE, {"at": "2026-11-28T12:10+00:00"})
    assert answer.context["jobs"] == [job for job in jobs[1:] if person == "admin"]
    assert answer.context["then"] == [jobs[0]]
    assert said in answer.content.decode()


def test_the_share_of_failed_jobs_on_the_cluster_is_kept_for_a_minute_and_says_since_when(
    admin: User, login: Login, jobs: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    client, now = login(admin), time.time()

    def share(passed: int) -> tuple[float, int]:
        monkeypatch.setattr(time, "time", lambda: now + passed)
        answer = client.get(PAGE, {"at": "2026-11-28T12:45+00:00"})
        counted_at = answer.context["counted_at"]
        at = datetime.fromtimestamp(counted_at, UTC).isoformat()
        assert f' % at <time datetime="{at}"' in answer.content.decode()
        return answer.context["cluster_failed"].share, counted_at - int(now)

    assert share(0) == (0.5, 0)
    Usage.objects.exclude(job_state="failed").delete()
    assert share(recent.MOST_AGE - 2) == (0.5, 0)
    assert share(recent.MOST_AGE + 1) == (1.0, recent.MOST_AGE + 1)


@pytest.mark.parametrize("text", ["x", "2026-13-01T00:00", "99999-01-01", "\0"])
def test_a_moment_that_is_none_is_explained(admin: User, login: Login, cluster: Any, text: str) -> None:
    assert "Moment: expected a time such as" in login(admin).get(PAGE, {"at": text}).content.decode()


@pytest.mark.parametrize("at", ["0001-01-01T00:00", "9999-12-31T23:59"])
def test_moments_far_away_have_nothing(admin: User, login: Login, jobs: Any, at: str) -> None:
    assert login(admin).get(PAGE, {"at": at}).context["then"] == []


def test_nodes_that_are_only_reported_or_only_had_jobs_have_a_page_and_others_have_none(
    admin: User, login: Login, jobs: Any
) -> None:
    record_nodestate(cluster="testcluster", nodes=[NodeReport(hostname="login7", states=["IDLE"])])
    JobFactory.create(resources=on_hosts("running3"))
    client = login(admin)
    for host, status in (("n40", 200), ("login7", 200), ("running3", 200), ("n99", 404), ("n0", 404)):
        assert client.get(f"/admin/clusters/testcluster/{host}/").status_code == status
    assert client.get("/admin/clusters/other/n01/").status_code == 404


def test_hosts_lead_to_their_page(admin: User, login: Login, jobs: Any) -> None:
    client = login(admin)
    for page in ("/admin/clusters/testcluster/", f"/admin/jobs/job/{jobs[0].pk}/change/"):
        assert f'href="{PAGE}"' in client.get(page).content.decode()
