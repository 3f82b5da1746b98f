"""Log-in by OpenID Connect: a real server, a real provider, and what a wrong answer of a provider does."""

import json
import re
from collections.abc import Iterator
from typing import Any
from urllib.parse import parse_qs, urlsplit

import httpx
import pytest
from oidc_provider_mock import User as Person
from oidc_provider_mock import run_server_in_thread

from accounts.log_in.oidc import OidcBackend
from accounts.models import User
from ccbackend.log_in_settings import OIDC_DEFAULTS
from tests.support.server import Server, running_server

PAGE = "/admin/jobs/job/"
ADA = {
    "preferred_username": "ada",
    "name": "Ada Lovelace",
    "email": "ada@example.org",
    "groups": ["hpc-staff", "lead-bio"],
}
PEOPLE: dict[str, dict[str, Any]] = {
    "1": ADA,
    "2": {"preferred_username": "grace"},
    "3": {"name": "Nobody"},
    "4": {"preferred_username": "a b", "groups": "hpc-staff"},
    "5": {"preferred_username": "alice", "groups": "hpc-staff"},
}


@pytest.fixture(scope="module")
def issuer() -> Iterator[str]:
    """Return the address of a provider that knows PEOPLE."""
    people = [Person(sub=sub, claims=claims) for sub, claims in PEOPLE.items()]
    with run_server_in_thread(user_claims=people) as provider:
        yield f"http://localhost:{provider.server_port}"


@pytest.fixture(scope="module")
def server(issuer: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """Return a server that sends people to the provider."""
    oidc = {"issuer": issuer, "client_id": "jobs", "client_secret": "of-the-test", "name": "Example University"}
    settings = {
        "OIDC": json.dumps(oidc),
        "GROUP_ROLES": '{"*": ["user"], "hpc-staff": ["support"]}',
        "GROUP_PROJECTS": r'{"lead-(.+)": "\\1"}',
        "LOG_LEVEL": "INFO",
    }
    with running_server(tmp_path_factory.mktemp("oidc") / "server", workers=1, settings=settings) as running:
        yield running


@pytest.fixture
def browser(server: Server) -> Iterator[httpx.Client]:
    """Return a browser of its own."""
    with httpx.Client(base_url=f"http://127.0.0.1:{server.port}", timeout=60) as client:
        yield client


def to_provider(browser: httpx.Client) -> str:
    """Follow the link of the log-in page; return the address at the provider."""
    page = browser.get(PAGE, follow_redirects=True)
    link = re.search(r'href="(/oidc/authenticate/[^"]*)">Log in at Example University', page.text)
    assert link, page.text
    return browser.get(link[1].replace("&amp;", "&")).headers["Location"]


def back(browser: httpx.Client, there: str, **form: str) -> httpx.Response:
    """Fill in the provider's form and come back; return the page at which that ends."""
    answer = httpx.post(there, data=form)
    return browser.get(answer.headers["Location"], follow_redirects=True)


def access(server: Server, name: str) -> tuple[list[str], list[str]]:
    """Return roles and projects of a user."""
    of_user = f"WHERE user_id = (SELECT id FROM accounts_user WHERE username = '{name}') ORDER BY 1"
    roles = server.query(f"SELECT role FROM accounts_userrole {of_user}")
    projects = server.query(f"SELECT project FROM accounts_userproject {of_user}")
    return [role for (role,) in roles], [project for (project,) in projects]


@pytest.mark.server
def test_a_person_logs_in_and_gets_roles_and_projects_by_groups(browser: httpx.Client, server: Server) -> None:
    there = to_provider(browser)
    asked = parse_qs(urlsplit(there).query)
    assert (asked["code_challenge_method"], asked["client_id"]) == (["S256"], ["jobs"])
    page = back(browser, there, sub="1")
    assert (page.status_code, page.url.path) == (200, PAGE)
    assert access(server, "ada") == (["manager", "support", "user"], ["bio"])


@pytest.mark.server
def test_a_user_who_is_known_by_name_keeps_what_groups_do_not_govern(browser: httpx.Client, server: Server) -> None:
    assert back(browser, to_provider(browser), sub="5").url.path == PAGE
    assert access(server, "alice") == (["support", "user"], [])


@pytest.mark.server
@pytest.mark.parametrize(
    ("form", "told"),
    [
        ({"sub": "3"}, "there is no claim preferred_username"),
        ({"sub": "4"}, "username 'a b': expected letters"),
        ({"action": "deny"}, "access_denied"),
    ],
)
def test_an_answer_without_a_user_leads_to_the_log_in_page_with_a_message(
    form: dict[str, str], told: str, browser: httpx.Client, server: Server
) -> None:
    page = back(browser, to_provider(browser), **form)
    assert (page.status_code, page.url.path) == (200, "/admin/login/")
    assert "The log-in at Example University failed" in page.text
    server.wait_until(lambda: told in server.logs())


@pytest.mark.server
def test_the_answer_for_one_browser_logs_in_no_other(browser: httpx.Client, server: Server) -> None:
    there = to_provider(browser)
    location = httpx.post(there, data={"sub": "2"}).headers["Location"]
    with httpx.Client(base_url=browser.base_url) as other:
        to_provider(other)
        assert other.get(location, follow_redirects=True).url.path == "/admin/login/"
    assert browser.get(location, follow_redirects=True).url.path == PAGE
    assert "The log-in at Example University failed" in browser.get(location, follow_redirects=True).text  # once


GOOD = {"iss": "https://sso.example.org", "aud": "jobs", "sub": "1"}


class Answered(OidcBackend):
    """The backend with what the provider has said about the person."""

    told: dict[str, Any] = {"sub": "1", **ADA}

    def get_userinfo(self, *args: Any) -> dict[str, Any]:
        """Return the claims."""
        return self.told


@pytest.mark.django_db
@pytest.mark.parametrize(
    "change", [{"iss": "https://evil.example.org"}, {"aud": "other"}, {"aud": ["other"]}, {"aud": None}, {"sub": "2"}]
)
def test_a_token_of_or_for_others_is_refused(change: dict[str, Any], settings: Any) -> None:
    secrets = {"issuer": GOOD["iss"], "client_id": "jobs", "client_secret": "x"}
    settings.OIDC = OIDC_DEFAULTS | secrets
    assert Answered().get_or_create_user("", "", GOOD | {"aud": ["x", "jobs"]})
    User.objects.all().delete()
    with pytest.raises(Exception, match=r"another issuer|another client|different persons"):
        Answered().get_or_create_user("", "", GOOD | change)
    assert not User.objects.exists()
