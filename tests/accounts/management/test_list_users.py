"""list_users: each user with roles and projects, as a table and as JSON."""

import json

from pytest_django import DjangoAssertNumQueries

from accounts.models import User
from tests.support.commands import Run
from tests.support.factories import UserFactory


def test_users_are_listed_by_name_with_roles_and_projects(run: Run, bob: User, alice: User) -> None:
    User.objects.filter(pk=alice.pk).update(is_active=False, name="A\nB")
    outcome = run("list_users")
    assert [line.split()[0] for line in outcome.lines[1:]] == ["alice", "bob"]
    assert "A?B" in outcome.lines[1]
    assert "inactive" in outcome.lines[1]
    assert "manager" in outcome.lines[2]
    assert outcome.err.strip() == "2 users, 1 inactive"


def test_json_has_what_the_table_has(run: Run, bob: User, carol: User) -> None:
    (found,) = json.loads(run("list_users", "--json", "--role", "manager").out)
    assert found == {
        "username": "bob",
        "name": bob.name,
        "email": bob.email,
        "roles": ["manager"],
        "projects": ["bio"],
        "active": True,
        "lastLogin": None,
    }
    assert json.loads(run("list_users", "--json", "--role", "admin").out) == []


def test_many_users_take_no_more_queries(run: Run, django_assert_num_queries: DjangoAssertNumQueries) -> None:
    UserFactory.create_batch(5, roles=["user"])
    with django_assert_num_queries(3):
        run("list_users")
