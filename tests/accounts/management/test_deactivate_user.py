"""deactivate_user: its tokens are refused, and accepted again after --undo; the last administrator stays active."""

import json

from accounts.models import User
from tests.support.clients import AppClient
from tests.support.commands import Run


def test_tokens_are_refused_until_it_is_undone(run: Run, api: AppClient, bench: User) -> None:
    assert api.get("/api/jobs/").status == 200
    assert "inactive now" in run("deactivate_user", "bench").out
    assert api.get("/api/jobs/").status == 401
    assert json.loads(run("deactivate_user", "bench", "--undo", "--json").out)["active"] is True
    assert api.get("/api/jobs/").status == 200


def test_the_last_admin_and_unknown_users_are_refused(run: Run, admin: User) -> None:
    assert run("deactivate_user", "admin").status == 1
    assert User.objects.get(username="admin").is_active
    assert "no such user" in run("deactivate_user", "nobody").err
