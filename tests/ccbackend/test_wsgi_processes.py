"""ccbackend.wsgi as processes load it: nothing is imported after the start, and a wrong setting is one sentence."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.support.paths import PROJECT

SCRIPT = """
import json, sys
from ccbackend.wsgi import application
before = set(sys.modules)
from django.core.management import call_command
from django.test import Client
from accounts.models import User
from tests.support.clients import AppClient, start_body
from tests.support.factories import UserFactory, token_for
call_command("migrate", verbosity=0)
admin = UserFactory.create(username="admin", roles=["admin", "api"])
api = AppClient(application).as_(token_for(admin))
assert api.post("/api/jobs/start_job/", start_body()).status == 201
assert api.get("/api/jobs/").status == 200
assert api.get("/api/users/").status == 200
assert api.get("/api/nope").status == 404
browser = Client()
browser.force_login(admin)
for path in ("/admin/", "/admin/jobs/job/", "/admin/jobs/job/1/change/", "/admin/accounts/user/", "/api/schema/", "/x"):
    assert browser.get(path).status_code in (200, 404), path
ours = ("accounts", "archive", "ccbackend", "jobs")
print(json.dumps([name for name in sys.modules if name.partition(".")[0] in ours and name not in before]))
"""


@pytest.mark.parametrize("fast", ["true", "false"])
def test_nothing_of_ours_is_imported_after_the_start(tmp_path: Path, fast: str) -> None:
    """An update on disk under a running server would otherwise mix old modules with new ones."""
    environment = os.environ | {
        "SECRET_KEY": "for-a-test",
        "DATABASE_URL": f"sqlite:///{tmp_path / 'test.sqlite3'}",
        "ARCHIVE_ROOT": str(tmp_path / "job-archive"),
        "ALLOWED_HOSTS": "*",
        "FAST_PATH": fast,
    }
    output = subprocess.run(
        [sys.executable, "-c", SCRIPT], cwd=PROJECT, env=environment, check=True, stdout=subprocess.PIPE, text=True
    ).stdout

    migrations = {"accounts.migrations", "jobs.migrations"}
    migrations |= {f"{app}.management" for app in ("accounts", "ccbackend", "jobs")}  # Django looks for receivers there
    loaded = {name for name in json.loads(output) if not any(name.startswith(prefix) for prefix in migrations)}
    assert loaded == set()


@pytest.mark.parametrize(
    ("name", "value", "status"),
    [("TIME_ZONE", "CEST", 4), ("METRIC_SOURCES", '{"*": "eyJhbGciOiJFZERTQSJ9"}', 4), ("WEB_CONCURRENCY", "0", 1)],
)
def test_gunicorn_ends_with_one_sentence_about_a_setting(name: str, value: str, status: int, tmp_path: Path) -> None:
    environment = os.environ | {
        "SECRET_KEY": "for-a-test",
        "DATABASE_URL": f"sqlite:///{tmp_path / 'test.sqlite3'}",
        "WEB_CONCURRENCY": "1",
        name: value,
    }
    command = [sys.executable, "-m", "gunicorn", "ccbackend.wsgi", "-b", f"unix:{tmp_path}/socket"]
    ended = subprocess.run(command, cwd=PROJECT, env=environment, capture_output=True, text=True, timeout=60)
    assert ended.returncode == status
    (sentence,) = [line for line in ended.stderr.splitlines() if " gunicorn.error: " not in line]
    assert sentence.startswith(f"Configuration error: {name}")
    assert "eyJ" not in sentence
