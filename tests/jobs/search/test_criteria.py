"""Finding jobs among many: what is looked at, how far back, and that no view scans the whole table."""

import time
from typing import Any

import pytest
from django.db import connection
from django.test.utils import CaptureQueriesContext

from accounts.models import User
from jobs.models import Job
from jobs.search import criteria
from jobs.search.criteria import (
    REACH,
    Criteria,
    Criterion,
    by_archiving,
    by_cluster,
    by_job_id,
    by_project,
    by_state,
    by_tag,
    by_user,
    concurrent_with,
    find,
    on_hosts,
    with_value,
)
from tests.support.factories import JobFactory, TagFactory, UserFactory

pytestmark = pytest.mark.django_db


def found(user: User, *conditions: Criterion, reach: int = REACH, **between: int) -> list[int]:
    """Return the job ids that are found, in their order."""
    criteria = Criteria()
    criteria.add(*conditions)
    criteria.between(**between)
    return list(find(user=user, criteria=criteria, reach=reach).jobs.values_list("job_id", flat=True))


def test_what_an_index_answers_is_found_however_old_it_is(admin: User) -> None:
    for number in range(1, 8):
        JobFactory.create(job_id=number, user="alice" if number == 1 else "bob", project="bio" if number < 3 else "cfd")

    assert found(admin, reach=2) == [7, 6, 5, 4, 3, 2, 1]
    assert found(admin, by_user("alice"), reach=2) == [1]
    assert found(admin, by_project("bio"), reach=2) == [2, 1]
    assert found(admin, by_job_id(1), with_value(partition="work"), reach=2) == [1]


def test_what_no_index_answers_is_looked_for_among_the_newest(admin: User) -> None:
    for number in range(1, 8):
        JobFactory.create(job_id=number, partition="gpu" if number in (1, 6) else "main")
    criteria = Criteria([with_value(partition="gpu")])

    near, far = find(user=admin, criteria=criteria, reach=3), find(user=admin, criteria=criteria, reach=7)

    assert [job.job_id for job in near.jobs] == [6]
    assert near.searched_since == Job.objects.get(job_id=4).start_time
    assert [job.job_id for job in far.jobs] == [6, 1]
    assert far.searched_since is None


def test_the_newest_are_those_of_the_best_index_and_of_the_range_asked_for(admin: User) -> None:
    for number in range(1, 11):
        user, partition = ("alice", "gpu") if number in (1, 2) else ("bob", "main")
        JobFactory.create(job_id=number, user=user, partition=partition, start_time=1000 + number)

    assert found(admin, by_user("alice"), with_value(partition="gpu"), reach=3) == [2, 1]
    assert found(admin, with_value(partition="gpu"), reach=3) == []
    assert found(admin, with_value(partition="gpu"), reach=3, until=1003) == [2, 1]


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
    JobFactory.create(job_id=1, project="p39")
    _ = (manager.roles, manager.projects)

    with django_assert_num_queries(2):
        assert found(manager) == [1]


@pytest.mark.parametrize("roles", [[], ["user"]])
def test_who_sees_no_job_finds_none(roles: list[str]) -> None:
    JobFactory.create(user="alice", meta_data='{"jobName":"secret"}')
    stranger = UserFactory.create(username="stranger", roles=roles)

    for condition in (by_user("alice"), criteria.name_contains("secret"), on_hosts(["n01"])):
        assert found(stranger, condition) == []


def test_archiving_that_waits_and_failed_is_found_however_old_it_is(admin: User) -> None:
    JobFactory.create(job_id=1, finished=True, monitoring_status=2)
    JobFactory.create(job_id=2, finished=True)
    JobFactory.create(job_id=3, archived=True)
    JobFactory.create(job_id=4, finished=True, monitoring_status=0)
    JobFactory.create(job_id=5)

    words = {word: found(admin, by_archiving(word)) for word in ("failed", "waiting", "archived", "disabled")}

    assert words == {"failed": [1], "waiting": [2], "archived": [3], "disabled": [4]}
    assert found(admin, by_archiving("failed"), reach=1) == [1]


def test_a_tag_on_few_jobs_is_found_however_old_they_are_and_one_on_many_among_the_newest(
    admin: User, monkeypatch: pytest.MonkeyPatch
) -> None:
    rare, common = TagFactory.create_batch(2)
    JobFactory.create(job_id=1, tags=[rare, common])
    for number in range(2, 6):
        JobFactory.create(job_id=number, tags=[common])
    monkeypatch.setattr(criteria, "_FEW_TAGGED", 2)

    assert found(admin, by_tag(rare), reach=2) == [1]
    assert found(admin, by_tag(common), reach=2) == [5, 4, 3]


def test_names_and_hosts_are_found_as_they_are_written(admin: User) -> None:
    JobFactory.create(job_id=1, meta_data='{"jobScript":"gromacs","jobName":"Water 100%_x"}')
    JobFactory.create(job_id=2, meta_data=None, resources='[{"hostname":"n01"},{"hostname":"n010"}]')
    JobFactory.create(job_id=3, meta_data='{"jobName":null}', resources='[{"hostname":"n%"}]')

    assert found(admin, criteria.name_contains("water")) == [1]
    assert found(admin, criteria.name_contains("100%_")) == [1]
    assert found(admin, criteria.name_contains("gromacs")) == []
    assert found(admin, on_hosts(["n010"])) == [2]
    assert found(admin, on_hosts(["n%"])) == [3]


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
    criteria = Criteria([*concurrent_with(job)])
    criteria.between(until=job.stop_time)

    assert {each.job_id for each in find(user=admin, criteria=criteria).jobs} == {3, 4, 8}


def test_a_view_looks_into_indexes(admin: User, bob: User) -> None:
    """The plans on SQLite, which has no statistics to choose by: one index each, and not a scan of the table."""
    if connection.vendor != "sqlite":
        pytest.skip("PostgreSQL scans a table as small as this one whatever the indexes")
    named = {
        "jobs_by_start": find(user=admin, criteria=Criteria([with_value(num_nodes=3)])),
        "jobs_by_partition": find(user=admin, criteria=Criteria([with_value(partition="x")])),
        "jobs_by_user": find(user=admin, criteria=Criteria([by_user("a"), by_cluster("c")])),
        "jobs_by_project": find(user=admin, criteria=Criteria([by_project("p"), by_cluster("c")])),
        "jobs_by_cluster": find(user=admin, criteria=Criteria([by_cluster("c"), by_state("failed")])),
        "jobs_running": find(user=admin, criteria=Criteria([by_state("running"), by_cluster("c")])),
        "jobs_archiving_failed": find(user=admin, criteria=Criteria([by_archiving("failed")])),
        "jobs_to_archive": find(user=admin, criteria=Criteria([by_archiving("waiting")])),
        "autoindex_jobs_job_1": find(user=admin, criteria=Criteria([by_job_id(1), by_user("a")])),
    }
    for index, answer in named.items():
        plan = str(answer.jobs.values("pk").explain())
        assert index in plan, (index, plan)
        assert "SCAN jobs_job\n" not in f"{plan}\n", (index, plan)
    both = str(find(user=bob, criteria=Criteria()).jobs.values("pk").explain())
    assert "jobs_by_user" in both
    assert "jobs_by_project" in both


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
