"""Fill the database of DATABASE_URL with a large centre's jobs: `python -m benchmarks.many [JOBS]` (default 1,000,000).

Thirty days of two clusters: 500 users, of whom some have many jobs, 100 projects, 2,000 running jobs, some whose
archiving failed, and tags of which one is on every fiftieth job. Job scripts of 1 to 2 kB, statistics of seven metrics.
Nodes, footprints and usage of the ended jobs are there, too.
The users are `benchmark-admin`, `benchmark-manager` (of one small and two large projects) and `user001`; none has a
password. A database or an archive that holds anything is refused.
"""

import argparse
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
_PATTERN = 100_000  # jobs that Python makes; all are copies of them that the database makes
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
        of_metric = json.dumps({"unit": _UNIT, "min": level, "avg": level * 2, "max": level * 4})
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
            else "{" + ", ".join(f'"{metric}": {of_metric}' for metric in _METRICS) + "}",
        )


def add_option(parser: argparse.ArgumentParser) -> None:
    """Add the option that all benchmarks of a database share."""
    parser.add_argument("--table", type=int, default=JOBS, metavar="JOBS", help=f"jobs in the table before ({JOBS:,})")


def insert(count: int) -> None:
    """Insert jobs 1 to `count` with their tags into an empty table, and let the database look at what it has.

    Raise ValueError if the table is not empty.
    """
    from django.db import transaction

    from archive import root
    from benchmarks import copies
    from jobs.models import Job
    from jobs.rows.insert import insert_jobs, insert_links, keep_ids
    from jobs.tags.ids import tag_ids

    if Job.objects.exists():  # what is there would be taken for the pattern, and be deleted
        raise ValueError("expected a database without jobs")
    now = int(time.time())
    start = f"{now - DAYS * 86_400} + {DAYS * 86_400} * ({{row_id}} - 1) / {count}"
    with copies.quick_loading():
        running = _insert_pattern(count, now)
        copies.take_pattern()
        for shift in reversed(range(0, count, _PATTERN)):
            with transaction.atomic():
                copies.copy(shift, count - len(running), start)
            copies.vacuum()
        with transaction.atomic():
            copies.write_usage()
            insert_jobs(running)
    keep_ids(Job, count)
    with transaction.atomic():
        tags = list(tag_ids(_TAGS).values())
        common = [(row_id, tags[0]) for row_id in range(1, count + 1, 50)]
        insert_links(common + [(row_id, tags[1 + row_id % (len(tags) - 1)]) for row_id in range(7, count, 997)])
    copies.vacuum("ANALYZE")
    archived = Job.objects.archived().first()
    if archived:  # an archive without any file would be taken for one that is not mounted
        root.store().write_meta(archived.key, b"{}")


def _insert_pattern(count: int, now: int) -> list["Row"]:
    """Insert and book the newest jobs, of which all others are copies, as ended ones; return those that run."""
    from django.db import transaction

    from jobs.ledger import backlog
    from jobs.rows.insert import insert_jobs

    running: list[Row] = []
    source = rows(count, 1, now, max(0, count - _PATTERN))
    while part := list(itertools.islice(source, 5_000)):
        running += (row for row in part if row.job_state == "running")
        ended = [
            row._replace(job_state="completed", duration=600, monitoring_status=3, statistics="{}")
            if row.job_state == "running"
            else row
            for row in part
        ]
        with transaction.atomic():
            insert_jobs(ended, booked=True)
            backlog.book_rows(ended)
    return running


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
