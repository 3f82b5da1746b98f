"""A proxy's log-in: believed from trusted proxies alone, with roles and projects by groups."""

from typing import Any

import pytest
from django.core.checks import run_checks
from django.test import Client

from accounts.models import User
from tests.support.factories import UserFactory, token_for

pytestmark = pytest.mark.django_db

PAGE = "/admin/jobs/job/"
ROLES = {"*": ["user"], "hpc-staff": ["support"], "hpc-admins": ["admin"]}


@pytest.fixture(autouse=True)
def _proxy(settings: Any, archive_root: object) -> None:
    settings.REMOTE_USER_HEADER = "X-Remote-User"
    settings.REMOTE_GROUPS_HEADER = "X-Remote-Groups"
    settings.TRUSTED_PROXIES = ["192.0.2.1"]
    settings.GROUP_ROLES = ROLES
    settings.GROUP_PROJECTS = {"lead-(.+)": r"\1", "pi": "own"}
    place = settings.MIDDLEWARE.index("django.contrib.auth.middleware.AuthenticationMiddleware") + 1
    middleware = [*settings.MIDDLEWARE]
    middleware.insert(place, "accounts.log_in.proxy.ProxyLogIn")
    settings.MIDDLEWARE = middleware
    settings.AUTHENTICATION_BACKENDS = [*settings.AUTHENTICATION_BACKENDS, "accounts.backends.SessionBackend"]


def visit(client: Client, name: str, groups: str = "", **headers: str) -> Any:
    """Open a page through the proxy."""
    return client.get(PAGE, headers={"X-Remote-User": name, "X-Remote-Groups": groups} | headers)


@pytest.fixture
def proxied() -> Client:
    """Return a browser behind the proxy."""
    return Client(REMOTE_ADDR="192.0.2.1")


def access(name: str) -> tuple[list[str], list[str]]:
    """Return roles and projects of a user, sorted."""
    user = User.objects.get(username=name)
    return sorted(user.roles), sorted(user.projects)


def test_whom_the_proxy_names_is_created_and_logged_in(proxied: Client) -> None:
    assert visit(proxied, "ada").status_code == 200
    assert access("ada") == (["user"], [])
    assert not User.objects.get().has_usable_password()
    assert proxied.get(PAGE).status_code == 200  # the session goes on at paths where the proxy does not ask
    assert proxied.get("/admin/login/")["Location"] == "/admin/my-jobs/"


@pytest.mark.parametrize("address", ["192.0.2.2", "127.0.0.1", ""])
def test_from_any_other_address_the_header_says_nothing(address: str) -> None:
    client = Client(REMOTE_ADDR=address)
    assert visit(client, "ada", "hpc-admins", **{"X-Forwarded-For": "192.0.2.1"}).status_code == 302
    assert not User.objects.exists()


@pytest.mark.parametrize(
    ("groups", "roles", "projects"),
    [
        ("", ["user"], []),
        ("students,hpc-staff", ["support", "user"], []),
        ("hpc-admins;hpc-staff ; x", ["admin", "support", "user"], []),
        ("lead-bio, lead-chem", ["manager", "user"], ["bio", "chem"]),
        ("pi", ["manager", "user"], ["own"]),
        ("xlead-bio,lead-,HPC-STAFF", ["user"], []),
    ],
)
def test_groups_give_roles_and_projects(proxied: Client, groups: str, roles: list[str], projects: list[str]) -> None:
    visit(proxied, "ada", groups)
    assert access("ada") == (roles, projects)


def test_other_groups_change_the_rights_at_once_and_leave_what_they_do_not_govern(proxied: Client) -> None:
    UserFactory.create(username="root", roles=["admin"])
    UserFactory.create(username="ada", roles=["api"], projects=[])
    visit(proxied, "ada", "hpc-staff,lead-bio")
    assert access("ada") == (["api", "manager", "support", "user"], ["bio"])
    visit(proxied, "ada", "lead-chem")
    assert access("ada") == (["api", "manager", "user"], ["chem"])
    visit(proxied, "ada", "")
    assert access("ada") == (["api", "user"], [])


def test_the_last_admin_keeps_the_role_whatever_the_groups_are(
    proxied: Client, caplog: pytest.LogCaptureFixture
) -> None:
    visit(proxied, "ada", "hpc-admins,hpc-staff")
    assert visit(proxied, "ada", "").status_code == 200
    assert "admin" in access("ada")[0]
    assert "whatever its groups are" in caplog.text


def test_another_name_ends_the_session_of_the_one_before(proxied: Client) -> None:
    visit(proxied, "ada")
    visit(proxied, "grace")
    assert proxied.get("/admin/").context["user"].username == "grace"


@pytest.mark.parametrize("name", ["ada lovelace", "a" * 151, "ada,grace", "<b>"])
def test_a_name_that_cannot_be_is_nobody(proxied: Client, name: str, caplog: pytest.LogCaptureFixture) -> None:
    assert visit(proxied, name).status_code == 302
    assert not User.objects.exists()
    assert "log-in by the proxy refused from 192.0.2.1" in caplog.text


def test_an_inactive_user_stays_outside(proxied: Client, admin: User) -> None:
    visit(proxied, "ada")
    User.objects.filter(username="ada").update(is_active=False)
    assert visit(proxied, "ada").status_code == 302
    assert visit(Client(REMOTE_ADDR="192.0.2.1"), "ada").status_code == 302


def test_a_request_in_a_session_costs_no_statement_more(proxied: Client, django_assert_num_queries: Any) -> None:
    visit(proxied, "ada")
    visit(proxied, "ada")
    with django_assert_num_queries(3):  # the session, the user, and its roles, as without the header
        proxied.get("/admin/login/", headers={"X-Remote-User": "ada", "X-Remote-Groups": ""})


def test_a_token_is_taken_for_what_it_is_whatever_the_proxy_says(proxied: Client, bench: User) -> None:
    headers = {"X-Remote-User": "ada", "X-Auth-Token": token_for(bench)}
    assert proxied.get("/api/jobs/", headers=headers).status_code == 200


@pytest.mark.parametrize(
    ("name", "value", "told"),
    [
        ("TRUSTED_PROXIES", [], "REMOTE_USER_HEADER needs TRUSTED_PROXIES"),
        ("TRUSTED_PROXIES", ["10.0.0.1", "*"], "REMOTE_USER_HEADER needs TRUSTED_PROXIES"),
        ("GROUP_ROLES", {"x": ["root"]}, "GROUP_ROLES: x: 'root': expected one of user, manager"),
        ("GROUP_PROJECTS", {"x(": "y"}, "GROUP_PROJECTS: 'x('"),
        ("GROUP_PROJECTS", {"x": r"\1"}, "GROUP_PROJECTS: 'x'"),
    ],
)
def test_settings_that_cannot_be_are_named(name: str, value: Any, told: str, settings: Any) -> None:
    setattr(settings, name, value)
    assert any(told in message.msg for message in run_checks(tags=["settings"]))
