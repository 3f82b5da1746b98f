"""The units of deploy/systemd: systemd takes them, they are locked up, and their commands exist."""

import re
import shlex
import shutil
import subprocess
from pathlib import Path

import pytest
from django.core.management import get_commands, load_command_class

from tests.support.paths import PROJECT

UNITS = sorted((PROJECT / "deploy" / "systemd").iterdir())
SERVICES = [path for path in UNITS if path.suffix == ".service"]
ANALYZE = shutil.which("systemd-analyze")


@pytest.mark.skipif(not ANALYZE, reason="no systemd-analyze here")
@pytest.mark.parametrize("unit", UNITS, ids=lambda path: path.name)
def test_systemd_finds_nothing_wrong(unit: Path) -> None:
    outcome = subprocess.run([str(ANALYZE), "verify", unit], capture_output=True, text=True, check=False)
    # What the units start is where they say only on a host that has it.
    assert [line for line in outcome.stderr.splitlines() if "is not executable" not in line] == []


@pytest.mark.skipif(not ANALYZE, reason="no systemd-analyze here")
@pytest.mark.parametrize("unit", SERVICES, ids=lambda path: path.name)
def test_a_service_can_do_little_else(unit: Path) -> None:
    command = [str(ANALYZE), "security", "--offline=true", "--threshold=20", str(unit)]  # in tenths
    outcome = subprocess.run(command, capture_output=True, text=True, check=False)
    assert outcome.returncode == 0, [*outcome.stdout.splitlines()[-1:], outcome.stderr]


@pytest.mark.parametrize("unit", SERVICES, ids=lambda path: path.name)
def test_its_commands_exist_and_take_their_options(unit: Path) -> None:
    lines = re.findall(r"^Exec\w+=(.*manage\.py .*)$", unit.read_text(), re.MULTILINE)
    assert lines or "gunicorn" in unit.read_text()
    for line in lines:
        _, name, *options = shlex.split(line.partition(" ")[2])
        app = get_commands()[name]
        command = load_command_class(app, name) if isinstance(app, str) else app
        command.create_parser("manage.py", name).parse_args(options)


@pytest.mark.parametrize("unit", SERVICES, ids=lambda path: path.name)
def test_it_needs_no_program_that_a_minimal_host_lacks(unit: Path) -> None:
    """Debian's /bin/kill is in procps, which not every host has."""
    programs = set(re.findall(r"^Exec\w+=(\S+)", unit.read_text(), re.MULTILINE))
    assert programs <= {"/opt/ccbackend/.venv/bin/python", "/opt/ccbackend/.venv/bin/gunicorn", "/bin/sh"}


@pytest.mark.parametrize("unit", [path for path in UNITS if path.suffix == ".timer"], ids=lambda path: path.name)
def test_a_timer_has_its_service(unit: Path) -> None:
    assert unit.with_suffix(".service") in SERVICES
