"""Users from a file in a real Chromium: the page reads the file, and the server sees its text alone."""

from pathlib import Path

import pytest
from playwright.sync_api import Page, expect
from pytest_django.live_server_helper import LiveServer

from accounts.models import User
from tests.support.browser import IN_CHROMIUM, complaints

pytestmark = IN_CHROMIUM


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig"])
def test_a_file_is_chosen_looked_at_and_imported(
    encoding: str, logged_in: Page, live_server: LiveServer, tmp_path: Path
) -> None:
    file, bad = tmp_path / "users.csv", tmp_path / "bad.csv"
    file.write_text("username;name;roles\r\ndora;D\u00f6ra;user\r\n", encoding=encoding)
    bad.write_bytes(b"username\n\xff")
    page = logged_in
    page.goto(f"{live_server.url}/admin/accounts/user/")

    page.get_by_role("link", name="Import from CSV").click()
    page.get_by_label("File", exact=True).set_input_files(bad)
    expect(page.get_by_text("Expected a file in UTF-8.")).to_be_visible()
    page.get_by_label("File", exact=True).set_input_files(file)
    expect(page.get_by_label("Text")).to_have_value("username;name;roles\ndora;D\u00f6ra;user\n")
    assert complaints(page) == []
    page.get_by_role("button", name="Preview").click()
    expect(page.get_by_text("1 new user")).to_be_visible()
    assert complaints(page) == []
    page.get_by_role("button", name="Create 1 and change 0").click()

    expect(page.get_by_text("1 user created, 0 changed.")).to_be_visible()
    assert User.objects.get(username="dora").name == "D\u00f6ra"
