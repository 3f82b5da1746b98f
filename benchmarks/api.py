"""Measure start_job, stop_job, lists and a mix of them on a server started as in production; see docs/performance.md.

    python -m benchmarks.api [--rounds 3] [--seconds 4] [--yardstick start=RATE ...]

The server gets a database and an archive of its own in a temporary folder. A yardstick is the rate of a server that
only decodes the same body and answers a constant, driven in the same minute: rates divided by it compare between days
and machines. With --load PATH, a load generator that can also serve such a yardstick (-stub ADDRESS) takes the place
of the one in this folder and the yardstick is measured right before and after each run. --beside list1000 lets two more
connections ask for lists meanwhile.
"""

import argparse
import contextlib
import itertools
import json
import multiprocessing
import os
import socket
import statistics
import subprocess
import sys
import tempfile
import time
import urllib.request
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import psutil

from benchmarks import many
from benchmarks.load import Result, drive, http_request

ROOT = Path(__file__).resolve().parent.parent
OPERATIONS = ("start", "stop", "list25", "listfilter", "list1000", "mixed")
HOSTS = [f"n{number:02}" for number in range(1, 9)]
FIRST_JOB = 10_000_000
_EPOCH = 1_795_400_000
_LATEST = 4_102_444_800
_FILTERED = f"cluster=demo&state=completed&state=failed&start-time=0-{_LATEST}&items-per-page=50&page=3"
_MIX = ("start", "start", "stop", "stop", "list25")  # 40 % starts, 40 % stops, 20 % lists
_LINES = "#SBATCH --comment=abcdefghijklmnopqrstuvwxyz0123456789\nsrun ./solver --input a.dat\n" * 24
_SCRIPT = f"#!/bin/bash\n{_LINES}"[:2048]


@dataclass
class Measured:
    """One run: rate (1/s), latencies (ms), CPU of the server per request (ms), requests that went wrong."""

    rate: float
    p50: float
    p99: float
    cpu: float
    errors: int
    count: int
    yardstick: float | None = None


def start_body(number: int, epoch: int = _EPOCH) -> bytes:
    """Return the body of the start of job `number`: 4 nodes, a script of 2 kB, 16 starts a second from `epoch` on."""
    hosts = [HOSTS[(number + offset) % len(HOSTS)] for offset in range(4)]
    body = {
        "jobId": number,
        "user": f"user{number % 500:03}",
        "project": f"proj{number % 100:02}",
        "cluster": "demo",
        "subCluster": "main",
        "partition": "main",
        "arrayJobId": 0,
        "numNodes": 4,
        "numHwthreads": 16,
        "numAcc": 0,
        "smt": 1,
        "monitoringStatus": 1,
        "jobState": "running",
        "startTime": epoch + number // 16,
        "walltime": 86_400,
        "resources": [{"hostname": host, "hwthreads": [0, 1, 2, 3]} for host in hosts],
        "metaData": {"jobName": f"job{number}", "jobScript": _SCRIPT},
    }
    return json.dumps(body).encode()


def stop_body(number: int, epoch: int = _EPOCH) -> bytes:
    """Return the body of the stop of job `number`."""
    start = epoch + number // 16
    body = {"jobId": number, "cluster": "demo", "startTime": start, "stopTime": start + 3600, "jobState": "completed"}
    return json.dumps(body).encode()


def requests_of(operation: str, token: str, first: int, count: int | None) -> Iterator[bytes]:
    """Yield the requests of an operation; starts and stops from job number `first` on."""
    if operation == "mixed":
        calls = {call: requests_of(call, token, first, None) for call in set(_MIX)}
        ahead = ("start",) * 64  # so that no stop overtakes its start
        return (next(calls[call]) for call in itertools.chain(ahead, itertools.cycle(_MIX)))
    numbers = itertools.count(first) if count is None else iter(range(first, first + count))
    if operation == "start":
        return (http_request("POST", "/api/jobs/start_job/", token, start_body(n)) for n in numbers)
    if operation == "stop":
        return (http_request("POST", "/api/jobs/stop_job/", token, stop_body(n)) for n in numbers)
    query = _FILTERED if operation == "listfilter" else f"items-per-page={operation.removeprefix('list')}&page=1"
    page = http_request("GET", f"/api/jobs/?{query}", token)
    return itertools.repeat(page)


class Server:
    """gunicorn and the archive worker on a fresh database with some jobs."""

    def __init__(self, folder: Path, *, workers: int, jobs: int) -> None:
        """Set up and start; returns when the server answers."""
        self.port = free_port()
        self.environment = os.environ | {
            "SECRET_KEY": "benchmark",
            "DATABASE_URL": os.environ.get("DATABASE_URL", f"sqlite:///{folder}/benchmark.sqlite3"),
            "ARCHIVE_ROOT": str(folder / "archive"),
        }
        prepared = subprocess.run(
            [sys.executable, "-m", "benchmarks.prepare", str(jobs)],
            cwd=ROOT,
            env=self.environment,
            check=True,
            stdout=subprocess.PIPE,
            text=True,
        )
        self.token = prepared.stdout.strip()
        self.processes = [
            self._start(["-m", "gunicorn", "ccbackend.wsgi", "-w", str(workers), "-b", f"127.0.0.1:{self.port}"]),
            self._start(["manage.py", "archive_worker"]),
        ]
        deadline = time.monotonic() + 60
        while time.monotonic() < deadline:
            with contextlib.suppress(OSError):
                urllib.request.urlopen(f"http://127.0.0.1:{self.port}/", timeout=5).close()
                return
            time.sleep(0.1)
        raise SystemExit("the server did not start")

    def _start(self, command: list[str]) -> "subprocess.Popen[bytes]":
        log = subprocess.DEVNULL
        return subprocess.Popen([sys.executable, *command], cwd=ROOT, env=self.environment, stdout=log, stderr=log)

    def cpu(self) -> float:
        """Return the seconds of CPU that gunicorn's processes have used."""
        main = psutil.Process(self.processes[0].pid)
        times = [process.cpu_times() for process in (main, *main.children())]
        return float(sum(time_.user + time_.system for time_ in times))

    def stop(self) -> None:
        """Stop both processes."""
        for process in self.processes:
            process.terminate()
        for process in self.processes:
            process.wait()


def free_port() -> int:
    """Return a port that nobody listens on."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


class BuiltIn:
    """Drive with benchmarks.load."""

    def __init__(self, connections: int, yardsticks: dict[str, float]) -> None:
        """Take yardsticks that somebody measured, by operation."""
        self.connections = connections
        self.yardsticks = yardsticks

    def run(
        self, server: Server, operation: str, first: int, count: int | None, seconds: float
    ) -> tuple[Result, float | None]:
        """Return what was measured, and the yardstick."""
        requests = requests_of(operation, server.token, first, count)
        result = drive(server.port, requests, connections=self.connections, seconds=seconds)
        return result, self.yardsticks.get(operation)


class External:
    """Drive with another load generator, which also serves the yardstick."""

    def __init__(self, path: str, connections: int) -> None:
        """Start the yardstick."""
        self.path, self.connections, self.port = path, connections, free_port()
        self.stub = subprocess.Popen([path, "-stub", f"127.0.0.1:{self.port}"], stderr=subprocess.DEVNULL)

    def run(
        self, server: Server, operation: str, first: int, count: int | None, seconds: float
    ) -> tuple[Result, float | None]:
        """Return what was measured, and the mean of the yardstick before and after."""
        before = self._drive(self.port, "x", operation, 0, None, 1.5)[0]
        _, answer = self._drive(server.port, server.token, operation, first, count, seconds)
        after = self._drive(self.port, "x", operation, 0, None, 1.5)[0]
        statuses = {int(status): number for status, number in answer["statuses"].items()}
        result = Result(seconds=answer["wall_s"], statuses=statuses)
        # Only percentiles are known: latencies that have these and this number.
        total = answer["requests"]
        result.latencies = [answer["p50_ms"] / 1000] * (total - total // 50) + [answer["p99_ms"] / 1000] * (total // 50)
        return result, (before + after) / 2

    def _drive(
        self, port: int, token: str, operation: str, first: int, count: int | None, seconds: float
    ) -> tuple[float, dict[str, Any]]:
        command = [self.path, "-base", f"http://127.0.0.1:{port}", "-token", token, "-op", operation]
        command += ["-c", str(self.connections), "-seconds", str(seconds), "-offset", str(first), "-cluster", "demo"]
        command += ["-subcluster", "main", "-hosts", ",".join(HOSTS)]
        command += [] if count is None else ["-count", str(count)]
        answer = json.loads(subprocess.run(command, check=True, capture_output=True, text=True).stdout)
        return answer["rps"], answer


@contextlib.contextmanager
def others(server: Server, operation: str | None, seconds: float) -> Iterator[None]:
    """Let another process send requests of an operation meanwhile, on two connections, for longer than `seconds`."""
    if operation is None:
        yield
        return
    options = {"connections": 2, "seconds": seconds + 1}
    requests = requests_of(operation, server.token, 0, None)
    process = multiprocessing.get_context("fork").Process(target=drive, args=(server.port, requests), kwargs=options)
    process.start()
    try:
        yield
    finally:
        process.join()


def measure(
    driver: BuiltIn | External, server: Server, operation: str, first: int, count: int | None, seconds: float
) -> Measured:
    """Run one operation once."""
    cpu = server.cpu()
    result, yardstick = driver.run(server, operation, first, count, seconds)
    number = len(result.latencies)
    errors = number - sum(result.statuses.get(status, 0) for status in (200, 201))
    used = (server.cpu() - cpu) / max(1, number) * 1000
    return Measured(result.rate, result.percentile(0.5), result.percentile(0.99), used, errors, number, yardstick)


def report(operation: str, runs: list[Measured]) -> str:
    """Return a line with the medians of some runs, and the range of the rates."""
    rates = [run.rate for run in runs]
    p50, p99, cpu = (statistics.median(values) for values in zip(*((r.p50, r.p99, r.cpu) for r in runs), strict=True))
    line = f"{operation:9} {statistics.median(rates):7.0f}/s ({min(rates):.0f} to {max(rates):.0f})"
    line += f"  p50 {p50:6.1f} ms  p99 {p99:6.1f} ms  CPU {cpu:6.2f} ms/request  errors {sum(r.errors for r in runs)}"
    shares = [run.rate / run.yardstick for run in runs if run.yardstick]
    if shares:
        line += f"  share {statistics.median(shares):.4f} ({min(shares):.4f} to {max(shares):.4f})"
    return line


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--seconds", type=float, default=4, help="of each run")
    parser.add_argument("--connections", type=int, default=8)
    parser.add_argument("--workers", type=int, default=2, help="gunicorn's processes")
    many.add_option(parser)
    parser.add_argument("--yardstick", nargs="*", default=[], metavar="OPERATION=RATE", help="measured this minute")
    parser.add_argument("--load", metavar="PATH", help="another load generator, with a yardstick of its own")
    parser.add_argument("--beside", choices=OPERATIONS[2:5], help="what others ask for meanwhile")
    parser.add_argument("--operations", nargs="*", default=OPERATIONS, choices=OPERATIONS)
    options = parser.parse_args()
    yardsticks = {name: float(rate) for name, _, rate in (item.partition("=") for item in options.yardstick)}
    driver = External(options.load, options.connections) if options.load else BuiltIn(options.connections, yardsticks)
    runs: dict[str, list[Measured]] = {operation: [] for operation in options.operations}
    with tempfile.TemporaryDirectory(prefix="benchmark-") as folder:
        server = Server(Path(folder), workers=options.workers, jobs=options.table)
        try:
            first = FIRST_JOB
            for _ in range(options.rounds):
                started: int | None = None
                for operation in options.operations:
                    count = started if operation == "stop" else None
                    with others(server, options.beside, options.seconds):
                        run = measure(driver, server, operation, first, count, options.seconds)
                    started = run.count if operation == "start" else started
                    runs[operation].append(run)
                    first += 0 if operation == "start" else 1_000_000  # whose jobs are stopped next
        finally:
            server.stop()
            if isinstance(driver, External):
                driver.stub.terminate()
    for operation in options.operations:
        print(report(operation, runs[operation]))


if __name__ == "__main__":
    main()
