"""Keep the latest state of each node as the scheduler reports it, and when it changed."""

import time
from collections.abc import Iterable, Sequence
from typing import Any

import msgspec
from django.db import connection, transaction

from jobs.exceptions import InvalidJobError
from jobs.intake.clusters import known_cluster
from jobs.messages import NodeReport
from jobs.models import NodeState
from jobs.records import NodeChange

# The columns of a report with their types on PostgreSQL, in the order of the statement.
_COLUMNS = {
    "hostname": "text",
    "states": "text",
    "cpus_allocated": "integer",
    "memory_allocated": "bigint",
    "gpus_allocated": "integer",
    "jobs_running": "integer",
}


def record_nodestate(*, cluster: str, nodes: Sequence[NodeReport]) -> int:
    """Store the reported states of nodes in place of earlier ones, and which changed; return the number of nodes.

    If a host is reported twice, its last report counts. Raises InvalidJobError for an unknown cluster and for a node
    without a host name; nothing is stored then.
    """
    known_cluster(cluster)
    latest: dict[str, dict[str, Any]] = {}
    for number, node in enumerate(nodes):
        if not node.hostname:
            raise InvalidJobError(f"field 'nodes[{number}].hostname': expected a host name, got none")
        latest[node.hostname] = {
            "hostname": node.hostname,
            "states": msgspec.json.encode(_words(node.states)).decode(),
            "cpus_allocated": node.cpus_allocated or 0,
            "memory_allocated": node.memory_allocated or 0,
            "gpus_allocated": node.gpus_allocated or 0,
            "jobs_running": node.jobs_running or 0,
        }
    if latest:
        document = msgspec.json.encode(list(latest.values())).decode()
        given: tuple[str, int, str] = (cluster, int(time.time()), document)
        with transaction.atomic(), connection.cursor() as cursor:
            cursor.execute(_CHANGES[connection.vendor], (*given, cluster))
            cursor.execute(_UPSERT[connection.vendor], given)
    return len(latest)


def _words(states: str | Sequence[str] | None) -> list[str]:
    """Return the words of a node's state in upper case, each once: `idle+drain` is IDLE and DRAIN."""
    texts: Iterable[str] = [states] if isinstance(states, str) else states or []
    return list(dict.fromkeys(word for text in texts for word in text.upper().replace("+", " ").split()))


def _upsert(source: str) -> str:
    """Return the statement that stores all nodes of a document at once, read from `source`.

    It is ordered by host, so that two reports of the same nodes wait for each other and do not deadlock.
    """
    names = ", ".join(f'"{column}"' for column in _COLUMNS)
    changes = ", ".join(f'"{column}" = excluded."{column}"' for column in [*_COLUMNS, "reported_at"])
    return f"""
        INSERT INTO "{NodeState._meta.db_table}" ("cluster", "reported_at", {names})
        SELECT %s, %s, {source} ORDER BY "hostname"
        ON CONFLICT ("cluster", "hostname") DO UPDATE SET {changes}
    """


def _changes(source: str) -> str:
    """Return the statement that keeps which nodes of a document have other states than their last report."""
    return f"""
        INSERT INTO "{NodeChange._meta.db_table}" ("cluster", "at", "hostname", "before", "states")
        SELECT %s, %s, g."hostname", COALESCE(s."states", ''), g."states"
        FROM (SELECT {source}) g
        LEFT JOIN "{NodeState._meta.db_table}" s ON s."cluster" = %s AND s."hostname" = g."hostname"
        WHERE s."states" IS NULL OR s."states" <> g."states" ORDER BY g."hostname"
    """  # noqa: S608  names of ours


_PARTS = ", ".join(f'json_extract("value", \'$.{column}\') AS "{column}"' for column in _COLUMNS)
_TYPES = ", ".join(f'"{column}" {kind}' for column, kind in _COLUMNS.items())
_SOURCE = {
    "sqlite": f"{_PARTS} FROM json_each(%s) WHERE TRUE",  # without WHERE, ON would belong to a join
    "postgresql": f"node.* FROM json_to_recordset(%s) AS node({_TYPES})",
}
_UPSERT = {vendor: _upsert(source) for vendor, source in _SOURCE.items()}
_CHANGES = {vendor: _changes(source) for vendor, source in _SOURCE.items()}
