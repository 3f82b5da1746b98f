"""Many values in one statement."""

import pytest
from django.db import connection

from jobs.ledger.sql import one_of
from jobs.models import Job

pytestmark = [
    pytest.mark.django_db,
    pytest.mark.skipif(connection.vendor != "postgresql", reason="of PostgreSQL alone"),
]


def test_lists_of_numbers_have_the_type_of_the_column() -> None:
    condition, parameters = one_of('"id"', [1, 2])
    with connection.cursor() as cursor:
        cursor.execute(f"EXPLAIN SELECT 1 FROM jobs_job WHERE {condition}", parameters)
        plan = "\n".join(line for (line,) in cursor.fetchall())
    assert "'{1,2}'::bigint[]" in plan
    assert "'{1,2}'::bigint[]" in Job.objects.among("job_id", [1, 2]).explain()
