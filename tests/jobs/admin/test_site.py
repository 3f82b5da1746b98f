"""The frame: the page at /, titles, sections, favicon."""

import pytest
from django.templatetags.static import static
from django.test import Client

from accounts.models import User
from tests.support.admin_site import Login

pytestmark = pytest.mark.django_db


def test_the_index_page_says_where_things_are(client: Client) -> None:
    text = client.get("/").content.decode()

    for address in ("/admin/", "/api/docs", "/api/schema", "jobs/favicon.svg"):
        assert address in text
        assert "http://testserver/api/jobs/" in text


def test_admin_without_its_slash_leads_there(client: Client) -> None:
    assert client.get("/admin")["Location"] == "/admin/"


def test_the_frame_names_the_site_and_offers_the_sections(admin: User, login: Login) -> None:
    text = login(admin).get("/admin/").content.decode()

    for part in ("Job control", "jobs/favicon.svg", "/admin/jobs/job/", "/admin/jobs/tag/", "/admin/accounts/user/"):
        assert part in text
    assert "/admin/auth/group/" not in text


def test_no_page_loads_anything_from_elsewhere(admin: User, login: Login) -> None:
    client = login(admin)

    for path in ("/", "/admin/", "/admin/jobs/job/", "/admin/accounts/user/add/", "/admin/accounts/apitoken/own/"):
        text = client.get(path).content.decode()
        assert 'src="http' not in text
        assert 'href="http' not in text


@pytest.mark.parametrize("name", ["favicon.svg", "admin.css", "index.css"])
def test_the_static_files_are_served(name: str, client: Client) -> None:
    assert client.get(static(f"jobs/{name}")).status_code == 200
