"""deploy/try.sh, which itself needs a fresh Debian: the lines that it takes from README, and its refusal elsewhere."""

import os
import subprocess

import pytest

from tests.ccbackend.management.test_setup import production
from tests.support.paths import PROJECT

SCRIPT = PROJECT / "deploy" / "try.sh"


def test_it_runs_each_line_of_readme() -> None:
    definition = next(line for line in SCRIPT.read_text().splitlines() if line.startswith("production() {"))
    for number, line in enumerate(production(), start=1):
        script = f"home={PROJECT}\n{definition}\nproduction {number}"
        assert subprocess.check_output(["sh", "-euc", script], text=True) == f"{line}\n"
        assert f"production {number}" in SCRIPT.read_text()


def test_it_does_nothing_without_root() -> None:
    if os.geteuid() != 0:
        pytest.skip("only root can become another user")
    outcome = subprocess.run(["sh", "-s"], stdin=SCRIPT.open(), user=65534, capture_output=True, text=True, check=False)
    assert outcome.returncode == 1
    assert outcome.stderr.strip() == "FAILED: run it as root"
