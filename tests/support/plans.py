"""A database in the shape of a large one, and the plans of the statements that a piece of work executes on it."""

import re
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any

from django.contrib.contenttypes.models import ContentType
from django.db import connection

from accounts.models import User
from archive.format.layout import JobKey
from jobs.models import Job
from jobs.rows.insert import keep_ids

# PostgreSQL reads a small table as a whole; SQLite does not look at the size.
JOBS = 50_000 if connection.vendor == "postgresql" else 10_000
RUNNING = JOBS // 100  # the newest
WAITING = 50  # the newest that have ended
EDITED = 20
START = 1_795_000_000

LARGE = (
    *("jobs_job", "jobs_jobtag", "django_admin_log"),
    *("jobs_jobnode", "jobs_jobfootprint", "jobs_usage", "jobs_deletedjob"),
)
"""The tables that grow with the number of jobs."""

_PAGE = 1000  # rows that may be sorted

# As EXPLAIN names them on SQLite, and the foreign key of links.
_NAMES = {
    "sqlite_autoindex_jobs_job_1": "jobs_run_once",
    "sqlite_autoindex_jobs_jobtag_1": "jobs_tag_on_job_once",
    "jobs_jobtag_tag_id_06fa80cf": "links_by_tag",
    "jobs_jobnode_pkey": "jobs_of_node",
    "sqlite_autoindex_jobs_usage_1": "jobs_usage_once",
    "sqlite_autoindex_jobs_deletedjob_1": "jobs_deleted_run_once",
}
# Those that lead to few rows, and so to no long sort.
_FEW = {"pk", "jobs_run_once", "jobs_tag_on_job_once", "links_by_tag", "jobs_history_of_object", "jobs_running"}
_FEW |= {"jobs_to_archive", "jobs_to_book", "jobs_by_array", "jobs_of_node", "jobs_usage_once"}
_FEW |= {"jobs_deleted_run_once"}
_SMALL = ("jobs_archivetask", "jobs_tag_once", "jobs_tag_pkey", "jobs_node", "jobs_host_once")
_PARTIAL = ("jobs_running", "jobs_to_archive", "jobs_archiving_failed", "jobs_to_book")

_NUMBERS = {
    "sqlite": "WITH RECURSIVE series(n) AS (SELECT 1 UNION ALL SELECT n + 1 FROM series WHERE n < {0}) ",
    "postgresql": "WITH series(n) AS (SELECT generate_series(1, {0})) ",
}
_COLUMNS = """"id", "job_id", "cluster", "sub_cluster", "partition", "user", "project", "array_job_id", "num_nodes",
    "num_hwthreads", "num_acc", "exclusive", "monitoring_status", "smt", "job_state", "start_time", "duration",
    "walltime", "resources", "statistics", "meta_data", "is_booked" """
_JOB = f"""
    n, 100000 + n, CASE WHEN n % 10 < 7 THEN 'testcluster' ELSE 'other' END, 'main',
    CASE n % 5 WHEN 0 THEN 'gpu' WHEN 1 THEN 'short' ELSE 'main' END,
    CASE WHEN n % 3 = 0 THEN 'alice' ELSE 'user' || (n * 7 % 500) END,
    CASE WHEN n % 4 = 0 THEN 'bio' ELSE 'proj' || (n * 7 % 100) END, 0, 1, 4, 0, 1,
    CASE WHEN n > {JOBS - RUNNING - WAITING} THEN 1 WHEN n % 2000 = 0 THEN 2 ELSE 3 END, 0,
    CASE WHEN n > {JOBS - RUNNING} THEN 'running' WHEN n % 100 < 85 THEN 'completed' WHEN n % 100 < 93 THEN 'failed'
         WHEN n % 100 < 96 THEN 'timeout' WHEN n % 100 < 99 THEN 'cancelled' ELSE 'out_of_memory' END,
    {START} + n, CASE WHEN n > {JOBS - RUNNING} THEN 0 ELSE 600 END, 3600, '[{{"hostname":"n' || (n % 40) || '"}}]',
    CASE WHEN n > {JOBS - RUNNING - WAITING} OR n % 2000 = 0 THEN NULL
         ELSE '{{"cpu_load":{{"avg":1,"min":1,"max":1}}}}' END,
    '{{"jobName":"a job","jobScript":"{"srun ./solver " * 25}"}}', NOT (n > {JOBS - RUNNING - WAITING} OR n % 2000 = 0)
"""

_NODES = """INSERT INTO jobs_node ("cluster", "hostname") SELECT DISTINCT "cluster", 'n' || ("id" % 40) FROM jobs_job"""
_BOOKED = (
    """INSERT INTO jobs_jobnode ("node_id", "start_time", "end_time", "job_id")
        SELECT n."id", j."start_time", j."start_time" + j."duration", j."id" FROM jobs_job j
        JOIN jobs_node n ON n."cluster" = j."cluster" AND n."hostname" = 'n' || (j."id" % 40) WHERE is_booked""",
    """INSERT INTO jobs_jobfootprint
            ("job_id", "start_time", "duration", "num_nodes", "cores", "accelerators", "waiting", "power",
             "avg_share_1", "idle_1", "name")
        SELECT "id", "start_time", "duration", "num_nodes", 4, 0, 0, 0, "id" % 1000, "id" % 1000, 'a job'
        FROM jobs_job WHERE is_booked""",
    """INSERT INTO jobs_usage ("day", "cluster", "sub_cluster", "partition", "project", "user", "job_state",
            "started", "jobs", "waiting_seconds", "node_seconds", "core_seconds", "acc_seconds", "energy")
        SELECT "id" % 100, "cluster", "sub_cluster", "partition", "project", "user", "job_state",
            COUNT(*), COUNT(*), 0, 0, 0, 0, 0
        FROM jobs_job WHERE is_booked GROUP BY 1, 2, 3, 4, 5, 6, 7""",
    """INSERT INTO jobs_deletedjob ("job_id", "cluster", "start_time", "duration", "sub_cluster", "partition",
            "project", "user", "job_state", "num_nodes", "cores", "accelerators", "waiting", "power")
        SELECT "job_id" + 1000000, "cluster", "start_time", 0, '', '', '', '', '', 1, 0, 0, 0, 0 FROM jobs_job""",
)


def key_of(number: int) -> JobKey:
    """Return the key of a job."""
    return JobKey("testcluster" if number % 10 < 7 else "other", 100_000 + number, START + number)


def fill(user: User, *, analyzed: bool) -> None:
    """Put jobs, tags, links, tasks and history of a large centre's proportions into the database."""
    kind = ContentType.objects.get_for_model(Job)
    with connection.cursor() as cursor:

        def insert(into: str, source: str, number: int) -> None:
            cursor.execute(f"INSERT INTO {into} {_NUMBERS[connection.vendor].format(number)} {source}")

        if connection.vendor == "postgresql":  # else it remembers the size of what earlier tests rolled back
            cursor.execute(f"TRUNCATE {', '.join(LARGE)}, jobs_tag, jobs_archivetask, jobs_node CASCADE")
        insert(f"jobs_job ({_COLUMNS})", f"SELECT {_JOB} FROM series", JOBS)
        insert('jobs_tag ("id", "type", "name")', "SELECT n, 'ticket', '' || n FROM series", 50)
        insert('jobs_footprintmetric ("slot", "name")', "SELECT n, 'metric' || n FROM series", 2)
        cursor.execute(_NODES)
        for statement in _BOOKED:
            cursor.execute(statement)
        # The first tag is on each third job, the others on some each.
        links = (
            f"SELECT n * 3, 1 FROM series UNION ALL SELECT n * 11 + 1, 2 + n % 49 FROM series WHERE n < {JOBS // 12}"
        )
        insert('jobs_jobtag ("job_id", "tag_id")', links, JOBS // 3 - 1)
        tasks = (
            f"SELECT n * 7, '', CURRENT_TIMESTAMP, 1, 0, '' FROM series UNION ALL SELECT {JOBS} - {RUNNING} - n, '', "
        )
        tasks += "CURRENT_TIMESTAMP, 0, 1, 'no answer' FROM series WHERE n < 10"
        columns = '"job_id", "worker", "not_before", "edits", "attempts", "error"'
        insert(f"jobs_archivetask ({columns})", tasks, EDITED)
        entry = f"SELECT CURRENT_TIMESTAMP, '' || n, 'job', 2, 'changed', {kind.pk}, {user.pk} + n % 50 * 0 FROM series"
        columns = (
            '"action_time", "object_id", "object_repr", "action_flag", "change_message", "content_type_id", "user_id"'
        )
        insert(f"django_admin_log ({columns})", entry, 10_000)
        keep_ids(Job, JOBS)
        if analyzed:
            cursor.execute("ANALYZE")


def multiply_jobs(number: int) -> None:
    """Copy the jobs that are there, under other jobIds, until there are at least this many."""
    columns = ", ".join(f'"{field.column}"' for field in Job._meta.local_concrete_fields if not field.primary_key)
    values = columns.replace('"job_id"', '"job_id" + %s')
    with connection.cursor() as cursor:
        while (count := Job.objects.count()) < number:
            cursor.execute(f"INSERT INTO jobs_job ({columns}) SELECT {values} FROM jobs_job", [count])


@dataclass
class Plan:
    """How a statement reads the large tables: by which indexes, and what it sorts.

    The index of the primary key is `pk`. An index that is walked through, without a condition, is `walk:NAME`, a table
    that is read without an index `scan:NAME`.
    """

    sql: str
    indexes: set[str] = field(default_factory=set)
    sorts: list[str] = field(default_factory=list)


def plans(act: Callable[[], object], *, generic: bool = False) -> list[Plan]:
    """Return the plans of all statements that `act` executes.

    On PostgreSQL, if `generic`, also the plans that it makes for any parameters once a statement is prepared.
    """
    executed: list[tuple[str, Sequence[Any]]] = []

    def keep(execute: Any, sql: str, params: Any, many: bool, context: Any) -> Any:
        if sql.split()[0] in {"SELECT", "INSERT", "UPDATE", "DELETE", "WITH"}:
            executed.append((sql, list((params[0] if many else params) or ())))
        return execute(sql, params, many, context)

    with connection.execute_wrapper(keep):
        act()
    large = [(sql, params) for sql, params in executed if any(table in sql for table in LARGE)]
    if connection.vendor == "sqlite":
        return [_of_sqlite(sql, params) for sql, params in large]
    ways = (False, True) if generic else (False,)
    return [_of_postgresql(sql, params, way) for sql, params in large for way in ways]


def _of_sqlite(sql: str, params: Sequence[Any]) -> Plan:
    plan = Plan(sql)
    aliases = {alias: table for table, alias in re.findall(r'"?(\bjobs_\w+|\bdjango_\w+)"? "?(\w+)"?', sql)}
    with connection.cursor() as cursor:
        cursor.execute(f"EXPLAIN QUERY PLAN {sql}", params)
        lines = cursor.fetchall()
    per_row: set[int] = set()  # the few tags of one job, say
    for number, parent, _, line in lines:
        if parent in per_row or line.startswith("CORRELATED"):
            per_row.add(number)
        elif re.match("USE TEMP B-TREE FOR (ORDER|GROUP|DISTINCT)", line):
            plan.sorts.append(line)
        read = re.match(r"(SCAN|SEARCH) (\w+)(?: USING (?:COVERING )?(?:INDEX )?(\w+))?", line)
        if read is None or aliases.get(read[2], read[2]) not in LARGE:
            continue
        way, index = read[1], read[3]
        table = aliases.get(read[2], read[2])
        if index is None or index == "AUTOMATIC":
            plan.indexes.add(f"scan:{table}")
        elif index == "PRIMARY":  # of a table without row ids
            plan.indexes.add("jobs_of_node" if "jobs_jobnode" in sql else "pk")
        elif index == "INTEGER":
            plan.indexes.add("pk")
        else:
            plan.indexes.add(_name(index, walked=way == "SCAN"))
    if plan.indexes <= _FEW:
        plan.sorts.clear()
    return plan


def _name(index: str, *, walked: bool) -> str:
    name = _NAMES.get(index, "pk" if index.endswith("_pkey") else index)
    return f"walk:{name}" if walked and name not in _PARTIAL else name


def _of_postgresql(sql: str, params: Sequence[Any], generic: bool) -> Plan:
    plan = Plan(sql)
    with connection.cursor() as cursor:
        if generic:
            numbers = iter(range(1, len(params) + 1))
            numbered = re.sub("%s", lambda _: f"${next(numbers)}", sql).replace("%%", "%")
            types = ", ".join(_type_of(value) for value in params)
            cursor.execute("SET LOCAL plan_cache_mode = force_generic_plan")
            cursor.execute(f"PREPARE explained{f'({types})' if types else ''} AS {numbered}".replace("%", "%%"), ())
            nulls = f"({', '.join(['NULL'] * len(params))})" if params else ""
            cursor.execute(f"EXPLAIN (FORMAT JSON) EXECUTE explained{nulls}")
        else:
            cursor.execute(f"EXPLAIN (FORMAT JSON) {sql}", params)
        (document,) = cursor.fetchone()
        if generic:
            cursor.execute("DEALLOCATE explained")
            cursor.execute("SET LOCAL plan_cache_mode = auto")
    for node in _nodes(document[0]["Plan"]):
        _add_node(plan, node)
    if plan.indexes <= _FEW:
        plan.sorts.clear()
    return plan


def _type_of(value: Any) -> str:
    of = type(value[0]) if isinstance(value, list) and value else type(value)
    name = {bool: "boolean", int: "bigint", float: "float8"}.get(of, "unknown")
    return f"{'text' if name == 'unknown' else name}[]" if isinstance(value, list) else name


def _nodes(node: dict[str, Any]) -> Iterator[dict[str, Any]]:
    yield node
    for child in node.get("Plans", ()):
        if node["Node Type"] != "Limit" or node["Plan Rows"] > 1 or child["Node Type"] != "Seq Scan":  # any one row
            yield from _nodes(child)


def _add_node(plan: Plan, node: dict[str, Any]) -> None:
    kind, table, index = node["Node Type"], node.get("Relation Name"), node.get("Index Name")
    if kind == "Sort" and node["Plan Rows"] > _PAGE:
        plan.sorts.append(f"{node['Plan Rows']} rows by {node['Sort Key']}")
    if kind == "Seq Scan" and table in LARGE:
        plan.indexes.add(f"scan:{table}")
    elif index and index.startswith((*LARGE, "jobs_")) and not index.startswith(_SMALL):
        plan.indexes.add(_name(index, walked="Index Cond" not in node))
