"""The database of cc-backend 1.2 to 1.5, or a dump of it: its users, and its jobs as meta.json would have them.

Seen in databases that the releases 1.2.2 and 1.5.4 wrote: JSON stands in a column as text or as bytes, whichever the
program used last; 1.4 renamed columns and the table of users, 1.5 put `shared` in place of `exclusive`; 1.5 keeps a job
that has just started in a table of its own, `job_cache`.
"""

import contextlib
import sqlite3
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

import msgspec
import orjson

from archive.exceptions import DECODE_ERRORS
from jobs.maintenance.mysql_dump import is_dump, load_dump

_BATCH = 500  # rows
_TABLES = ("job", "job_cache", "tag", "jobtag", "user", "hpc_user")
_TEXTS = {"user": ("user", "hpc_user"), "partition": ("partition", "cluster_partition")}
_KEYS = {
    "jobId": "job_id",
    "cluster": "cluster",
    "subCluster": "subcluster",
    "startTime": "start_time",
    "project": "project",
    "arrayJobId": "array_job_id",
    "duration": "duration",
    "walltime": "walltime",
    "jobState": "job_state",
    "numNodes": "num_nodes",
    "numHwthreads": "num_hwthreads",
    "numAcc": "num_acc",
    "smt": "smt",
    "exclusive": "exclusive",
    "shared": "shared",
    "monitoringStatus": "monitoring_status",
}
"""The keys of meta.json whose values are columns of the same meaning."""


class SourceError(Exception):
    """A file is not the database of cc-backend; the message says why."""


class FoundUser(NamedTuple):
    """A user, with the bcrypt hash of a password of cc-backend's own; empty for one of LDAP or another log-in."""

    username: str
    name: str
    email: str
    roles: list[str]
    projects: list[str]
    password: str


class FoundJob(NamedTuple):
    """A job as meta.json would have it, and what names it in a message."""

    meta: bytes
    place: str


@contextlib.contextmanager
def open_source(path: Path) -> "Iterator[sqlite3.Connection]":
    """Open a database or read a dump of MySQL; raise SourceError unless it has the tables of cc-backend."""
    if not path.is_file():
        raise SourceError(f"{path}: expected the file job.db of cc-backend, or a dump of its MySQL")
    try:
        with contextlib.closing(_opened(path)) as source:
            source.row_factory = sqlite3.Row
            missing = {"job", "tag", "jobtag"} - _tables(source)
            if missing:
                raise SourceError(f"{path}: has no table {', '.join(sorted(missing))}; expected cc-backend's job.db")
            yield source
    except (sqlite3.Error, OSError) as error:
        raise SourceError(f"{path}: {error}") from None


def _opened(path: Path) -> sqlite3.Connection:
    if not is_dump(path):
        return sqlite3.connect(f"file:{path}?mode=ro", uri=True)
    try:
        return load_dump(path, _TABLES)
    except ValueError as error:
        raise SourceError(f"{path}: {error}") from None


def users(source: sqlite3.Connection) -> Iterator[FoundUser]:
    """Yield the users, in the order of their names."""
    table = next(iter({"hpc_user", "user"} & _tables(source)), None)
    if table is None:
        return
    for row in source.execute(f'SELECT * FROM "{table}" ORDER BY username'):  # noqa: S608  one of two names
        values = dict(row)
        roles, projects = (_json(values.get(key), list[str]) or [] for key in ("roles", "projects"))
        password = str(values["password"] or "") if values.get("ldap") == 0 else ""
        yield FoundUser(values["username"], values["name"] or "", values["email"] or "", roles, projects, password)


def count_jobs(source: sqlite3.Connection) -> int:
    """Return the number of jobs, those that just started too."""
    return sum(source.execute(f'SELECT COUNT(*) FROM "{table}"').fetchone()[0] for table in _job_tables(source))  # noqa: S608


def jobs(source: sqlite3.Connection) -> Iterator[list[FoundJob]]:
    """Yield the jobs in batches, in the order of their ids; those that just started last."""
    for table in _job_tables(source):
        cursor = source.execute(f'SELECT * FROM "{table}" ORDER BY id')  # noqa: S608  one of two names
        while rows := [dict(row) for row in cursor.fetchmany(_BATCH)]:
            tags = _tags(source, rows[0]["id"], rows[-1]["id"]) if table == "job" else {}
            yield [_job(row, tags.get(row["id"], [])) for row in rows]


def _job(row: dict[str, Any], tags: list[dict[str, str]]) -> FoundJob:
    meta = {key: row[column] for key, column in _KEYS.items() if row.get(column) is not None}
    for key, columns in _TEXTS.items():
        meta[key] = next((row[column] for column in columns if row.get(column) is not None), "")
    for key, column in (("resources", "resources"), ("metaData", "meta_data")):
        text = row.get(column)
        if text:
            meta[key] = orjson.Fragment(text)
    place = f"job {row['job_id']} of {row['cluster']} with startTime {row['start_time']}"
    return FoundJob(orjson.dumps(meta | {"tags": tags}), place)


def _tags(source: sqlite3.Connection, first: int, last: int) -> dict[int, list[dict[str, str]]]:
    """Return the tags of the jobs with ids from `first` to `last`."""
    found: dict[int, list[dict[str, str]]] = {}
    for job_id, type_, name in source.execute(
        "SELECT jobtag.job_id, tag_type, tag_name FROM jobtag JOIN tag ON tag.id = tag_id "
        "WHERE jobtag.job_id BETWEEN ? AND ? ORDER BY jobtag.job_id, tag.id",
        (first, last),
    ):
        found.setdefault(job_id, []).append({"type": type_, "name": name})
    return found


def _tables(source: sqlite3.Connection) -> set[str]:
    return {name for (name,) in source.execute("SELECT name FROM sqlite_master WHERE type = 'table'")}


def _job_tables(source: sqlite3.Connection) -> list[str]:
    return ["job", *({"job_cache"} & _tables(source))]


def _json(text: Any, kind: Any) -> Any:
    """Return the JSON of a column; None for what is no such thing."""
    try:
        return msgspec.json.decode(text or b"null", type=kind | None)
    except DECODE_ERRORS:
        return None
