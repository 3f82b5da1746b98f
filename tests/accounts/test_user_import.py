"""Users from a file: what is new, changed and refused, by the rules of create_user; and that nothing else changes."""

import pytest
from django.contrib.admin.models import ADDITION, CHANGE, LogEntry

from accounts import user_import
from accounts.exceptions import AccountError
from accounts.models import User
from accounts.user_import import FileError, apply, plan
from tests.support.factories import UserFactory

pytestmark = pytest.mark.django_db

HEADER = "username,name,email,roles,projects\n"


def everything() -> list[tuple[str, str, str, list[str], list[str], bool]]:
    """Return all users with what they have."""
    users = User.objects.with_access().order_by("username")
    return [(u.username, u.name, u.email, sorted(u.roles), sorted(u.projects), u.has_usable_password()) for u in users]


@pytest.mark.parametrize("bom", ["", "\ufeff"])
@pytest.mark.parametrize("delimiter", [",", ";"])
@pytest.mark.parametrize("newline", ["\n", "\r\n"])
def test_new_users_are_created_without_a_password(bom: str, delimiter: str, newline: str, admin: User) -> None:
    lines = [
        HEADER.strip().replace(",", delimiter),
        delimiter.join(["dora", '"Dora, Ö; x"', "dora@Example.org", "user", ""]),
        "",
        delimiter.join(["eve", "", "", "manager|support", "bio chem"]),
        delimiter * 4,
    ]

    done = apply((bom + newline.join(lines)).encode(), actor=admin)

    assert (len(done.new), done.changed, done.refused, done.unchanged) == (2, [], [], 0)
    assert everything()[1:] == [
        ("dora", "Dora, Ö; x", "dora@example.org", ["user"], [], False),
        ("eve", "", "", ["manager", "support"], ["bio", "chem"], False),
    ]
    entries = LogEntry.objects.order_by("pk")
    assert [(e.object_repr, e.action_flag, e.change_message) for e in entries] == [
        ("dora", ADDITION, "Imported from a file."),
        ("eve", ADDITION, "Imported from a file."),
    ]


def test_changes_are_told_field_by_field_and_a_missing_column_stays(admin: User, bob: User, carol: User) -> None:
    text = "Roles;username;projects\nmanager,user;bob;chem,bio\nsupport;carol;\n"

    found = plan(text)
    assert [(user.username, [(c.field, c.old, c.new) for c in changes]) for user, changes in found.changed] == [
        ("bob", [("roles", "manager", "manager, user"), ("projects", "bio", "bio, chem")])
    ]
    assert found.unchanged == 1
    assert not LogEntry.objects.exists()
    apply(text, actor=admin, through="the shell of root")

    bob = User.objects.get(username="bob")
    assert (sorted(bob.roles), sorted(bob.projects), bob.name) == (["manager", "user"], ["bio", "chem"], "Bob")
    entry = LogEntry.objects.get()
    assert (entry.action_flag, entry.change_message) == (
        CHANGE,
        "Changed by an import from a file.\nroles: manager → manager, user\nprojects: bio → bio, chem\n"
        "Through the shell of root.",
    )


def test_roles_and_projects_that_the_file_lacks_are_taken(admin: User) -> None:
    UserFactory.create(username="dora", roles=["manager", "user"], projects=["bio", "chem"])
    apply(f"{HEADER}dora,Dora,dora@example.org,user,\n", actor=admin)
    assert everything()[1][:5] == ("dora", "Dora", "dora@example.org", ["user"], [])


REFUSED = {
    "a b,,,user,": ("username", "letters, digits"),
    "=cmd,,,user,": ("username", "letters, digits"),
    ",,,user,": ("username", "letters, digits"),
    f"{'x' * 151},,,user,": ("username", "at most 150"),
    "dora,=1+1,,user,": ("name", "formula"),
    "dora,a\x07b,,user,": ("name", "control characters"),
    f"dora,{'x' * 256},,user,": ("name", "at most 255"),
    "dora,,nowhere,user,": ("email", "an e-mail address"),
    "dora,,,king,": ("roles", "one of user, manager"),
    "dora,,,,": ("roles", "one of user, manager"),
    "dora,,,user,bio": ("projects", "only managers"),
    "dora,,,manager,": ("projects", "managers require a project"),
    f"dora,,,manager,{'x' * 256}": ("projects", "at most 255"),
    "dora,,,user": ("line", "5 values"),
    "dora,,,user,,": ("line", "5 values"),
    "admin,Admin,admin@example.org,user,": ("roles", "last active administrator"),
}


@pytest.mark.parametrize("line", REFUSED)
def test_a_line_that_cannot_be_is_left_out_with_its_number_and_reason(line: str, admin: User) -> None:
    before = everything()

    done = apply(f"{HEADER}fine,,,user,\n{line}\n", actor=admin)

    (refusal,) = done.refused
    assert (refusal.line, refusal.field) == (3, REFUSED[line][0])
    assert REFUSED[line][1] in refusal.expected
    assert len(refusal.value) < 60
    assert [user for user in everything() if user[0] != "fine"] == before
    assert User.objects.filter(username="fine").exists()


def test_a_user_twice_is_refused_and_the_first_line_counts(admin: User) -> None:
    done = apply(f"{HEADER}dora,A,,user,\ndora,B,,admin,\n", actor=admin)
    assert [(refusal.line, refusal.expected) for refusal in done.refused] == [
        (3, "each user once; this one is in line 2")
    ]
    assert everything()[1][:2] == ("dora", "A")


def test_an_administrator_may_go_if_another_comes_first(admin: User) -> None:
    lines = "dora,,,admin,\nadmin,Admin,admin@example.org,user,\n"
    assert apply(HEADER + lines, actor=admin).refused == []
    assert [user[0] for user in everything() if "admin" in user[3]] == ["dora"]


def test_what_a_user_has_already_is_not_judged(admin: User) -> None:
    UserFactory.create(username="dora", name="-x", roles=["manager"])  # without a project, as cc-backend allows
    done = apply("username,email\ndora,d@example.org\n", actor=admin)
    assert (len(done.changed), done.refused) == (1, [])


@pytest.mark.parametrize(
    ("data", "text"),
    [
        (b"", "the file is empty"),
        (b"\n  \n", "the file is empty"),
        (b"name\nDora\n", "no column username"),
        (b"username,password\ndora,secret\n", "column 'password': expected one of username"),
        (b"username,username\n", "expected once"),
        (b'username,name\ndora,"D\xf6ra\n', "line 2: expected UTF-8, got the byte 0xf6"),
        ("username,name\ndora,x\n".encode("utf-16"), "line 1: expected UTF-8"),
        (b'username,name\ndora,"x\n', "expected comma-separated values"),
        (b'username,name\ndora,"x"y\n', "line 2: "),
        (b"username\n" + b"x" * 2_000_001, "expected at most 2,000,000"),
        (b"username,name\ndora," + b"x" * 200_000, "line 2: field larger than"),
        (b"username\n" + b"x\n" * 5_001, "line 5002: expected at most 5,000 users"),
    ],
)
def test_a_file_that_cannot_be_read_changes_nothing(data: bytes, text: str, admin: User) -> None:
    with pytest.raises(FileError) as caught:
        apply(data, actor=admin)
    assert text in str(caught.value)
    assert "secret" not in str(caught.value)
    assert User.objects.count() == 1


def test_what_was_shown_is_done_or_nothing(admin: User) -> None:
    text = f"{HEADER}dora,,,user,\n"
    digest = plan(text).digest
    UserFactory.create(username="dora", roles=["admin"])

    with pytest.raises(AccountError, match="have changed since"):
        apply(text, actor=admin, digest=digest)
    assert User.objects.get(username="dora").has_role("admin")


def test_a_thousand_users_take_few_queries(admin: User, django_assert_max_num_queries: object) -> None:
    lines = "".join(f"user{number},N,,manager,p{number}\n" for number in range(1000))
    with django_assert_max_num_queries(40):  # type: ignore[operator]
        assert len(apply(HEADER + lines, actor=admin).new) == 1000
    with django_assert_max_num_queries(12):  # type: ignore[operator]
        assert plan(HEADER + lines).unchanged == 1000


def test_a_failure_in_the_middle_leaves_nothing(admin: User, monkeypatch: pytest.MonkeyPatch, bob: User) -> None:
    def fail(*arguments: object) -> None:
        raise OSError("gone")

    before = everything()
    monkeypatch.setattr(user_import, "_change", fail)
    with pytest.raises(OSError, match="gone"):
        apply(f"{HEADER}dora,,,user,\nbob,Bob,bob@example.org,user,\n", actor=admin)
    assert everything() == before
    assert not LogEntry.objects.exists()
