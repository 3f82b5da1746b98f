"""Write and delete which nodes ended jobs ran on: two statements for many jobs, on both databases."""

from collections.abc import Iterable
from typing import NamedTuple

import msgspec
from django.db import IntegrityError, connection, transaction

from jobs.ledger.sql import columns
from jobs.records import JobNode, Node

_NODES, _JOB_NODES = (f'"{model._meta.db_table}"' for model in (Node, JobNode))


class _Host(msgspec.Struct, gc=False):
    hostname: str


_RESOURCES = msgspec.json.Decoder(list[_Host])


class JobNodes(NamedTuple):
    """The nodes of an ended job, as its resources name them."""

    row_id: int
    cluster: str
    start_time: int
    duration: int
    resources: str

    def rows(self) -> list[tuple[int, int, int, str, str]]:
        """Return start, end, row id, cluster and host of each node, sorted by host."""
        begin, end = self.start_time, self.start_time + self.duration
        hosts = sorted({resource.hostname for resource in _RESOURCES.decode(self.resources)})
        return [(begin, end, self.row_id, self.cluster, host) for host in hosts]


# The rows name hosts, not ids of nodes: the database looks these up itself, which takes less time than to ask for them.
_GIVEN = (
    "unnest(%s::bigint[], %s::bigint[], %s::bigint[], %s::text[], %s::text[]) g(start_time, end_time, job, cl, host)"
)
_OF_GIVEN = 'n."cluster" = g.cl AND n."hostname" = g.host'
_NEW_NODES = {
    "sqlite": f'INSERT OR IGNORE INTO {_NODES} ("cluster", "hostname") VALUES (%s, %s)',
    "postgresql": f"""
        INSERT INTO {_NODES} ("cluster", "hostname") SELECT DISTINCT g.cl, g.host FROM {_GIVEN}
        WHERE NOT EXISTS (SELECT 1 FROM {_NODES} n WHERE {_OF_GIVEN}) ORDER BY 1, 2 ON CONFLICT DO NOTHING
    """,
}
_NEW_JOB_NODES = {
    "sqlite": f"""
        INSERT OR IGNORE INTO {_JOB_NODES} ("start_time", "end_time", "job_id", "node_id")
        SELECT %s, %s, %s, "id" FROM {_NODES} WHERE "cluster" = %s AND "hostname" = %s
    """,
    "postgresql": f"""
        INSERT INTO {_JOB_NODES} ("start_time", "end_time", "job_id", "node_id")
        SELECT g.start_time, g.end_time, g.job, n."id" FROM {_GIVEN} JOIN {_NODES} n ON {_OF_GIVEN}
        ON CONFLICT DO NOTHING
    """,
}
_OLD_JOB_NODES = {
    "sqlite": f"""
        DELETE FROM {_JOB_NODES} WHERE "start_time" = %s AND "end_time" = %s AND "job_id" = %s
        AND "node_id" = (SELECT "id" FROM {_NODES} WHERE "cluster" = %s AND "hostname" = %s)
    """,
    "postgresql": f"""
        DELETE FROM {_JOB_NODES} o USING {_GIVEN} JOIN {_NODES} n ON {_OF_GIVEN}
        WHERE o."node_id" = n."id" AND o."start_time" = g.start_time AND o."end_time" = g.end_time
        AND o."job_id" = g.job
    """,
}


_IDS = f"""
    SELECT "cluster", "hostname", "id" FROM {_NODES}
    WHERE ("cluster", "hostname") IN (SELECT * FROM unnest(%s::text[], %s::text[]))
"""
_MANY = 200  # rows from which on COPY, with its round trips, takes half of the time of INSERT


def write_nodes(jobs: Iterable[JobNodes]) -> None:
    """Write which nodes these jobs ran on; what is written already stays."""
    rows = [row for job in jobs for row in job.rows()]
    if connection.vendor == "postgresql" and len(rows) >= _MANY and _copy(rows):
        return
    if _insert(rows) < len(rows):  # some hosts are new, or a job is booked again
        _insert_hosts(rows)
        _insert(rows)


def _copy(rows: list[tuple[int, int, int, str, str]]) -> bool:
    """Copy rows into PostgreSQL's table; return False, and write none of them, if one is there already."""
    ids = _ids(rows)
    if len(ids) < len({row[3:] for row in rows}):
        _insert_hosts(rows)
        ids = _ids(rows)
    lines = "".join([f"{begin}\t{end}\t{row_id}\t{ids[cluster, host]}\n" for begin, end, row_id, cluster, host in rows])
    into = f'COPY {_JOB_NODES} ("start_time", "end_time", "job_id", "node_id") FROM STDIN'
    try:
        with (
            transaction.atomic(),
            connection.cursor() as cursor,
            connection.wrap_database_errors,
            cursor.copy(into) as copy,
        ):
            copy.write(lines)
    except IntegrityError:
        return False
    return True


def _ids(rows: list[tuple[int, int, int, str, str]]) -> dict[tuple[str, str], int]:
    """Return the ids of hosts, by cluster and name."""
    with connection.cursor() as cursor:
        cursor.execute(_IDS, columns(sorted({row[3:] for row in rows}), 2))
        return {(cluster, host): node_id for cluster, host, node_id in cursor.fetchall()}


def _insert_hosts(rows: list[tuple[int, int, int, str, str]]) -> None:
    with connection.cursor() as cursor:
        if connection.vendor == "postgresql":
            cursor.execute(_NEW_NODES["postgresql"], columns(rows, 5))
        else:
            cursor.executemany(_NEW_NODES["sqlite"], sorted({row[3:] for row in rows}))


def _insert(rows: list[tuple[int, int, int, str, str]]) -> int:
    with connection.cursor() as cursor:
        if connection.vendor == "postgresql":
            cursor.execute(_NEW_JOB_NODES["postgresql"], columns(rows, 5))
        else:
            cursor.executemany(_NEW_JOB_NODES["sqlite"], rows)
        return int(cursor.rowcount)


def delete_nodes(jobs: Iterable[JobNodes]) -> None:
    """Delete what `write_nodes` wrote of these jobs."""
    rows = [row for job in jobs for row in job.rows()]
    with connection.cursor() as cursor:
        if connection.vendor == "postgresql":
            cursor.execute(_OLD_JOB_NODES["postgresql"], columns(rows, 5))
        else:
            cursor.executemany(_OLD_JOB_NODES["sqlite"], rows)
