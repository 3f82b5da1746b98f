"""Makefile: from nothing to a virtual environment and settings, and what cleaning leaves."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from tests.support.paths import PROJECT

pytestmark = pytest.mark.skipif(shutil.which("make") is None, reason="make is not installed")


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Return a folder with the Makefile alone."""
    shutil.copy(PROJECT / "Makefile", tmp_path)
    return tmp_path


def make(folder: Path, *arguments: str, stdin: str = "") -> "subprocess.CompletedProcess[str]":
    """Run make with the Python of the tests."""
    kept = {name: value for name, value in os.environ.items() if not name.startswith("MAKE")}
    python = getattr(sys, "_base_executable", sys.executable)
    command = ["make", f"PYTHON={python}", *arguments]
    return subprocess.run(command, cwd=folder, env=kept, input=stdin, capture_output=True, text=True, check=False)


def test_without_venv_a_sentence_says_what_to_install_and_the_next_run_heals(folder: Path) -> None:
    python = folder / "python"
    python.write_text(
        "#!/bin/sh\nmkdir -p .venv/bin; ln -sf /bin/false .venv/bin/python; exit 1\n"
    )  # as Debian's fails
    python.chmod(0o755)
    failed = make(folder, f"PYTHON={python}", ".env")
    assert failed.returncode == 2
    assert "apt-get install python3-venv" in failed.stderr
    assert not (folder / ".env").exists()

    made = make(folder, ".env")

    assert made.returncode == 0, made.stderr
    file = folder / ".env"
    assert file.stat().st_mode & 0o777 == 0o600
    content = file.read_text()
    assert len(content.splitlines()[0].removeprefix("SECRET_KEY=")) > 40
    assert make(folder, ".env").returncode == 0
    assert file.read_text() == content

    (folder / ".venv" / "bin" / "python").unlink()  # as after an update of the system's Python
    assert make(folder, ".venv/.made").returncode == 0
    assert (folder / ".venv" / "bin" / "python").exists()


def test_an_older_python_is_refused_in_a_sentence(folder: Path) -> None:
    outcome = make(folder, "PYTHON=", ".env")
    assert outcome.returncode == 2
    assert "Python 3.11 or newer is needed" in outcome.stderr


def test_cleaning_leaves_the_data_and_deleting_them_asks(folder: Path) -> None:
    database = folder / "var" / "ccbackend.sqlite3"
    database.parent.mkdir()
    database.touch()
    (folder / ".venv").mkdir()
    assert make(folder, "clean").returncode == 0
    assert not (folder / ".venv").exists()
    for answer in ("", "\n", "n\n", "yes, but not now\n"):
        assert make(folder, "clean-data", stdin=answer).returncode == 2
        assert database.exists()
    assert make(folder, "clean-data", stdin="y\n").returncode == 0
    assert not database.exists()
