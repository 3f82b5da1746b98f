"""Time the operations without HTTP, in this process: what of a call is ours. See docs/performance.md.

    python -m benchmarks.inprocess [--calls 2000] [--profile OPERATION]

Works on the database of DATABASE_URL, which must be empty; without one, on SQLite in a temporary folder. Prints the
median of the microseconds per call by the short way for token calls (ccbackend/fastpath), and by Django's whole way
with all middleware; with --profile the functions in which one operation spends its time.
"""

import argparse
import cProfile
import importlib
import io
import os
import pstats
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from benchmarks import many
from benchmarks.api import ROOT, start_body, stop_body

OPERATIONS = ("start", "stop", "list25", "list1000", "list0")


def environ(operation: str, token: str, number: int) -> dict[str, Any]:
    """Return the WSGI environment of a call, as gunicorn makes it."""
    body = {"start": start_body, "stop": stop_body}.get(operation, lambda _: b"")(number)
    is_list = operation.startswith("list")
    return {
        "REQUEST_METHOD": "GET" if is_list else "POST",
        "PATH_INFO": "/api/jobs/" if is_list else f"/api/jobs/{operation}_job/",
        "QUERY_STRING": f"items-per-page={operation[4:]}&page=1" if is_list else "",
        "SCRIPT_NAME": "",
        "SERVER_NAME": "127.0.0.1",
        "SERVER_PORT": "8080",
        "SERVER_PROTOCOL": "HTTP/1.1",
        "HTTP_HOST": "127.0.0.1:8080",
        "HTTP_X_AUTH_TOKEN": token,
        "REMOTE_ADDR": "127.0.0.1",
        "CONTENT_TYPE": "application/json",
        "CONTENT_LENGTH": str(len(body)),
        "wsgi.input": io.BytesIO(body),
        "wsgi.errors": sys.stderr,
        "wsgi.url_scheme": "http",
    }


def call(answer: Callable[..., Any], environment: dict[str, Any]) -> None:
    """Make one call; stop the benchmark when it fails."""
    statuses: list[str] = []
    body = answer(environment, lambda status, headers, exc_info=None: statuses.append(status))
    content = b"".join(body)
    if hasattr(body, "close"):
        body.close()
    if not statuses[0].startswith("20"):
        raise SystemExit(f"{statuses[0]}: {content[:300].decode()}")


def microseconds(answer: Callable[..., Any], environments: Iterator[dict[str, Any]]) -> float:
    """Return the median time of some calls."""
    times = []
    for environment in list(environments):
        begin = time.perf_counter()
        call(answer, environment)
        times.append(time.perf_counter() - begin)
    return statistics.median(times) * 1e6


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--calls", type=int, default=2000)
    many.add_option(parser)
    parser.add_argument("--profile", choices=OPERATIONS)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="benchmark-") as folder:
        os.environ["SECRET_KEY"] = "benchmark"
        os.environ.setdefault("DATABASE_URL", f"sqlite:///{folder}/benchmark.sqlite3")
        os.environ["ARCHIVE_ROOT"] = str(Path(folder) / "archive")
        prepare = [sys.executable, "-m", "benchmarks.prepare", str(options.table)]
        token = subprocess.run(prepare, cwd=ROOT, check=True, stdout=subprocess.PIPE, text=True).stdout.strip()

        application = importlib.import_module("ccbackend.wsgi").application
        whole = importlib.import_module("ccbackend.fastpath.handler").Handler()  # needs the apps, which wsgi has loaded
        ways: dict[str, Callable[..., Any]] = {"short": application, "whole": whole}
        first = 10_000_000
        for operation in OPERATIONS:
            calls = options.calls // (20 if operation == "list1000" else 1)
            times = []
            for place, answer in enumerate(ways.values()):
                numbers = range(first + place * options.calls, first + place * options.calls + calls)
                environments = (environ(operation, token, number) for number in numbers)
                if operation == options.profile and place == 0:
                    with cProfile.Profile() as profile:
                        microseconds(answer, environments)
                    pstats.Stats(profile).sort_stats("tottime").print_stats(30)
                else:
                    times.append(microseconds(answer, environments))
            print(
                operation.ljust(9), "  ".join(f"{way} {value:6.0f} µs" for way, value in zip(ways, times, strict=False))
            )


if __name__ == "__main__":
    main()
