"""No message shows a secret: settings, forms, arguments and addresses that are wrong in every way.

Headers are in tests/accounts/test_authentication.py and tests/ccbackend/test_refusals.py, `.env` and DATABASE_URL in
tests/ccbackend/test_environment.py.
"""

import logging
from collections.abc import Iterator
from typing import Any

import pytest
from django.contrib.admin.models import LogEntry
from django.core.checks import run_checks
from django.test import Client
from django.urls import reverse

from accounts import tokens
from accounts.models import ApiToken, User
from archive.exceptions import SourceError
from archive.sources import get_source, validate_config
from tests.support.clients import AppClient
from tests.support.commands import Run, run  # noqa: F401  a fixture
from tests.support.factories import token_for

SECRET = "hunter2-and-more"

HTTP = {"url": "http://h", "token": SECRET}
LOG_IN = {"url": "http://h", "username": "u", "password": SECRET}
WRONG: list[Any] = [SECRET, [SECRET], [[SECRET]], {"a": SECRET}, f"{SECRET}\n", 5, None, "", True]


def wrong_sources() -> Iterator[Any]:
    """Yield values of METRIC_SOURCES that have a secret and are wrong somewhere."""
    yield from (SECRET, [SECRET], {"*": SECRET}, {"*": [SECRET]}, {"*": [HTTP]}, {"*": {"kind": [SECRET]}}, [HTTP])
    yield from ({"*": HTTP}, {"bad/name": HTTP}, {"*": {"kind": "none", **HTTP}}, {"*": {"kind": "no such", **HTTP}})
    for kind, more in (("cc-metric-store", {}), ("prometheus", {"queries": {"a": "b{instance=~'$hosts'}"}})):
        good = {"kind": kind, **more}
        addresses = [f"http://u:{SECRET}@h", f"http://h/?token={SECRET}", f"http://h#{SECRET}", f"http://h:{SECRET}"]
        addresses += [f"{SECRET}://h", f" http://{SECRET}@h", f"http://[{SECRET}", f"//u:{SECRET}@h"]
        yield from ({"*": good | {"url": url}} for url in (*addresses, [f"http://u:{SECRET}@h"], {"url": SECRET}))
        for base in (HTTP, LOG_IN):
            yield from (
                {"*": good | base | {key: value}} for key in ("token", "password", "username") for value in WRONG
            )
            yield {"*": good | base | {"tokn": SECRET, "timeout": "long", "method": "PUT"}}
            yield {"*": good | base | HTTP | LOG_IN}


def _refusal(sources: dict[str, Any]) -> str:
    """Return why a cluster has no source; nothing if it has one."""
    try:
        get_source("c", sources)
    except SourceError as error:
        return f"{error} {error.__cause__}"
    return ""


def test_metric_sources_that_are_wrong_show_no_secret(settings: Any) -> None:
    wrong = 0
    for sources in wrong_sources():
        messages = validate_config(sources)
        wrong += bool(messages)
        assert SECRET not in str(messages), sources
        settings.METRIC_SOURCES = sources
        assert SECRET not in str(list(run_checks(tags=["settings"])))
        if isinstance(sources, dict):
            assert SECRET not in _refusal(sources)
    assert wrong > 50


def shown(answer: Any) -> str:
    """Return all of an answer that a person or a program sees."""
    return f"{answer.headers} {answer.content.decode()}"


@pytest.mark.parametrize(
    ("method", "path", "fields"),
    [
        ("POST", "/api/users/", {"username": "dora", "password": SECRET, "role": "no such"}),
        ("POST", "/api/users/", {"username": "do/ra", "password": SECRET, "role": "user"}),
        ("POST", "/api/users/", {"username": "admin", "password": SECRET, "role": "user"}),
        ("POST", "/api/users/", {"username": "dora", "password": SECRET * 500, "role": "manager"}),
        ("POST", "/api/users/", {"password": SECRET, "role": "user"}),
        ("POST", "/api/users/", {"username": "dora", "pasword": SECRET, "role": "user"}),
        ("DELETE", "/api/users/", {"password": SECRET}),
        ("POST", "/api/user/nobody", {"password": SECRET}),
    ],
)
@pytest.mark.parametrize("in_query", [True, False])
def test_a_call_that_is_wrong_shows_no_password(
    admin_api: AppClient,
    caplog: pytest.LogCaptureFixture,
    method: str,
    path: str,
    fields: dict[str, str],
    in_query: bool,
) -> None:
    with caplog.at_level(logging.DEBUG):
        if in_query:
            query = "&".join(f"{name}={value}" for name, value in fields.items())
            answer = admin_api.request(method, f"{path}?{query}")
        else:
            answer = admin_api.form(method, path, fields)
    assert answer.status in (400, 422)
    assert SECRET not in f"{answer.text} {answer.headers} {_log(caplog)}"


def _log(caplog: pytest.LogCaptureFixture) -> str:
    """Return the log without the statements of the database, which hold what they store."""
    return "\n".join(record.getMessage() for record in caplog.records if not record.name.startswith("django.db"))


def test_forms_that_are_wrong_show_no_password(admin: User, client: Client, caplog: pytest.LogCaptureFixture) -> None:
    new = {"username": "dora", "usable_password": "true", "password1": SECRET, "password2": f"{SECRET}x"}
    with caplog.at_level(logging.DEBUG):
        for form in ({"username": "admin", "password": SECRET}, {"password": SECRET}, {"username": SECRET}):
            page = client.post("/admin/login/", form)
            assert (page.status_code, SECRET in shown(page)) == (200, form.get("username") == SECRET)
        client.force_login(admin)
        forms: list[tuple[str, dict[str, Any]]] = [
            (reverse("admin:accounts_user_add"), new),
            (reverse("admin:accounts_user_add"), new | {"password2": ""}),
            (reverse("admin:accounts_user_add"), {"password1": SECRET, "password2": SECRET, "roles": ["x"]}),
            (reverse("admin:auth_user_password_change", args=[admin.pk]), {"password1": SECRET, "password2": "y"}),
            (reverse("admin:password_change"), {"old_password": SECRET, "new_password1": SECRET, "new_password2": "y"}),
        ]
        for address, fields in forms:
            page = client.post(address, fields)
            assert (page.status_code, SECRET in shown(page)) == (200, False), address
    assert SECRET not in _log(caplog)


def test_histories_and_lists_show_no_secret(admin: User, client: Client) -> None:
    client.force_login(admin)
    new = {"username": "dora", "usable_password": "true", "password1": SECRET, "password2": SECRET, "roles": ["user"]}
    assert client.post(reverse("admin:accounts_user_add"), new).status_code == 302
    page = client.post(reverse("admin:accounts_user_token", args=[admin.pk]), {"name": "laptop"}, follow=True)
    assert "ccb_" in shown(page)
    row, token = ApiToken.issue(user=admin, name="other")
    row.revoke()
    entries = "".join(f"{entry.object_repr} {entry.change_message}" for entry in LogEntry.objects.all())
    for address in ("user/", "apitoken/", f"apitoken/{row.pk}/change/", f"user/{admin.pk}/change/"):
        for view in (address, address.replace("change", "history")):
            entries += shown(client.get(f"/admin/accounts/{view}"))
    assert SECRET not in entries
    assert "dora" in entries
    assert tokens.visible_prefix(token) in entries
    assert token[len(tokens.visible_prefix(token)) :][:8] not in entries


@pytest.mark.parametrize("shape", ["{}x", "x{}", "Bearer {}", "'{}'", "{},", "X-Auth-Token: {}"])
def test_a_token_that_is_mistyped_is_not_repeated_by_commands(
    run: Run,  # noqa: F811  pytest's way
    bench: User,
    shape: str,
) -> None:
    token = token_for(bench)
    secret = token.removeprefix(tokens.visible_prefix(token))
    for words in (["revoke_token", shape.format(token)], ["revoke_token", "x", shape.format(token)]):
        outcome = run(*words)
        assert outcome.status != 0
        assert secret[:8] not in outcome.out + outcome.err


def test_error_pages_for_developers_show_no_secret(settings: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    settings.DEBUG = True
    settings.METRIC_SOURCES = {"*": {"kind": "cc-metric-store", "url": f"http://u:{SECRET}@h"}}
    environment = {
        "DATABASE_URL": f"postgres://u:{SECRET}@h/n",
        "METRIC_SOURCES": f'{{"*": {{"token": "{SECRET}"}}}}',
        "SECRET_KEY": SECRET,
        "HTTP_AUTHORIZATION": f"Basic {SECRET}",
        "HTTP_X_AUTH_TOKEN": SECRET,
        "HTTP_COOKIE": f"sessionid={SECRET}",
    }
    monkeypatch.setattr("ccbackend.middleware.zone_of", lambda name: 1 / 0)
    page = Client(raise_request_exception=False).get("/", **environment)  # type: ignore[arg-type]
    assert page.status_code == 500
    assert b"ZeroDivisionError" in page.content
    assert SECRET not in shown(page)
