"""The filters beside the job list: what each finds, what it offers, what it refuses."""

import time
from typing import Any

import pytest

from accounts.models import User
from jobs.admin import filters
from tests.support.admin_site import Login
from tests.support.factories import JobFactory, TagFactory

pytestmark = pytest.mark.django_db

LIST = "/admin/jobs/job/"
DAY = 86_400
NOON = 1_700_049_600  # 2023-11-15 12:00 UTC


@pytest.fixture
def jobs(db: None) -> None:
    """Create jobs that differ in start, duration, nodes and partition."""
    ended: dict[str, Any] = {"job_state": "completed", "monitoring_status": 3}
    JobFactory.create(job_id=1, start_time=NOON, duration=60, num_nodes=1, partition="short", **ended)
    JobFactory.create(job_id=2, start_time=NOON + DAY, duration=3600, num_nodes=8, **ended)
    JobFactory.create(job_id=3, start_time=NOON + 2 * DAY, duration=2 * DAY, num_nodes=64, **ended)
    JobFactory.create(job_id=4, start_time=int(time.time()) - 7200, num_nodes=2, array_job_id=77)


@pytest.mark.parametrize(
    ("query", "found"),
    [
        ("from=2023-11-16", {2, 3, 4}),
        ("to=2023-11-16", {1, 2}),
        ("from=2023-11-16&to=2023-11-16", {2}),
        ("from=2023-11-15T12:00&to=2023-11-15T12:01", {1}),
        ("started=24h", {4}),
        ("started=7d&to=2023-11-16", set()),
        ("started=last-month", set()),
        ("ran_from=1h", {2, 3, 4}),
        ("ran_to=2m", {1}),
        ("ran_from=1h&ran_to=1d", {2, 4}),
        ("ran_from=3600&ran_to=60m", {2}),
        ("nodes_from=2&nodes_to=8", {2, 4}),
        ("nodes_from=9", {3}),
        ("partition=short", {1}),
        ("partition=none-such", set()),
        ("array_job_id=77", {4}),
        ("user=alice&project=bio&nodes_to=1", {1}),
        ("user=alice&project=", {1, 2, 3, 4}),
    ],
)
def test_each_filter_finds_its_jobs(query: str, found: set[int], jobs: None, admin: User, login: Login) -> None:
    response = login(admin).get(f"{LIST}?{query}")

    assert response.status_code == 200
    assert {job.job_id for job in response.context["cl"].result_list} == found


@pytest.mark.parametrize(("word", "found"), [("failed", {1, 2}), ("node_fail", {2}), ("NODE_FAIL by root", {2})])
def test_the_state_may_be_any_word_that_a_stop_takes(word: str, found: set[int], admin: User, login: Login) -> None:
    JobFactory.create(job_id=1, job_state="failed", monitoring_status=3)
    JobFactory.create(job_id=2, job_state="failed", monitoring_status=3, meta_data='{"schedulerState":"NODE_FAIL"}')
    response = login(admin).get(LIST, {"state": word})

    assert {job.job_id for job in response.context["cl"].result_list} == found
    assert ("node fail" in response.content.decode()) == (word == "node_fail")


@pytest.mark.parametrize(
    "query",
    [
        *(
            "state=odd",
            "from=yesterday",
            "to=2023-13-01",
            "started=nonsense",
            "ran_from=1x",
            "nodes_to=-1",
            "nodes_from=x",
        ),
        *("beside=0", "beside=x", "beside=99999999", "duration__gte=5"),
    ],
)
def test_a_value_that_cannot_be_read_is_refused(query: str, admin: User, login: Login) -> None:
    response = login(admin).get(f"{LIST}?{query}", follow=True)

    assert response.status_code == 400 or "had an invalid filter or page" in response.content.decode()


def test_today_begins_at_midnight_of_the_page_s_zone(admin: User, login: Login, settings: Any) -> None:
    settings.TIME_ZONE = "Pacific/Kiritimati"  # 14 hours ahead of UTC
    midnight = (int(time.time()) + 14 * 3600) // DAY * DAY - 14 * 3600
    JobFactory.create(job_id=1, start_time=midnight)
    JobFactory.create(job_id=2, start_time=midnight - 1)

    response = login(admin).get(f"{LIST}?started=today")

    assert {job.job_id for job in response.context["cl"].result_list} == {1}


def test_partitions_on_offer_are_those_of_jobs_that_the_user_sees(alice: User, admin: User, login: Login) -> None:
    JobFactory.create(user="alice", partition="hers")
    JobFactory.create(user="charlie", partition="of-others")

    assert "partition=hers" in login(alice).get(LIST).content.decode()
    assert "of-others" not in login(alice).get(LIST).content.decode()
    assert "partition=of-others" in login(admin).get(LIST).content.decode()


def test_beside_a_job_that_is_not_seen_is_refused(alice: User, login: Login) -> None:
    other = JobFactory.create(user="charlie")

    assert login(alice).get(f"{LIST}?beside={other.pk}").status_code == 302


def test_a_page_of_a_job_leads_to_those_beside_it(admin: User, login: Login) -> None:
    job, neighbour = JobFactory.create_batch(2)
    client = login(admin)

    page = client.get(f"{LIST}{job.pk}/change/").content.decode()
    response = client.get(f"{LIST}?beside={job.pk}")

    assert f"{LIST}?beside={job.pk}" in page
    assert [found.pk for found in response.context["cl"].result_list] == [neighbour.pk]


def test_every_filter_keeps_the_others_and_the_search(admin: User, login: Login) -> None:
    tag = TagFactory.create()
    JobFactory.create(tags=[tag])

    page = login(admin).get(f"{LIST}?state=running&q=alice&nodes_from=1&tag={tag.pk}").content.decode()

    for name, value in {"state": "running", "q": "alice", "nodes_from": "1", "tag": str(tag.pk)}.items():
        assert page.count(f'<input type="hidden" name="{name}" value="{value}">') >= 3


def test_each_parameter_belongs_to_one_filter() -> None:
    names = [name for each in filters.FILTERS for name in each.parameters()]
    assert len(names) == len(set(names))
