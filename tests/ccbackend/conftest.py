"""A second connection to the tests' PostgreSQL, and pages in Chromium."""

from collections.abc import Iterator
from typing import Any

import psycopg
import pytest
from django.db import connection

from tests.support.admin_site import login
from tests.support.browser import logged_in, page

__all__ = ["logged_in", "login", "page"]


@pytest.fixture
def other(transactional_db: None) -> Iterator["psycopg.Connection[Any]"]:
    """Return another connection to the database of the tests."""
    wrapper: dict[str, Any] = connection.settings_dict
    where = {"dbname": wrapper["NAME"], "user": "postgres", "host": wrapper["HOST"], "port": wrapper["PORT"] or None}
    with psycopg.connect(**where) as postgres:
        yield postgres
        postgres.rollback()
