"""import_users: users from a file, from the shell; the same plan as in the admin site."""

import json
from pathlib import Path

import pytest
from django.contrib.admin.models import LogEntry

from accounts.models import User
from tests.support.commands import Run


@pytest.fixture
def file(tmp_path: Path) -> Path:
    """Return a file with a new user, a changed one, and a line that cannot be."""
    path = tmp_path / "users.csv"
    path.write_text("username;roles;projects\ndora;user;\nbob;manager;chem\neve;king;\n")
    return path


def test_a_file_is_imported_and_refused_lines_are_told(run: Run, bob: User, file: Path) -> None:
    outcome = run("import_users", str(file))

    assert outcome.status == 1
    assert outcome.lines == [
        "new: dora (user)",
        "changed: bob: projects: bio -> chem",
        "Created: 1 user; changed: 1; as they were: 0.",
    ]
    assert "refused: line 4: roles 'king': expected one of user" in outcome.err
    assert "1 line refused." in outcome.err
    assert User.objects.get(username="bob").projects == ["chem"]
    assert not User.objects.get(username="dora").has_usable_password()
    entries = LogEntry.objects.order_by("object_repr")
    assert [entry.object_repr for entry in entries] == ["bob", "dora"]
    assert all("Through the shell of" in entry.change_message for entry in entries)


def test_a_dry_run_changes_nothing_and_json_says_the_same(run: Run, bob: User, file: Path) -> None:
    outcome = run("import_users", str(file), "--dry-run", "--json")

    found = json.loads(outcome.out)
    assert found["dry_run"] is True
    assert [user["username"] for user in found["new"]] == ["dora"]
    assert found["changed"] == [{"username": "bob", "changes": [{"field": "projects", "old": "bio", "new": "chem"}]}]
    assert found["refused"][0] | {"expected": ""} == {"line": 4, "field": "roles", "value": "'king'", "expected": ""}
    assert set(User.objects.values_list("username", flat=True)) == {"bob"}
    assert not LogEntry.objects.exists()


@pytest.mark.parametrize(("content", "text"), [(None, "No such file"), (b"\xff", "expected UTF-8"), (b"x\n", "column")])
def test_a_bad_file_is_bad_usage(run: Run, bob: User, tmp_path: Path, content: bytes | None, text: str) -> None:
    path = tmp_path / "users.csv"
    if content is not None:
        path.write_bytes(content)
    outcome = run("import_users", str(path))
    assert (outcome.status, text in outcome.err) == (2, True), outcome.err
