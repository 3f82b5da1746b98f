"""Fixtures of the tests of the admin site: a page as a logged-in person sees it."""

from collections.abc import Callable, Iterator

import pytest
from django.core.cache import cache
from django.test import Client

from accounts.models import User

Login = Callable[[User], Client]


@pytest.fixture(autouse=True)
def _archive(archive_root: object) -> None:
    """Keep each test's archive to itself."""


@pytest.fixture(autouse=True)
def _forgotten_numbers() -> Iterator[None]:
    """Empty the cache of the first page's numbers, which outlives the rows of a test."""
    cache.clear()
    yield
    cache.clear()


@pytest.fixture
def login() -> Login:
    """Return a function that gives a browser in which a person is logged in."""

    def as_(user: User) -> Client:
        client = Client()
        client.force_login(user)
        return client

    return as_
