"""Paths and queries that cannot be looked up, wrong base URLs, and errors for programs outside /api."""

from typing import Any

import pytest
from django.contrib.admin import site
from django.test import Client, RequestFactory
from django.urls import reverse

from accounts.models import User
from tests.support.clients import AppClient, start_body
from tests.support.factories import JobFactory, UserFactory

ADMIN_PAGES = [
    "/admin/jobs/job/?cluster=%00",
    "/admin/jobs/job/?partition=a%00b",
    "/admin/jobs/job/export/csv/?cluster=%00",
    "/admin/jobs/job/export/ndjson/?partition=%00",
    "/admin/jobs/tag/?type=%00",
    "/admin/jobs/tag/?type__exact=%00",
    "/admin/jobs/tag/?name=%00",
    "/admin/accounts/user/?role=%00",
    "/admin/accounts/user/?name=%00",
    "/admin/accounts/apitoken/?name=%00",
    "/admin/autocomplete/?app_label=jobs&model_name=jobtag&field_name=tag&term=%00",
    "/admin/autocomplete/?app_label=accounts&model_name=apitoken&field_name=user&term=%00",
    "/admin/jobs/job/a%00b/change/",
    "/admin/clusters/%00/",
    "/%00",
    "/static/%00",
]


NO_PARAMETERS = {  # of their pages
    "/admin/jobs/tag/?type__exact=%00",
    "/admin/jobs/tag/?name=%00",
    "/admin/accounts/user/?name=%00",
    "/admin/accounts/apitoken/?name=%00",
}


@pytest.mark.parametrize("path", ADMIN_PAGES)
def test_a_nul_character_in_the_address_of_a_page_finds_nothing(admin: User, archive_root: Any, path: str) -> None:
    JobFactory.create(cluster="a", partition="ab")
    browser = Client()
    browser.force_login(admin)
    answer = browser.get(path)
    assert answer.status_code in ((400,) if path in NO_PARAMETERS else (200, 302, 404))
    content = b"".join(answer) if answer.streaming else answer.content
    assert b"/admin/jobs/job/1/" not in content


@pytest.mark.parametrize(
    ("method", "path", "status"),
    [
        ("POST", "/api/user/%00?add-role=api", 422),
        ("POST", "/api/user/a%00b?add-role=api", 422),
        ("GET", "/api/users/?not-just-user=%00", 400),
        ("DELETE", "/api/users/?username=%00", 422),
        ("DELETE", "/api/users/?username=ab%00", 422),
        ("POST", "/api/users/?username=a%00b&password=a-long-enough-one&role=user", 400),
        ("GET", "/api/%00", 404),
    ],
)
def test_a_nul_character_in_a_call_finds_nothing(admin_api: AppClient, method: str, path: str, status: int) -> None:
    UserFactory.create(username="ab")
    assert admin_api.request(method, path).status == status
    assert User.objects.get(username="ab").roles == ["user"]


@pytest.mark.parametrize("field", ["username", "name", "email", "project", "role", "password"])
def test_a_nul_character_in_a_form_of_the_api_is_no_error_of_the_server(admin_api: AppClient, field: str) -> None:
    fields = {"username": "dora", "password": "a-long-enough-one", "role": "manager", "project": "p", field: "a\0b"}
    assert admin_api.form("POST", "/api/users/", fields).status in (200, 400)


def test_a_nul_character_in_a_query_finds_no_job(api: AppClient) -> None:
    JobFactory.create(user="ab")
    assert api.get("/api/jobs/?user=a%00b").json["items"] == 0


def test_a_nul_character_in_a_cookie_is_no_session(anonymous: AppClient) -> None:
    answer = anonymous.get("/api/jobs/", headers={"Cookie": r'sessionid="\000aaaaaaaaaa"; zone="\000"'})
    assert answer.status == 401


@pytest.mark.parametrize("prefix", ["//api", "/api/", "///api//"])
def test_several_slashes_are_one(api: AppClient, anonymous: AppClient, prefix: str) -> None:
    assert api.post(f"{prefix}/jobs/start_job/", start_body()).status == 201
    assert api.get(f"{prefix}/jobs//?state=running").json["items"] == 1
    assert anonymous.get(f"{prefix}/jobs/").status == 401
    assert api.get(f"{prefix}/jobs/nothing//here").error.startswith("no such path: /api/jobs/nothing/here")


def test_several_slashes_elsewhere_stay(api: AppClient) -> None:
    assert api.get("//jobs//").error.startswith("no such path: //jobs//")


@pytest.mark.parametrize("method", ["GET", "POST", "PUT", "DELETE"])
@pytest.mark.parametrize("path", ["/jobs/start_job/", "/nothing", "//start_job", "/static/nothing"])
def test_an_unknown_path_asked_with_a_token_is_a_404_in_json(api: AppClient, method: str, path: str) -> None:
    for client, headers in ((api, {}), (api.as_(None), {"Authorization": f"Bearer {api.token}"})):
        answer = client.request(method, path, headers=headers)
        assert (answer.status, answer.headers["content-type"]) == (404, "application/json")
        assert path in answer.error


@pytest.mark.parametrize("path", ["/", "/admin/", "/admin/jobs/job/"])
def test_a_page_that_takes_no_call_says_so_in_json(api: AppClient, path: str) -> None:
    answer = api.post(path)
    assert (answer.status, answer.headers["content-type"]) == (403, "application/json")
    assert f"no path of the API: {path}," in answer.error


def test_an_unknown_path_without_a_token_is_a_page(anonymous: AppClient) -> None:
    assert anonymous.get("/nothing").headers["content-type"].startswith("text/html")


# Numbers that are none, or beyond what a database stores.

NUMBERS = ["abc", "-1", "99999999999999999999", "1" * 5000, "1e400", "²", "1.5", "", "NaN", "0x1"]


def _addresses(job: int) -> list[str]:
    """Return addresses of the admin site with a place for a number."""
    filters = {
        "accounts/apitoken": ("user", "user__id__exact", "p", "o", "status", "all", "e"),
        "accounts/user": ("role", "p", "o", "id", "is_active__exact", "all"),
        "jobs/tag": ("type", "p", "o", "jobs", "id__exact", "all"),
        "jobs/job": (
            *("array", "job", "beside", "p", "o", "started", "since", "until", "nodes", "duration", "gpus", "tag", "q"),
            *("num_nodes__gte", "id__exact", "job_id", "state", "all"),
        ),
    }
    lists = [f"/admin/{model}/?{name}={{}}" for model, names in filters.items() for name in names]
    pages = [
        f"/admin/{model}/{{}}/{page}/" for model in (*filters, "jobs/savedfilter") for page in ("change", "history")
    ]
    pages += [f"/admin/{model}/{{}}/delete/" for model in filters]
    jobs = [f"/admin/jobs/job/{{}}/{page}/" for page in ("correct", "plots", "note", "stop", "script")]
    plots = [f"/admin/jobs/job/{job}/plots/?{name}={{}}" for name in ("from", "to", "scope", "metric")]
    return [*lists, *pages, *jobs, *plots, f"/admin/jobs/tag/{{}}/merge/?into={job}", "/admin/r/7/{}/"]


@pytest.mark.parametrize("number", NUMBERS)
def test_a_number_that_cannot_be_is_no_error_of_the_server(
    admin: User, archive_root: Any, number: str, client: Client
) -> None:
    client.force_login(admin)
    failed = {}
    for address in _addresses(JobFactory.create().pk):
        path = address.format(number)
        client.raise_request_exception = False
        answer = client.get(path)
        if answer.status_code >= 500:
            failed[path] = answer
    assert not failed


@pytest.mark.parametrize("number", NUMBERS)
def test_a_selection_of_numbers_that_cannot_be_is_no_error_of_the_server(
    admin: User, archive_root: Any, number: str, client: Client
) -> None:
    client.force_login(admin)
    client.raise_request_exception = False
    request = RequestFactory().get("/admin/")
    request.user = admin
    failed = []
    for model, model_admin in site._registry.items():
        address = reverse(f"admin:{model._meta.label_lower.replace('.', '_')}_changelist")
        for action in model_admin.get_actions(request):
            for words in ([number], [number, "1"]):
                answer = client.post(address, {"action": action, "_selected_action": words, "select_across": "0"})
                if answer.status_code >= 500:
                    failed.append((address, action, words))
    for address in (
        *(f"/admin/jobs/job/selection/{name}/" for name in ("note", "stop", "archive", "delete", "tag", "untag")),
        *(f"/admin/jobs/tag/selection/{name}/" for name in ("merge", "delete")),
        *(f"/admin/jobs/tag/{number}/rename/", f"/admin/accounts/user/{number}/active/"),
        *(f"/admin/accounts/user/{number}/token/", f"/admin/accounts/apitoken/{number}/revoke/"),
        *(f"/admin/accounts/apitoken/own/{number}/revoke/", f"/admin/jobs/job/saved/{number}/"),
        *(f"/admin/jobs/job/{number}/{name}/" for name in ("correct", "stop", "archive")),
        "/admin/jobs/job/delete-before/",
        "/admin/jobs/job/saved/",
        "/admin/accounts/apitoken/add/",
        "/admin/accounts/apitoken/own/",
    ):
        names = ("jobs", "tags", "tag", "into", "done", "before", "user", "days", "ended", "stop_time", "start_time")
        answer = client.post(address, dict.fromkeys(names, number) | {"confirmed": "1", "type": "a", "name": "b"})
        if answer.status_code >= 500:
            failed.append((address, "", []))
    assert not failed
