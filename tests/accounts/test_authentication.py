"""Who calls: tokens in two headers, sessions, the reasons of each 401, and how soon a change takes effect."""

from datetime import timedelta
from typing import Any

import pytest
from django.db import connection
from django.test import Client as DjangoClient
from django.test.utils import CaptureQueriesContext
from django.utils import timezone

from accounts import credentials, tokens
from accounts.models import ApiToken, User
from tests.support.clients import AppClient, start_body
from tests.support.factories import UserFactory, token_for

PATH = "/api/jobs/"


class Clock:
    """Stands for the time module in accounts.credentials; moves when told."""

    now = 1000.0

    def monotonic(self) -> float:
        """Return the moment."""
        return self.now


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    """Return the clock that the cache of tokens looks at."""
    clock = Clock()
    monkeypatch.setattr(credentials, "time", clock)
    return clock


def test_both_headers_are_taken(anonymous: AppClient, bench: User) -> None:
    token = token_for(bench)
    for headers in (
        {"X-Auth-Token": token},
        {"X-AUTH-TOKEN": token},
        {"Authorization": f"Bearer {token}"},
        {"Authorization": f"bearer  {token} "},
        {"X-Auth-Token": token, "Authorization": f"Bearer {token}"},
    ):
        assert anonymous.get(PATH, headers=headers).status == 200, headers


def test_no_credentials_is_a_401_that_says_so(anonymous: AppClient) -> None:
    answer = anonymous.get(PATH)
    assert answer.status == 401
    assert "no credentials" in answer.error
    assert "Bearer" in answer.headers["www-authenticate"]


def refused(client: AppClient, token: str) -> str:
    """Return why a token is refused, by both headers the same."""
    by_x = client.get(PATH, headers={"X-Auth-Token": token})
    by_bearer = client.get(PATH, headers={"Authorization": f"Bearer {token}"})
    assert (by_x.status, by_bearer.status) == (401, 401)
    assert by_x.error == by_bearer.error
    return by_x.error


def test_each_reason_of_a_401_is_told(anonymous: AppClient, bench: User) -> None:
    assert "malformed" in refused(anonymous, "abc")
    assert "malformed" in refused(anonymous, "")
    assert "malformed" in refused(anonymous, "ü" * 50)
    assert "unknown token" in refused(anonymous, tokens.generate())
    assert "expired" in refused(anonymous, token_for(bench, days=-1))
    row, secret = ApiToken.issue(user=bench)
    row.revoke()
    assert "revoked" in refused(anonymous, secret)
    User.objects.filter(pk=bench.pk).update(is_active=False)
    assert "inactive" in refused(anonymous, token_for(bench))


MALFORMED = (
    "{token}",
    "Bearer:{token}",
    "Bearer={token}",
    "Bearer,{token}",
    "Bearer\t{token}",
    "Token {token}",
    "{token} Bearer",
    "Basic {token}",
    "bearer Bearer {token}",
    "Bearer {token}x",
    'Bearer "{token}"',
    "Bearer <{token}>",
)


@pytest.mark.parametrize("header", ["Authorization", "X-Auth-Token"])
@pytest.mark.parametrize("form", MALFORMED)
@pytest.mark.parametrize("known", [True, False])
def test_no_part_of_a_malformed_credential_is_repeated(
    anonymous: AppClient, bench: User, caplog: pytest.LogCaptureFixture, header: str, form: str, known: bool
) -> None:
    token = token_for(bench) if known else tokens.generate()
    secret = token.removeprefix(tokens.visible_prefix(token))
    answer = anonymous.get(PATH, headers={header: form.format(token=token)})
    assert answer.status == (200 if (header, form) == ("X-Auth-Token", "{token}") and known else 401)
    told = answer.text + caplog.text + str(answer.headers)
    assert not any(secret[start : start + 8] in told for start in range(len(secret) - 7))


@pytest.mark.parametrize("authorization", ["Basic YTpi", "", "Bearer wrong", "Negotiate YII="])
def test_x_auth_token_decides_alone(api: AppClient, authorization: str) -> None:
    assert api.get(PATH, headers={"Authorization": authorization}).status == 200
    unknown = {"Authorization": authorization, "X-Auth-Token": tokens.generate()}
    assert api.get(PATH, token=None, headers=unknown).status == 401


@pytest.mark.parametrize("authorization", ["Basic YTpi", "", "Negotiate YII="])
def test_a_log_in_at_a_proxy_leaves_the_session_as_it_is(anonymous: AppClient, bench: User, authorization: str) -> None:
    answer = anonymous.get(PATH, headers={"Authorization": authorization})
    assert (answer.status, "no credentials" in answer.error) == (401, True)
    assert anonymous.get(PATH, headers=with_session(bench, Authorization=authorization)).status == 200


@pytest.mark.parametrize("bad", ["unknown", "abc", ""])
def test_a_good_bearer_does_not_rescue_a_bad_x_auth_token(anonymous: AppClient, bench: User, bad: str) -> None:
    good, bad = token_for(bench), tokens.generate() if bad == "unknown" else bad
    assert anonymous.get(PATH, headers={"X-Auth-Token": bad, "Authorization": f"Bearer {good}"}).status == 401


def session_of(user: User) -> dict[str, str]:
    """Log a user in and return the cookies and the CSRF token."""
    browser = DjangoClient()
    browser.force_login(user)
    csrf = "a" * 32
    return {"sessionid": browser.cookies["sessionid"].value, "csrftoken": csrf}


def with_session(user: User, **headers: str) -> dict[str, str]:
    """Return request headers of somebody who is logged in to the admin site."""
    cookies = session_of(user)
    return {"Cookie": "; ".join(f"{name}={value}" for name, value in cookies.items())} | headers


def test_a_session_works_for_reading(anonymous: AppClient, bench: User) -> None:
    assert anonymous.get(PATH, headers=with_session(bench)).status == 200


def test_a_session_needs_csrf_for_writing(anonymous: AppClient, bench: User) -> None:
    answer = anonymous.post("/api/jobs/start_job/", start_body(), headers=with_session(bench))
    assert answer.status == 403
    assert "CSRF" in answer.error
    headers = with_session(bench) | {"X-CSRFToken": "a" * 32}
    assert anonymous.post("/api/jobs/start_job/", start_body(), headers=headers).status == 201


def test_a_session_takes_json(anonymous: AppClient, bench: User) -> None:
    headers = with_session(bench) | {"X-CSRFToken": "a" * 32}
    assert anonymous.post("/api/jobs/start_job/", start_body(), headers=headers).status == 201


@pytest.mark.parametrize(
    "kind", ["application/x-www-form-urlencoded", "text/plain", "", "multipart/form-data; boundary=x"]
)
def test_a_session_takes_a_body_of_any_content_type(anonymous: AppClient, bench: User, kind: str) -> None:
    headers = with_session(bench) | {"X-CSRFToken": "a" * 32, "Content-Type": kind}
    assert anonymous.post("/api/jobs/start_job/", start_body(), headers=headers).status == 201


def test_a_session_can_create_a_user_with_an_urlencoded_form(anonymous: AppClient, admin: User) -> None:
    headers = with_session(admin) | {"X-CSRFToken": "a" * 32}
    fields = {"username": "dora", "password": "a-long-enough-one", "role": "user"}
    assert anonymous.form("POST", "/api/users/", fields, headers=headers).status == 200


def test_the_interactive_page_can_create_a_user_with_a_multipart_form(anonymous: AppClient, admin: User) -> None:
    fields = {"username": "dora", "password": "a-long-enough-one", "role": "user"}
    parts = [f'--x\r\nContent-Disposition: form-data; name="{key}"\r\n\r\n{value}\r\n' for key, value in fields.items()]
    headers = with_session(admin) | {"X-CSRFToken": "a" * 32, "Content-Type": "multipart/form-data; boundary=x"}
    assert anonymous.post("/api/users/", ("".join(parts) + "--x--\r\n").encode(), headers=headers).status == 200


@pytest.mark.parametrize("header", ["X-Auth-Token", "Authorization"])
def test_a_session_does_not_rescue_a_bad_token(anonymous: AppClient, bench: User, header: str) -> None:
    token = tokens.generate()
    bad = {header: token if header == "X-Auth-Token" else f"Bearer {token}"}
    assert anonymous.get(PATH, headers=with_session(bench) | bad).status == 401


def test_a_token_needs_no_csrf_though_a_session_cookie_comes_along(anonymous: AppClient, bench: User) -> None:
    headers = with_session(bench) | {"X-Auth-Token": token_for(bench)}
    assert anonymous.post("/api/jobs/start_job/", start_body(), headers=headers).status == 201


def test_the_session_of_an_inactive_user_is_no_credential(anonymous: AppClient, bench: User) -> None:
    headers = with_session(bench)
    User.objects.filter(pk=bench.pk).update(is_active=False)
    assert anonymous.get(PATH, headers=headers).status == 401


# Roles.


@pytest.mark.parametrize("roles", [["user"], ["manager"], ["support"], ["admin"], []])
def test_job_operations_need_the_literal_role_api(anonymous: AppClient, roles: list[str]) -> None:
    client = anonymous.as_(token_for(UserFactory.create(roles=roles)))
    for method, path in (("GET", PATH), ("POST", "/api/jobs/start_job/"), ("DELETE", "/api/jobs/delete_job_before/1")):
        answer = client.request(method, path)
        assert (answer.status, answer.error) == (403, "missing role: api")


@pytest.mark.parametrize("roles", [["user"], ["manager"], ["support"], ["api"], []])
def test_users_operations_need_the_role_admin(anonymous: AppClient, roles: list[str]) -> None:
    client = anonymous.as_(token_for(UserFactory.create(roles=roles)))
    for method, path in (
        ("GET", "/api/users/"),
        ("POST", "/api/users/"),
        ("DELETE", "/api/users/"),
        ("POST", "/api/user/x"),
    ):
        assert client.request(method, path).status == 403


def test_one_of_several_roles_is_enough(anonymous: AppClient) -> None:
    client = anonymous.as_(token_for(UserFactory.create(roles=["user", "api", "admin"])))
    assert client.get(PATH).status == 200
    assert client.get("/api/users/").status == 200


@pytest.mark.parametrize(
    ("roles", "staff"),
    [
        (["api"], False),
        ([], False),
        (["user"], True),
        (["manager"], True),
        (["support"], True),
        (["admin"], True),
        (["admin", "api"], True),
    ],
)
def test_the_role_api_alone_gives_no_access_to_the_admin_site(db: None, roles: list[str], staff: bool) -> None:
    assert UserFactory.create(roles=roles).is_staff is staff


# The cache.


def test_a_known_token_is_not_looked_up_again_for_some_seconds(anonymous: AppClient, bench: User, clock: Clock) -> None:
    token = token_for(bench)
    assert anonymous.get(f"{PATH}?items-per-page=0", token=token).status == 200
    clock.now += 1
    with CaptureQueriesContext(connection) as captured:
        assert anonymous.get(f"{PATH}?items-per-page=0", token=token).status == 200
    assert len(captured) == 0


def test_an_unknown_token_is_not_looked_up_again_for_some_seconds(anonymous: AppClient, clock: Clock) -> None:
    token = tokens.generate()
    assert anonymous.get(PATH, token=token).status == 401
    with CaptureQueriesContext(connection) as captured:
        assert anonymous.get(PATH, token=token).status == 401
    assert len(captured) == 0


def _revoke(row: ApiToken) -> None:
    row.revoke()


def _deactivate(row: ApiToken) -> None:
    User.objects.filter(pk=row.user_id).update(is_active=False)


def _delete(row: ApiToken) -> None:
    row.delete()


@pytest.mark.parametrize("change", [_revoke, _deactivate, _delete])
def test_taking_a_token_out_of_use_takes_effect_within_30_seconds(
    anonymous: AppClient, bench: User, clock: Clock, change: Any
) -> None:
    row, token = ApiToken.issue(user=bench)
    assert anonymous.get(PATH, token=token).status == 200
    change(row)
    clock.now += 30
    assert anonymous.get(PATH, token=token).status == 401


def test_a_change_of_roles_takes_effect_within_30_seconds(anonymous: AppClient, bench: User, clock: Clock) -> None:
    token = token_for(bench)
    assert anonymous.get(PATH, token=token).status == 200
    bench.role_set.all().delete()
    clock.now += 30
    assert anonymous.get(PATH, token=token).status == 403


def test_a_token_that_was_tried_before_it_was_made_works_within_30_seconds(
    anonymous: AppClient, bench: User, clock: Clock
) -> None:
    row, token = ApiToken.issue(user=bench)
    ApiToken.objects.filter(pk=row.pk).update(digest="x")
    assert anonymous.get(PATH, token=token).status == 401
    ApiToken.objects.filter(pk=row.pk).update(digest=row.digest)
    clock.now += 30
    assert anonymous.get(PATH, token=token).status == 200


def test_a_token_that_expires_soon_is_not_remembered_beyond(anonymous: AppClient, bench: User, clock: Clock) -> None:
    row, token = ApiToken.issue(user=bench)
    ApiToken.objects.filter(pk=row.pk).update(expires_at=timezone.now() + timedelta(seconds=3))
    assert anonymous.get(PATH, token=token).status == 200
    clock.now += 3.1
    ApiToken.objects.filter(pk=row.pk).update(expires_at=timezone.now())
    assert "expired" in anonymous.get(PATH, token=token).error


def test_the_cache_does_not_grow_without_end(
    anonymous: AppClient, bench: User, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(credentials, "_MAX_ENTRIES", 3)
    for _ in range(10):
        anonymous.get(PATH, token=tokens.generate())
    assert len(credentials._entries) <= 3


def test_last_used_is_written_at_most_once_a_minute(anonymous: AppClient, bench: User) -> None:
    row, token = ApiToken.issue(user=bench)
    before = timezone.now()
    assert anonymous.get(PATH, token=token).status == 200
    row.refresh_from_db()
    first = row.last_used_at
    assert first is not None
    assert first >= before
    credentials.clear_cache()
    assert anonymous.get(PATH, token=token).status == 200
    row.refresh_from_db()
    assert row.last_used_at == first
    ApiToken.objects.filter(pk=row.pk).update(last_used_at=first - timedelta(seconds=61))
    credentials.clear_cache()
    assert anonymous.get(PATH, token=token).status == 200
    row.refresh_from_db()
    assert row.last_used_at is not None
    assert row.last_used_at >= first


def test_last_used_follows_a_token_that_is_used_all_the_time(anonymous: AppClient, bench: User, clock: Clock) -> None:
    row, token = ApiToken.issue(user=bench)
    anonymous.get(PATH, token=token)
    long_ago = timezone.now() - timedelta(minutes=5)
    ApiToken.objects.filter(pk=row.pk).update(last_used_at=long_ago)
    clock.now += 60
    anonymous.get(PATH, token=token)
    row.refresh_from_db()
    assert row.last_used_at is not None
    assert row.last_used_at > long_ago


def test_a_refused_token_is_not_marked_as_used(anonymous: AppClient, bench: User) -> None:
    row, token = ApiToken.issue(user=bench, days=-1)
    assert anonymous.get(PATH, token=token).status == 401
    row.refresh_from_db()
    assert row.last_used_at is None


# Networks of a token.


def test_a_token_may_be_limited_to_networks(anonymous: AppClient, bench: User) -> None:
    token = token_for(bench, networks=["10.0.0.0/8", "::1"])
    anonymous.environ["REMOTE_ADDR"] = "10.1.2.3"
    assert anonymous.get(PATH, token=token).status == 200
    anonymous.environ["REMOTE_ADDR"] = "11.1.2.3"
    answer = anonymous.get(PATH, token=token)
    assert answer.status == 403
    assert "11.1.2.3" in answer.error
