"""Forms of what may be there only once, sent at the same moment: one is stored, of the others the form says why."""

from collections.abc import Callable, Sequence
from typing import Any

import pytest
from django.contrib.admin.models import LogEntry
from django.db import connection
from django.test import Client

from accounts.models import User
from jobs.exceptions import TagExistsError
from jobs.models import SavedFilter, Tag
from jobs.records import TagRule
from jobs.tags.services import merge_tags, rename_tag
from tests.support.admin_site import Login
from tests.support.clients import at_once
from tests.support.factories import JobFactory, TagFactory

pytestmark = pytest.mark.django_db(transaction=True)

CLICKS, ROUNDS = 4, 5

Page = tuple[str, dict[str, Any]]
"""The address of a form and what is sent."""


def new_rule(number: int) -> Page:
    """Return the form that adds a rule."""
    return "/admin/jobs/tagrule/add/", {"words": f"nodes:{number}", "type": "a", "name": "b", "is_enabled": "on"}


def new_tag(number: int) -> Page:
    """Return the form that adds a tag."""
    return "/admin/jobs/tag/add/", {"type": "new", "name": f"n{number}"}


def new_user(number: int) -> Page:
    """Return the form that adds a user."""
    return "/admin/accounts/user/add/", {"username": f"u{number}", "roles": ["user"], "usable_password": "false"}


def clicked(client: Client, pages: Sequence[Page]) -> list[tuple[int, str]]:
    """Send forms at the same moment from a browser; return the statuses and texts of the answers, the lowest first."""

    def send(page: Page) -> tuple[int, str]:
        browser = Client()
        browser.cookies = client.cookies
        try:
            answer = browser.post(*page)
            return answer.status_code, answer.content.decode()
        finally:
            connection.close()

    return sorted(at_once([lambda page=page: send(page) for page in pages]))  # type: ignore[misc]


@pytest.mark.parametrize(
    ("form", "field", "text"),
    [
        (new_rule, "words", "There is such a rule already"),
        (new_tag, "", "Tag with this Type and Name already exists"),
        (new_user, "username", "A user with that username already exists"),
    ],
)
def test_of_several_clicks_one_stores_and_the_form_says_why_the_others_did_not(
    form: Callable[[int], Page], field: str, text: str, admin: User, login: Login
) -> None:
    client = login(admin)
    for number in range(1, ROUNDS + 1):
        answers = clicked(client, [form(number)] * CLICKS)
        assert [status for status, _ in answers] == [200] * (CLICKS - 1) + [302]
        for _, page in answers[:-1]:
            assert text in page
            assert not field or f'aria-describedby="id_{field}_error"' in page or f'id="id_{field}_error"' in page
    assert LogEntry.objects.count() == ROUNDS
    assert Tag.objects.count() + TagRule.objects.count() + User.objects.count() in (ROUNDS + 1, ROUNDS + 2)


def test_of_two_rules_that_become_the_same_one_is_changed(admin: User, login: Login) -> None:
    client = login(admin)
    for number in range(1, ROUNDS + 1):
        rules = [TagRule.objects.create(words=words, tag=TagFactory.create()) for words in ("nodes:<2", "nodes:>9")]
        data = new_rule(number)[1]
        answers = clicked(client, [(f"/admin/jobs/tagrule/{rule.pk}/change/", data) for rule in rules])
        assert [status for status, _ in answers] == [200, 302]
        assert "There is such a rule already" in answers[0][1]
        assert TagRule.objects.filter(words=data["words"]).count() == 1


def test_of_a_rename_and_a_new_tag_of_the_same_name_one_is_first(admin: User, login: Login) -> None:
    client = login(admin)
    for number in range(1, ROUNDS + 1):
        path, data = new_tag(number)
        old = TagFactory.create(type="old")
        answers = clicked(client, [(path, data), (f"/admin/jobs/tag/{old.pk}/rename/", data)])
        old.refresh_from_db()
        if old.type == "new":
            assert "already exists" in answers[0][1]
        else:
            assert "Merge tags" in answers[0][1]
        assert Tag.objects.filter(**data).count() == 1


def test_of_two_tags_that_are_given_the_same_name_one_has_it() -> None:
    def rename(tag: Tag) -> str:
        try:
            return str(rename_tag(tag_id=tag.pk, type_="new", name=f"n{number}"))
        except TagExistsError as error:
            return str(error)
        finally:
            connection.close()

    for number in range(ROUNDS):
        tags = TagFactory.create_batch(2)
        words = at_once([lambda tag=tag: rename(tag) for tag in tags])  # type: ignore[misc]
        assert sorted(words) == [f"new:n{number}", f"tag new:n{number} exists already"]


def test_a_rule_that_is_added_while_its_tag_is_merged_is_there_once(admin: User, login: Login) -> None:
    def merge() -> None:
        try:
            merge_tags(tag_ids=[merged.pk], into=kept.pk)
        finally:
            connection.close()

    def add() -> None:
        clicked(client, [(path, data)])

    client = login(admin)
    for number in range(1, 2 * ROUNDS + 1):
        path, data = new_rule(number)
        kept, merged = Tag.objects.get_or_create(type="a", name="b")[0], TagFactory.create()
        JobFactory.create(tags=[merged])
        TagRule.objects.create(words=data["words"], tag=merged)
        at_once([merge, add])
        assert [rule.tag_id for rule in TagRule.objects.filter(words=data["words"])] == [kept.pk]


def test_all_clicks_on_saving_a_list_save_it(admin: User, login: Login) -> None:
    client = login(admin)
    for number in range(ROUNDS):
        form = ("/admin/jobs/job/saved/", {"name": f"f{number}", "query": "q=state:failed"})
        assert [status for status, _ in clicked(client, [form] * CLICKS)] == [302] * CLICKS
    assert SavedFilter.objects.count() == ROUNDS
