"""ccbackend.settings: every setting is listed and documented, and a value that cannot be is refused by name."""

import logging
import os
import re
import runpy
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from django.core.exceptions import ImproperlyConfigured
from django.utils.log import AdminEmailHandler

from tests.support.paths import PROJECT

LOG_IN = "ccbackend.log_in_settings"
NAMES = {
    name
    for module in ("ccbackend.settings", LOG_IN)
    for name in re.findall(
        r'read_(?:flag|whole|mode|path|words|text|numbers|parsed|json|object)\(\s*"([A-Z_]+)"',
        (PROJECT / module.replace(".", "/")).with_suffix(".py").read_text(),
    )
}


def load(monkeypatch: pytest.MonkeyPatch, **environment: str) -> dict[str, Any]:
    """Run the module of settings with this environment and no other settings, and return its names."""
    for name in {name for name in NAMES if name in os.environ} | set(environment):
        monkeypatch.delenv(name, raising=False)
    for name, value in environment.items():
        monkeypatch.setenv(name, value)
    monkeypatch.delitem(sys.modules, LOG_IN, raising=False)
    return runpy.run_path(str(PROJECT / "ccbackend" / "settings.py"))


def refusal(monkeypatch: pytest.MonkeyPatch, **environment: str) -> str:
    """Return the sentence with which settings are refused."""
    with pytest.raises(ImproperlyConfigured) as refused:
        load(monkeypatch, **environment)
    (sentence,) = str(refused.value).splitlines()
    return sentence


def start(script: str = "import ccbackend.settings", **environment: str) -> "subprocess.CompletedProcess[str]":
    """Load the settings in a process of their own, with this environment and no other settings."""
    clean = {name: value for name, value in os.environ.items() if name not in NAMES}
    command = [sys.executable, "-c", script]
    return subprocess.run(command, cwd=PROJECT, env=clean | environment, capture_output=True, text=True, check=False)


MAIL_SERVERS: dict[str, tuple[str, int, str, str, bool, bool]] = {
    "smtp://localhost:25": ("localhost", 25, "", "", False, False),
    "smtp://[::1]": ("::1", 25, "", "", False, False),
    "smtp+tls://a%40b:p%3A%40%2F%25@mail.example.org": ("mail.example.org", 587, "a@b", "p:@/%", True, False),
    "smtp+ssl://u:p@mail.example.org:4650/": ("mail.example.org", 4650, "u", "p", False, True),
}


@pytest.mark.parametrize(("url", "expected"), MAIL_SERVERS.items())
def test_a_server_for_mails(
    monkeypatch: pytest.MonkeyPatch, url: str, expected: tuple[str, int, str, str, bool, bool]
) -> None:
    found = load(monkeypatch, EMAIL_URL=url, ADMINS="ops@example.org, x@y.org", EMAIL_FROM="jobs@example.org")
    names = ("HOST", "PORT", "HOST_USER", "HOST_PASSWORD", "USE_TLS", "USE_SSL")
    assert tuple(found[f"EMAIL_{name}"] for name in names) == expected
    assert found["ADMINS"] == [("", "ops@example.org"), ("", "x@y.org")]
    assert found["SERVER_EMAIL"] == "jobs@example.org"
    assert refusal(monkeypatch, EMAIL_FROM="jobs").startswith("EMAIL_FROM='jobs': expected an address")


@pytest.mark.parametrize(
    "url",
    ["localhost", "smtp://", "imap://h", "smtp://user:s3cret@", "smtp://u:s3cret@h:port", "smtp+tls://u:s3@cret@h"],
)
def test_no_server_for_mails_is_refused_without_the_password(monkeypatch: pytest.MonkeyPatch, url: str) -> None:
    sentence = refusal(monkeypatch, EMAIL_URL=url)
    assert sentence.startswith("EMAIL_URL: expected smtp://")
    assert "s3" not in sentence


def test_nobody_gets_a_mail_for_each_error_in_the_log() -> None:
    """Django's own handler would send one; dictConfig removes it from a logger that is configured."""
    assert not any(isinstance(handler, AdminEmailHandler) for handler in logging.getLogger("django").handlers)


def test_the_names_are_found() -> None:
    assert {"SECRET_KEY", "DEBUG", "DATABASE_URL", "METRIC_SOURCES", "DUPLICATE_START_WINDOW"} <= NAMES


@pytest.mark.parametrize("name", sorted(NAMES))
def test_each_setting_is_in_the_example_and_documented(name: str) -> None:
    if name != "WEB_CONCURRENCY":  # which gunicorn reads from the environment alone
        assert f"\n# {name}=" in (PROJECT / ".env.example").read_text()
    assert f"\n| `{name}`" in (PROJECT / "docs" / "configuration.md").read_text().replace("`, `", "` |\n| `")


def test_without_a_secret_key_the_server_does_not_start() -> None:
    started = start()
    assert started.returncode != 0
    assert "SECRET_KEY is not set" in started.stderr


IMPOSSIBLE = [
    ("DEBUG", "perhaps"),
    ("BEHIND_TLS_PROXY", "2"),
    ("FAST_PATH", '"true"'),
    ("DUPLICATE_START_WINDOW", "-1"),
    ("DUPLICATE_START_WINDOW", "a minute"),
    ("DUPLICATE_START_WINDOW", "99999999999999999999"),
    ("DUPLICATE_START_WINDOW", "9" * 5000),
    ("DUPLICATE_START_WINDOW", "60.0"),
    ("ARCHIVE_MAX_JSON", "2 GB"),
    ("ARCHIVE_MODE", "0200"),
    ("ARCHIVE_MODE", "0755"),
    ("METRIC_BLANKS", "1e3,none"),
    ("METRIC_BLANKS", "nan"),
    ("METRIC_TIMEOUT", "0"),
    ("METRIC_TIMEOUT", "99999999"),
    ("METRIC_TIMEOUT", "²"),
    ("DATABASE_URL", "mysql://localhost/jobs"),
    ("DATABASE_URL", "anything"),
    ("DATABASE_URL", "sqlite:///"),
    ("DATABASE_URL", "sqlite://"),
    ("DATABASE_URL", "sqlite:x.db"),
    ("DATABASE_URL", "postgres://ada:lovelace@localhost:port/jobs"),
    ("DATABASE_URL", "postgres://ada:love/lace@localhost/jobs"),
    ("DATABASE_URL", "postgres://ada:love#lace@localhost/jobs"),
    ("DATABASE_URL", "sqlite:////dev/null/jobs.sqlite3"),
    ("DATABASE_URL", "sqlite:////tmp"),
    ("TIME_ZONE", "Nowhere"),
    ("TIME_ZONE", "CEST"),
    ("TIME_ZONE", "Europe"),
    ("TIME_ZONE", "../UTC"),
    ("TIME_ZONE", "zone.tab"),
    ("METRIC_SOURCES", "{"),
    ("JOB_LINKS", "{"),
    ("JOB_LINKS", '[{"name": "x"}]'),
    ("JOB_LINKS", '[{"name": "x", "url": "javascript:alert(1)"}]'),
    ("JOB_LINKS", '[{"name": "x", "url": "https://a/$nothing"}]'),
    ("JOB_LINKS", '[{"name": "x", "url": "https://a/$"}]'),
    ("JOB_LINKS", '[{"name": 1, "url": "https://a/"}]'),
    ("SLURMRESTD", "{"),
    ("SLURMRESTD", "[1]"),
    ("SLURMRESTD", '{"fritz": {"url": "ctl:6820"}}'),
    ("SLURMRESTD", '{"fritz": {"token": "x"}}'),
    ("SLURMRESTD", '{"fritz": {"url": "http://ctl", "password": "x"}}'),
    ("METRIC_SOURCES", "[" * 100_000),
    ("LOGIN_FAILURES", "0"),
    ("REMOTE_USER_HEADER", "X_Remote_User"),
    ("REMOTE_GROUPS_HEADER", "X-Groups: a"),
    ("GROUP_ROLES", '["admin"]'),
    ("GROUP_ROLES", '{"staff": "admin"}'),
    ("GROUP_PROJECTS", '{"staff": ["bio"]}'),
    ("LDAP", '{"url": "ldap://love"}'),
    ("LDAP", '{"url": "ldap://love", "user_base": 5}'),
    ("LDAP", '{"url": "ldap://h", "user_base": "dc=x", "start_tls": "no"}'),
    ("LDAP", '{"url": "ldap://h", "user_base": "dc=x", "bind_pasword": "love"}'),
    ("OIDC", '{"issuer": "https://love"}'),
    ("OIDC", '["lace"]'),
    ("LOG_LEVEL", "LOUD"),
    ("ALLOWED_HOSTS", "https://jobs.example.org"),
    ("ALLOWED_HOSTS", "jobs.example.org:8080"),
    ("ALLOWED_HOSTS", "jobs.example.org/"),
    ("ALLOWED_HOSTS", "a.example.org b.example.org"),
    ("ALLOWED_HOSTS", "*.example.org"),
    ("ALLOWED_HOSTS", "::1"),
    ("ALLOWED_HOSTS", '["jobs.example.org"]'),
    ("CSRF_TRUSTED_ORIGINS", "jobs.example.org"),
    ("CSRF_TRUSTED_ORIGINS", "https://jobs.example.org/"),
    ("CSRF_TRUSTED_ORIGINS", "https://jobs.example.org/admin"),
    ("ARCHIVE_ROOT", "."),
    ("ARCHIVE_ROOT", "/"),
    ("ARCHIVE_ROOT", "var/.."),
    ("ARCHIVE_ROOT", "~nobody-of-that-name/archive"),
    ("ARCHIVE_ROOT", '"/srv/archive"'),
    ("ARCHIVE_ROOT", "/srv/\udcff"),
    ("SECRET_KEY", "\udcff"),
    ("ENV_FILE", "/nowhere/settings.env"),
    ("ENV_FILE", ""),
]


@pytest.mark.parametrize(("name", "value"), IMPOSSIBLE)
def test_a_value_that_cannot_be_is_refused_by_name(monkeypatch: pytest.MonkeyPatch, name: str, value: str) -> None:
    sentence = refusal(monkeypatch, **{name: value})
    assert name in sentence
    assert not any(part in sentence for part in ("love", "lace"))


MAY_BE_EMPTY = {"DEBUG", "BEHIND_TLS_PROXY", "FAST_PATH", "ALLOWED_HOSTS", "CSRF_TRUSTED_ORIGINS", "API_ALLOWED_IPS"}
MAY_BE_EMPTY |= {
    "ADMINS",
    "DIGEST_TO",
    "METRIC_BLANKS",
    "METRIC_STORE_IPS",
    "MONITORING_ALLOWED_IPS",
    "TRUSTED_PROXIES",
}
MAY_BE_EMPTY |= {"FOOTPRINT_METRICS"}
MAY_BE_EMPTY |= {"JWT_PUBLIC_KEYS", "REMOTE_USER_HEADER", "REMOTE_GROUPS_HEADER"}


@pytest.mark.parametrize("value", ["", " "])
@pytest.mark.parametrize("name", sorted(NAMES - MAY_BE_EMPTY - {"SECRET_KEY"}))
def test_a_setting_that_is_set_but_empty_is_refused_by_name(
    monkeypatch: pytest.MonkeyPatch, name: str, value: str
) -> None:
    assert f"{name} is set but empty" in refusal(monkeypatch, **{name: value})


@pytest.mark.parametrize("value", ["", " ", ","])
@pytest.mark.parametrize("name", sorted(MAY_BE_EMPTY))
def test_an_empty_list_or_flag_is_its_default(monkeypatch: pytest.MonkeyPatch, name: str, value: str) -> None:
    value = "" if value == "," and name in {"DEBUG", "BEHIND_TLS_PROXY", "FAST_PATH"} else value
    assert load(monkeypatch, **{name: value})[name] == load(monkeypatch)[name]


def test_values_are_taken_as_they_stand(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    settings = load(
        monkeypatch,
        SECRET_KEY='$KEY#"x',
        ALLOWED_HOSTS="jobs.example.org, .example.com,[::1],192.0.2.1,*",
        CSRF_TRUSTED_ORIGINS="https://*.example.org,http://jobs:8080",
        ARCHIVE_ROOT=f"{tmp_path}/a b",
        DATABASE_URL=f" sqlite:///{tmp_path}/new/a+b.sqlite3\n",
        TIME_ZONE="Europe/Berlin",
        LOG_LEVEL="warning",
    )
    assert settings["SECRET_KEY"] == '$KEY#"x'
    assert settings["ALLOWED_HOSTS"] == ["jobs.example.org", ".example.com", "[::1]", "192.0.2.1", "*"]
    assert settings["CSRF_TRUSTED_ORIGINS"] == ["https://*.example.org", "http://jobs:8080"]
    assert settings["ARCHIVE_ROOT"] == tmp_path / "a b"
    assert settings["DATABASES"]["default"]["NAME"] == tmp_path / "new" / "a+b.sqlite3"


def test_the_settings_are_read_from_env_file(tmp_path: Path) -> None:
    file = tmp_path / "settings.env"
    file.write_bytes(b"\xef\xbb\xbfexport SECRET_KEY = 'of-a-file' # ours\r\nDUPLICATE_START_WINDOW=61\r\n")
    script = "from ccbackend import settings as s; print(s.SECRET_KEY, s.DUPLICATE_START_WINDOW)"
    assert start(script, ENV_FILE=str(file)).stdout == "of-a-file 61\n"
    assert start(script, ENV_FILE=str(file), SECRET_KEY="mine").stdout == "mine 61\n"


@pytest.mark.parametrize("content", [None, b"SECRET_KEY=\xff", b"SECRET_KEY"])
def test_a_file_of_settings_that_cannot_be_read_is_an_error(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, content: bytes | None
) -> None:
    """Otherwise the server would start with defaults in place of what the operator wrote."""
    file = tmp_path / "settings.env"
    file.write_bytes(content) if content else file.mkdir()
    assert str(file) in refusal(monkeypatch, ENV_FILE=str(file))


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
