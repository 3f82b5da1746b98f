"""Sessions of the admin site end 12 hours after the last request; the interactive page keeps no token."""

import os
import subprocess
import sys
from datetime import timedelta

import pytest
from django.contrib.sessions.models import Session
from django.test import Client
from django.utils import timezone

from accounts.models import User
from tests.support.admin_site import Login, login
from tests.support.paths import PROJECT

__all__ = ["login"]


def ends_in(client: Client) -> timedelta:
    """Return the time that the session has left."""
    return Session.objects.get(pk=client.session.session_key).expire_date - timezone.now()


def test_a_session_ends_12_hours_after_the_last_request(admin: User, login: Login, archive_root: object) -> None:
    client = login(admin)
    client.get("/admin/")
    assert timedelta(hours=11, minutes=59) < ends_in(client) <= timedelta(hours=12)

    Session.objects.update(expire_date=timezone.now() + timedelta(hours=9))
    answer = client.get("/admin/password_change/")
    assert timedelta(hours=11, minutes=59) < ends_in(client)
    assert int(answer.cookies["sessionid"]["max-age"]) == 12 * 3600

    Session.objects.update(expire_date=timezone.now() - timedelta(seconds=1))
    assert client.get("/admin/password_change/").status_code == 302


def test_a_session_is_stored_every_few_minutes_not_with_each_request(
    admin: User, login: Login, archive_root: object
) -> None:
    client = login(admin)
    Session.objects.update(expire_date=timezone.now() + timedelta(hours=11, minutes=55))
    assert "sessionid" not in client.get("/admin/password_change/").cookies
    assert ends_in(client) < timedelta(hours=11, minutes=56)
    Session.objects.update(expire_date=timezone.now() + timedelta(days=14))  # of an older release
    client.get("/admin/password_change/")
    assert ends_in(client) <= timedelta(hours=12)


@pytest.mark.django_db
def test_a_visitor_without_a_session_gets_none() -> None:
    assert not Client().get("/").cookies
    assert not Session.objects.exists()


@pytest.mark.django_db
def test_the_interactive_page_keeps_no_token() -> None:
    assert '"persistAuthorization": false' in Client().get("/api/docs/?script=").content.decode()


def test_check_deploy_has_no_warning_behind_a_tls_proxy(tmp_path: object) -> None:
    environment = os.environ | {
        "SECRET_KEY": "0123456789abcdefghijklmnopqrstuvwxyz-0123456789abcdefghijklmnopqrstuvwxyz",
        "BEHIND_TLS_PROXY": "true",
        "DATABASE_URL": f"sqlite:///{tmp_path}/new.sqlite3",
        "ARCHIVE_ROOT": f"{tmp_path}/archive",
    }
    command = [sys.executable, "manage.py", "check", "--deploy", "--fail-level", "WARNING"]
    done = subprocess.run(command, cwd=PROJECT, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
