"""Databases of the form that cc-backend 1.2 and 1.5 write, after the tables that releases 1.2.2 and 1.5.4 made.

Only columns that an import reads or that have no default are here. As there, JSON is text where a start wrote it and
bytes where a later statement did.
"""

import json
import sqlite3
from pathlib import Path
from typing import Any

PASSWORD = "Tannenzapfen-17"
BCRYPT = "$2a$10$KFLMkQjidaI.1A3fcuqD1.mYymm7TUw0j3M.2FSvxFuhzLTtvo24W"
"""A hash of that password by release 1.2.2."""

START = 1_790_000_000

_COMMON = """
CREATE TABLE schema_migrations (version uint64, dirty bool);
CREATE TABLE tag (id INTEGER PRIMARY KEY, tag_type VARCHAR(255) NOT NULL, tag_name VARCHAR(255) NOT NULL,
    UNIQUE (tag_type, tag_name));
CREATE TABLE jobtag (job_id INTEGER, tag_id INTEGER, PRIMARY KEY (job_id, tag_id));
CREATE TABLE "{user}" (username varchar(255) PRIMARY KEY NOT NULL, password varchar(255) DEFAULT NULL,
    ldap tinyint NOT NULL DEFAULT 0, name varchar(255) DEFAULT NULL, roles varchar(255) NOT NULL DEFAULT "[]",
    email varchar(255) DEFAULT NULL, projects varchar(255) NOT NULL DEFAULT "[]");
"""
_JOB = """
CREATE TABLE "{table}" (id INTEGER PRIMARY KEY, job_id BIGINT NOT NULL, cluster VARCHAR(255) NOT NULL,
    subcluster VARCHAR(255) NOT NULL, {submit} start_time BIGINT NOT NULL, {user} VARCHAR(255) NOT NULL,
    project VARCHAR(255) NOT NULL, {partition} VARCHAR(255), array_job_id BIGINT, duration INT NOT NULL,
    walltime INT NOT NULL, job_state VARCHAR(255) NOT NULL, meta_data TEXT, resources TEXT NOT NULL,
    num_nodes INT NOT NULL, num_hwthreads INT, num_acc INT, smt TINYINT NOT NULL DEFAULT 1, {shared},
    monitoring_status TINYINT NOT NULL DEFAULT 1, UNIQUE (job_id, cluster, start_time));
"""
_NAMES = {
    "1.2": {"user": "user", "partition": "partition", "submit": "", "shared": "exclusive TINYINT NOT NULL DEFAULT 1"},
    "1.5": {
        "user": "hpc_user",
        "partition": "cluster_partition",
        "submit": "submit_time BIGINT NOT NULL DEFAULT 0,",
        "shared": "shared TEXT NOT NULL",
    },
}
RELEASES = tuple(_NAMES)


class CcBackendDatabase:
    """A database of a release, to be filled."""

    def __init__(self, path: Path, release: str) -> None:
        self.path, self.release, self.names = path, release, _NAMES[release]
        tables = ["job", "job_cache"] if release == "1.5" else ["job"]
        script = _COMMON.format(**self.names) + "".join(_JOB.format(table=table, **self.names) for table in tables)
        self._do(script)

    def _do(self, sql: str, values: tuple[Any, ...] | None = None) -> None:
        connection = sqlite3.connect(self.path)
        if values is None:
            connection.executescript(sql)
        else:
            connection.execute(sql, values)
        connection.commit()
        connection.close()

    def add_user(self, username: str, *roles: str, projects: Any = "[]", **values: Any) -> None:
        """Add a user; release 1.2.2 stores projects as bytes."""
        row = {"username": username, "roles": json.dumps(roles), "projects": projects, **values}
        self._insert(self.names["user"], row)

    def add_job(self, job_id: int, *, table: str = "job", tags: tuple[int, ...] = (), **values: Any) -> None:
        """Add a job; by default it runs."""
        shared = {"exclusive": 1} if self.release == "1.2" else {"shared": "none"}
        row = {
            "id": job_id,
            "job_id": job_id,
            "cluster": "emmy",
            "subcluster": "haswell",
            "start_time": START + job_id,
            self.names["user"]: "u1",
            "project": "bio",
            self.names["partition"]: "main",
            "array_job_id": 0,
            "duration": 0,
            "walltime": 3600,
            "job_state": "running",
            "meta_data": b'{"jobName":"a job"}',
            "resources": b'[{"hostname":"n01"}]',
            "num_nodes": 1,
            **shared,
            **values,
        }
        self._insert(table, row)
        for tag in tags:
            self._do("INSERT INTO jobtag VALUES (?, ?)", (job_id, tag))

    def add_tag(self, number: int, type_: str, name: str) -> None:
        """Add a tag."""
        self._insert("tag", {"id": number, "tag_type": type_, "tag_name": name})

    def _insert(self, table: str, row: dict[str, Any]) -> None:
        places = ", ".join("?" * len(row))
        self._do(f'INSERT INTO "{table}" ({", ".join(row)}) VALUES ({places})', tuple(row.values()))
