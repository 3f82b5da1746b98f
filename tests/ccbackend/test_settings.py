"""ccbackend.settings: every setting is listed and documented, and a value that cannot be is refused by name."""

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from tests.support.paths import PROJECT

NAMES = set(
    re.findall(
        r'(?:_flag|_whole|_path|_words|env\.str|env\.json|env\.db_url)\(\s*"([A-Z_]+)"',
        (PROJECT / "ccbackend" / "settings.py").read_text(),
    )
)


def start(script: str = "import ccbackend.settings", **environment: str) -> "subprocess.CompletedProcess[str]":
    """Load the settings in a process of their own, with this environment and no other settings."""
    clean = {name: value for name, value in os.environ.items() if name not in NAMES}
    command = [sys.executable, "-c", script]
    return subprocess.run(command, cwd=PROJECT, env=clean | environment, capture_output=True, text=True, check=False)


def test_the_names_are_found() -> None:
    assert {"SECRET_KEY", "DEBUG", "DATABASE_URL", "METRIC_SOURCES", "DUPLICATE_START_WINDOW"} <= NAMES


@pytest.mark.parametrize("name", sorted(NAMES))
def test_each_setting_is_in_the_example_and_documented(name: str) -> None:
    assert f"\n# {name}=" in (PROJECT / ".env.example").read_text()
    assert f"\n| `{name}`" in (PROJECT / "docs" / "configuration.md").read_text().replace("`, `", "` |\n| `")


def test_without_a_secret_key_the_server_does_not_start() -> None:
    started = start()
    assert started.returncode != 0
    assert "SECRET_KEY is not set" in started.stderr


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("DEBUG", "perhaps"),
        ("BEHIND_TLS_PROXY", "2"),
        ("DUPLICATE_START_WINDOW", "-1"),
        ("DUPLICATE_START_WINDOW", "a minute"),
        ("DATABASE_URL", "mysql://localhost/jobs"),
        ("DATABASE_URL", "anything"),
        ("DATABASE_URL", "postgres://ada:lovelace@localhost:port/jobs"),
        ("DATABASE_URL", "sqlite:////dev/null/jobs.sqlite3"),
        ("TIME_ZONE", "Nowhere"),
        ("TIME_ZONE", ""),
        ("METRIC_SOURCES", "{"),
        ("METRIC_TIMEOUT", "0"),
        ("ARCHIVE_MAX_JSON", "2 GB"),
        ("LOG_LEVEL", "LOUD"),
    ],
)
def test_a_value_that_cannot_be_is_refused_by_name(name: str, value: str) -> None:
    started = start(SECRET_KEY="for-a-test", **{name: value})
    assert started.returncode != 0
    assert name in started.stderr.splitlines()[-1]
    assert "lovelace" not in started.stderr


def test_the_settings_are_read_from_env_file(tmp_path: Path) -> None:
    file = tmp_path / "settings.env"
    file.write_text("SECRET_KEY=of-a-file\nDUPLICATE_START_WINDOW=61\n")
    script = "from ccbackend import settings as s; print(s.SECRET_KEY, s.DUPLICATE_START_WINDOW)"
    assert start(script, ENV_FILE=str(file)).stdout == "of-a-file 61\n"
    assert start(script, ENV_FILE=str(file), SECRET_KEY="mine").stdout == "mine 61\n"


@pytest.mark.parametrize("content", [None, b"SECRET_KEY=\xff"])
def test_a_file_of_settings_that_cannot_be_read_is_an_error(tmp_path: Path, content: bytes | None) -> None:
    """Otherwise the server would start with defaults in place of what the operator wrote."""
    file = tmp_path / "settings.env"
    file.write_bytes(content) if content else file.mkdir()
    started = start(ENV_FILE=str(file), SECRET_KEY="for-a-test")
    assert started.returncode != 0
    assert str(file) in started.stderr.splitlines()[-1]


def test_behind_a_tls_proxy_cookies_are_secure_and_hsts_is_sent() -> None:
    script = (
        "from ccbackend import settings as s;"
        "print(s.SESSION_COOKIE_SECURE, s.CSRF_COOKIE_SECURE, s.SECURE_HSTS_SECONDS > 0, s.SECURE_PROXY_SSL_HEADER)"
    )
    environment = os.environ | {"SECRET_KEY": "for-a-test", "BEHIND_TLS_PROXY": "true"}
    printed = subprocess.run(
        [sys.executable, "-c", script], cwd=PROJECT, env=environment, capture_output=True, text=True
    )
    assert printed.stdout == "True True True ('HTTP_X_FORWARDED_PROTO', 'https')\n"
