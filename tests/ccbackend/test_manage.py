"""manage.py: a mistake in the settings is one sentence, whatever the command; and the version."""

import os
import signal
import subprocess
import sys
import time
import tomllib

import pytest
from django.conf import settings
from django.test import Client

import ccbackend
from tests.support.paths import PROJECT


def manage(*arguments: str, **environment: str) -> "subprocess.CompletedProcess[str]":
    """Run manage.py with these settings alone."""
    kept = {name: os.environ[name] for name in ("PATH", "HOME", "ENV_FILE") if name in os.environ}
    command = [sys.executable, "manage.py", *arguments]
    return subprocess.run(
        command, cwd=PROJECT, env=kept | environment, capture_output=True, text=True, check=False, timeout=120
    )


@pytest.mark.parametrize("command", ["migrate", "list_tokens", "archive_worker", "check", "run_demo", "nonsense"])
def test_a_mistake_in_the_settings_is_one_sentence(command: str) -> None:
    for environment, text in (
        ({}, "SECRET_KEY is not set"),
        ({"SECRET_KEY": "for-a-test", "TIME_ZONE": "Nowhere"}, "TIME_ZONE='Nowhere'"),
        ({"SECRET_KEY": "for-a-test", "DATABASE_URL": "anything"}, "DATABASE_URL: expected"),
    ):
        outcome = manage(command, **environment)
        assert outcome.returncode == 1
        (line,) = outcome.stderr.splitlines()
        assert line.startswith("Configuration error: ")
        assert text in line


def test_a_database_that_is_away_is_one_sentence() -> None:
    outcome = manage("migrate", SECRET_KEY="for-a-test", DATABASE_URL="postgres://ada:lovelace@localhost:1/jobs")
    assert outcome.returncode == 1
    (line,) = outcome.stderr.splitlines()
    assert line.startswith("The database of DATABASE_URL cannot be used: ")
    assert "lovelace" not in line


@pytest.mark.parametrize("seconds", [0.05, 0.3, 0.7])
def test_ctrl_c_before_a_command_begins_is_no_traceback(seconds: float) -> None:
    command = [sys.executable, "manage.py", "check"]
    environment = {"PATH": os.environ["PATH"], "SECRET_KEY": "for-a-test", "ENV_FILE": os.devnull}
    process = subprocess.Popen(command, cwd=PROJECT, env=environment, stderr=subprocess.PIPE, text=True)
    time.sleep(seconds)
    process.send_signal(signal.SIGINT)
    _, said = process.communicate(timeout=60)
    assert said in ("", "Interrupted.\n")
    assert process.returncode in (-signal.SIGINT, 130, 0)


def test_a_python_without_the_requirements_is_told_so() -> None:
    command = [sys.executable, "-S", "-E", "manage.py", "check"]
    outcome = subprocess.run(command, cwd=PROJECT, capture_output=True, text=True, check=False)
    assert outcome.returncode == 1
    (line,) = outcome.stderr.splitlines()
    assert "has no django" in line


def test_the_version_stands_in_one_place(client: Client, db: None) -> None:
    project = tomllib.loads((PROJECT / "pyproject.toml").read_text())
    assert "version" in project["project"]["dynamic"]
    assert project["tool"]["hatch"]["version"] == {"path": "ccbackend/__init__.py"}
    assert manage("--version").stdout.startswith(f"ccbackend {ccbackend.__version__}, Django 5.2.")
    assert settings.SPECTACULAR_SETTINGS["VERSION"] == ccbackend.__version__
    assert f"version: {ccbackend.__version__}\n" in client.get("/api/schema/").content.decode()
    assert f"Version {ccbackend.__version__}" in client.get("/").content.decode()
