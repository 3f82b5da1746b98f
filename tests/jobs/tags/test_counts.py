"""On how many jobs a tag is: bounded work whatever the number, and only of jobs that somebody sees."""

import pytest
from django.db import connection
from django.test.utils import CaptureQueriesContext

from accounts.models import User
from jobs.tags import counts
from jobs.tags.counts import job_counts
from tests.support.factories import JobFactory, TagFactory, UserFactory

pytestmark = pytest.mark.django_db


def shown(tag_id: int, user: User) -> str:
    """Return what a user is told of a tag."""
    return str(job_counts([tag_id], user)[tag_id])


def test_jobs_are_counted_up_to_a_limit(admin: User, monkeypatch: pytest.MonkeyPatch) -> None:
    tag, unused = TagFactory.create_batch(2)
    JobFactory.create_batch(3, tags=[tag])
    monkeypatch.setattr(counts, "MOST_COUNTED", 3)
    assert shown(tag.pk, admin) == "3"

    JobFactory.create_batch(3, tags=[tag])

    assert shown(tag.pk, admin) == "more than 3"
    assert shown(unused.pk, admin) == "0"


def test_somebody_is_told_of_the_jobs_that_it_sees_alone(bob: User, carol: User) -> None:
    tag = TagFactory.create()
    JobFactory.create(project="bio", tags=[tag])
    JobFactory.create(project="cfd", user="bob", tags=[tag])
    JobFactory.create_batch(4, project="cfd", tags=[tag])
    nobody = UserFactory.create(roles=[])

    assert shown(tag.pk, carol) == "6"
    assert shown(tag.pk, bob) == "2"
    assert shown(tag.pk, nobody) == "0"


def test_of_a_large_tag_only_some_jobs_are_looked_at(bob: User, monkeypatch: pytest.MonkeyPatch) -> None:
    tag = TagFactory.create()
    JobFactory.create_batch(5, project="bio", tags=[tag])
    monkeypatch.setattr(counts, "_MOST_LOOKED_AT", 3)

    assert shown(tag.pk, bob) == "3 or more"


@pytest.mark.parametrize("person", ["admin", "bob"])
def test_each_tag_has_a_limit_in_the_one_query(person: str, request: pytest.FixtureRequest) -> None:
    user = request.getfixturevalue(person)
    tags = TagFactory.create_batch(3)
    JobFactory.create(tags=tags)
    _ = (user.roles, user.projects)

    with CaptureQueriesContext(connection) as queries:
        job_counts([tag.pk for tag in tags], user)

    assert len(queries) == 1
    sql = queries[0]["sql"]
    assert "GROUP BY" not in sql
    assert sql.count('FROM "jobs_jobtag"') == sql.count("LIMIT")
