"""set_roles: exactly these roles and projects, by the rules of create_user; the last administrator stays one."""

import json

import pytest

from accounts.models import User
from tests.support.commands import Run


def test_roles_and_projects_are_replaced(run: Run, bob: User, admin: User) -> None:
    outcome = run("set_roles", "bob", "--role", "manager", "support", "--project", "chem")
    assert (outcome.status, "manager, support, and manages chem" in outcome.out) == (0, True)
    user = User.objects.get(username="bob")
    assert (set(user.roles), user.projects) == ({"manager", "support"}, ["chem"])
    assert json.loads(run("set_roles", "bob", "--role", "user", "--json").out)["projects"] == []


@pytest.mark.parametrize(
    ("arguments", "status", "text"),
    [
        (["bob", "--role", "manager"], 2, "require a project"),
        (["bob", "--role", "user", "--project", "bio"], 2, "only managers"),
        (["nobody", "--role", "user"], 1, "no such user"),
        (["admin", "--role", "user"], 1, "last active admin"),
    ],
)
def test_what_cannot_be_is_refused_and_changes_nothing(
    run: Run, bob: User, admin: User, arguments: list[str], status: int, text: str
) -> None:
    outcome = run("set_roles", *arguments)
    assert (outcome.status, text in outcome.err) == (status, True), outcome.err
    assert User.objects.get(username="bob").projects == ["bio"]
    assert User.objects.get(username="admin").has_role("admin")
