"""The user pages: rights, forms that keep the rules of accounts, the last admin."""

from typing import Any

import pytest
from django.http import HttpRequest
from django.test import Client
from django.test.utils import CaptureQueriesContext

from accounts.models import ApiToken, User
from tests.support.admin_site import Login
from tests.support.factories import UserFactory

pytestmark = pytest.mark.django_db

LIST = "/admin/accounts/user/"


def form_of(user: User, **changes: Any) -> dict[str, Any]:
    """Return what the user's form sends, with changes."""
    data = {
        "name": user.name,
        "email": user.email,
        "roles": list(user.roles),
        "projects": "\n".join(user.projects),
        "is_active": "on" if user.is_active else "",
    } | changes
    return {key: value for key, value in data.items() if value != ""}


def fresh(username: str) -> User:
    """Return the user as it is stored."""
    return User.objects.get(username=username)


@pytest.mark.parametrize("person", ["carol", "bob", "alice"])
def test_only_admins_see_users_and_tokens(person: str, login: Login, request: pytest.FixtureRequest) -> None:
    user = request.getfixturevalue(person)
    client = login(user)

    for path in (LIST, f"{LIST}add/", f"{LIST}{user.pk}/change/", f"{LIST}{user.pk}/password/"):
        assert client.get(path).status_code in (302, 403), path
    assert client.get("/admin/accounts/apitoken/").status_code == 403
    query = {"app_label": "accounts", "model_name": "apitoken", "field_name": "user", "term": ""}
    assert client.get("/admin/autocomplete/", query).status_code == 403
    assert "Users" not in client.get("/admin/").content.decode()


def test_the_list_costs_the_same_for_many(admin: User, login: Login, django_assert_max_num_queries: Any) -> None:
    client = login(admin)
    with django_assert_max_num_queries(10) as few:
        client.get(LIST)
    UserFactory.create_batch(20, roles=["manager", "user"], projects=["bio", "chem"])

    with CaptureQueriesContext(few.connection) as many:
        response = client.get(LIST)

    assert len(many) == len(few)
    assert "manager, user" in response.content.decode()


@pytest.mark.parametrize(
    ("query", "found"), [({"role": "manager"}, {"bob"}), ({"is_active__exact": "0"}, {"alice"}), ({"q": "bo"}, {"bob"})]
)
def test_search_and_filters(
    query: dict[str, str], found: set[str], admin: User, bob: User, alice: User, login: Login
) -> None:
    User.objects.filter(pk=alice.pk).update(is_active=False)

    response = login(admin).get(LIST, query)

    assert {user.username for user in response.context["cl"].result_list} == found


def new(**changes: Any) -> dict[str, Any]:
    """Return what the form of a new user sends, with changes."""
    data = {
        "username": "charlie",
        "name": "Charlie",
        "email": "charlie@example.org",
        "usable_password": "true",
        "password1": "correct horse battery",
        "password2": "correct horse battery",
        "roles": ["manager"],
        "projects": " bio \n\nchem\nbio",
    } | changes
    return {key: value for key, value in data.items() if value != ""}


def test_a_user_is_added_and_can_log_in(admin: User, login: Login, client: Client) -> None:
    response = login(admin).post(f"{LIST}add/", new())

    charlie = fresh("charlie")
    assert response["Location"] == f"{LIST}{charlie.pk}/change/"
    assert (charlie.name, charlie.roles, charlie.projects) == ("Charlie", ["manager"], ["bio", "chem"])
    assert client.login(request=HttpRequest(), username="charlie", password="correct horse battery")


def test_a_user_of_the_api_needs_no_password(admin: User, login: Login) -> None:
    data = new(roles=["api"], projects="", usable_password="false", password1="", password2="")

    login(admin).post(f"{LIST}add/", data)

    assert not fresh("charlie").has_usable_password()


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"username": "admin"}, "already exists"),
        ({"username": "no spaces"}, "Enter a valid username"),
        ({"password2": "another one"}, "didn’t match"),  # noqa: RUF001
        ({"password1": "12345", "password2": "12345"}, "too short"),
        ({"roles": []}, "This field is required"),
        ({"roles": ["user"]}, "only managers require a project"),
        ({"projects": ""}, "managers require a project"),
        ({"projects": "x" * 256}, "at most 255 characters"),
    ],
)
def test_a_new_user_that_breaks_a_rule_is_refused(
    changes: dict[str, Any], message: str, admin: User, login: Login
) -> None:
    response = login(admin).post(f"{LIST}add/", new(**changes))

    assert response.status_code == 200
    assert message in response.content.decode()
    assert User.objects.count() == 1


def test_roles_projects_and_texts_are_changed(admin: User, bob: User, login: Login) -> None:
    changes = {"name": "Bob B.", "email": "b@example.org", "roles": ["user", "manager"], "projects": "chem\ncfd"}

    response = login(admin).post(f"{LIST}{bob.pk}/change/", form_of(bob, **changes))

    assert response.status_code == 302
    bob = fresh("bob")
    assert (bob.name, bob.email) == ("Bob B.", "b@example.org")
    assert set(bob.roles) == {"user", "manager"}
    assert set(bob.projects) == {"chem", "cfd"}
    assert bob.username == "bob"


def test_a_manager_becomes_a_user(admin: User, bob: User, login: Login) -> None:
    login(admin).post(f"{LIST}{bob.pk}/change/", form_of(bob, roles=["user"], projects=""))

    assert (fresh("bob").roles, fresh("bob").projects) == (["user"], [])


@pytest.mark.parametrize(
    ("changes", "message"),
    [({"roles": ["user"]}, "still has projects"), ({"projects": "bio\n" + "x" * 256}, "at most 255 characters")],
)
def test_a_change_that_breaks_a_rule_is_refused_and_nothing_is_half_done(
    changes: dict[str, Any], message: str, admin: User, bob: User, login: Login
) -> None:
    response = login(admin).post(f"{LIST}{bob.pk}/change/", form_of(bob, name="Other", **changes))

    assert response.status_code == 200
    assert message in response.content.decode()
    assert (fresh("bob").name, fresh("bob").roles, fresh("bob").projects) == (bob.name, ["manager"], ["bio"])


@pytest.mark.parametrize("changes", [{"roles": ["api"]}, {"is_active": ""}])
def test_the_last_active_admin_keeps_its_role_and_stays_active(
    changes: dict[str, Any], admin: User, login: Login
) -> None:
    response = login(admin).post(f"{LIST}{admin.pk}/change/", form_of(admin, **changes))

    assert "is the last active admin" in response.content.decode()
    assert fresh("admin").is_superuser
    assert fresh("admin").is_active


def test_the_action_deactivates_all_but_the_last_admin(admin: User, alice: User, login: Login) -> None:
    data = {"action": "deactivate", "_selected_action": [admin.pk, alice.pk]}

    response = login(admin).post(LIST, data, follow=True)

    assert "is the last active admin" in response.content.decode()
    assert "1 user deactivated" in response.content.decode()
    assert fresh("admin").is_active
    assert not fresh("alice").is_active
    login(admin).post(LIST, {"action": "activate", "_selected_action": [alice.pk]})
    assert fresh("alice").is_active


def test_a_user_with_tokens_is_deleted_after_a_question_that_recommends_deactivating(
    admin: User, alice: User, login: Login
) -> None:
    ApiToken.issue(user=alice)
    client = login(admin)

    question = client.get(f"{LIST}{alice.pk}/delete/").content.decode()
    client.post(f"{LIST}{alice.pk}/delete/", {"post": "yes"})

    assert "user alice with 1 API token?" in question
    assert "Consider deactivating the user instead" in question
    assert not User.objects.filter(username="alice").exists()


def test_the_page_shows_the_users_tokens_and_revokes_them(admin: User, alice: User, login: Login) -> None:
    token, _ = ApiToken.issue(user=alice, name="<b>notebook</b>", networks=["10.0.0.0/8"])
    other, _ = ApiToken.issue(user=admin, name="not hers")
    client = login(admin)

    page = client.get(f"{LIST}{alice.pk}/change/").content.decode()
    response = client.post(f"/admin/accounts/apitoken/{token.pk}/revoke/", {"back": "user"}, follow=True)

    for part in (f"{token.prefix}…", "&lt;b&gt;notebook&lt;/b&gt;", "10.0.0.0/8", "active", "never"):
        assert part in page
    assert other.prefix not in page
    assert response.redirect_chain[-1][0] == f"{LIST}{alice.pk}/change/"
    assert f"Revoke token {token.prefix}" not in response.content.decode()
    assert "pill-revoked" in response.content.decode()


def test_the_page_lists_few_tokens_and_those_in_use_first(
    admin: User, alice: User, login: Login, django_assert_max_num_queries: Any
) -> None:
    used, _ = ApiToken.issue(user=alice)
    for _ in range(25):
        ApiToken.issue(user=alice)[0].revoke()
    client = login(admin)

    with django_assert_max_num_queries(12):
        page = client.get(f"{LIST}{alice.pk}/change/").content.decode()

    assert page.count('<th scope="row">') == 20
    assert used.prefix in page
    assert "All tokens of this user" in page


def test_the_page_links_to_the_users_jobs(admin: User, alice: User, login: Login) -> None:
    assert "/admin/jobs/job/?user=alice" in login(admin).get(f"{LIST}{alice.pk}/change/").content.decode()


def test_a_button_deactivates_and_another_takes_it_back(admin: User, alice: User, login: Login) -> None:
    client = login(admin)

    assert "Deactivate</button>" in client.get(f"{LIST}{alice.pk}/change/").content.decode()
    client.post(f"{LIST}{alice.pk}/active/", {"active": "0"})
    assert not fresh("alice").is_active

    assert "Activate</button>" in client.get(f"{LIST}{alice.pk}/change/").content.decode()
    client.post(f"{LIST}{alice.pk}/active/", {"active": "1"})
    assert fresh("alice").is_active
    history = client.get(f"{LIST}{alice.pk}/history/").content.decode()
    assert "Deactivated." in history


def test_the_button_keeps_the_last_admin_active(admin: User, login: Login) -> None:
    response = login(admin).post(f"{LIST}{admin.pk}/active/", {"active": "0"}, follow=True)

    assert "is the last active admin" in response.content.decode()
    assert fresh("admin").is_active


def test_deactivating_ends_the_sessions_and_the_log_in_gives_the_usual_error(
    admin: User, alice: User, login: Login, client: Client
) -> None:
    alice.set_password("correct horse battery")
    alice.save()
    hers = login(alice)
    assert hers.get("/admin/jobs/job/").status_code == 200

    login(admin).post(f"{LIST}{alice.pk}/active/", {"active": "0"})

    assert hers.get("/admin/jobs/job/")["Location"].startswith("/admin/login/")
    answer = client.post("/admin/login/", {"username": "alice", "password": "correct horse battery"})
    assert "The username or the password is wrong" in answer.content.decode()


@pytest.mark.parametrize("person", ["admin", "carol", "bob", "alice"])
def test_everybody_changes_the_own_password_and_stays_logged_in(
    person: str, login: Login, client: Client, request: pytest.FixtureRequest
) -> None:
    user = request.getfixturevalue(person)
    user.set_password("the old battery")
    user.save()
    browser = login(user)
    new_one = {"new_password1": "correct horse battery", "new_password2": "correct horse battery"}

    refused = browser.post("/admin/password_change/", {"old_password": "a wrong one", **new_one})
    response = browser.post("/admin/password_change/", {"old_password": "the old battery", **new_one}, follow=True)

    assert "Your old password was entered incorrectly" in refused.content.decode()
    assert response.redirect_chain[-1][0] == "/admin/password_change/done/"
    assert browser.get("/admin/").status_code == 200
    assert client.login(request=HttpRequest(), username=person, password="correct horse battery")


def test_nobody_deletes_itself(admin: User, login: Login) -> None:
    UserFactory.create(roles=["admin"])

    response = login(admin).post(f"{LIST}{admin.pk}/delete/", {"post": "yes"}, follow=True)

    assert "cannot delete itself" in response.content.decode()
    assert fresh("admin")


def test_a_password_is_set_anew(admin: User, alice: User, login: Login, client: Client) -> None:
    data = {"usable_password": "true", "password1": "correct horse battery", "password2": "correct horse battery"}

    response = login(admin).post(f"{LIST}{alice.pk}/password/", data)

    assert response.status_code == 302
    assert client.login(request=HttpRequest(), username="alice", password="correct horse battery")
    assert fresh("alice").roles == ["user"]


@pytest.mark.parametrize(
    ("configured", "told"),
    [
        ({}, "Without a password, the user cannot log in to this site; API tokens work."),
        ({"LDAP": {"url": "ldap://localhost"}}, "Without a password, the user logs in by LDAP."),
        (
            {"OIDC": {"issuer": "https://sso.example.org"}, "REMOTE_USER_HEADER": "X-User"},
            "Without a password, the user logs in by OpenID Connect or at the proxy.",
        ),
    ],
)
def test_the_forms_promise_no_log_in_that_is_not_configured(
    configured: dict[str, Any], told: str, admin: User, alice: User, login: Login, settings: Any
) -> None:
    for name, value in configured.items():
        setattr(settings, name, value)
    client = login(admin)
    for path in (f"{LIST}add/", f"{LIST}{alice.pk}/password/"):
        text = client.get(path).content.decode()
        assert told in text
        assert ("LDAP" in text) == ("LDAP" in told)
        assert "Single Sign-On" not in text
