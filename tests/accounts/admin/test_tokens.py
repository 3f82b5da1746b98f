"""The token pages: a secret is shown once, tokens are revoked and never edited."""

from typing import Any

import pytest
from django.contrib.admin.models import LogEntry
from django.contrib.sessions.models import Session
from django.test import Client
from django.test.utils import CaptureQueriesContext, override_script_prefix

from accounts import tokens
from accounts.models import ApiToken, User
from tests.support.admin_site import Login

pytestmark = pytest.mark.django_db

LIST = "/admin/accounts/apitoken/"
USERS = "/admin/accounts/user/"


def create(client: Client, owner: User, **changes: Any) -> Any:
    """Send the form of a new token on its user's page."""
    return client.post(f"{USERS}{owner.pk}/token/", {"name": "hook", "days": "", "networks": ""} | changes)


def test_a_new_token_is_shown_once_with_a_curl_line(admin: User, bench: User, login: Login) -> None:
    client = login(admin)

    response = create(client, bench, days="30", networks="10.0.0.1/8\n192.168.1.7\n")

    token = ApiToken.objects.get()
    secret = response.context["secret"]
    text = response.content.decode()
    assert tokens.digest(secret) == token.digest
    assert f">{secret}</output>" in text
    assert f"X-Auth-Token: {secret}" in text
    assert "http://testserver/api/jobs/" in text
    assert "no-store" in response["Cache-Control"]
    assert token.networks == ["10.0.0.0/8", "192.168.1.7/32"]
    assert token.expires_at is not None
    for path in (LIST, f"{LIST}{token.pk}/change/", f"{LIST}{token.pk}/history/", f"{USERS}{bench.pk}/change/"):
        page = client.get(path)
        assert page.status_code == 200
        assert secret not in page.content.decode()
    kept = [str(session.get_decoded()) for session in Session.objects.all()]
    kept += [str(entry.__dict__) for entry in LogEntry.objects.all()]
    kept += [str(client.cookies)]
    assert not any(secret in text for text in kept)


def test_the_new_token_works(admin: User, bench: User, login: Login, client: Client) -> None:
    secret = create(login(admin), bench).context["secret"]

    assert client.get("/api/jobs/", headers={"X-Auth-Token": secret}).status_code == 200


def test_a_token_for_a_user_without_the_role_api_can_only_read(admin: User, alice: User, login: Login) -> None:
    assert "Select a valid choice" in create(login(admin), alice, scope="all").content.decode()
    assert "Scope: read." in create(login(admin), alice).content.decode()
    assert ApiToken.objects.get().scope == "read"


def test_scope_and_clusters_are_chosen_and_shown(admin: User, bench: User, login: Login) -> None:
    client = login(admin)
    create(client, bench, scope="report", clusters="fritz\nalex\n")
    assert (ApiToken.objects.get().scope, ApiToken.objects.get().clusters) == ("report", ["fritz", "alex"])
    for path in (LIST, f"{USERS}{bench.pk}/change/"):
        assert "report on fritz, alex" in client.get(path).content.decode()


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"networks": "10.0.0.0/8\nhome\n1.2.3.4/99"}, "&#x27;home&#x27;: expected an IPv4 or IPv6 address"),
        ({"networks": "10.0.0.0/8\nhome\n1.2.3.4/99"}, "&#x27;1.2.3.4/99&#x27;: expected an IPv4 or IPv6 address"),
        ({"days": "0"}, "greater than or equal to 1"),
        ({"days": "99999999999"}, "less than or equal to"),
    ],
)
def test_a_wrong_value_is_named(changes: dict[str, str], message: str, admin: User, bench: User, login: Login) -> None:
    response = create(login(admin), bench, **changes)

    assert message in response.content.decode()
    assert not ApiToken.objects.exists()


def test_an_inactive_user_gets_no_token(admin: User, bench: User, login: Login) -> None:
    User.objects.filter(pk=bench.pk).update(is_active=False)

    client = login(admin)

    assert "Create token" not in client.get(f"{USERS}{bench.pk}/change/").content.decode()
    assert "is inactive" in client.get(create(client, bench)["Location"]).content.decode()
    assert not ApiToken.objects.exists()


@pytest.mark.parametrize(
    ("headers", "address"),
    [
        ({}, "http://testserver/api/jobs/"),
        ({"Origin": "https://jobs.example.org"}, "https://jobs.example.org/api/jobs/"),
        ({"Origin": "null"}, "http://testserver/api/jobs/"),
    ],
)
def test_the_curl_line_names_the_server_as_the_browser_knows_it(
    headers: dict[str, str], address: str, admin: User, bench: User, login: Login
) -> None:
    response = login(admin).post(f"{USERS}{bench.pk}/token/", {"name": ""}, headers=headers)

    assert f"{address}?state=running&items-per-page=5" in response.context["curl"]


def test_the_curl_line_knows_the_path_that_a_proxy_serves_under(admin: User, bench: User, login: Login) -> None:
    client = login(admin)

    with override_script_prefix("/cc/"):
        response = create(client, bench)

    assert "http://testserver/cc/api/jobs/" in response.context["curl"]


def test_a_secret_is_sent_by_a_form_of_this_site_alone(admin: User, bench: User) -> None:
    strict = Client(enforce_csrf_checks=True)
    strict.force_login(admin)

    assert create(strict, bench).status_code == 403
    assert strict.get(f"{USERS}{bench.pk}/token/").status_code == 405
    assert not ApiToken.objects.exists()


def test_the_history_tells_who_created_and_revoked(admin: User, bench: User, login: Login) -> None:
    client = login(admin)
    create(client, bench)
    token = ApiToken.objects.get()
    client.post(f"{LIST}{token.pk}/revoke/")

    history = client.get(f"{LIST}{token.pk}/history/").content.decode()

    assert "Created." in history
    assert "Revoked." in history
    assert f"Created API token {token}." in client.get(f"{USERS}{bench.pk}/history/").content.decode()


def test_a_token_is_revoked_from_its_page_and_stays_listed(admin: User, bench: User, login: Login) -> None:
    token, _ = ApiToken.issue(user=bench, name="old")
    client = login(admin)

    assert "Revoke</button>" in client.get(f"{LIST}{token.pk}/change/").content.decode()
    client.post(f"{LIST}{token.pk}/revoke/")

    token.refresh_from_db()
    assert token.status == "revoked"
    assert "Revoke</button>" not in client.get(f"{LIST}{token.pk}/change/").content.decode()
    assert "revoked" in client.get(LIST, {"status": "revoked"}).content.decode()
    assert client.get(f"{LIST}{token.pk}/delete/").status_code == 403
    assert client.get(f"{LIST}add/").status_code == 403
    assert client.post(f"{LIST}{token.pk}/change/", {"name": "x"}).status_code == 403


def test_a_revoked_token_is_refused_at_once(admin: User, bench: User, login: Login, client: Client) -> None:
    token, secret = ApiToken.issue(user=bench)
    headers = {"X-Auth-Token": secret}
    assert client.get("/api/jobs/", headers=headers).status_code == 200

    login(admin).post(f"{LIST}{token.pk}/revoke/")

    assert client.get("/api/jobs/", headers=headers).status_code == 401


def test_a_deactivated_users_token_is_refused_at_once(admin: User, bench: User, login: Login, client: Client) -> None:
    headers = {"X-Auth-Token": ApiToken.issue(user=bench)[1]}
    assert client.get("/api/jobs/", headers=headers).status_code == 200

    login(admin).post(f"{USERS}{bench.pk}/active/", {"active": "0"})

    assert client.get("/api/jobs/", headers=headers).status_code == 401


def test_the_action_revokes_a_selection_once(admin: User, bench: User, login: Login) -> None:
    rows = [ApiToken.issue(user=bench)[0] for _ in range(3)]
    rows[0].revoke()
    when = ApiToken.objects.get(pk=rows[0].pk).revoked_at

    data = {"action": "revoke", "_selected_action": [row.pk for row in rows]}
    response = login(admin).post(LIST, data, follow=True)

    assert "2 tokens revoked" in response.content.decode()
    assert not ApiToken.objects.filter(revoked_at=None).exists()
    assert ApiToken.objects.get(pk=rows[0].pk).revoked_at == when


@pytest.mark.parametrize("person", ["carol", "bob", "alice"])
def test_only_admins_create_and_revoke(person: str, bench: User, login: Login, request: pytest.FixtureRequest) -> None:
    token, _ = ApiToken.issue(user=bench)
    client = login(request.getfixturevalue(person))

    assert create(client, bench).status_code == 403
    assert client.post(f"{LIST}{token.pk}/revoke/").status_code == 403
    assert ApiToken.objects.get().status == "active"


def test_the_list_costs_the_same_for_many(
    admin: User, bench: User, login: Login, django_assert_max_num_queries: Any
) -> None:
    client = login(admin)
    ApiToken.issue(user=bench)
    with django_assert_max_num_queries(9) as few:
        client.get(LIST)
    for _ in range(20):
        ApiToken.issue(user=bench)

    with CaptureQueriesContext(few.connection) as many:
        client.get(LIST)

    assert len(many) == len(few)
