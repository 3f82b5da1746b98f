"""Locks of a transaction; only PostgreSQL needs them."""

from collections.abc import Collection, Sequence
from typing import Any

import msgspec
from django.db import connection

from jobs.rows.select import TAGS

_LOCK = "SELECT pg_advisory_xact_lock(hashtextextended(%s, %s))"
_LOCKS = """
    SELECT pg_advisory_xact_lock("key") FROM (
        SELECT hashtextextended("cluster", "job_id") AS "key"
        FROM json_to_recordset(%s) AS run("job_id" bigint, "cluster" text) ORDER BY 1) keys
"""


def run_lock(job_id: int, cluster: str) -> list[tuple[str, Sequence[Any]]]:
    """Return the statement that lets only one start of (job_id, cluster) at a time proceed in its transaction.

    Only PostgreSQL needs it, before the insert: a statement does not see rows that are committed after it began, so two
    starts one second apart would both find no duplicate. SQLite has one writer at a time anyway.
    """
    return [(_LOCK, [cluster, job_id])] if connection.vendor == "postgresql" else []


def run_locks(runs: Sequence[tuple[int, str]]) -> list[tuple[str, Sequence[Any]]]:
    """Return the statement that locks many pairs of jobId and cluster as `run_lock` does, for all in one order."""
    if connection.vendor != "postgresql":
        return []
    named = [{"job_id": job_id, "cluster": cluster} for job_id, cluster in runs]
    return [(_LOCKS, [msgspec.json.encode(named).decode()])]


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
