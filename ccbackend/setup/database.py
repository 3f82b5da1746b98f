"""The database: made where its user may, otherwise the statements with which an administrator makes it."""

import getpass
from pathlib import Path
from typing import Any

import psycopg
from psycopg import sql

from ccbackend.environment import parse_database_url
from ccbackend.setup import SetupError

_NOT_OF_LIBPQ = {"assume_role", "prepare_threshold"}
_MAINTENANCE = "postgres"  # the database that every PostgreSQL has
_WAIT = 20  # seconds for a connection


def make(url: str, base: Path) -> bool:
    """Make the database of a DATABASE_URL; return False if it was there. SQLite makes its file itself, below `base`.

    Raise ValueError for an address that cannot be, and SetupError with the statements for PostgreSQL's administrator.
    """
    config = parse_database_url(url)
    if config["ENGINE"].endswith("sqlite3"):
        return not (base / config["NAME"]).exists()
    refusal = _refusal(config, config["NAME"])
    if refusal is None:
        return False
    if _refusal(config, _MAINTENANCE) is None and _create(config):
        return True
    raise SetupError(f"{refusal}\n{_for_the_administrator(config)}")


def _connection(config: dict[str, Any], name: str) -> "psycopg.Connection[Any]":
    options = {key: value for key, value in config["OPTIONS"].items() if key not in _NOT_OF_LIBPQ}
    named = {"host": config["HOST"], "port": config["PORT"], "user": config["USER"], "password": config["PASSWORD"]}
    given = {key: value for key, value in named.items() if value}
    return psycopg.connect(**{"connect_timeout": _WAIT, **options, **given, "dbname": name}, autocommit=True)


def _refusal(config: dict[str, Any], name: str) -> str | None:
    """Return why a database cannot be used, in one line; None if it can."""
    try:
        _connection(config, name).close()
    except psycopg.Error as error:
        return " ".join(str(error).split())
    return None


def _create(config: dict[str, Any]) -> bool:
    """Create the database; return False if the role may not, or it is there and cannot be entered."""
    statement = sql.SQL("CREATE DATABASE {} ENCODING 'UTF8' TEMPLATE template0")
    try:
        with _connection(config, _MAINTENANCE) as connection:
            connection.execute(statement.format(sql.Identifier(config["NAME"])))
    except (psycopg.errors.InsufficientPrivilege, psycopg.errors.DuplicateDatabase):
        return False
    return True


def _for_the_administrator(config: dict[str, Any]) -> str:
    """Return the two statements; the password of the address is not repeated."""
    name, user = config["NAME"], config["USER"] or getpass.getuser()
    password = " PASSWORD 'that of DATABASE_URL'" if config["PASSWORD"] else ""
    return (
        "Let an administrator of PostgreSQL (sudo -u postgres psql) run these, then repeat setup:\n"
        f'  CREATE ROLE "{user}" LOGIN{password};\n'
        f'  CREATE DATABASE "{name}" OWNER "{user}" ENCODING \'UTF8\' TEMPLATE template0;'
    )
