"""create_user: roles, projects, and the three ways to a password."""

import getpass
import io
import sys
from collections.abc import Callable

import pytest

from accounts.models import User
from tests.support.commands import Machine, Run


def test_a_user_has_what_was_asked_for(run: Run) -> None:
    outcome = run(
        "create_user", "carol", "--role", "manager", "api", "--role", "user", "--project", "p1", "p2",
        "--email", "carol@example.org", "--name", "Carol C.", "--no-password",
    )  # fmt: skip
    assert outcome.status == 0
    user = User.objects.get(username="carol")
    assert user.roles == ["manager", "api", "user"]
    assert user.projects == ["p1", "p2"]
    assert (user.email, user.name) == ("carol@example.org", "Carol C.")
    assert not user.has_usable_password()
    assert "carol" in outcome.out
    assert "3 roles" in outcome.out


def test_quiet_says_nothing(run: Run) -> None:
    outcome = run("create_user", "carol", "--role", "api", "--no-password", verbosity=0)
    assert (outcome.status, outcome.out, outcome.err) == (0, "", "")


def test_the_password_comes_from_stdin(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "stdin", io.StringIO("pass word \r\nmore\n"))
    assert run("create_user", "carol", "--role", "user", "--password-stdin").status == 0
    assert User.objects.get(username="carol").check_password("pass word ")


def test_the_password_is_asked_for_twice(
    run: Run, answer: Callable[[str], None], monkeypatch: pytest.MonkeyPatch
) -> None:
    answer("")
    typed = iter(["a long secret", "a long sceret", "a long secret", "a long secret"])
    monkeypatch.setattr(getpass, "getpass", lambda prompt: next(typed))
    outcome = run("create_user", "carol", "--role", "user")
    assert outcome.status == 0
    assert "differ" in outcome.err
    assert User.objects.get(username="carol").check_password("a long secret")
    assert next(typed, None) is None


def test_passwords_that_never_agree_make_no_user(
    run: Run, answer: Callable[[str], None], monkeypatch: pytest.MonkeyPatch
) -> None:
    answer("")
    typed = iter("123456")
    monkeypatch.setattr(getpass, "getpass", lambda prompt: next(typed))
    assert run("create_user", "carol", "--role", "user").status == 2
    assert not User.objects.exists()


def test_without_a_terminal_a_choice_must_be_made(run: Run) -> None:
    outcome = run("create_user", "carol", "--role", "user")
    assert outcome.status == 2
    assert "--password-stdin" in outcome.err
    assert not User.objects.exists()


def test_a_taken_name_is_a_failure(run: Run, alice: User) -> None:
    outcome = run("create_user", "alice", "--role", "user", "--no-password")
    assert outcome.status == 1
    assert "already taken" in outcome.err


@pytest.mark.parametrize(
    "arguments",
    [
        ["a b", "--role", "user"],
        ["carol", "--role", "user", "--project", "p"],
        ["carol", "--role", "manager"],
        ["carol", "--role", "user", "--email", "nowhere"],
        ["carol", "--role", "user", "--name", "x" * 256],
    ],
)
def test_values_that_cannot_be_are_bad_usage(run: Run, arguments: list[str]) -> None:
    assert run("create_user", *arguments, "--no-password").status == 2
    assert not User.objects.exists()


def test_an_empty_password_is_for_api_users_alone(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    for role, status in (("user", 2), ("api", 0)):
        monkeypatch.setattr(sys, "stdin", io.StringIO("\n"))
        assert run("create_user", f"of-{role}", "--role", role, "--password-stdin").status == status
    assert [user.username for user in User.objects.all()] == ["of-api"]


@pytest.mark.parametrize(
    ("password", "expected"), [("0q7", "8 characters"), ("carolina", "similar"), ("baseball1", "common")]
)
def test_a_password_that_breaks_the_rules_is_for_api_users_alone(
    run: Run, monkeypatch: pytest.MonkeyPatch, password: str, expected: str
) -> None:
    for role, status in (("user", 2), ("api", 0)):
        monkeypatch.setattr(sys, "stdin", io.StringIO(f"{password}\n"))
        outcome = run("create_user", "carolina", "--role", role, "--password-stdin")
        assert (outcome.status, expected in outcome.err, password in outcome.err) == (status, role == "user", False)
    assert User.objects.get().roles == ["api"]


def test_exit_statuses(typed: Run, machine: Machine) -> None:
    assert typed("create_user", "carol", "--role", "api").status == 2
    assert typed("create_user", "carol", "--role", "api", "--no-password", "--password-stdin").status == 2
    done = machine.run("create_user", "carol", "--role", "admin", "--password-stdin", stdin="a long secret\n")
    assert (done.status, done.err) == (0, "")
    again = machine.run("create_user", "carol", "--role", "admin", "--password-stdin", stdin="a long secret\n")
    assert again.status == 1
    assert "Traceback" not in again.err
    assert machine.execute("SELECT username FROM accounts_user") == [("carol",)]


def test_a_database_without_tables_is_no_traceback(machine: Machine) -> None:
    for path in machine.folder.glob("db.sqlite3*"):
        path.unlink()
    outcome = machine.run("create_user", "carol", "--role", "api", "--no-password")
    assert outcome.status == 1
    assert "migrate" in outcome.err
    assert "Traceback" not in outcome.err


@pytest.mark.parametrize(
    "words", [["--password", "hunter2"], ["--password=hunter2"], ["--name=x", "hunter2"], ["--pw=hunter2"]]
)
def test_a_password_on_the_command_line_is_refused_and_not_repeated(run: Run, words: list[str]) -> None:
    outcome = run("create_user", "carol", "--role", "api", *words[:1], "--no-password", *words[1:])
    assert outcome.status != 0
    assert outcome.err.startswith("Error: ")
    assert "hunter2" not in outcome.err + outcome.out


def test_what_is_not_utf8_is_refused(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("create_user", "create_token", "list_tokens", "revoke_token"):
        options = ["--role", "api", "--no-password"] if name == "create_user" else []
        outcome = run(name, "b\udcf6se", *options)
        assert (outcome.status, "expected UTF-8" in outcome.err) == (2, True)
    assert run("create_user", "carol", "--role", "api", "b\udcf6se", "--no-password").status != 0
    monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(b"b\xf6se\n"), encoding="utf-8"))
    outcome = run("create_user", "carol", "--role", "user", "--password-stdin")
    assert (outcome.status, outcome.err) == (2, "standard input: expected UTF-8")


def test_with_exists_ok_a_user_who_is_there_stays_as_he_is(run: Run, alice: User) -> None:
    words = ("create_user", "alice", "--role", "admin", "--no-password")
    assert run(*words).status != 0
    again = run(*words, "--exists-ok")
    assert again.status == 0, again.err
    alice.refresh_from_db()
    assert alice.roles == ["user"]
    assert run("create_user", "dora", "--role", "admin", "--no-password", "--exists-ok").status == 0
    assert User.objects.get(username="dora").roles == ["admin"]
