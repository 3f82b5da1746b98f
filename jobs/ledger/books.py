"""Write down what ended jobs used, take it away again, or move it: few statements for many jobs, on both databases.

The caller opens the transaction and has locked the rows of the jobs, so that no two book the same job at once. A job is
booked if and only if it has a row of JobFootprint; `Job.is_booked` says the same, for the index of those that are not.
Rows of several jobs are written in the order of their keys, so that two workers wait for each other and do not
deadlock; usage comes last, since many jobs share its rows.
"""

from collections.abc import Mapping, Sequence
from functools import lru_cache
from itertools import chain
from typing import Any, NamedTuple

import msgspec
from django.db import connection

from archive.format.layout import JobKey
from jobs.ledger.footprint import Figures, Footprint, name_in
from jobs.ledger.nodes import JobNodes, delete_nodes, write_nodes
from jobs.ledger.slots import slots_for
from jobs.ledger.sql import columns, one_of
from jobs.ledger.usage import LONGEST, Amounts, Kind, Share, Sums, sums
from jobs.models import Job
from jobs.records import MOST_SHARE, PER_MILLE, DeletedJob, JobFootprint, Usage

_FOOTPRINTS, _USAGE, _DELETED = (f'"{model._meta.db_table}"' for model in (JobFootprint, Usage, DeletedJob))


ENTRY_COLUMNS = (
    *("id", "job_id", *Kind._fields, "start_time", "duration", "num_nodes", "walltime", "submit_time", "resources"),
    "meta_data",
)
"""The columns of a job's row that an Entry is made of."""


class Entry(NamedTuple):
    """An ended job as it is in its row now, with its footprint."""

    row_id: int
    job_id: int
    kind: Kind
    start_time: int
    duration: int
    num_nodes: int
    walltime: int
    submit_time: int
    resources: str
    meta_data: str | None
    footprint: Footprint

    @classmethod
    def of(cls, values: Sequence[Any], footprint: Footprint) -> "Entry":
        """Return the entry of a job with these values of ENTRY_COLUMNS."""
        row_id, job_id, *rest = values
        width = len(Kind._fields)
        return cls._make((row_id, job_id, Kind(*rest[:width]), *rest[width:], footprint))

    @property
    def share(self) -> Share:
        """Return what the job adds to usage."""
        found = self.footprint
        # No wait at all counts as a second, so that it is known from one that is unknown.
        waiting = min(max(1, self.start_time - self.submit_time), LONGEST) if self.submit_time else 0
        return Share(
            self.kind,
            self.start_time,
            self.duration,
            self.num_nodes,
            found.cores,
            found.accelerators,
            waiting,
            found.power or 0,
        )


def kind_of(job: Job) -> Kind:
    """Return whose usage a job is, by its row."""
    return Kind(*(getattr(job, name) for name in Kind._fields))


def book(entries: Sequence[Entry]) -> None:
    """Write nodes, footprints and usage of ended jobs; what was booked of one before is taken away first."""
    entries = sorted(entries)
    removed = _take_away(entries)
    write_nodes([_nodes_of(entry) for entry in entries])
    _write_footprints(entries)
    add_usage(sums((entry.share for entry in entries), removed))


def move(changes: Sequence[tuple[int, Kind, Kind]]) -> None:
    """Move the usage of jobs, given by row id, from one kind to another; jobs that are not booked are left out."""
    booked = _booked([row_id for row_id, _, _ in changes])
    before = [Share(old, *booked[row_id]) for row_id, old, _ in changes if row_id in booked]
    after = [Share(new, *booked[row_id]) for row_id, _, new in changes if row_id in booked]
    add_usage(sums(after, before))


def take_back(keys: Sequence[JobKey]) -> None:
    """Take away what stayed booked of deleted jobs: they are restored, and yet to be booked anew."""
    if not DeletedJob.objects.exists():  # usually, and it saves a list of all keys
        return
    given, parameters = _given(keys)
    with connection.cursor() as cursor:
        cursor.execute(_RETURNED.format(given=given), parameters)
        rows = cursor.fetchall()
    if rows:
        add_usage(sums((), _shares(rows, {})))


def keep_usage(row_ids: Sequence[int]) -> None:
    """Delete nodes and footprints of jobs that are to be deleted, and remember what stays booked of them."""
    with connection.cursor() as cursor:
        chosen, parameters = one_of('f."job_id"', row_ids)
        names = ", ".join(f'"{name}"' for name in (*Kind._fields, "job_id"))
        of_job = ", ".join(f'j."{name}"' for name in (*Kind._fields, "job_id"))
        numbers = ", ".join(f'"{name}"' for name in _NUMBERS)
        of_footprint = ", ".join(f'f."{name}"' for name in _NUMBERS)
        cursor.execute(
            f"INSERT INTO {_DELETED} ({names}, {numbers}) SELECT {of_job}, {of_footprint} FROM {_FOOTPRINTS} f "
            f'JOIN "jobs_job" j ON j."id" = f."job_id" WHERE {chosen}',
            parameters,
        )
        cursor.execute(
            f'SELECT j."id", j."cluster", f."start_time", f."duration", j."resources" FROM {_FOOTPRINTS} f '
            f'JOIN "jobs_job" j ON j."id" = f."job_id" WHERE {chosen}',
            parameters,
        )
        delete_nodes([JobNodes(*row) for row in cursor.fetchall()])
        chosen, parameters = one_of('"job_id"', row_ids)
        cursor.execute(f"DELETE FROM {_FOOTPRINTS} WHERE {chosen}", parameters)


_NUMBERS = Share._fields[1:]
_NUMBERS_OF_BOOKED = ", ".join(f'"{name}"' for name in _NUMBERS)
_KEYS = "(SELECT * FROM unnest(%s::bigint[], %s::text[], %s::bigint[]) AS k(column1, column2, column3))"
_OLD = f"""
    DELETE FROM {_FOOTPRINTS} WHERE {{chosen}}
    RETURNING "job_id", {", ".join(["CAST(NULL AS text)"] * len(Kind._fields))}, {_NUMBERS_OF_BOOKED}
"""
# A join in this order: SQLite would read the whole table for a list of keys.
_RETURNED = f"""
    DELETE FROM {_DELETED} WHERE "id" IN (
        SELECT d."id" FROM {{given}} AS g CROSS JOIN {_DELETED} d
        WHERE d."job_id" = g.column1 AND d."cluster" = g.column2 AND d."start_time" = g.column3)
    RETURNING CAST(NULL AS bigint), {", ".join(f'"{name}"' for name in Kind._fields)}, {_NUMBERS_OF_BOOKED}
"""
# Both at once, in one round trip.
_TAKEN_AWAY = f"""
    WITH old AS ({_OLD.format(chosen='"job_id" = ANY(%s::bigint[])')}), returned AS ({_RETURNED.format(given=_KEYS)})
    SELECT * FROM old UNION ALL SELECT * FROM returned
"""


def _booked(row_ids: Sequence[int]) -> dict[int, tuple[int, ...]]:
    """Return what is booked of these jobs, by row id: the numbers of Share."""
    chosen, parameters = one_of('"job_id"', row_ids)
    with connection.cursor() as cursor:
        cursor.execute(f'SELECT "job_id", {_NUMBERS_OF_BOOKED} FROM {_FOOTPRINTS} WHERE {chosen}', parameters)
        return {row_id: tuple(numbers) for row_id, *numbers in cursor.fetchall()}


def _nodes_of(entry: Entry) -> JobNodes:
    return JobNodes(entry.row_id, entry.kind.cluster, entry.start_time, entry.duration, entry.resources)


def _take_away(entries: Sequence[Entry]) -> list[Share]:
    """Delete the footprints of these jobs, and what stayed booked of earlier rows of theirs; return the shares."""
    kinds = {entry.row_id: entry.kind for entry in entries}
    given, keys = _given([JobKey(entry.kind.cluster, entry.job_id, entry.start_time) for entry in entries])
    with connection.cursor() as cursor:
        if connection.vendor == "postgresql":
            cursor.execute(_TAKEN_AWAY, [list(kinds), *keys])
            rows = cursor.fetchall()
        else:
            chosen, row_ids = one_of('"job_id"', list(kinds))
            cursor.execute(_OLD.format(chosen=chosen), row_ids)
            rows = cursor.fetchall()
            cursor.execute(_RETURNED.format(given=given), keys)
            rows += cursor.fetchall()
    return _shares(rows, kinds)


def _given(keys: Sequence[JobKey]) -> tuple[str, list[Any]]:
    """Return the keys of jobs as a table in a statement, with its parameters."""
    rows = [(key.job_id, key.cluster, key.start_time) for key in keys]
    if connection.vendor == "postgresql":
        return _KEYS, columns(rows, 3)
    return f"(VALUES {', '.join(['(%s, %s, %s)'] * len(rows))})", list(chain.from_iterable(rows))


def _shares(rows: Sequence[Sequence[Any]], kinds: Mapping[int, Kind]) -> list[Share]:
    """Return what was taken away; a row with the id of a job, in place of a kind, is of that job's kind."""
    width = len(Kind._fields)
    return [Share(Kind(*row[1 : width + 1]) if row[0] is None else kinds[row[0]], *row[width + 1 :]) for row in rows]


_ALWAYS = ("job_id", *_NUMBERS, "energy", "walltime_share", "name")


def _write_footprints(entries: Sequence[Entry]) -> None:
    """Write footprints, with the slots that these jobs use: fewer columns take less time on both databases."""
    slots = slots_for(name for entry in entries for name in entry.footprint.metrics)
    names = (*_ALWAYS, *(f"{figure}_{slot}" for slot in slots.values() for figure in Figures._fields))
    rows = [_footprint_row(entry, slots) for entry in entries]
    sql = _insert_footprints(connection.vendor, names)
    with connection.cursor() as cursor:
        if connection.vendor == "postgresql":
            documents = [dict(zip(names, row, strict=True)) for row in rows]
            cursor.execute(sql, [msgspec.json.encode(documents).decode()])
        else:
            cursor.executemany(sql, rows)


@lru_cache
def _insert_footprints(vendor: str, names: tuple[str, ...]) -> str:
    into = f"INSERT INTO {_FOOTPRINTS} ({', '.join(names)})"
    if vendor == "sqlite":
        return f"{into} VALUES ({', '.join(['%s'] * len(names))})"
    fields = {field.column: field for field in JobFootprint._meta.concrete_fields}
    types = ", ".join(f"{name} {fields[name].db_type(connection)}" for name in names)
    return f"{into} SELECT {', '.join(names)} FROM json_to_recordset(%s) AS given({types})"


def _footprint_row(entry: Entry, slots: dict[str, int]) -> list[Any]:
    """Return the values of a footprint's columns; a metric without a slot is left out."""
    found, walltime = entry.footprint, entry.walltime
    row = [
        entry.row_id,
        *entry.share[1:],
        None if found.power is None else found.power * entry.duration / 3.6e9,
        min(entry.duration * PER_MILLE // walltime, MOST_SHARE) if walltime > 0 else None,
        name_in(entry.meta_data),
    ]
    for name in slots:
        row += found.metrics.get(name, _NOTHING)
    return row


_NOTHING = Figures()


def rename(row_id: int, meta_data: str | None) -> None:
    """Write down the name that a booked job has in its metadata now (JSON text)."""
    JobFootprint.objects.filter(job=row_id).update(name=name_in(meta_data))


_KEY = ("day", *Kind._fields)
_ADD = f"""
    INSERT INTO {_USAGE} ({", ".join(f'"{name}"' for name in (*_KEY, *Amounts._fields))}) {{given}}
    ON CONFLICT ({", ".join(f'"{name}"' for name in _KEY)}) DO UPDATE SET
    {", ".join(f'"{name}" = {_USAGE}."{name}" + excluded."{name}"' for name in Amounts._fields)}
"""
_ARRAYS = ", ".join(["%s::int[]"] + ["%s::text[]"] * len(Kind._fields) + ["%s::bigint[]"] * len(Amounts._fields))
_DROP_EMPTY = f"""
    DELETE FROM {_USAGE} WHERE {" AND ".join(f'"{name}" = 0' for name in Amounts._fields)}
    AND {" AND ".join(f'"{name}" = %s' for name in _KEY)}
"""


def add_usage(changes: Sums) -> None:
    """Add amounts to usage, and delete the rows of which nothing is left."""
    rows = [(day, *kind, *changes[day, kind]) for day, kind in sorted(changes)]
    emptied = [(day, *kind) for day, kind in sorted(changes) if min(changes[day, kind]) < 0]
    with connection.cursor() as cursor:
        if connection.vendor == "postgresql":
            given = f"SELECT * FROM unnest({_ARRAYS})"
            cursor.execute(_ADD.format(given=given), columns(rows, len(_KEY) + len(Amounts._fields)))
        else:
            places = ", ".join(["%s"] * (len(_KEY) + len(Amounts._fields)))
            cursor.executemany(_ADD.format(given=f"VALUES ({places})"), rows)
        if emptied:
            cursor.executemany(_DROP_EMPTY, emptied)
