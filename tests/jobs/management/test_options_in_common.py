"""What the same option does in each command that has it: --json, and --cluster with a name that nothing knows."""

import json
from pathlib import Path

import pytest

from tests.support.commands import Run
from tests.support.factories import JobFactory
from tests.support.foreign_archive import put_job
from tests.support.paths import DATA
from tests.test_every_command import COMMANDS, load

WORDS: dict[str, list[str]] = {
    "check_archive": [],
    "compress_archive": [],
    "create_token": ["alice"],
    "delete_jobs_before": ["2020-01-01"],
    "import_ccbackend": [str(next(DATA.glob("*-mariadb.sql")))],
    "import_jobs": ["ARCHIVE"],
    "import_rules": ["CLASSES"],
    "import_users": ["USERS"],
    "rebuild_jobs": [],
    "reconcile_jobs": ["FILE", "--cluster", "testcluster"],
    "replay_refused": ["--kept"],
    "retain_archive": ["--older-than", "1", "--do", "delete"],
}
"""What each command needs besides."""

REPORTS = {"import_rules", "import_users"}
"""The commands that have a document of what they did, too."""

pytestmark = [pytest.mark.django_db, pytest.mark.usefixtures("cluster", "alice")]


def having(*options: str) -> list[str]:
    """Return the commands that have all of these options, but setup, which makes what they name."""
    known = {
        name: {option for action in load(name).create_parser("", name)._actions for option in action.option_strings}
        for name in COMMANDS
    }
    return [name for name in COMMANDS if known[name] >= set(options) and name != "setup"]


@pytest.fixture
def places(tmp_path: Path) -> dict[str, str]:
    """Return the paths of a scheduler's list of one job, an archive of one, a table of a user, a folder of no rules."""
    (tmp_path / "list").write_text("1")
    put_job(tmp_path / "archive", 1)
    (tmp_path / "users").write_text("username,roles\ndora,user\n")
    (tmp_path / "classes").mkdir()
    names = {"FILE": "list", "ARCHIVE": "archive", "USERS": "users", "CLASSES": "classes"}
    return {word: str(tmp_path / name) for word, name in names.items()}


@pytest.mark.parametrize("name", having("--dry-run", "--json"))
def test_a_dry_run_prints_one_document_of_json(name: str, run: Run, places: dict[str, str]) -> None:
    words = [places.get(word, word) for word in WORDS[name]]
    outcome = run(name, *words, "--dry-run", "--json")
    assert outcome.status == 0, outcome.err
    assert isinstance(json.loads(outcome.out), dict)
    if name not in REPORTS:
        assert run(name, *words, "--json").status == 2  # a document only where nothing is done


@pytest.mark.parametrize("name", having("--cluster"))
def test_an_unknown_cluster_is_bad_usage(name: str, run: Run, places: dict[str, str]) -> None:
    words = [places.get(word, word) for word in WORDS[name]]
    sure = ["--yes"] if name in having("--yes") else []
    outcome = run(name, *words, *sure, "--cluster", "nowhere")
    assert outcome.status == 2, outcome.err
    assert "--cluster 'nowhere'" in outcome.err


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("delete_jobs_before", {"total": 2, "running": 1}),
        ("retain_archive", {"jobs": 0}),
        ("compress_archive", {"files": 0}),
    ],
)
def test_it_has_the_counts(name: str, run: Run, expected: dict[str, int]) -> None:
    JobFactory.create(finished=True)
    JobFactory.create()
    words = ["2040-01-01"] if name == "delete_jobs_before" else WORDS[name]
    assert expected.items() <= json.loads(run(name, *words, "--dry-run", "--json").out).items()
