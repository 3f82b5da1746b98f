"""In a real Chromium: tags become one, a large tag goes step by step, somebody's own tokens; and what axe-core says."""

import pytest
from playwright.sync_api import Page, expect
from pytest_django.live_server_helper import LiveServer

from accounts.models import ApiToken, User
from jobs.admin import tags as tag_pages
from jobs.models import JobTag, Tag
from jobs.tags import services
from tests.support.browser import IN_CHROMIUM, check_all, complaints, log_in
from tests.support.factories import JobFactory, TagFactory

pytestmark = IN_CHROMIUM


def test_two_tags_become_one(logged_in: Page) -> None:
    page = logged_in
    good, fine = TagFactory.create(type="perf", name="good"), TagFactory.create(type="perf", name="fine")
    JobFactory.create(tags=[good, fine])
    JobFactory.create(tags=[fine])
    page.get_by_label("Sections").get_by_role("link", name="Tags").click()

    check_all(page)
    page.locator("select[name=action]").select_option(label="Merge selected tags")
    page.get_by_role("button", name="Go").click()
    page.get_by_label("perf:good").check()
    page.get_by_role("button", name="Merge 2 tags").click()

    expect(page.get_by_text("Merged into perf:good; 2 jobs changed.")).to_be_visible()
    expect(page.get_by_role("heading", name="Tag perf:good")).to_be_visible()
    assert list(Tag.objects.all()) == [good]
    assert JobTag.objects.filter(tag=good).count() == 2


@pytest.mark.parametrize("by_itself", [True, False])
def test_a_large_deletion_goes_on_by_itself_or_by_its_button(
    by_itself: bool, logged_in: Page, live_server: LiveServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    page = logged_in
    monkeypatch.setattr(services, "BATCH", 2)
    monkeypatch.setattr(tag_pages, "_ROUND", 0)
    tag = TagFactory.create()
    JobFactory.create_batch(3, tags=[tag])
    if not by_itself:
        page.route("**/progress.js", lambda route: route.fulfill(body="", content_type="text/javascript"))
    page.goto(f"{live_server.url}/admin/jobs/tag/{tag.pk}/change/")

    page.get_by_role("link", name="Delete").click()
    page.get_by_role("button", name="Delete 1 tag").click()
    for done in () if by_itself else ("2 jobs", "3 jobs"):
        expect(page.get_by_text(f"{done} done.")).to_be_visible()
        page.get_by_role("button", name="Continue").click()

    expect(page.get_by_text(f"Deleted {tag} from 3 jobs.")).to_be_visible()
    assert not Tag.objects.exists()


def test_somebody_manages_the_own_tokens(page: Page, live_server: LiveServer, alice: User) -> None:
    log_in(page, live_server, alice)
    page.get_by_role("link", name="My API tokens").click()
    expect(page.get_by_text("With the scope read, a program may list and read")).to_be_visible()

    page.get_by_label("Name").fill("notebook")
    page.get_by_label("Days until expiry").fill("30")
    page.get_by_role("button", name="Create token").click()
    secret = page.locator("#new-token").inner_text()
    expect(page.locator("#curl-line")).to_contain_text(f"{live_server.url}/api/jobs/")

    page.get_by_role("link", name="I have copied it").click()
    expect(page.locator("body")).not_to_contain_text(secret)
    page.get_by_role("button", name=f"Revoke token {ApiToken.objects.get().prefix}").click()
    expect(page.locator(".pill-revoked")).to_be_visible()
    assert ApiToken.objects.get().user == alice


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_axe_finds_nothing(
    scheme: str, logged_in: Page, live_server: LiveServer, bench: User, monkeypatch: pytest.MonkeyPatch
) -> None:
    page = logged_in
    page.emulate_media(color_scheme=scheme)  # type: ignore[arg-type]
    token, _ = ApiToken.issue(user=bench, name="hook")
    ApiToken.issue(user=bench, name="old")[0].revoke()
    tags = TagFactory.create_batch(2)
    JobFactory.create_batch(3, tags=tags)

    def look(where: str) -> None:
        assert complaints(page) == [], where

    user, key = f"accounts/user/{bench.pk}", f"accounts/apitoken/{token.pk}"
    paths = [
        *("jobs/tag/", "jobs/tag/add/", f"jobs/tag/{tags[0].pk}/change/", f"jobs/tag/{tags[0].pk}/delete/"),
        *("accounts/user/", "accounts/user/add/", f"{user}/change/", f"{user}/delete/", f"{user}/history/"),
        *(f"{user}/password/", "accounts/apitoken/", f"{key}/change/", "accounts/apitoken/own/", "password_change/"),
        *("accounts/user/import/", "jobs/tagrule/", "jobs/tagrule/add/", "jobs/job/bulk/"),
    ]
    for path in paths:
        page.goto(f"{live_server.url}/admin/{path}")
        look(path)
    page.goto(f"{live_server.url}/admin/accounts/apitoken/own/")
    page.get_by_role("button", name="Create token").click()
    expect(page.locator("#new-token")).to_be_visible()
    look("the new token")
    page.goto(f"{live_server.url}/admin/jobs/tag/")
    check_all(page)
    page.locator("select[name=action]").select_option(label="Merge selected tags")
    page.get_by_role("button", name="Go").click()
    expect(page.get_by_role("button", name="Merge 2 tags")).to_be_visible()
    look("merging")
    monkeypatch.setattr(services, "BATCH", 2)
    monkeypatch.setattr(tag_pages, "_ROUND", 0)
    page.route("**/progress.js", lambda route: route.fulfill(body="", content_type="text/javascript"))
    page.get_by_role("button", name="Merge 2 tags").click()
    expect(page.get_by_role("button", name="Continue")).to_be_visible()
    look("progress")
