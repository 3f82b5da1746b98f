"""Finding jobs among many: what is found at once, what in steps, and what the steps tell."""

import time
from collections.abc import Callable
from typing import Any

import pytest
from django.db import connection
from django.db.models import F
from django.test.utils import CaptureQueriesContext

from accounts.models import User
from jobs.models import Job
from jobs.querysets import seen_by
from jobs.search import booked, criteria, find
from jobs.search.booked import by_name
from jobs.search.criteria import (
    Criteria,
    Criterion,
    by_archiving,
    by_cluster,
    by_job_id,
    by_project,
    by_state,
    by_tag,
    by_user,
    with_value,
)
from jobs.search.find import Found, Search, Searched
from jobs.search.hosts import by_hosts, concurrent_with
from jobs.search.values import Names
from tests.support.booked_jobs import book, booked_job
from tests.support.factories import JobFactory, TagFactory, UserFactory

pytestmark = pytest.mark.django_db


def found(user: User, *conditions: Criterion, **between: int) -> list[int]:
    """Return the job ids that are found, in their order."""
    criteria = Criteria([*conditions])
    criteria.between(**between)
    return list_of(search(user, criteria).newest(100))


def search(user: User, criteria: Criteria) -> Search:
    """Return the search of a person."""
    return Search(seen=seen_by(user), criteria=criteria)


def named(text: str) -> Criterion:
    """Return the condition that a name has a text."""
    return by_name(Names((text,)))


def list_of(found: Found) -> list[int]:
    """Return the job ids of what was found, in its order."""
    job_ids = dict(Job.objects.values_list("pk", "job_id"))
    return [job_ids[row_id] for row_id in found.ids]


@pytest.fixture
def _small_steps(monkeypatch: pytest.MonkeyPatch) -> None:
    """Test two jobs per step, and one step per page."""
    monkeypatch.setattr(find, "FIRST_STEP", 2)
    monkeypatch.setattr(find, "_MOST_STEPS", 1)


@pytest.mark.usefixtures("_small_steps")
def test_what_an_index_answers_is_found_at_once_however_old_it_is(admin: User) -> None:
    for number in range(1, 8):
        JobFactory.create(job_id=number, user="alice" if number == 1 else "bob", project="bio" if number < 3 else "cfd")

    for conditions, job_ids in (
        ([], [7, 6, 5, 4, 3, 2, 1]),
        ([by_user("alice")], [1]),
        ([by_project("bio")], [2, 1]),
        ([by_job_id(1), with_value(partition="work")], [1]),
    ):
        at_once = search(admin, Criteria(conditions)).newest(100, seconds=9)
        assert (list_of(at_once), at_once.since) == (job_ids, None)


@pytest.mark.usefixtures("_small_steps")
def test_what_no_index_answers_is_looked_for_in_steps_that_go_on_where_the_last_one_ended(admin: User) -> None:
    for number in range(1, 8):
        JobFactory.create(job_id=number, start_time=1000 + number, partition="gpu" if number in (1, 6) else "main")
    conditions = search(admin, Criteria([with_value(partition__startswith="g")]))

    first = conditions.newest(100, seconds=9)
    assert (list_of(first), first.since) == ([6], 1005)
    JobFactory.create(job_id=8, start_time=2000, partition="gpu")
    second = conditions.newest(100, seconds=9, tested=Searched(1005, 1999, first.ids))
    assert (list_of(second), second.since) == ([8, 6], 1002)
    Job.objects.filter(job_id=6).update(partition="main")
    third = conditions.newest(100, seconds=9, tested=Searched(1002, 2000, second.ids))
    assert (list_of(third), third.since) == ([8, 1], None)
    assert list_of(conditions.newest(100)) == [8, 1]
    assert list_of(conditions.newest(1, seconds=9)) == [8]
    assert [job.job_id for part in conditions.parts() for job in part] == [8, 1]


def test_steps_stop_when_the_time_is_over(admin: User, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(find, "FIRST_STEP", 1)
    JobFactory.create_batch(3, partition="main")

    assert search(admin, Criteria([with_value(partition__startswith="g")])).newest(9, seconds=0).since is not None
    assert search(admin, Criteria([with_value(partition__startswith="g")])).newest(9).since is None


def test_a_step_is_at_most_four_times_as_long_as_the_one_before(admin: User, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(find, "FIRST_STEP", 1)
    monkeypatch.setattr(find, "_MOST_STEPS", 2)
    for number in range(1, 31):
        JobFactory.create(start_time=1000 + number, partition="main")

    none = search(admin, Criteria([with_value(partition__startswith="g")])).newest(9, seconds=600)
    assert none == Found([], 1024)


@pytest.mark.usefixtures("_small_steps")
def test_how_far_a_step_gets_says_nothing_of_the_jobs_of_others(alice: User) -> None:
    for number in range(1, 9):
        JobFactory.create(job_id=number, user="alice" if number in (1, 5) else "bob", partition="gpu")

    own = search(alice, Criteria([by_cluster("testcluster"), with_value(partition__startswith="g")]))
    of_bob = search(alice, Criteria([by_user("bob"), with_value(partition__startswith="g")]))

    assert (list_of(own.newest(9, seconds=9)), own.newest(9, seconds=9).since) == ([5, 1], None)
    assert (of_bob.newest(9, seconds=9).ids, of_bob.newest(9, seconds=9).since) == ([], None)


def test_jobs_are_sorted_with_unknown_values_last(admin: User) -> None:
    for job_id, duration in ((1, 30), (2, 10), (3, 20), (4, 10)):
        JobFactory.create(finished=True, job_id=job_id, duration=duration)
    booked_job({"energy": 2.0}, job_id=5, duration=99)
    everything = search(admin, Criteria())
    ids = everything.newest(100).ids

    by_duration = everything.sorted(ids, F("duration"), descending=False)
    by_energy = everything.sorted(ids, F("footprint__energy"), descending=True)

    assert list_of(Found(by_duration, None)) == [4, 2, 3, 1, 5]
    assert list_of(Found(by_energy, None)) == [5, 4, 3, 2, 1]


def test_a_manager_s_own_and_project_jobs_are_found_together(bob: User) -> None:
    JobFactory.create(job_id=1, user="bob", project="cfd")
    JobFactory.create(job_id=2, user="alice", project="bio")
    JobFactory.create(job_id=3, user="bob", project="bio")
    JobFactory.create(job_id=4, user="alice", project="cfd")

    assert found(bob) == [3, 2, 1]
    assert found(bob, by_user("alice")) == [2]
    assert found(bob, by_project("cfd")) == [1]
    assert found(bob, by_job_id(4)) == []


def test_the_number_of_a_manager_s_projects_costs_no_query(django_assert_num_queries: Any) -> None:
    manager = UserFactory.create(roles=["manager"], projects=[f"p{number}" for number in range(40)])
    job = JobFactory.create(project="p39")
    _ = (manager.roles, manager.projects)

    with django_assert_num_queries(2):
        assert search(manager, Criteria()).newest(9).ids == [job.pk]


@pytest.mark.parametrize("roles", [[], ["user"]])
def test_who_sees_no_job_finds_none(roles: list[str]) -> None:
    JobFactory.create(user="alice", meta_data='{"jobName":"secret"}')
    stranger = UserFactory.create(username="stranger", roles=roles)

    for condition in (by_user("alice"), named("secret"), by_hosts(Names(("n01",)))):
        assert found(stranger, condition) == []


def test_archiving_that_waits_and_failed_is_found_however_old_it_is(admin: User) -> None:
    JobFactory.create(job_id=1, finished=True, monitoring_status=2)
    JobFactory.create(job_id=2, finished=True)
    JobFactory.create(job_id=3, archived=True)
    JobFactory.create(job_id=4, finished=True, monitoring_status=0)
    JobFactory.create(job_id=5)

    words = {word: found(admin, by_archiving(word)) for word in ("failed", "waiting", "archived", "disabled")}

    assert words == {"failed": [1], "waiting": [2], "archived": [3], "disabled": [4]}


@pytest.mark.usefixtures("_small_steps")
def test_a_tag_on_few_jobs_is_found_at_once_and_one_on_many_in_steps(
    admin: User, monkeypatch: pytest.MonkeyPatch
) -> None:
    rare, common = TagFactory.create_batch(2)
    JobFactory.create(job_id=1, tags=[rare, common])
    for number in range(2, 6):
        JobFactory.create(job_id=number, tags=[common])
    monkeypatch.setattr(criteria, "FEW", 2)

    at_once = search(admin, Criteria([by_tag(rare)])).newest(9, seconds=9)
    in_steps = search(admin, Criteria([by_tag(common)])).newest(9, seconds=9)

    assert (list_of(at_once), at_once.since) == ([1], None)
    assert (list_of(in_steps), in_steps.since is None) == ([5, 4, 3], False)


def test_names_and_hosts_are_found_as_they_are_written(admin: User) -> None:
    JobFactory.create(job_id=1, meta_data='{"jobScript":"gromacs","jobName":"Water 100%_x"}')
    JobFactory.create(job_id=2, meta_data=None, resources='[{"hostname":"n01"},{"hostname":"n010"}]')
    JobFactory.create(job_id=3, meta_data='{"jobName":null}', resources='[{"hostname":"n%"}]')

    assert found(admin, named("water")) == [1]
    assert found(admin, named("100%_")) == [1]
    assert found(admin, named("gromacs")) == []
    assert found(admin, by_hosts(Names(("n010",)))) == [2]
    assert found(admin, by_hosts(Names(("n%",)))) == [3]


def test_names_are_found_in_footprints_and_elsewhere_in_the_metadata(admin: User) -> None:
    other = '{"jobName":"ice"}'
    booked_job({"name": "Water 2"}, job_id=1, meta_data=other)  # so that it is seen where the name was found
    booked_job({"name": None}, job_id=2, meta_data='{"jobName":"my water"}')
    booked_job({"name": ""}, job_id=3, meta_data='{"jobName":"water"}')
    booked_job({"name": "ice"}, job_id=4, meta_data=other)
    JobFactory.create(job_id=5, meta_data='{"jobName":"waterfall"}')
    JobFactory.create(job_id=6, archived=True, meta_data='{"jobName":"water"}')
    JobFactory.create(job_id=7, finished=True, meta_data='{"jobName":"water"}')
    JobFactory.create(job_id=8, meta_data=other)

    assert found(admin, named("WATER")) == [7, 6, 5, 2, 1]
    assert found(admin, by_name(Names((), ("water",)))) == [7, 6, 5, 1]
    assert found(admin, by_name(Names(("fall",), ("my w",)))) == [5, 2]
    assert found(admin, named("%")) == []


@pytest.mark.usefixtures("_small_steps")
@pytest.mark.parametrize(
    "condition", [lambda: by_hosts(Names(("n01",))), lambda: by_name(Names(("water",)))], ids=["host", "name"]
)
def test_while_many_jobs_have_yet_to_be_booked_all_are_tested_in_steps(
    admin: User, monkeypatch: pytest.MonkeyPatch, condition: Callable[[], Criterion]
) -> None:
    named_water = {"resources": '[{"hostname":"n01"}]', "meta_data": '{"jobName":"water"}'}
    booked_job({"name": "water"}, job_id=1, start_time=1001, **named_water)
    for number in range(2, 6):
        JobFactory.create(job_id=number, archived=True, start_time=1000 + number, **named_water)

    at_once = search(admin, Criteria([condition()])).newest(9, seconds=9)
    monkeypatch.setattr(booked, "FEW", 3)
    in_steps = search(admin, Criteria([condition()])).newest(9, seconds=9)

    assert (list_of(at_once), at_once.since) == ([5, 4, 3, 2, 1], None)
    assert (list_of(in_steps), in_steps.since) == ([5, 4, 3], 1003)
    assert search(admin, Criteria([condition()])).count(seconds=9) == 5


def test_beside_a_job_ran_what_shared_a_node_with_it_at_the_time(admin: User) -> None:
    def create(job_id: int, start: int, duration: int, host: str = "n01", **values: Any) -> Job:
        resources = f'[{{"hostname":"{host}"}}]'
        state = {"job_state": "completed", "monitoring_status": 3} if duration else {}
        return JobFactory.create(
            job_id=job_id, start_time=start, duration=duration, resources=resources, **state, **values
        )

    job = create(1, 1000, 500)
    create(2, 900, 100)  # ended as it began
    create(3, 900, 101)
    create(4, 1500, 10)  # began as it ended
    create(5, 1501, 10)
    create(6, 1100, 10, host="n02")
    create(7, 1100, 10, cluster="other")
    create(8, 800, 0)
    for number in (3, 4, 6):
        book(Job.objects.get(job_id=number))

    assert set(found(admin, *concurrent_with(job), until=1500)) == {3, 4, 8}


def test_ranges_of_starts_narrow_each_other() -> None:
    criteria = Criteria()
    criteria.between(since=5)
    criteria.between(since=3, until=9)
    criteria.between(until=int(time.time()))

    assert (criteria.since, criteria.until) == (5, 9)


def test_large_columns_are_not_read_to_find_by_small_ones(admin: User) -> None:
    JobFactory.create()
    with CaptureQueriesContext(connection) as queries:
        found(admin, by_state("failed"))
    assert not any(column in query["sql"] for query in queries for column in ("meta_data", "resources", "statistics"))
