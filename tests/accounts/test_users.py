"""The users operations: create, delete, list, change roles and projects."""

import threading
from typing import Any

import pytest
from django.core.management import CommandError, call_command
from django.db import connection

from accounts import services
from accounts.models import ApiToken, User
from tests.support.clients import Answer, AppClient
from tests.support.factories import UserFactory, token_for

PATH = "/api/users/"
PASSWORD = "a-long-enough-one"
BLANK = "Only API users are allowed to have a blank password (login will be impossible)"


def create(client: AppClient, **fields: str) -> Answer:
    """Create a user by an urlencoded form."""
    return client.form("POST", PATH, fields)


def multipart(**fields: str) -> bytes:
    """Return a multipart body with boundary x."""
    parts = [f'--x\r\nContent-Disposition: form-data; name="{key}"\r\n\r\n{value}\r\n' for key, value in fields.items()]
    return ("".join(parts) + "--x--\r\n").encode()


def test_a_user_is_created_with_role_name_email_and_password(admin_api: AppClient) -> None:
    answer = create(admin_api, username="dora", password=PASSWORD, role="user", name="Dora", email="d@example.org")
    assert (answer.status, answer.text) == (200, "User dora successfully created!")
    user = User.objects.get(username="dora")
    assert (user.name, user.email, user.roles, user.projects) == ("Dora", "d@example.org", ["user"], [])
    assert user.check_password(PASSWORD)


@pytest.mark.parametrize("method", ["POST", "PUT"])
@pytest.mark.parametrize("way", ["urlencoded", "multipart", "query"])
@pytest.mark.parametrize("path", ["/api/users/", "/api/users"])
def test_fields_come_as_form_or_query_with_post_and_put(admin_api: AppClient, method: str, way: str, path: str) -> None:
    fields = {"username": "dora", "password": PASSWORD, "role": "manager", "project": "bio"}
    if way == "urlencoded":
        answer = admin_api.form(method, path, fields)
    elif way == "multipart":
        headers = {"Content-Type": "multipart/form-data; boundary=x"}
        answer = admin_api.request(method, path, multipart(**fields), headers=headers)
    else:
        answer = admin_api.request(method, f"{path}?" + "&".join(f"{key}={value}" for key, value in fields.items()))
    assert answer.status == 200
    assert User.objects.get(username="dora").projects == ["bio"]


@pytest.mark.parametrize("way", ["urlencoded", "multipart", "query"])
def test_a_user_is_deleted_by_form_or_query_with_an_empty_answer(admin_api: AppClient, alice: User, way: str) -> None:
    token_for(alice)
    if way == "urlencoded":
        answer = admin_api.form("DELETE", PATH, {"username": "alice"})
    elif way == "multipart":
        headers = {"Content-Type": "multipart/form-data; boundary=x"}
        answer = admin_api.delete(PATH, multipart(username="alice"), headers=headers)
    else:
        answer = admin_api.delete(f"{PATH}?username=alice")
    assert (answer.status, answer.body) == (200, b"")
    assert not User.objects.filter(username="alice").exists()
    assert not ApiToken.objects.filter(user__username="alice").exists()


def test_a_blank_password_is_for_api_users_only(admin_api: AppClient) -> None:
    for role in ("user", "support", "admin"):
        for password in ({}, {"password": ""}):
            answer = create(admin_api, username="dora", role=role, **password)
            assert (answer.status, answer.text) == (400, BLANK)
    answer = create(admin_api, username="bot", role="api")
    assert (answer.status, answer.text) == (200, "User bot successfully created!")
    assert not User.objects.get(username="bot").has_usable_password()


def test_only_managers_have_a_project(admin_api: AppClient) -> None:
    answer = create(admin_api, username="dora", password=PASSWORD, role="user", project="bio")
    assert (answer.status, answer.text) == (400, "only managers require a project (can be changed later)")
    answer = create(admin_api, username="dora", password=PASSWORD, role="manager")
    assert (answer.status, answer.text) == (400, "managers require a project to manage (can be changed later)")
    assert not User.objects.filter(username="dora").exists()


@pytest.mark.parametrize(
    "fields",
    [
        {"role": "king"},
        {"role": ""},
        {"username": ""},
        {"username": "a b"},
        {"username": "a/b"},
        {"username": "x" * 151},
        {"email": "no address"},
        {"name": "x" * 256},
    ],
)
def test_an_unknown_role_or_a_bad_text_is_a_400(admin_api: AppClient, fields: dict[str, str]) -> None:
    answer = create(admin_api, **({"username": "dora", "password": PASSWORD, "role": "user"} | fields))
    assert answer.status == 400
    assert next(iter(fields)) in answer.text.lower()
    assert User.objects.count() == 1


def test_an_existing_username_is_a_422_and_changes_nothing(admin_api: AppClient, alice: User) -> None:
    answer = create(admin_api, username="alice", password=PASSWORD, role="admin")
    assert answer.status == 422
    assert "alice" in answer.text
    assert User.objects.get(username="alice").roles == ["user"]


WEAK = {
    "0q7": "at least 8 characters",
    "baseball1": "a commonly used password",
    "dorothea": "too similar",
    "Mme-Curie": "too similar",
    "x@y-z.org1": "too similar",
}


@pytest.mark.parametrize("password", WEAK)
@pytest.mark.parametrize("way", ["form", "json"])
def test_a_password_that_breaks_the_rules_is_refused_and_not_repeated(
    admin_api: AppClient, way: str, password: str
) -> None:
    fields = {"username": "dorothea", "role": "user", "name": "Mme Curie", "email": "x@y-z.org", "password": password}
    answer = create(admin_api, **fields) if way == "form" else admin_api.post(PATH, fields)
    assert answer.status == 400
    assert answer.headers["content-type"].startswith("text/plain" if way == "form" else "application/json")
    assert WEAK[password] in answer.text
    assert password not in answer.text
    assert not User.objects.filter(username="dorothea").exists()


def test_an_api_user_s_password_may_break_the_rules_but_never_logs_in(admin_api: AppClient) -> None:
    for name, password in (("short", "0q7"), ("long", PASSWORD)):
        assert create(admin_api, username=name, password=password, role="api").status == 200
        assert admin_api.form("POST", f"/api/user/{name}", {"add-role": "admin"}).status == 200
        user = User.objects.get(username=name)
        assert (user.check_password(password), user.has_usable_password()) == (name == "long", name == "long")


@pytest.mark.parametrize("password", ["", "0q7", "dorothea"])
def test_createsuperuser_follows_the_password_rules(db: None, monkeypatch: pytest.MonkeyPatch, password: str) -> None:
    monkeypatch.setenv("DJANGO_SUPERUSER_PASSWORD", password)
    with pytest.raises(CommandError, match=r"too short|too similar"):
        call_command("createsuperuser", username="dorothea", interactive=False)
    monkeypatch.setenv("DJANGO_SUPERUSER_PASSWORD", PASSWORD)
    call_command("createsuperuser", username="dorothea", interactive=False, verbosity=0)
    assert User.objects.get().check_password(PASSWORD)


def test_a_new_user_s_password_is_not_stored_as_text(admin_api: AppClient) -> None:
    create(admin_api, username="dora", password="secret-text", role="user")
    assert "secret-text" not in User.objects.get(username="dora").password


def test_an_unknown_user_cannot_be_deleted(admin_api: AppClient) -> None:
    answer = admin_api.delete(f"{PATH}?username=nobody")
    assert answer.status == 422
    assert "nobody" in answer.text


@pytest.mark.parametrize("query", ["", "?username=", "?name=alice"])
def test_a_deletion_without_a_name_is_refused(admin_api: AppClient, query: str) -> None:
    answer = admin_api.delete(f"{PATH}{query}")
    assert answer.status == 400
    assert "username" in answer.text


def test_oneself_cannot_be_deleted(admin_api: AppClient) -> None:
    UserFactory.create(username="other", roles=["admin"])
    assert admin_api.delete(f"{PATH}?username=admin").status == 422
    assert User.objects.filter(username="admin").exists()


def test_another_admin_can_be_deleted(admin_api: AppClient) -> None:
    UserFactory.create(username="other", roles=["admin"])
    assert admin_api.delete(f"{PATH}?username=other").status == 200


def test_an_inactive_admin_can_be_deleted(admin_api: AppClient) -> None:
    UserFactory.create(username="other", roles=["admin"], is_active=False)
    assert admin_api.delete(f"{PATH}?username=other").status == 200


@pytest.mark.parametrize("second", [None, False, True])
def test_the_last_active_admin_keeps_the_role(admin_api: AppClient, second: bool | None) -> None:
    if second is not None:
        UserFactory.create(username="second", roles=["admin"], is_active=second)
    answer = admin_api.form("POST", "/api/user/admin", {"remove-role": "admin"})
    assert answer.status == (200 if second else 422)
    assert ("admin" in User.objects.get(username="admin").roles) is not bool(second)


LISTED = {"username": "bob", "name": "Bob", "roles": ["manager"], "email": "bob@example.org", "projects": ["bio"]}


@pytest.mark.parametrize("query", ["", "?not-just-user=false"])
def test_users_are_listed_with_five_keys(admin_api: AppClient, bob: User, alice: User, query: str) -> None:
    users = admin_api.get(f"{PATH}{query}").json
    assert [user["username"] for user in users] == ["admin", "bob", "alice"]
    assert list(users[1].items()) == list(LISTED.items())
    assert users[2]["projects"] == []


def test_those_with_more_than_the_role_user_are_listed_alone_when_asked(
    admin_api: AppClient, bob: User, alice: User, carol: User, bench: User
) -> None:
    UserFactory.create(username="both", roles=["user", "support"])
    users = admin_api.get(f"{PATH}?not-just-user=true").json
    assert {user["username"] for user in users} == {"admin", "bob", "carol", "bench", "both"}


@pytest.mark.parametrize("value", ["", "1", "yes", "TRUE"])
def test_another_not_just_user_is_refused(admin_api: AppClient, value: str) -> None:
    answer = admin_api.get(f"{PATH}?not-just-user={value}")
    assert answer.status == 400
    assert "not-just-user" in answer.text


@pytest.mark.parametrize("slash", ["", "/"])
def test_roles_and_projects_are_added_and_removed(admin_api: AppClient, bob: User, slash: str) -> None:
    steps = [
        ("add-role", "support", "Add Role Success", ["manager", "support"], ["bio"]),
        ("remove-role", "support", "Remove Role Success", ["manager"], ["bio"]),
        ("add-project", "chem", "Add Project Success", ["manager"], ["bio", "chem"]),
        ("remove-project", "bio", "Remove Project Success", ["manager"], ["chem"]),
    ]
    for field, value, text, roles, projects in steps:
        answer = admin_api.form("POST", f"/api/user/bob{slash}", {field: value})
        assert (answer.status, answer.text) == (200, text)
        user = User.objects.get(username="bob")
        assert (user.roles, user.projects) == (roles, projects)


@pytest.mark.parametrize("kind", ["application/json", "application/x-www-form-urlencoded", "application/ld+json", ""])
def test_a_json_body_is_answered_in_json(admin_api: AppClient, bob: User, kind: str) -> None:
    headers = {"Content-Type": kind}
    answer = admin_api.post("/api/user/bob", {"Add-Role": "support", "add-project": None}, headers=headers)
    assert (answer.status, answer.json) == (200, {"msg": "Add Role Success for user bob"})
    answer = admin_api.post("/api/user/bob", {"add-project": "ch\0em"}, headers=headers)
    assert answer.json == {"msg": "Add Project Success for user bob"}
    assert User.objects.get(username="bob").projects == ["bio", "chem"]
    answer = admin_api.post("/api/user/bob", {"add-role": "king"}, headers=headers)
    assert (answer.status, "king" in answer.error) == (422, True)
    fields = {"username": "dora", "password": PASSWORD, "role": "user"}
    assert admin_api.post(PATH, fields, headers=headers).json == {"msg": "User dora successfully created!"}
    assert admin_api.delete(PATH, {"username": "dora"}, headers=headers).body == b""


@pytest.mark.parametrize(
    ("body", "message"),
    [
        (b"{", "JSON object"),
        (b'{"add-role"', "JSON object"),
        (b"[1]", "JSON object"),
        (b'{"a":' * 100_000, "JSON object"),
        (b'{"add-role": 5}', "'add-role': expected a text"),
        (b'{"role": "user"}', "unknown field 'role'"),
        (b'{"add-project": "\\ud800"}', "422"),
        (b"{}", "add-role, remove-role"),
    ],
)
def test_a_json_body_that_cannot_be_is_refused_with_the_reason(
    admin_api: AppClient, alice: User, body: bytes, message: str
) -> None:
    answer = admin_api.request("POST", "/api/user/alice", body)
    assert (answer.status, message in answer.error) in ((400, True), (422, message != "422"))


def test_of_several_fields_the_first_counts(admin_api: AppClient, bob: User) -> None:
    fields = {"remove-project": "bio", "add-project": "chem", "remove-role": "manager", "add-role": "support"}
    assert admin_api.form("POST", "/api/user/bob", fields).text == "Add Role Success"
    assert User.objects.get(username="bob").projects == ["bio"]
    del fields["add-role"], fields["remove-role"]
    assert admin_api.form("POST", "/api/user/bob", fields).text == "Add Project Success"
    assert User.objects.get(username="bob").projects == ["bio", "chem"]


@pytest.mark.parametrize("fields", [{}, {"add-role": ""}, {"role": "user"}])
def test_none_of_the_four_fields_is_a_400(admin_api: AppClient, bob: User, fields: dict[str, str]) -> None:
    assert admin_api.form("POST", "/api/user/bob", fields).status == 400


@pytest.mark.parametrize(
    ("user", "fields", "message"),
    [
        ("bob", {"add-role": "king"}, "king"),
        ("bob", {"remove-role": "king"}, "king"),
        ("bob", {"add-role": "manager"}, "User bob already has role manager"),
        ("bob", {"remove-role": "support"}, "support"),
        ("bob", {"remove-role": "manager"}, "Cannot remove role 'manager'"),
        ("alice", {"add-project": "bio"}, "is not a manager"),
        ("alice", {"remove-project": "bio"}, "alice"),
        ("bob", {"add-project": "bio"}, "already manages project 'bio'"),
        ("bob", {"remove-project": "chem"}, "chem"),
        ("nobody", {"add-role": "user"}, "nobody"),
    ],
)
def test_a_change_that_cannot_be_is_a_422_with_its_reason(
    admin_api: AppClient, bob: User, alice: User, user: str, fields: dict[str, str], message: str
) -> None:
    answer = admin_api.form("POST", f"/api/user/{user}", fields)
    assert answer.status == 422
    assert message in answer.text
    assert User.objects.get(username="bob").roles == ["manager"]
    assert User.objects.get(username="bob").projects == ["bio"]


def test_a_manager_without_projects_can_lose_the_role(admin_api: AppClient, bob: User) -> None:
    admin_api.form("POST", "/api/user/bob", {"remove-project": "bio"})
    assert admin_api.form("POST", "/api/user/bob", {"remove-role": "manager"}).status == 200


def test_the_id_of_a_user_is_the_username_whatever_it_looks_like(admin_api: AppClient) -> None:
    for name in ("12", "a.b@c+d-e", "jörg"):
        UserFactory.create(username=name)
        assert admin_api.form("POST", f"/api/user/{name}", {"add-role": "support"}).status == 200


@pytest.mark.parametrize(
    "body",
    [b"", b"\xff\xfe", b"%00=%00", b"username=a%00b&role=api", b"username=%ff&role=api", b"&&&==", b"{}"],
)
@pytest.mark.parametrize("kind", ["application/x-www-form-urlencoded", "multipart/form-data", "application/json", "x"])
def test_no_form_breaks_the_server(admin_api: AppClient, body: bytes, kind: str) -> None:
    headers = {"Content-Type": kind}
    for method, path in (("POST", PATH), ("DELETE", PATH), ("POST", "/api/user/x")):
        assert admin_api.request(method, path, body, headers=headers).status in (200, 400, 422)


def test_a_failure_in_the_middle_creates_no_user(admin_api: AppClient, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*args: Any, **options: Any) -> None:
        raise RuntimeError("in the middle")

    monkeypatch.setattr(User, "add_projects", fail)
    assert create(admin_api, username="dora", password=PASSWORD, role="user").status == 500
    assert not User.objects.filter(username="dora").exists()


@pytest.mark.django_db(transaction=True)
def test_two_admins_deactivated_at_once_do_not_lock_each_other_out(admin: User) -> None:
    errors: list[BaseException] = []

    def deactivate(user: User) -> None:
        try:
            services.set_active(user=user, active=False)
        except BaseException as error:
            errors.append(error)
        finally:
            connection.close()

    for number in range(10):
        names = [f"left{number}", f"right{number}"]
        pair = [services.create_user(username=name, roles=["admin"], password=PASSWORD) for name in names]
        threads = [threading.Thread(target=deactivate, args=(user,)) for user in pair]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    assert errors == []


@pytest.mark.django_db
def test_a_loaded_user_has_a_new_role_and_project_at_once() -> None:
    UserFactory.create(username="erin", roles=["user"])
    erin = User.objects.with_access().get(username="erin")
    assert (erin.roles, erin.projects) == (["user"], [])

    erin.add_roles(["user", "manager", "manager"])
    erin.add_projects(["bio", "bio"])

    assert (erin.roles, erin.projects) == (["user", "manager"], ["bio"])
