"""Plans of the statements of jobs/archiving/queue.py among many archived jobs, with and without statistics."""

import re
import time
from collections.abc import Callable

import pytest
from django.db import connection
from django.test.utils import CaptureQueriesContext
from django.utils import timezone

from jobs.archiving import queue
from jobs.health.metrics import families
from jobs.models import ArchiveTask, Job
from tests.support.factories import JobFactory
from tests.support.plans import multiply_jobs

pytestmark = pytest.mark.django_db

ARCHIVED = 20_480
PRIMARY_KEY = {"sqlite": "INTEGER PRIMARY KEY", "postgresql": "jobs_job_pkey"}
# The second has no completed job; the others serve PostgreSQL for a list of no ids at all, which implies anything.
FEW = {"jobs_archiving_failed", "jobs_by_rare_state", "jobs_to_book", "jobs_by_array"}
ACCESS = {
    "sqlite": re.compile(
        r"^(?:SCAN|SEARCH) (j|t|jobs_job|jobs_archivetask)\b(?: USING (?:COVERING )?(?:INDEX )?(.*))?"
    ),
    "postgresql": re.compile(r"(?:Seq|Index|Index Only) Scan(?: Backward)?(?: using (\w+))? on (jobs_\w+)"),
}


@pytest.fixture(params=["without statistics", "with statistics"], autouse=True)
def _many_archived_jobs(request: pytest.FixtureRequest) -> None:
    """Fill the table: many archived jobs, 40 of them edited, and 30 jobs that wait."""
    JobFactory.create_batch(10, archived=True)
    multiply_jobs(ARCHIVED)
    JobFactory.create_batch(30, finished=True, start_time=1)
    edited = Job.objects.archived().order_by("pk").values_list("pk", flat=True)[100:140]
    ArchiveTask.objects.bulk_create(
        [ArchiveTask(job_id=row_id, not_before=timezone.now(), edits=1) for row_id in edited]
    )
    if request.param == "with statistics":
        with connection.cursor() as cursor:
            cursor.execute("ANALYZE")


def plans(act: Callable[[], object]) -> list[list[tuple[str, str]]]:
    """Return of each statement the tables that are read, in order, and the index that leads to their rows, or ''."""
    with CaptureQueriesContext(connection) as queries:
        act()
    explain = "EXPLAIN QUERY PLAN" if connection.vendor == "sqlite" else "EXPLAIN"
    found = []
    for sql in (query["sql"] for query in queries):
        if sql.split()[0] in {"SELECT", "INSERT", "UPDATE", "DELETE", "WITH"}:
            with connection.cursor() as cursor:
                cursor.execute(f"{explain} {sql}")
                found.append([access for row in cursor.fetchall() if (access := _access(row[-1]))])
    return found


def _access(line: str) -> tuple[str, str] | None:
    """Return the table and the index that a line of a plan reads."""
    match = ACCESS[connection.vendor].search(line)
    if match is None:
        return None
    if connection.vendor == "sqlite":
        table = {"j": "jobs_job", "t": "jobs_archivetask"}.get(match[1], match[1])
        return table, re.sub(r" ?\(.*", "", match[2] or "")
    if "Bitmap" in line:  # names the index alone
        return "jobs_archivetask" if match[2].startswith("jobs_archivetask") else "jobs_job", match[2]
    return match[2], match[1] or ""


@pytest.mark.parametrize("named", [False, True])
def test_a_claim_of_edits_begins_with_the_tasks_and_looks_each_job_up(named: bool) -> None:
    only = list(ArchiveTask.objects.values_list("pk", flat=True)[:3]) if named else None
    claimed: list[queue.Claim] = []
    statements = plans(lambda: claimed.extend(queue.claim_edited("me:1:a", 10, only=only)))
    assert len(claimed) == (3 if named else 10)
    assert len(statements) == 2
    for tables in statements:
        assert [table for table, _ in tables] == ["jobs_archivetask", "jobs_job"]
        assert tables[1][1] == PRIMARY_KEY[connection.vendor]


def test_a_look_for_stopped_jobs_reads_those_that_wait_alone() -> None:
    (tables,) = plans(queue.has_stopped)
    assert sorted(table for table, _ in tables) == ["jobs_archivetask", "jobs_job"]
    assert dict(tables)["jobs_job"] == "jobs_to_archive"


def test_no_statement_of_a_worker_reads_through_the_archived_jobs() -> None:
    archived = list(Job.objects.archived().order_by("pk").values_list("pk", flat=True)[1000:1005])
    ArchiveTask.objects.create(job_id=archived[0], worker="dead:1:a", not_before=timezone.now())

    def work() -> None:
        assert queue.waiting_clusters() == ["testcluster"]
        first, second, third, *_ = queue.claim_waiting("me:1:a", "testcluster", 10)
        queue.renew("me:1:a")
        queue.finish("me:1:a", [(first, queue.Written("{}"))])
        queue.fail("me:1:a", second, "no answer", permanent=False)
        queue.release("me:1:a", only=[third.row_id])
        queue.clear_backoff(only=[second.row_id])
        retried = queue.claim_waiting("me:1:a", "testcluster", 100, newest=True)
        assert [claim.row_id for claim in retried if claim.attempts] == [second.row_id]
        queue.reclaim_expired()
        assert len(queue.claim_for_removal("me:1:a", archived)) == len(archived)
        assert len(queue.retire("me:1:a", archived[:2])) == 2
        queue.end_removal("me:1:a", archived)
        queue.record_edit(archived)

    statements = plans(work)
    assert len(statements) > 15
    used = {index for tables in statements for table, index in tables if table == "jobs_job"}
    assert used == {PRIMARY_KEY[connection.vendor], "jobs_to_archive"}, statements


def test_no_look_at_health_reads_through_the_archived_jobs() -> None:
    Job.objects.filter(pk__in=Job.objects.archived().order_by("-pk").values("pk")[:9]).update(job_state="running")
    statements = plans(lambda: list(families(int(time.time()), "1")))
    used = {index for tables in statements for table, index in tables if table == "jobs_job"}
    assert used <= {PRIMARY_KEY[connection.vendor], "jobs_to_archive", "jobs_running", "jobs_by_cluster", *FEW}, used
