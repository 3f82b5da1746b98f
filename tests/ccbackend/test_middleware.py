"""Times in the zone of whoever looks."""

from typing import Any

import pytest
from django.test import Client

from accounts.models import User
from ccbackend.middleware import zone_of
from tests.support.factories import JobFactory

pytestmark = pytest.mark.django_db

NOON = 1_700_049_600  # 2023-11-15 12:00 UTC


@pytest.mark.parametrize(
    ("cookie", "shown"),
    [
        ("Asia/Tokyo", "2023-11-15 21:00"),
        ("America/Argentina/Ushuaia", "2023-11-15 09:00"),
        (None, "2023-11-15 13:00"),
        ("Nowhere/Land", "2023-11-15 13:00"),
        ("../../etc/passwd", "2023-11-15 13:00"),
        ("Europe", "2023-11-15 13:00"),
    ],
)
def test_times_are_in_the_browser_s_zone_with_utc_on_hover(
    cookie: str | None, shown: str, admin: User, client: Client, archive_root: Any, settings: Any
) -> None:
    settings.TIME_ZONE = "Europe/Berlin"
    JobFactory.create(start_time=NOON)
    client.force_login(admin)
    if cookie is not None:
        client.cookies["zone"] = cookie

    page = client.get("/admin/jobs/job/").content.decode()

    assert f'title="2023-11-15 12:00:00 UTC">{shown}</time>' in page


def test_a_name_too_long_for_a_zone_is_none() -> None:
    assert zone_of("A" * 1000) is None
    assert zone_of("UTC") is not None
