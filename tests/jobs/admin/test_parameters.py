"""The parameters that lists of the admin site take in their address, beside search, page and order."""

from collections.abc import Iterator
from typing import Any

import pytest
from django.contrib import admin as django_admin
from django.db.models import Model
from django.test import RequestFactory

from accounts.models import ApiToken, User
from jobs.admin.filters import PARAMETERS
from jobs.models import Job, RefusedCall, Tag
from jobs.records import TagRule
from tests.support.admin_site import Login
from tests.support.factories import JobFactory, TagFactory

ALLOWED: dict[Any, set[str]] = {
    Job: set(PARAMETERS),
    Tag: {"type"},
    User: {"role", "is_active__exact"},
    ApiToken: {"status", "user__id__exact"},
    RefusedCall: set(),
    TagRule: set(),
}

LOOKUPS = ("", "__exact", "__regex", "__iregex", "__icontains", "__startswith", "__gt", "__in", "__isnull", "__length")


def columns(model: type[Model], depth: int = 2) -> Iterator[str]:
    """Yield the names of all columns that a lookup can reach from a model, through links in both directions."""
    for field in model._meta.get_fields():
        yield field.name
        if depth and field.is_relation and isinstance(field.related_model, type):
            yield from (f"{field.name}__{name}" for name in columns(field.related_model, depth - 1))


@pytest.mark.parametrize("page", django_admin.site._registry.values(), ids=str)
def test_a_list_takes_the_parameters_of_its_filters_and_links_and_no_others(page: Any) -> None:
    request = RequestFactory().get("/")
    asked = {f"{column}{lookup}" for column in columns(page.model) for lookup in LOOKUPS} | ALLOWED[page.model]

    assert {lookup for lookup in asked if page.lookup_allowed(lookup, "1", request)} == ALLOWED[page.model]


def test_a_pattern_that_would_take_for_ever_is_refused(bob: User, login: Login) -> None:
    TagFactory.create(name="a" * 12)

    assert login(bob).get("/admin/jobs/tag/", {"name__regex": "(a|a)*b"}).status_code == 400


def test_the_list_of_tags_says_nothing_about_hidden_jobs(bob: User, login: Login) -> None:
    hidden = JobFactory.create(project="chem", tags=[TagFactory.create(name="secret")])

    assert login(bob).get("/admin/jobs/tag/", {"jobs": hidden.pk}).status_code == 400
