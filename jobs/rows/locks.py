"""Advisory locks of a transaction; only PostgreSQL needs them."""

from django.db import connection

from jobs.rows.select import TAGS


def lock_run(job_id: int, cluster: str) -> None:
    """Let only one start of (job_id, cluster) at a time proceed, until the transaction ends.

    Only PostgreSQL needs it, in a separate statement: a statement does not see rows that are committed after it began,
    so two starts one second apart would both find no duplicate. SQLite has one writer at a time anyway.
    """
    _lock(cluster, job_id)


def lock_new_tags() -> None:
    """Let only one transaction at a time create tags: two with the same new tags in different order would deadlock."""
    _lock(TAGS, 0)


def _lock(name: str, number: int) -> None:
    if connection.vendor == "postgresql":
        with connection.cursor() as cursor:
            cursor.execute("SELECT pg_advisory_xact_lock(hashtextextended(%s, %s))", [name, number])
