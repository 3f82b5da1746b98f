"""Fill the database of DATABASE_URL with a large centre's jobs: `python -m benchmarks.many [JOBS]` (default 1,000,000).

Thirty days of two clusters: 500 users, of whom some have many jobs, 100 projects, 2,000 running jobs, some whose
archiving failed, and tags of which one is on every fiftieth job. Job scripts of 1 to 2 kB, statistics of seven metrics.
The users are `benchmark-admin`, `benchmark-manager` (of one small and two large projects) and `user001`; none has a
password. A database or an archive that holds anything is refused.
"""

import argparse
import contextlib
import itertools
import json
import random
import sys
import time
from collections.abc import Iterator
from typing import TYPE_CHECKING

import django

from benchmarks import guard

if TYPE_CHECKING:
    from jobs.rows.columns import Row

JOBS = 1_000_000
_PATTERN = 100_000  # jobs that Python makes; the database copies them
RUNNING = 2000
DAYS = 30
_TAGS = [("perf", "bad"), ("perf", "good"), ("review", "ask-user")] + [("ticket", str(number)) for number in range(50)]
_PROGRAMS = ["gromacs", "lammps", "openfoam", "vasp", "namd", "quantum-espresso", "cp2k", "relion", "bowtie", "train"]
_STATES = ["completed"] * 85 + ["failed"] * 8 + ["timeout"] * 3 + ["cancelled"] * 3 + ["out_of_memory"]
_SCRIPT = "#!/bin/bash\n" + "#SBATCH --comment=abcdefghijklmnopqrstuvwxyz\nsrun ./solver --input a.dat\n" * 28
_UNIT = {"base": "B/s", "prefix": "G"}
_METRICS = ("cpu_load", "cpu_user", "flops_any", "mem_bw", "mem_used", "net_bw", "cpu_power")


def rows(count: int, first_id: int, now: int, begin: int = 0) -> Iterator["Row"]:
    """Yield rows from number `begin` on, oldest start first; the newest run."""
    from jobs.rows.columns import Row

    dice = random.Random(1)
    resources = {
        (nodes, first): json.dumps([{"hostname": f"n{first + offset:04}"} for offset in range(nodes)])
        for nodes in (1, 2, 4, 16)
        for first in range(1, 985)
    }
    for number in range(begin, count):
        nodes = dice.choice((1, 1, 1, 2, 4, 16))
        start = now - DAYS * 86_400 + DAYS * 86_400 * number // count
        running = number >= count - min(RUNNING, count // 10)
        user = int(dice.paretovariate(0.7)) % 500
        state = "running" if running else dice.choice(_STATES)
        level = dice.random()
        numbers = {"min": level, "avg": level * 2, "max": level * 4}
        failed = dice.random() < 0.0005
        name = dice.choice(_PROGRAMS)
        yield Row(
            id=first_id + number,
            job_id=100_000 + number,
            user=f"user{user:03}",
            project=f"proj{user % 100:02}",
            cluster="demo" if dice.random() < 0.7 else "testbed",
            sub_cluster="main",
            partition=dice.choice(("main", "main", "main", "short", "gpu")),
            array_job_id=0,
            num_nodes=nodes,
            num_hwthreads=nodes * 16,
            num_acc=0,
            exclusive=1,
            monitoring_status=1 if running else 2 if failed else 3,
            smt=0,
            job_state=state,
            duration=0 if running else min(int(dice.expovariate(1 / 5000)), now - start),
            walltime=86_400,
            submit_time=start - dice.randint(1, 40_000),
            tags=None,
            resources=resources[nodes, dice.randint(1, 984)],
            meta_data=json.dumps(
                {"jobName": f"{name}-{number % 977}", "jobScript": _SCRIPT[: dice.randint(1000, 2000)]}
            ),
            start_time=start,
            statistics=None
            if running or failed
            else json.dumps({metric: {"unit": _UNIT, **numbers} for metric in _METRICS}),
        )


def add_option(parser: argparse.ArgumentParser) -> None:
    """Add the option that all benchmarks of a database share."""
    parser.add_argument("--table", type=int, default=JOBS, metavar="JOBS", help=f"jobs in the table before ({JOBS:,})")


def insert(count: int) -> None:
    """Insert jobs 1 to `count` with their tags into an empty table, and let the database look at what it has."""
    from django.db import connection, transaction

    from archive import root
    from jobs.ledger import audit, backlog
    from jobs.models import Job
    from jobs.rows.insert import insert_jobs, insert_links, keep_ids
    from jobs.tags.ids import tag_ids

    now = int(time.time())
    with _without_indexes():
        source = rows(count, 1, now, max(0, count - _PATTERN))
        while part := list(itertools.islice(source, 20_000)):
            ended = [row for row in part if row.job_state != "running"]
            with transaction.atomic():
                insert_jobs(ended, booked=True)
                insert_jobs(row for row in part if row.job_state == "running")
                backlog.book_rows(ended)
        shifts = range(_PATTERN, count, _PATTERN)
        for shift in shifts:
            _copy(count, shift, now)
        if shifts:
            _copy_books(shifts)
            while backlog.book_next(5000):  # the copies of running jobs
                pass
            audit.repair(list(audit.differences()))
    keep_ids(Job, count)
    with transaction.atomic():
        tags = list(tag_ids(_TAGS).values())
        common = [(row_id, tags[0]) for row_id in range(1, count + 1, 50)]
        insert_links(common + [(row_id, tags[1 + row_id % (len(tags) - 1)]) for row_id in range(7, count, 997)])
    if connection.vendor == "postgresql":
        with connection.cursor() as cursor:
            cursor.execute("VACUUM ANALYZE")
    archived = Job.objects.archived().first()
    if archived:  # an archive without any file would be taken for one that is not mounted
        root.store().write_meta(archived.key, b"{}")


def _copy(count: int, shift: int, now: int) -> None:
    """Copy the newest jobs, as many older ones; those that run have ended there."""
    from django.db import connection

    from jobs.rows.columns import STORED_COLUMNS

    ended = {"job_state": "'completed'", "duration": "600", "monitoring_status": "3", "statistics": "'{}'"}
    copied = {
        name: f"""CASE "job_state" WHEN 'running' THEN {value} ELSE "{name}" END""" for name, value in ended.items()
    } | {
        "id": f'"id" - {shift}',
        "job_id": f'"job_id" - {shift}',
        "start_time": f'{now - DAYS * 86_400} + {DAYS * 86_400} * ("id" - {shift + 1}) / {count}',
    }
    columns = (*STORED_COLUMNS, "is_booked")
    names = ", ".join(f'"{name}"' for name in columns)
    values = ", ".join(copied.get(name, f'"{name}"') for name in columns)
    with connection.cursor() as cursor:
        cursor.execute(
            f'INSERT INTO "jobs_job" ({names}) SELECT {values} FROM "jobs_job" WHERE "id" > %s',  # noqa: S608
            [max(shift, count - _PATTERN)],
        )


def _copy_books(shifts: range) -> None:
    """Write nodes and footprints of copied jobs, from those of the jobs that they are copies of."""
    from django.db import connection

    from jobs.records import JobFootprint

    names = [str(field.column) for field in JobFootprint._meta.concrete_fields]
    of_job = {"job_id": "id", "start_time": "start_time", "duration": "duration"}
    values = ", ".join(f'j."{of_job[name]}"' if name in of_job else f'f."{name}"' for name in names)
    copies = f"(VALUES {', '.join(f'({shift})' for shift in shifts)})"
    with connection.cursor() as cursor:
        cursor.execute(
            f'INSERT INTO "jobs_jobfootprint" ({", ".join(names)}) SELECT {values} FROM "jobs_jobfootprint" f '  # noqa: S608
            f'CROSS JOIN {copies} AS s JOIN "jobs_job" j ON j."id" = f."job_id" - s.column1 ORDER BY 1'
        )
        cursor.execute(
            'INSERT INTO "jobs_jobnode" ("node_id", "start_time", "end_time", "job_id") '  # noqa: S608
            'SELECT n."node_id", j."start_time", j."start_time" + j."duration", j."id" FROM "jobs_jobnode" n '
            f'CROSS JOIN {copies} AS s JOIN "jobs_job" j ON j."id" = n."job_id" - s.column1 ORDER BY 1, 2'
        )


@contextlib.contextmanager
def _without_indexes() -> Iterator[None]:
    """Drop PostgreSQL's indexes of jobs, but those of constraints, and create them after the block."""
    from django.db import connection

    if connection.vendor != "postgresql":
        yield
        return
    with connection.cursor() as cursor:
        cursor.execute("""
            SELECT indexname, indexdef FROM pg_indexes WHERE tablename = 'jobs_job' AND indexname NOT IN (
                SELECT conname FROM pg_constraint WHERE conrelid = 'jobs_job'::regclass)
        """)
        indexes = cursor.fetchall()
        for name, _ in indexes:
            cursor.execute(f'DROP INDEX "{name}"')
    yield
    with connection.cursor() as cursor:
        for _, definition in indexes:
            cursor.execute(definition)


def main() -> None:
    """Migrate, write jobs, tags and users."""
    django.setup()

    from django.core.management import call_command

    from accounts.models import Role
    from accounts.services import create_user
    from archive import root
    from jobs import demo

    guard.require_empty()
    count = int(sys.argv[1]) if len(sys.argv) > 1 else JOBS
    call_command("migrate", verbosity=0)
    demo.write_cluster(root.store())
    begin = time.monotonic()
    insert(count)
    admin, manager, user = guard.PEOPLE
    create_user(username=admin, roles=[Role.ADMIN], password=None)
    create_user(username=manager, roles=[Role.MANAGER], password=None, projects=["proj99", "proj01", "proj02"])
    create_user(username=user, roles=[Role.USER], password=None)
    print(f"{count:,} jobs in {time.monotonic() - begin:.0f} s")


if __name__ == "__main__":
    main()
