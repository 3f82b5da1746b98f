"""Migrations of a running server: no statement waits long for a lock behind which all other work would queue."""

from typing import Any

from django.db import connections
from django.db.models.signals import post_migrate, pre_migrate

_LONGEST = "2s"


def watch_migrations() -> None:
    """Let migrations on PostgreSQL wait for a lock as briefly as clients may notice."""
    pre_migrate.connect(_wait_briefly, dispatch_uid="ccbackend.wait_briefly")
    post_migrate.connect(_wait_as_before, dispatch_uid="ccbackend.wait_as_before")


def _wait_briefly(*, using: str, **kwargs: Any) -> None:
    _set(using, "SELECT set_config('lock_timeout', %s, false)", [_LONGEST])


def _wait_as_before(*, using: str, **kwargs: Any) -> None:
    _set(using, "RESET lock_timeout", [])


def _set(using: str, statement: str, values: list[str]) -> None:
    connection = connections[using]
    if connection.vendor == "postgresql":
        with connection.cursor() as cursor:
            cursor.execute(statement, values)
