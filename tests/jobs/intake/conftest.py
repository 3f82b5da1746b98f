"""What tests of calls of schedulers share."""

import pytest

from accounts.models import User
from tests.support.clients import AppClient
from tests.support.factories import token_for


@pytest.fixture(params=["alone", "together"])
def api(request: pytest.FixtureRequest, anonymous: AppClient, bench: User) -> AppClient:
    """Return a client with a token of role api, whose starts and stops come alone or at the same time as others."""
    client = anonymous.as_(token_for(bench))
    client.together = request.param == "together"
    if client.together:  # the first call of a path and of a token is always made alone
        for path in ("start_job", "start_job/", "stop_job", "stop_job/"):
            assert client.get(f"/api/jobs/{path}").status == 405
    return client
