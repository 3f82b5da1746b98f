"""setup's database: made where the role may, otherwise by the two statements that it names."""

import re
import secrets
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import psycopg
import pytest
from django.db import connection

from ccbackend.setup import SetupError
from ccbackend.setup.database import make


@pytest.fixture
def folder() -> str:
    """Return the folder of the tests' PostgreSQL."""
    if connection.vendor != "postgresql":
        pytest.skip("SQLite makes its file itself")
    wrapper: dict[str, Any] = connection.settings_dict
    return str(wrapper["HOST"])


@pytest.fixture
def postgres(folder: str) -> Iterator["psycopg.Connection[Any]"]:
    """Return a connection of its administrator."""
    with psycopg.connect(dbname="postgres", user="postgres", host=folder, autocommit=True) as made:
        yield made


def test_the_statements_that_it_names_make_role_and_database(folder: str, postgres: "psycopg.Connection[Any]") -> None:
    name = f"made_{secrets.token_hex(4)}"
    url = f"postgres://{name}:geheim%2Fx@/{name}?host={folder}"
    with pytest.raises(SetupError) as raised:
        make(url, Path())
    assert "geheim" not in str(raised.value)
    create_role, create_database = re.findall(r"^  (CREATE .*;)$", str(raised.value), re.MULTILINE)
    try:
        postgres.execute(create_role.encode())
        with pytest.raises(SetupError, match="CREATE DATABASE"):
            make(url, Path())
        postgres.execute(create_database.encode())
        assert make(url, Path()) is False
    finally:
        postgres.execute(f"DROP DATABASE IF EXISTS {name}".encode())
        postgres.execute(f"DROP ROLE IF EXISTS {name}".encode())


def test_a_role_that_may_makes_the_database_itself(folder: str, postgres: "psycopg.Connection[Any]") -> None:
    name = f"made_{secrets.token_hex(4)}"
    try:
        assert make(f"postgres://postgres@/{name}?host={folder}&prepare_threshold=5", Path()) is True
        assert make(f"postgres://postgres@/{name}?host={folder}", Path()) is False
    finally:
        postgres.execute(f"DROP DATABASE IF EXISTS {name}".encode())
