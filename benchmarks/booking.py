"""Book a large job, and measure what it takes: `python -m benchmarks.booking [--nodes 500] [--metrics 30]`.

Writes to the database of DATABASE_URL, which benchmarks.many filled, and takes each job away again. Prints the
milliseconds within the database's statements and of the whole booking, median (quartiles), of jobs whose nodes are
known, as nearly all are, and of the first one.
"""

import argparse
import json
import statistics
import time
from collections.abc import Sequence
from typing import Any

import django

from benchmarks import guard

_CLUSTER = "booking"


def main() -> None:
    """Book jobs one after the other, each in a transaction that is committed."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--nodes", type=int, default=500)
    parser.add_argument("--metrics", type=int, default=30)
    parser.add_argument("--rounds", type=int, default=50)
    options = parser.parse_args()
    django.setup()

    from django.db import connection, transaction

    from jobs.deletion.services import delete_jobs
    from jobs.ledger.backlog import book_rows
    from jobs.ledger.footprint import USUAL_METRICS
    from jobs.models import Job
    from jobs.records import Node
    from jobs.rows.columns import STORED_COLUMNS, Row

    guard.require_benchmark()
    spent = 0.0

    def timed(execute: Any, *arguments: Any) -> Any:
        nonlocal spent
        begin = time.perf_counter()
        try:
            return execute(*arguments)
        finally:
            spent += time.perf_counter() - begin

    names = [*USUAL_METRICS, *(f"metric{number}" for number in range(options.metrics))][: options.metrics]
    numbers = json.dumps({name: {"avg": 1.5, "min": 1.0, "max": 2.0} for name in names})
    resources = json.dumps([{"hostname": f"big{number:04}"} for number in range(options.nodes)])
    inside, whole = [], []
    for number in range(options.rounds + 1):
        job = Job.objects.create(
            job_id=2**40 + number,
            cluster=_CLUSTER,
            user="user001",
            project="proj01",
            num_nodes=options.nodes,
            start_time=int(time.time()) - 7200 - number,
            duration=3600,
            job_state="completed",
            monitoring_status=3,
            resources=resources,
            statistics=numbers,
            is_booked=True,
        )
        row = Row(**Job.objects.filter(pk=job.pk).values(*STORED_COLUMNS).get(), tags=None)
        spent = 0.0
        begin = time.perf_counter()
        with transaction.atomic(), connection.execute_wrapper(timed):
            book_rows([row])
        whole.append(time.perf_counter() - begin)
        inside.append(spent)
        delete_jobs(row_ids=[job.pk])
    Node.objects.filter(cluster=_CLUSTER).delete()
    print(f"{options.nodes} nodes, {options.metrics} metrics")
    print(f"in statements: {_shown(inside[1:])}; the first {inside[0] * 1000:.1f}")
    print(f"with commit:   {_shown(whole[1:])}; the first {whole[0] * 1000:.1f}")


def _shown(seconds: Sequence[float]) -> str:
    first, median, third = (1000 * value for value in statistics.quantiles(seconds, n=4))
    return f"{median:.1f} ms ({first:.1f} to {third:.1f})"


if __name__ == "__main__":
    main()
