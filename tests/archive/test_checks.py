"""The system checks of the archive."""

import os
from pathlib import Path

import pytest
from django.core.checks import CheckMessage, run_checks
from pytest_django import Settings

pytestmark = pytest.mark.django_db  # some checks look into the database


@pytest.fixture
def root(tmp_path: Path, settings: Settings) -> Path:
    """Return an archive root that the settings name, and that does not exist yet."""
    settings.ARCHIVE_ROOT = tmp_path / "archive"
    settings.METRIC_SOURCES = {"*": {"kind": "none"}}
    return tmp_path / "archive"


def found() -> dict[str | None, CheckMessage]:
    """Run the registered checks as `manage.py check` does; return the archive's messages by id."""
    return {message.id: message for message in run_checks() if str(message.id).startswith("archive.")}


def test_a_root_that_does_not_exist_yet_is_fine_and_is_not_made(root: Path) -> None:
    assert found() == {}
    assert not root.exists()


def test_a_root_of_version_1_is_fine(root: Path) -> None:
    root.mkdir()
    (root / "version.txt").write_text("1\n")
    assert found() == {}


def test_a_root_of_another_version_is_an_error_with_a_hint(root: Path) -> None:
    root.mkdir()
    (root / "version.txt").write_text("3")
    message = found()["archive.E001"]
    assert "'3'" in message.msg
    assert message.is_serious()
    assert message.hint


def test_a_file_in_place_of_the_root_is_an_error(root: Path) -> None:
    root.write_text("x")
    assert list(found()) == ["archive.E001"]


@pytest.mark.parametrize("exists", [True, False])
def test_a_root_that_cannot_be_written_is_an_error(root: Path, monkeypatch: pytest.MonkeyPatch, exists: bool) -> None:
    if exists:
        root.mkdir()
    asked: list[Path] = []

    def refuse(path: Path, mode: int) -> bool:
        asked.append(path)
        return False

    monkeypatch.setattr(os, "access", refuse)
    message = found()["archive.E003"]
    assert str(root) in message.msg
    assert message.hint
    assert asked[0] == (root if exists else root.parent)


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write everywhere")
def test_a_folder_without_the_right_to_write_is_an_error(root: Path) -> None:
    root.mkdir(mode=0o555)
    assert list(found()) == ["archive.E003"]


def test_a_bad_metric_source_is_an_error_that_names_it(root: Path, settings: Settings) -> None:
    settings.METRIC_SOURCES = {"fritz": {"kind": "tape"}}
    message = found()["archive.E002"]
    assert "fritz" in message.msg
    assert "tape" in message.msg
    assert message.hint


def test_a_cluster_file_that_cannot_be_read_is_a_warning(root: Path) -> None:
    (root / "fritz").mkdir(parents=True)
    (root / "fritz" / "cluster.json").write_text("{")
    message = found()["archive.W001"]
    assert "fritz" in message.msg
    assert not message.is_serious()
    assert message.hint
