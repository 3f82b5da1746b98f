"""Many values in one statement."""

import pytest
from django.db import connection
from hypothesis import example, given
from hypothesis import strategies as st

from jobs.ledger.sql import columns
from jobs.text import array_text

ODD = [
    'a"b',
    "back\\slash\\",
    '\\"',
    "",
    "NULL",
    "null",
    "{a,b}",
    "a,b",
    " a ",
    "\xe9\u2028\U0001f600",
    "%s",
    "tab\t\n",
]


def test_columns_of_no_rows_are_empty() -> None:
    assert columns([], 2) == ["{}", "{}"]


@pytest.mark.django_db
@pytest.mark.skipif(connection.vendor != "postgresql", reason="of PostgreSQL alone")
def test_arrays_are_read_as_they_were() -> None:
    texts = st.text(st.characters(exclude_characters="\0", exclude_categories=["Cs"]))

    @example(ODD)
    @given(st.lists(texts))
    def check(values: list[str]) -> None:
        with connection.cursor() as cursor:
            cursor.execute("SELECT %s::text[]", [array_text(values)])
            assert cursor.fetchone() == (values,)

    check()
    with connection.cursor() as cursor:
        cursor.execute("SELECT %s::bigint[], %s::int[]", columns([(-(2**63), 1), (2**63 - 1, 2)], 2))
        assert cursor.fetchone() == ([-(2**63), 2**63 - 1], [1, 2])
