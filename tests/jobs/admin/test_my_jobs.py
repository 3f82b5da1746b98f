"""My jobs: what runs, what ended badly and why, the usage of the month; for each role own and managed jobs alone."""

import time
from datetime import UTC, datetime
from typing import Any

import pytest
from django.db import connection
from django.test import Client
from django.test.utils import CaptureQueriesContext

from accounts.models import User
from jobs.archiving.worker import ArchiveWorker
from jobs.ledger.usage import DAY
from jobs.models import Job
from jobs.records import JobFootprint, Usage
from jobs.samples.footprint_rules import sentences
from jobs.states import JobState
from tests.support.admin_site import Login
from tests.support.booked_jobs import book, give_slots
from tests.support.factories import JobFactory, UserFactory

pytestmark = pytest.mark.django_db

PAGE = "/admin/my-jobs/"
HOUR = 3600


def shown(client: Client) -> dict[str, Any]:
    """Return what the page shows."""
    answer: Any = client.get(PAGE)
    assert answer.status_code == 200
    return {**answer.context_data, "text": " ".join(answer.content.decode().split())}


def ids(listed: list[Any]) -> list[int]:
    """Return the job ids of a table."""
    return [each.job.job_id for each in listed]


@pytest.fixture
def jobs(db: None) -> None:
    """Create running jobs and such that ended badly, of alice, of others in project bio, and of others elsewhere."""
    now = int(time.time())
    for number, (user, project) in enumerate(
        (("alice", "bio"), ("zoe", "bio"), ("zoe", "concealed"), ("bob", "chem")), 1
    ):
        owner = {"user": user, "project": project}
        JobFactory.create(job_id=10 + number, start_time=now - number * HOUR, walltime=10 * HOUR, **owner)
        JobFactory.create(
            job_id=20 + number, start_time=now - DAY, finished=True, job_state=JobState.FAILED, duration=HOUR, **owner
        )


@pytest.mark.parametrize(
    ("person", "running", "bad"),
    [("alice", [11], [21]), ("bob", [14, 12, 11], [24, 22, 21]), ("carol", [], []), ("admin", [], [])],
)
def test_each_person_sees_own_and_managed_jobs_alone(
    person: str, running: list[int], bad: list[int], jobs: None, login: Login, request: pytest.FixtureRequest
) -> None:
    page = shown(login(request.getfixturevalue(person)))
    assert (ids(page["running"]), sorted(ids(page["bad"]), reverse=True)) == (running, bad)
    assert "concealed" not in page["text"]


def test_the_account_of_programs_and_strangers_see_no_page(bench: User, login: Login) -> None:
    for client in (login(bench), Client()):
        assert client.get(PAGE).status_code == 302


def test_running_jobs_come_by_the_share_of_their_time(alice: User, login: Login) -> None:
    now = int(time.time())
    for job_id, used, walltime in ((1, 1, 10), (2, 95, 100), (3, 5, 0), (4, 3, 2)):
        JobFactory.create(job_id=job_id, start_time=now - used * HOUR, walltime=walltime * HOUR)
    page = shown(login(alice))
    assert ids(page["running"]) == [4, 2, 1, 3]
    assert [round(each.used, 2) if each.used else None for each in page["running"]] == [1.5, 0.95, 0.1, None]
    assert (page["text"].count(">nearly over<"), page["text"].count(">over<")) == (1, 1)


def test_only_bad_ends_of_the_last_days_are_shown_the_newest_first(alice: User, login: Login) -> None:
    now = int(time.time())
    for number, state in enumerate(JobState.values):
        if state != JobState.RUNNING:
            JobFactory.create(job_id=100 + number, start_time=now - HOUR, finished=True, job_state=state)
    JobFactory.create(start_time=now - 8 * DAY, finished=True, job_state=JobState.FAILED)
    states = {each.job.job_state for each in shown(login(alice))["bad"]}
    assert states == {JobState.FAILED, JobState.TIMEOUT, JobState.OUT_OF_MEMORY, JobState.PREEMPTED}


def test_why_is_told_from_state_scheduler_and_footprint(alice: User, login: Login) -> None:
    give_slots("mem_used", "cpu_load")
    end = {"start_time": int(time.time()) - DAY, "archived": True, "duration": 2 * HOUR, "walltime": 4 * HOUR}
    node_fail = '{"schedulerState":"NODE_FAIL by root"}'
    JobFactory.create(job_id=1, **(end | {"job_state": JobState.FAILED, "meta_data": node_fail}))
    book(JobFactory.create(job_id=2, **(end | {"job_state": JobState.OUT_OF_MEMORY})), max_share_1=990, idle_2=400)
    bad = {each.job.job_id: " ".join(each.sentences) for each in shown(login(alice))["bad"]}
    assert bad == {
        1: "Failed after 2:00:00, 50 % of the 4:00:00 asked for; the scheduler says NODE_FAIL by root.",
        2: "Ran out of memory after 2:00:00, 50 % of the 4:00:00 asked for. "
        "Out of memory: mem_used reached 99 % of the peak. Nodes idle for 40 % of the time (cpu_load).",
    }


@pytest.mark.parametrize(
    ("state", "figures", "values", "told"),
    [
        ("failed", {"max_share_1": 960}, {}, ["Memory nearly full: 96 % of the peak."]),
        ("failed", {"max_share_1": 940}, {}, []),
        ("out_of_memory", {"max_share_1": 890}, {}, []),
        ("failed", {"idle_2": 299}, {}, []),
        ("failed", {"idle_2": 300}, {"exclusive": 0}, []),
        ("failed", {"max_share_3": 9}, {}, ["No accelerator was used."]),
        ("failed", {"max_share_3": 10}, {}, []),
        ("failed", {}, {}, []),
    ],
)
def test_a_footprint_tells_what_is_beyond_a_limit(
    state: str, figures: dict[str, int], values: dict[str, int], told: list[str]
) -> None:
    slots = {"mem_used": 1, "cpu_load": 2, "acc_utilization": 3}
    job = Job(job_state=state, **values)
    assert sentences(job, JobFootprint(**figures), slots) == told


def test_usage_of_the_month_is_that_of_own_and_managed_jobs(
    alice: User, bob: User, admin: User, login: Login, cluster: Any
) -> None:
    now = int(time.time())
    for user, project, nodes in (("alice", "bio", 1), ("alice", "chem", 3), ("zoe", "concealed", 5)):
        ended = {"finished": True, "duration": 60, "start_time": now - 60}
        JobFactory.create(user=user, project=project, num_nodes=nodes, **ended)
    ArchiveWorker().drain()
    seen = {
        person.username: [(line.name, line.jobs) for line, _ in shown(login(person))["lines"]]
        for person in (alice, bob, admin)
    }
    assert seen == {"alice": [("chem", 1), ("bio", 1)], "bob": [("alice", 1)], "admin": []}


def test_the_page_takes_few_queries_however_many_jobs_there_are(bob: User, login: Login) -> None:
    client, now = login(bob), int(time.time())
    with CaptureQueriesContext(connection) as few:
        shown(client)
    JobFactory.create_batch(30, start_time=now - HOUR)
    for job in JobFactory.create_batch(60, start_time=now - HOUR, archived=True, job_state=JobState.FAILED):
        book(job)
    with CaptureQueriesContext(connection) as many:
        page = shown(client)
    assert (len(page["running"]), len(page["bad"]), page["more_bad"]) == (30, 50, True)
    assert client.get(page["bad_url"]).context["cl"].result_count == 60
    assert len(many) <= len(few) + 2 < 20
    assert not any(', "jobs_job"."meta_data"' in query["sql"] for query in many)


def test_who_logs_in_for_no_other_page_begins_here_unless_for_all_jobs(alice: User, bob: User, carol: User) -> None:
    both = UserFactory.create(username="both", roles=["user", "support"])
    first = {}
    for person in (alice, bob, carol, both):
        person.set_password("correct horse battery")
        person.save()
        form = {"username": person.username, "password": "correct horse battery"}
        first[person.username] = Client().post("/admin/login/?next=/admin/", {**form, "next": "/admin/"})["Location"]
        elsewhere = Client().post("/admin/login/?next=/admin/usage/", {**form, "next": "/admin/usage/"})
        assert elsewhere["Location"] == "/admin/usage/"
    assert first == {"alice": PAGE, "bob": PAGE, "carol": "/admin/", "both": "/admin/"}


def test_the_header_leads_here_for_those_with_own_jobs(alice: User, carol: User, login: Login) -> None:
    assert f'<a href="{PAGE}" aria-current="page">My jobs</a>' in shown(login(alice))["text"]
    assert "My jobs</a>" not in login(carol).get("/admin/").content.decode()


def test_the_days_before_count_what_was_used_then_alone_too(alice: User, login: Login) -> None:
    today = datetime.now(UTC)
    day = int(time.time()) // DAY - today.day  # the last one of the month before
    kind = {"cluster": "c", "sub_cluster": "", "partition": "", "user": "alice", "job_state": "completed"}
    Usage.objects.create(day=day, project="old", node_seconds=5 * HOUR, **kind)
    Usage.objects.create(day=day, project="bio", node_seconds=2 * HOUR, **kind)
    Usage.objects.create(day=day + 1, project="bio", node_seconds=3 * HOUR, **kind)
    Usage.objects.create(day=day, project="bio", node_seconds=HOUR, **kind | {"user": "zoe"})

    found = shown(login(alice))

    assert (found["node_hours"], found["node_hours_before"]) == (3, 7)


def test_links_of_a_person_who_sees_all_jobs_lead_to_own_ones(jobs: None, login: Login) -> None:
    both = login(UserFactory.create(username="zoe", roles=["user", "support"]))
    found = shown(both)
    for address, expected in ((found["running_url"], [12, 13]), (found["bad_url"], [22, 23])):
        assert sorted(job.job_id for job in both.get(address).context["cl"].result_list) == expected
    assert both.get(found["usage_url"]).context["chosen"] == {"user": "zoe"}
