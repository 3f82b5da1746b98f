"""Write and delete which nodes ended jobs ran on: two statements for many jobs, on both databases."""

from collections.abc import Collection, Iterable, Mapping, Sequence
from typing import NamedTuple

import msgspec
from django.db import IntegrityError, connection, transaction

from jobs.ledger.sql import columns
from jobs.records import JobNode, Node

_NODES, _JOB_NODES = (f'"{model._meta.db_table}"' for model in (Node, JobNode))
_Row = tuple[int, int, int, str, str]  # start, end, row id of the job, cluster and name of the host


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

    @property
    def end_time(self) -> int:
        """Return when the job ended (epoch seconds)."""
        return self.start_time + self.duration

    def hosts(self) -> list[str]:
        """Return the names of the hosts, sorted."""
        return sorted({resource.hostname for resource in _RESOURCES.decode(self.resources)})


_JobHosts = tuple[JobNodes, list[str]]


def _with_hosts(jobs: Iterable[JobNodes]) -> list[_JobHosts]:
    return [(job, job.hosts()) for job in jobs]


def _rows(found: Iterable[_JobHosts]) -> list[_Row]:
    return [(job.start_time, job.end_time, job.row_id, job.cluster, host) for job, hosts in found for host in hosts]


# The rows name hosts, not ids of nodes: the database looks these up itself, which takes less time than to ask for them
# if the rows are few.
_GIVEN = (
    "unnest(%s::bigint[], %s::bigint[], %s::bigint[], %s::text[], %s::text[]) g(start_time, end_time, job, cl, host)"
)
_OF_GIVEN = 'n."cluster" = g.cl AND n."hostname" = g.host'
_NEW_NODES = {
    "sqlite": f'INSERT OR IGNORE INTO {_NODES} ("cluster", "hostname") VALUES (%s, %s)',
    "postgresql": f"""
        INSERT INTO {_NODES} ("cluster", "hostname") SELECT * FROM unnest(%s::text[], %s::text[]) g(cl, host)
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


_NODES_OF_CLUSTER = f'SELECT "hostname", "id" FROM {_NODES} WHERE "cluster" = %s AND "hostname" '
_AMONG = {"sqlite": "IN (SELECT value FROM json_each(%s))", "postgresql": "= ANY(%s)"}
_COLUMNS = '"start_time", "end_time", "job_id", "node_id"'
_MANY = 200  # rows from which on asking for the ids of nodes first, and COPY, take half of the time
_TOGETHER = 500  # rows in a statement of SQLite


def write_nodes(jobs: Iterable[JobNodes]) -> None:
    """Write which nodes these jobs ran on; what is written already stays."""
    found = _with_hosts(jobs)
    if sum(len(hosts) for _, hosts in found) >= _MANY and _write_many(found):
        return
    rows = _rows(found)
    if _insert(rows) < len(rows):  # some hosts are new, or a job is booked again
        _insert_hosts({row[3:] for row in rows})
        _insert(rows)


def _write_many(found: Sequence[_JobHosts]) -> bool:
    """Write the nodes of jobs; return False on PostgreSQL, and write none of them, if one is written already."""
    wanted: dict[str, set[str]] = {}
    for job, hosts in found:
        wanted.setdefault(job.cluster, set()).update(hosts)
    ids = _ids(wanted)
    if new := {(cluster, host) for cluster, hosts in wanted.items() for host in hosts - ids[cluster].keys()}:
        _insert_hosts(new)
        ids = _ids(wanted)
    if connection.vendor == "postgresql":
        return _copy(found, ids)
    values: list[int] = []
    for job, hosts in found:
        (row_id, cluster, begin, *_), end = job, job.end_time
        of_cluster = ids[cluster]
        for host in hosts:
            values += (begin, end, row_id, of_cluster[host])
    _insert_values(values)
    return True


def _copy(found: Sequence[_JobHosts], ids: Mapping[str, Mapping[str, int]]) -> bool:
    """Copy rows into PostgreSQL's table; return False, and write none of them, if one is there already."""
    lines: list[str] = []
    for job, hosts in found:
        begin, of_cluster = f"{job.start_time}\t{job.end_time}\t{job.row_id}\t", ids[job.cluster]
        lines += [f"{begin}{of_cluster[host]}\n" for host in hosts]
    try:
        with (
            transaction.atomic(),
            connection.cursor() as cursor,
            connection.wrap_database_errors,
            cursor.copy(f"COPY {_JOB_NODES} ({_COLUMNS}) FROM STDIN") as copy,
        ):
            copy.write("".join(lines))
    except IntegrityError:
        return False
    return True


def _insert_values(values: Sequence[int]) -> None:
    """Insert rows into SQLite's table, given as one sequence of their values."""
    width = 4 * _TOGETHER
    with connection.cursor() as cursor:
        for begin in range(0, len(values), width):
            part = values[begin : begin + width]
            places = ", ".join(["(%s, %s, %s, %s)"] * (len(part) // 4))
            cursor.execute(f"INSERT OR IGNORE INTO {_JOB_NODES} ({_COLUMNS}) VALUES {places}", part)


def _ids(wanted: Mapping[str, Collection[str]]) -> dict[str, dict[str, int]]:
    """Return the ids of the hosts of clusters, by cluster and name, as far as there are any."""
    ids: dict[str, dict[str, int]] = {}
    with connection.cursor() as cursor:
        for cluster, hosts in wanted.items():
            given = list(hosts) if connection.vendor == "postgresql" else msgspec.json.encode(list(hosts)).decode()
            cursor.execute(_NODES_OF_CLUSTER + _AMONG[connection.vendor], [cluster, given])
            ids[cluster] = dict(cursor.fetchall())
    return ids


def _insert_hosts(hosts: Iterable[tuple[str, str]]) -> None:
    with connection.cursor() as cursor:
        if connection.vendor == "postgresql":
            cursor.execute(_NEW_NODES["postgresql"], columns(sorted(hosts), 2))
        else:
            cursor.executemany(_NEW_NODES["sqlite"], sorted(hosts))


def _insert(rows: list[_Row]) -> int:
    with connection.cursor() as cursor:
        if connection.vendor == "postgresql":
            cursor.execute(_NEW_JOB_NODES["postgresql"], columns(rows, 5))
        else:
            cursor.executemany(_NEW_JOB_NODES["sqlite"], rows)
        return int(cursor.rowcount)


def delete_nodes(jobs: Iterable[JobNodes]) -> None:
    """Delete what `write_nodes` wrote of these jobs."""
    rows = _rows(_with_hosts(jobs))
    with connection.cursor() as cursor:
        if connection.vendor == "postgresql":
            cursor.execute(_OLD_JOB_NODES["postgresql"], columns(rows, 5))
        else:
            cursor.executemany(_OLD_JOB_NODES["sqlite"], rows)
