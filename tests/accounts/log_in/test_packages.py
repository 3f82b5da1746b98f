"""Without the packages of requirements-log-in.txt the server runs, and a setting that needs one of them is refused."""

import os
import subprocess
import sys

import pytest

from tests.support.paths import PROJECT

WITHOUT = """
import sys
sys.modules.update(dict.fromkeys(("jwt", "cryptography", "ldap3", "mozilla_django_oidc", "requests")))
import django
django.setup()
from django.core.management import call_command
from django.urls import reverse
call_command("check", tags=["settings"])
print(reverse("admin:login"))
"""
SETTINGS = {
    "JWT_PUBLIC_KEYS": "kzfYrYy+TzpanWZHJ5qSdMj5uKUWgq74BWhQG6copP0=",
    "LDAP": '{"url": "ldap://localhost", "user_base": "dc=example"}',
    "OIDC": '{"issuer": "https://sso.example.org", "client_id": "jobs", "client_secret": "x"}',
}


def start(**settings: str) -> "subprocess.CompletedProcess[str]":
    """Set the server up in a process that finds none of the packages."""
    environment = os.environ | {"DJANGO_SETTINGS_MODULE": "ccbackend.settings", "SECRET_KEY": "x"} | settings
    command = [sys.executable, "-c", WITHOUT]
    return subprocess.run(command, cwd=PROJECT, env=environment, capture_output=True, text=True, check=False)


def test_the_server_does_not_need_them() -> None:
    started = start()
    assert started.stdout.endswith("/admin/login/\n"), started.stderr


@pytest.mark.parametrize("name", SETTINGS)
def test_a_setting_that_does_is_refused_with_the_remedy(name: str) -> None:
    told = start(**{name: SETTINGS[name]}).stderr
    assert f"{name} needs packages that are not installed: pip install -r requirements-log-in.txt" in told
