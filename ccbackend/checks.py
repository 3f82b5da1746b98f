"""The system check of the database: whether it can store what it will be given, and how long it waits."""

from collections.abc import Sequence
from typing import Any

from django.apps import AppConfig
from django.core.checks import CheckMessage, Error, register
from django.core.checks import Warning as CheckWarning
from django.core.exceptions import ImproperlyConfigured
from django.db import DatabaseError, connection


@register()
def check_database(app_configs: Sequence[AppConfig] | None, **kwargs: Any) -> list[CheckMessage]:
    """Report a database that cannot be used (E001), and one where locks are waited for without end (W001)."""
    wrapper: Any = connection.copy()
    try:
        problem = wrapper.refuse()
    except ImproperlyConfigured as error:
        return [Error(str(error), id="ccbackend.E001")]
    except DatabaseError:  # it is away, which every command that needs it reports
        return []
    if problem is None:
        return []
    hint = "Run ALTER ROLE name SET lock_timeout = '20s', and let a pooler in between connect anew (RECONNECT)."
    return [CheckWarning(problem, hint=hint, id="ccbackend.W001")]
