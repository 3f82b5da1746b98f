"""Advisory locks of a transaction, and statements that are sent together; only PostgreSQL needs them."""

import contextlib
from collections.abc import Sequence

from django.db import connection

from jobs.rows.select import TAGS


def one_round_trip() -> contextlib.AbstractContextManager[None]:
    """Send the statements in this block together, each with a cursor of its own; fetch their rows after it.

    They are a transaction of their own if none is open.
    """
    return connection.one_round_trip()  # type: ignore[attr-defined,no-any-return]  # of our engines


def lock_run(job_id: int, cluster: str) -> None:
    """Let only one start of (job_id, cluster) at a time proceed, until the transaction ends.

    Only PostgreSQL needs it, in a separate statement: a statement does not see rows that are committed after it began,
    so two starts one second apart would both find no duplicate. SQLite has one writer at a time anyway.
    """
    _lock(cluster, job_id)


def lock_runs(runs: Sequence[tuple[int, str]]) -> None:
    """Lock many pairs of jobId and cluster, as `lock_run` does, on PostgreSQL; all callers in one order."""
    if connection.vendor != "postgresql" or not runs:
        return
    job_ids, clusters = [job_id for job_id, _ in runs], [cluster for _, cluster in runs]
    with connection.cursor() as cursor:
        cursor.execute(
            "SELECT pg_advisory_xact_lock(key) FROM (SELECT hashtextextended(cluster, job_id) AS key "
            "FROM unnest(%s::bigint[], %s::text[]) AS run(job_id, cluster) ORDER BY 1) AS keys",
            [job_ids, clusters],
        )


def lock_new_tags() -> None:
    """Let only one transaction at a time create tags: two with the same new tags in different order would deadlock."""
    _lock(TAGS, 0)


def _lock(name: str, number: int) -> None:
    if connection.vendor == "postgresql":
        with connection.cursor() as cursor:
            cursor.execute("SELECT pg_advisory_xact_lock(hashtextextended(%s, %s))", [name, number])
