"""The different values of a column with an index, as far as they match what somebody typed."""

from collections.abc import Callable

from django.db import connection

from jobs.models import Job
from jobs.search.values import Names

MOST_VALUES = 20_000
"""Different values that are looked at; each takes one look-up in the index."""

# From value to value, so that a million jobs of 500 users take 500 steps.
_DISTINCT = """
    WITH RECURSIVE "seen"("value") AS (
        SELECT min("{column}") FROM "{table}"
        UNION ALL
        SELECT (SELECT min("{column}") FROM "{table}" WHERE "{column}" > "seen"."value")
        FROM "seen" WHERE "seen"."value" IS NOT NULL
    )
    SELECT "value" FROM "seen" WHERE "value" IS NOT NULL LIMIT %s
"""


def distinct(column: str, table: str = Job._meta.db_table) -> list[str]:
    """Return the different values of a column of text that begins an index, up to MOST_VALUES."""
    with connection.cursor() as cursor:
        cursor.execute(_DISTINCT.format(column=column, table=table), [MOST_VALUES])
        return [value for (value,) in cursor.fetchall()]


def resolved(names: Names, exists: Callable[[str], bool], values: Callable[[], list[str]]) -> list[str] | None:
    """Return the values that some names mean: those that exist, else in any case, and those with the beginnings.

    `values` are all there are; None if there are too many to be sure.
    """
    missing = [name for name in names.exact if not exists(name)]
    if not missing and not names.beginnings:
        return list(names.exact)
    there = values()
    if len(there) >= MOST_VALUES:
        return None
    wanted, beginnings = {name.lower() for name in missing}, tuple(text.lower() for text in names.beginnings)
    found = [value for value in there if value.lower() in wanted or value.lower().startswith(beginnings)]
    return list(dict.fromkeys([*(name for name in names.exact if name not in missing), *found]))
