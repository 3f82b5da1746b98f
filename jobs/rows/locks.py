"""Locks of a transaction; only PostgreSQL needs them."""

from collections.abc import Collection, Sequence
from typing import Any

from django.db import connection

from jobs.rows.select import TAGS

_LOCK = "SELECT pg_advisory_xact_lock(hashtextextended(%s, %s))"


def run_lock(job_id: int, cluster: str) -> list[tuple[str, Sequence[Any]]]:
    """Return the statement that lets only one start of (job_id, cluster) at a time proceed in its transaction.

    Only PostgreSQL needs it, before the insert: a statement does not see rows that are committed after it began, so two
    starts one second apart would both find no duplicate. SQLite has one writer at a time anyway.
    """
    return [(_LOCK, [cluster, job_id])] if connection.vendor == "postgresql" else []


def lock_runs(runs: Sequence[tuple[int, str]]) -> None:
    """Lock many pairs of jobId and cluster, as `run_lock` does, on PostgreSQL; all callers in one order."""
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
    if connection.vendor == "postgresql":
        with connection.cursor() as cursor:
            cursor.execute(_LOCK, [TAGS, 0])


def keep_tags(tag_ids: Collection[int]) -> list[int]:
    """Return those of some tags that are there, and let nobody delete them until the transaction ends."""
    places = ", ".join(["%s"] * len(tag_ids))
    lock = "FOR KEY SHARE" if connection.vendor == "postgresql" else ""
    with connection.cursor() as cursor:
        cursor.execute(f"SELECT id FROM {TAGS} WHERE id IN ({places}) ORDER BY id {lock}", sorted(tag_ids))
        return [tag_id for (tag_id,) in cursor.fetchall()]
