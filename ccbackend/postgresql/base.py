"""Connections to PostgreSQL, direct or through a pooler, that wait a bounded time for locks and can store any text.

A pooler in transaction mode hands each transaction to another of its connections, so nothing is set per session: the
bound is a default of the role in this database, which PostgreSQL itself gives to each new connection.
"""

import contextlib
from typing import Any

from django.conf import settings
from django.core.exceptions import ImproperlyConfigured
from django.db.backends.postgresql import base

# Milliseconds; the second is what the session began with.
_VALUES = "SELECT setting::int, reset_val::int FROM pg_settings WHERE name = 'lock_timeout'"

_LONGEST: int = settings.DATABASE_WAIT  # seconds

# Whether connections of this role to this database begin with a bound, though an older one of a pooler may not.
_HAS_DEFAULT = """
    SELECT count(*) > 0 FROM pg_db_role_setting, unnest(setconfig) AS config
    WHERE setdatabase IN (0, (SELECT oid FROM pg_database WHERE datname = current_database()))
    AND setrole IN (0, (SELECT oid FROM pg_roles WHERE rolname = session_user))
    AND config LIKE 'lock_timeout=%' AND config <> 'lock_timeout=0'
"""


class DatabaseWrapper(base.DatabaseWrapper):
    """Django's connection; refuses a database that is not in UTF-8, and sees that its role has the bound."""

    def get_new_connection(self, conn_params: dict[str, Any]) -> Any:
        """Connect; raise ImproperlyConfigured if the database cannot store all names and job scripts."""
        connection = super().get_new_connection(conn_params)
        encoding = connection.info.parameter_status("server_encoding")
        if encoding != "UTF8":
            connection.close()
            name = conn_params.get("dbname")
            raise ImproperlyConfigured(
                f"DATABASE_URL: the database {name} has the encoding {encoding}, in which not all names can be stored: "
                f"create one with CREATE DATABASE {name} ENCODING 'UTF8' TEMPLATE template0"
            )
        return connection

    def init_connection_state(self) -> None:
        """Set the bound for locks as the role's default in this database, if this connection has not got it."""
        super().init_connection_state()
        if not self._bounded()[0]:
            bound = f"SET lock_timeout = '{_LONGEST}s'"
            with self.connection.cursor() as cursor:
                (name,) = cursor.execute("SELECT current_database()").fetchone()
                # It fails where nothing can be written, or while another process does just that.
                with contextlib.suppress(self.Database.Error):
                    cursor.execute(f"ALTER ROLE SESSION_USER IN DATABASE {self.ops.quote_name(name)} {bound}")
                cursor.execute(bound)  # for this connection of a pooler, which is older

    def refuse(self) -> str | None:
        """Connect; return why locks may be waited for without end, else None. Raise ImproperlyConfigured."""
        with self.wrap_database_errors:
            self.connect()
        with self.connection.cursor() as cursor:
            (has_default,) = cursor.execute(_HAS_DEFAULT).fetchone()
        bounded = has_default or self._bounded()[1]
        self.close()
        return None if bounded else "Locks may be waited for without end: the role has no default of lock_timeout."

    def _bounded(self) -> tuple[bool, bool]:
        """Return whether lock_timeout is within the bound, and whether it was when the session began."""
        with self.connection.cursor() as cursor:
            now, at_first = cursor.execute(_VALUES).fetchone()
        return 0 < now <= _LONGEST * 1000, 0 < at_first <= _LONGEST * 1000
