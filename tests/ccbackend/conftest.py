"""A second connection to the tests' PostgreSQL."""

from collections.abc import Iterator
from typing import Any

import psycopg
import pytest
from django.db import connection


@pytest.fixture
def other(transactional_db: None) -> Iterator["psycopg.Connection[Any]"]:
    """Return another connection to the database of the tests."""
    wrapper: dict[str, Any] = connection.settings_dict
    with psycopg.connect(dbname=wrapper["NAME"], user="postgres", host=wrapper["OPTIONS"]["host"]) as postgres:
        yield postgres
        postgres.rollback()
