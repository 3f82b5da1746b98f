"""A real Chromium for tests: marks, and fixtures that conftest.py makes known."""

import os
import shutil
import time
from collections.abc import Iterator

import pytest
from axe_playwright_python.sync_playwright import Axe
from django.conf import settings
from django.db import connection
from django.test import Client
from playwright.sync_api import Browser, Page, expect, sync_playwright
from pytest_django.live_server_helper import LiveServer

from accounts.models import User

CHROMIUM = shutil.which("chromium")
PASSWORD = "a long enough one"

IN_CHROMIUM = [
    pytest.mark.browser,
    pytest.mark.django_db(transaction=True),
    pytest.mark.skipif(CHROMIUM is None, reason="Debian's chromium is not installed (apt-get install chromium)"),
]


@pytest.fixture(scope="session")
def browser() -> Iterator[Browser]:
    """Return the Chromium of all tests: a start of it costs as much CPU as a test in it."""
    # Playwright's sync API runs an event loop in this thread, and Django refuses its ORM beside one.
    os.environ["DJANGO_ALLOW_ASYNC_UNSAFE"] = "true"
    with sync_playwright() as playwright:
        arguments = ["--no-sandbox", "--disable-gpu", "--disable-background-networking", "--no-first-run"]
        browser = playwright.chromium.launch(executable_path=CHROMIUM, args=arguments)
        yield browser
        browser.close()
        connection.close()  # beside Playwright's event loop this is another one than the test session's own


@pytest.fixture
def page(browser: Browser) -> Iterator[Page]:
    """Return an empty tab with cookies of its own.

    Whatever the pages report as an error, or the Content-Security-Policy forbids them, fails the test.
    """
    tab = browser.new_page(viewport={"width": 1280, "height": 800})
    errors: list[str] = []
    tab.on("pageerror", lambda error: errors.append(str(error)))
    tab.on("response", lambda answer: errors.append(answer.url) if answer.status >= 400 else None)
    tab.on("console", lambda said: errors.append(said.text) if "Content Security Policy" in said.text else None)
    tab.on("dialog", lambda dialog: errors.append(f"dialog: {dialog.message}"))
    yield tab
    tab.context.close()
    assert errors == []


def log_in(page: Page, live_server: LiveServer, user: User) -> None:
    """Log a person in by the form, from the landing page on."""
    user.set_password(PASSWORD)
    user.save()
    page.goto(f"{live_server.url}/")
    page.get_by_role("link", name="Log in").click()
    page.get_by_label("Username").fill(user.username)
    page.get_by_label("Password").fill(PASSWORD)
    page.get_by_role("button", name="Log in").click()
    expect(page.get_by_role("button", name="Log out")).to_be_visible()


@pytest.fixture
def logged_in(page: Page, live_server: LiveServer, admin: User) -> Page:
    """Show the first page to admin, who has logged in before."""
    client = Client()
    client.force_login(admin)
    name = settings.SESSION_COOKIE_NAME
    page.context.add_cookies([{"name": name, "value": client.cookies[name].value, "url": live_server.url}])
    page.goto(f"{live_server.url}/admin/")
    return page


def check_all(page: Page) -> None:
    """Check all rows of a list by the box above them, once Django's script that passes it on has run."""
    page.wait_for_load_state()
    page.locator("#action-toggle").check()


PHONE = 390
"""Pixels: the width of a phone, which no page exceeds."""


def complaints(page: Page) -> list[str]:
    """Return what axe-core finds on a page, and whether the page is wider than a phone."""
    # Without its preload, which asks for the style sheets that others import, at wrong addresses.
    options = {"resultTypes": ["violations"], "preload": False}
    found = [
        f"{violation['id']}: {node['html'][:160]}"
        for violation in Axe().run(page, options=options).response["violations"]
        for node in violation["nodes"]
    ]
    width = wider_than_a_phone(page)
    return [*found, f"{width} pixels wide"] if width else found


def wider_than_a_phone(page: Page) -> int:
    """Return the width of a page in a window as wide as a phone's if it does not fit; 0 if it does."""
    size = page.viewport_size
    assert size is not None
    page.set_viewport_size({"width": PHONE, "height": size["height"]})
    until = time.monotonic() + 2
    # Plots follow a little later. Playwright's own waiting would evaluate text, which the pages forbid.
    while (width := int(page.evaluate("document.scrollingElement.scrollWidth"))) > PHONE and time.monotonic() < until:
        page.wait_for_timeout(50)
    page.set_viewport_size(size)
    return width if width > PHONE else 0
