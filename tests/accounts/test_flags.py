"""User.is_staff and User.is_superuser for libraries that set them and filter by them, though roles decide."""

from typing import Any

import pytest

from accounts.models import User
from tests.support.factories import UserFactory

pytestmark = pytest.mark.django_db
USERS: Any = User.objects  # the type checker sees no columns


@pytest.fixture(autouse=True)
def _another_admin() -> None:
    UserFactory.create(username="root", roles=["admin"])


def roles(user: User) -> list[str]:
    """Return the roles as the database has them."""
    return sorted(USERS.get(pk=user.pk).roles)


@pytest.mark.parametrize(
    ("before", "flags", "after"),
    [
        (["api"], {"is_staff": True}, ["api", "user"]),
        (["support"], {"is_staff": True}, ["support"]),
        ([], {"is_superuser": True}, ["admin"]),
        ([], {"is_staff": True, "is_superuser": True}, ["admin"]),
        (["admin", "user"], {"is_superuser": False}, ["user"]),
        (["admin", "api", "user"], {"is_staff": False, "is_superuser": False}, ["api"]),
        (["user"], {"is_staff": True, "is_superuser": False}, ["user"]),
    ],
)
def test_what_is_set_becomes_roles_when_it_is_saved(
    before: list[str], flags: dict[str, bool], after: list[str]
) -> None:
    user = UserFactory.create(roles=before)
    for name, value in flags.items():
        setattr(user, name, value)
        assert getattr(user, name) is value
    assert roles(user) == sorted(before)
    user.save()
    assert roles(user) == after
    assert (user.is_staff, user.is_superuser) == (set(after) - {"api"} != set(), "admin" in after)


def test_a_new_user_takes_them_too() -> None:
    user = USERS.create(username="ada", is_staff=True, is_superuser=True)
    assert roles(user) == ["admin"]
    assert roles(USERS.create_user("grace", is_staff=True)) == ["user"]


def test_the_last_admin_keeps_the_role() -> None:
    root = USERS.get()
    root.is_staff = root.is_superuser = False
    root.save()
    assert roles(root) == ["admin"]


def test_users_are_found_by_them() -> None:
    made = {role: UserFactory.create(username=role, roles=[role]) for role in ("api", "user", "admin")}
    assert set(USERS.filter(is_staff=True)) == {made["user"], made["admin"], USERS.get(username="root")}
    assert set(USERS.exclude(is_superuser=True)) == {made["api"], made["user"]}
    assert USERS.get(is_superuser=True, username="admin") == made["admin"]
    assert USERS.filter(is_staff=False).update(name="x") == 1
