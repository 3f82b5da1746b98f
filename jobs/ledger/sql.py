"""Many values in one statement, as both databases take them."""

from collections.abc import Sequence
from typing import Any

from django.db import connection

from jobs.text import array_text


def columns(rows: Sequence[Sequence[int | str]], width: int) -> list[str]:
    """Return the columns of rows, each of numbers or of texts, as `array_text` does, for unnest."""
    return [array_text(column) for column in zip(*rows, strict=True)] or ["{}"] * width


def one_of(column: str, row_ids: Sequence[int]) -> tuple[str, list[Any]]:
    """Return the condition that a column has one of these ids, with its parameters."""
    if connection.vendor == "postgresql":
        return f"{column} = ANY(%s)", [array_text(row_ids)]
    return f"{column} IN ({', '.join(['%s'] * len(row_ids))})", list(row_ids)
