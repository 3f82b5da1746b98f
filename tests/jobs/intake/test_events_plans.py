"""Plans of the statements that start and stop many jobs at once; PostgreSQL takes no job to be running."""

import re

import pytest
from django.db import connection
from django.test.utils import CaptureQueriesContext

from jobs.intake.services import Stop, start_jobs, started_row, stop_jobs
from jobs.messages import Resource, StartJob
from tests.support.factories import START, JobFactory
from tests.support.plans import multiply_jobs

pytestmark = pytest.mark.django_db

NUMBER = 40_960  # PostgreSQL would read a small table once, rather than look up a hundred jobs
BY_KEYS = {"sqlite": "sqlite_autoindex_jobs_job_1 (job_id=?", "postgresql": "jobs_run_once"}
BY_ID = {"sqlite": "SEARCH jobs_job USING INTEGER PRIMARY KEY", "postgresql": "jobs_job_pkey"}
READS = {
    "sqlite": re.compile(r"^(?:SCAN|SEARCH) jobs_job\b"),
    "postgresql": re.compile(
        r"(?:Seq|Index|Index Only) Scan.* on jobs_job\b|Bitmap Index Scan on jobs_(?!jobtag|tag_on_job)"
    ),
}


@pytest.fixture(autouse=True)
def _many_jobs(archive_root: object) -> None:
    """Fill the table."""
    JobFactory.create_batch(10, finished=True)
    multiply_jobs(NUMBER)


def plans() -> list[list[str]]:
    """Return the lines that read jobs in the plans of starts and stops of two jobs, by all their keys and by jobId."""
    first, second = 900_001, 900_002
    starting = [
        StartJob(job_id=job_id, user="ada", cluster="c", start_time=START, resources=[Resource("n1")])
        for job_id in (first, second)
    ]
    with CaptureQueriesContext(connection) as queries:
        assert all(isinstance(row_id, int) for row_id in start_jobs([started_row(job) for job in starting]))
        stops = [Stop("completed", None, START + 9, first, "c", START), Stop("completed", None, START + 9, second)]
        assert [row.job_id for row in stop_jobs(stops) if isinstance(row, tuple)] == [first, second]
    explain = "EXPLAIN QUERY PLAN" if connection.vendor == "sqlite" else "EXPLAIN"
    found = []
    for sql in (query["sql"] for query in queries):
        if sql.split()[0] in ("INSERT", "WITH"):
            with connection.cursor() as cursor:
                cursor.execute(f"{explain} {sql}")
                lines = [str(row[-1]) for row in cursor.fetchall()]
            found.append([line for line in lines if READS[connection.vendor].search(line)])
    return found


@pytest.mark.parametrize("has_statistics", [False, True])
def test_each_job_is_looked_up_by_its_keys_and_its_id(*, has_statistics: bool) -> None:
    if has_statistics:
        with connection.cursor() as cursor:
            cursor.execute("ANALYZE")
    statements = plans()
    by_keys, by_id = BY_KEYS[connection.vendor], BY_ID[connection.vendor]
    assert len(statements) >= 3
    for lines in statements:
        assert [line for line in lines if by_keys not in line and by_id not in line] == []
        assert any(by_keys in line for line in lines)
