"""Many values in one statement, as both databases take them."""

from collections.abc import Sequence
from typing import Any

from django.db import connection


def columns(rows: Sequence[Sequence[Any]], width: int) -> list[list[Any]]:
    """Return the columns of rows, for unnest."""
    return [list(column) for column in zip(*rows, strict=True)] or [[] for _ in range(width)]


def one_of(column: str, row_ids: Sequence[int]) -> tuple[str, list[Any]]:
    """Return the condition that a column has one of these ids, with its parameters; see also `JobQuerySet.among`."""
    if connection.vendor == "postgresql":
        return f"{column} = ANY(%s::bigint[])", [list(row_ids)]
    return f"{column} IN ({', '.join(['%s'] * len(row_ids))})", list(row_ids)
