"""Measure the archive worker on jobs that wait; see docs/performance.md.

    python -m benchmarks.worker [--jobs 2000] [--workers 1] [--source cc-metric-store] [--nodes 4] [--hours 1]
    python -m benchmarks.worker --single --nodes 32 --hours 24
    python -m benchmarks.worker --idle

Starts real workers (manage.py archive_worker) on the database in DATABASE_URL, or on SQLite in a temporary folder, and
prints the jobs per second from the first to the last, and the CPU that workers and metric store used. Source `none`
writes meta.json alone. The metric store is a process of its own on this machine: 13 metrics every minute, 8 of them
with finer units than nodes, as cluster.json below says; it answers without computing anything.

With --single: the time from a stop to the archived job, of 30 jobs one at a time, the worker idle before. With
--idle: the CPU of a worker, and of its connections to PostgreSQL if that runs here, in a minute without work; on a
database that benchmarks.many filled or on an empty one.
"""

import argparse
import contextlib
import json
import os
import random
import socket
import socketserver
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from multiprocessing import Process
from typing import Any

import orjson
import psutil

from benchmarks import guard, many
from benchmarks.api import ROOT, free_port

NODE_METRICS = ("cpu_load", "mem_used", "nfs_read", "nfs_write", "nfs_total")
THREAD_METRICS = ("cpu_user", "ipc", "flops_any", "flops_dp", "flops_sp", "clock", "vectorization_ratio")
SCOPES = dict.fromkeys(NODE_METRICS, "node") | dict.fromkeys(THREAD_METRICS, "hwthread") | {"mem_bw": "socket"}
UNIT = {"base": "F/s", "prefix": "G"}
CLUSTER: dict[str, Any] = {
    "name": "bench",
    "metricConfig": [
        {"name": name, "unit": UNIT, "scope": scope, "aggregation": "sum", "timestep": 60}
        | dict.fromkeys(("peak", "normal", "caution", "alert"), 1)
        for name, scope in SCOPES.items()
    ],
    "subClusters": [
        {
            "name": "main",
            "nodes": "n[001-512]",
            "processorType": "X",
            "socketsPerNode": 1,
            "coresPerSocket": 4,
            "threadsPerCore": 1,
            **{key: {"unit": UNIT, "value": 1} for key in ("flopRateScalar", "flopRateSimd", "memoryBandwidth")},
            "topology": {
                "node": [0, 1, 2, 3],
                "socket": [[0, 1, 2, 3]],
                "memoryDomain": [[0, 1, 2, 3]],
                "core": [[0], [1], [2], [3]],
            },
        }
    ],
}
EPOCH = 1_790_000_000


class Answers(socketserver.StreamRequestHandler):
    """The metric store: a series per query, whose samples depend on the number of the query only."""

    disable_nagle_algorithm = True
    ready: dict[bytes, bytes] = {}

    def handle(self) -> None:
        """Answer the requests of a connection."""
        while self.rfile.readline():
            length = 0
            while (line := self.rfile.readline()) not in (b"\r\n", b""):
                name, _, value = line.partition(b":")
                length = int(value) if name.lower() == b"content-length" else length
            body = self.rfile.read(length)
            _, _, queries = body.partition(b'"queries"')
            if queries not in self.ready:
                self.ready[queries] = answer(orjson.loads(body))
            self.wfile.write(self.ready[queries])


def answer(request: dict[str, Any]) -> bytes:
    """Return the HTTP answer to a query."""
    samples = (request["to"] - request["from"]) // 60 + 1
    results = []
    for number, query in enumerate(request["queries"]):
        count = 1 if query["aggreg"] else len(query.get("type-ids", [0]))
        data = [round(10 + number % 17 + step % 7 + step / 777, 3) for step in range(samples)]
        series = {"from": request["from"], "to": request["to"], "data": data, "avg": 1, "min": 1, "max": 1}
        results.append([series] * count)
    body = orjson.dumps({"results": results})
    return b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: %d\r\n\r\n%b" % (len(body), body)


def serve(port: int) -> None:
    """Run the metric store."""
    socketserver.ThreadingTCPServer.allow_reuse_address = True
    with socketserver.ThreadingTCPServer(("127.0.0.1", port), Answers) as server:
        server.daemon_threads = True
        server.serve_forever()


@contextlib.contextmanager
def metric_store(port: int = 0) -> Iterator[tuple[int, psutil.Process]]:
    """Start the metric store on a port, or on a free one; return its port and process."""
    port = port or free_port()
    process = Process(target=serve, args=(port,), daemon=True)
    process.start()
    while True:
        with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", port)):
            break
        time.sleep(0.02)
    assert process.pid is not None
    yield port, psutil.Process(process.pid)
    process.terminate()
    process.join()


def prepare(table: int) -> None:
    """Migrate, and insert the jobs of a large centre, all running or archived."""
    from django.core.management import call_command

    from archive import root

    call_command("migrate", verbosity=0)
    root.store().prepare()
    many.insert(table)


def fill(jobs: int, nodes: int, hours: int) -> None:
    """Put jobs that wait into the database, and the cluster into the archive."""
    from archive import root
    from jobs.models import Job

    Job.objects.filter(cluster=CLUSTER["name"]).delete()
    root.store().write_cluster(CLUSTER["name"], orjson.dumps(CLUSTER))
    resources = json.dumps([{"hostname": f"n{node:03}"} for node in range(1, nodes + 1)])
    Job.objects.bulk_create(
        (
            Job(
                job_id=number,
                cluster=CLUSTER["name"],
                sub_cluster="main",
                user="user",
                project="project",
                num_nodes=nodes,
                job_state="completed",
                start_time=EPOCH + 60 * number,
                duration=3600 * hours,
                resources=resources,
                meta_data=json.dumps({"jobScript": "#SBATCH --nodes=4\n" * 114}),
            )
            for number in range(1, jobs + 1)
        ),
        batch_size=500,
    )


def cpu_of(processes: list["subprocess.Popen[bytes]"]) -> float:
    """Return the seconds of CPU that processes and their children have used."""
    mains = [psutil.Process(process.pid) for process in processes]
    everyone = [process for main in mains for process in (main, *main.children(recursive=True))]
    return float(sum(sum(process.cpu_times()[:2]) for process in everyone))


def drain(jobs: int, workers: int) -> tuple[float, float]:
    """Let workers archive all; return jobs per second, and the seconds of CPU that they used."""
    from jobs.models import Job

    command = [sys.executable, "manage.py", "archive_worker", "-v", "0"]
    processes = [subprocess.Popen(command, cwd=ROOT) for _ in range(workers)]
    archived = Job.objects.archived().filter(cluster=CLUSTER["name"])
    while not (first := archived.count()):
        time.sleep(0.005)
    begin = time.monotonic()
    cpu = -cpu_of(processes)
    while (done := archived.count()) < jobs:
        time.sleep(0.02)
    seconds = time.monotonic() - begin
    cpu += cpu_of(processes)
    for process in processes:
        process.terminate()
    for process in processes:
        process.wait()
    return (done - first) / seconds, cpu / (done - first)


@contextlib.contextmanager
def ready_worker(settle: float = 5) -> Iterator[psutil.Process]:
    """Run a worker that has settled; return its process."""
    process = subprocess.Popen([sys.executable, "manage.py", "archive_worker", "-v", "0"], cwd=ROOT)
    time.sleep(settle)
    yield psutil.Process(process.pid)
    process.terminate()
    process.wait()


def single(jobs: int) -> list[float]:
    """Let an idle worker archive jobs one at a time; return the seconds from the stop to the archived job of each."""
    from archive import root
    from jobs.models import Job

    all_jobs = Job.objects.filter(cluster=CLUSTER["name"]).order_by("pk")
    all_jobs.update(job_state="running")
    times = []
    with ready_worker():
        for job in all_jobs[: jobs + 1]:
            row = Job.objects.filter(pk=job.pk)
            begin = time.monotonic()
            row.update(job_state="completed")
            while not row.archived().exists():
                time.sleep(0.002)
            times.append(time.monotonic() - begin)
            assert root.store().has_job(job.key)
            time.sleep(random.uniform(0.2, 0.8))
    return times[1:]  # the first waits for the worker and its processes to start


def idle(seconds: float) -> tuple[float, float]:
    """Return the seconds of CPU of an idle worker in some seconds, and those of its connections to PostgreSQL."""
    from django.db import connection

    with ready_worker(20) as worker:
        backends = []
        if connection.vendor == "postgresql":
            with connection.cursor() as cursor:
                cursor.execute("SELECT pid FROM pg_stat_activity WHERE datname = current_database()")
                backends = [psutil.Process(pid) for (pid,) in cursor.fetchall()]
        everyone = [[worker, *worker.children(recursive=True)], backends]
        used = [-sum(sum(process.cpu_times()[:2]) for process in some) for some in everyone]
        time.sleep(seconds)
        used = [
            before + sum(sum(process.cpu_times()[:2]) for process in some)
            for before, some in zip(used, everyone, strict=True)
        ]
    return used[0], used[1]


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--jobs", type=int, default=2000)
    many.add_option(parser)
    parser.add_argument("--workers", type=int, default=1)
    parser.add_argument("--source", choices=("cc-metric-store", "none"), default="cc-metric-store")
    parser.add_argument("--nodes", type=int, default=4)
    parser.add_argument("--hours", type=int, default=1)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--single", action="store_true")
    parser.add_argument("--idle", action="store_true")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="benchmark-") as folder, metric_store() as (port, store):
        os.environ["SECRET_KEY"] = "benchmark"
        os.environ.setdefault("DATABASE_URL", f"sqlite:///{folder}/benchmark.sqlite3")
        os.environ.setdefault("ARCHIVE_ROOT", f"{folder}/archive")
        entry = {"kind": options.source}
        if options.source == "cc-metric-store":
            entry["url"] = f"http://127.0.0.1:{port}"
        os.environ["METRIC_SOURCES"] = json.dumps({"*": entry})
        import django

        django.setup()
        if options.idle:
            worker, database = idle(60)
            print(f"seconds of CPU in an idle minute: worker {worker:.2f}, its connections {database:.2f}")
            return
        guard.require_empty()
        prepare(options.table)
        if options.single:
            fill(31, options.nodes, options.hours)
            times = sorted(single(30))
            print(
                f"from stop to archived: median {statistics.median(times):.3f} s, 90 % within {times[26]:.3f}, "
                f"{times[0]:.3f} to {times[-1]:.3f}"
            )
            return
        for _ in range(options.rounds):
            fill(options.jobs, options.nodes, options.hours)
            before = sum(store.cpu_times()[:2])
            rate, cpu = drain(options.jobs, options.workers)
            of_store = (sum(store.cpu_times()[:2]) - before) / options.jobs
            print(
                f"{rate:7.0f} jobs/s   CPU per job: workers {cpu * 1000:.1f} ms, metric store {of_store * 1000:.1f} ms"
            )


if __name__ == "__main__":
    main()
