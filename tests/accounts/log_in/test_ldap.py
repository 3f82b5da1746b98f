"""Log-in by LDAP against a real slapd: passwords, groups, names, and a server that is away."""

import shutil
from collections.abc import Iterator
from typing import Any

import pytest
from django.test import Client

from accounts.models import User
from ccbackend.log_in_settings import LDAP_DEFAULTS
from tests.support.factories import UserFactory
from tests.support.ldap_server import PASSWORD, LdapServer, program, running_slapd

pytestmark = [
    pytest.mark.django_db,
    pytest.mark.skipif(
        not program() or not shutil.which("openssl"), reason="no slapd here; make test unpacks Debian's"
    ),
]


@pytest.fixture(scope="module")
def slapd(tmp_path_factory: pytest.TempPathFactory) -> Iterator[LdapServer]:
    """Return a server with ada, grace and alan."""
    with running_slapd(tmp_path_factory.mktemp("slapd") / "slapd") as server:
        yield server


@pytest.fixture(autouse=True)
def _ldap(settings: Any, slapd: LdapServer, archive_root: object) -> None:
    settings.LDAP = LDAP_DEFAULTS | slapd.setting
    settings.GROUP_ROLES = {"*": ["user"], "hpc-staff": ["support"]}
    settings.GROUP_PROJECTS = {"lead-(.+)": r"\1"}
    settings.AUTHENTICATION_BACKENDS = [*settings.AUTHENTICATION_BACKENDS, "accounts.log_in.ldap.LdapBackend"]


def log_in(name: str, password: str = PASSWORD) -> Any:
    """Send the form of the log-in."""
    return Client().post(
        "/admin/login/", {"username": name, "password": password, "next": "/admin/jobs/job/"}, follow=True
    )


def is_in(answer: Any) -> bool:
    """Return whether a log-in led to the jobs."""
    return bool(answer.redirect_chain == [("/admin/jobs/job/", 302)] and answer.status_code == 200)


@pytest.mark.parametrize(
    ("name", "roles", "projects"),
    [("ada", ["manager", "support", "user"], ["bio"]), ("grace", ["manager", "user"], ["bio"]), ("alan", ["user"], [])],
)
def test_a_person_logs_in_with_roles_and_projects_by_groups(name: str, roles: list[str], projects: list[str]) -> None:
    assert is_in(log_in(name))
    user = User.objects.get()
    assert (user.username, user.name, user.email) == (name, f"{name} Lovelace", f"{name}@example.org")
    assert (sorted(user.roles), user.projects) == (roles, projects)
    assert not user.has_usable_password()


@pytest.mark.parametrize(
    ("name", "password"),
    [("ada", "wrong"), ("ada", ""), ("nobody", PASSWORD), ("*", PASSWORD), ("ada)(uid=*", PASSWORD), ("ad*", PASSWORD)],
)
def test_a_wrong_name_or_password_is_refused_as_any_other(name: str, password: str) -> None:
    answer = log_in(name, password)
    assert not is_in(answer)
    assert not User.objects.exists()
    assert not password or "The username or the password is wrong" in answer.content.decode()


def test_the_name_is_the_directory_s_whatever_the_case() -> None:
    assert is_in(log_in("ADA"))
    assert User.objects.get().username == "ada"


def test_local_users_log_in_as_before_even_if_the_server_is_away(
    settings: Any, admin: User, caplog: pytest.LogCaptureFixture
) -> None:
    settings.LDAP |= {"url": "ldap://localhost:1"}
    admin.set_password(PASSWORD)
    admin.save()
    assert is_in(log_in("admin"))
    assert not is_in(log_in("ada"))
    assert "LDAP server cannot be asked" in caplog.text
    assert PASSWORD not in caplog.text


@pytest.mark.parametrize("change", [{"ca_file": ""}, {"bind_password": "wrong"}])
def test_a_server_of_unknown_certificate_or_that_refuses_the_service_is_told(
    change: dict[str, str], settings: Any, caplog: pytest.LogCaptureFixture
) -> None:
    settings.LDAP |= change
    assert not is_in(log_in("ada"))
    assert "LDAP server cannot be asked" in caplog.text


def test_an_inactive_user_is_refused() -> None:
    UserFactory.create(username="ada", is_active=False)
    assert not is_in(log_in("ada"))
