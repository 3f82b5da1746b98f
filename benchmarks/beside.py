"""Compare this server with another one that has the same API, turn about; see docs/performance.md.

    python -m benchmarks.beside --peer http://127.0.0.1:8081 TOKEN [--own http://127.0.0.1:8080 TOKEN] [--store PORT]

Prints the rates of both (1/s, median and range of the rounds) and the median of the ratios of neighbouring runs, ours
divided by theirs. Without --own a server is started on a fresh database with --table jobs; the peer should hold
as many. Both must know the cluster "demo" with nodes n01 to n08 (`python -m benchmarks.prepare` writes its
cluster.json). With --store the metric store of benchmarks.worker listens on that port, where the peer's configuration
should name it; a server that is started here uses it too, and writes meta.json alone without it.

Neither works on while the other is measured, and both hold the same running jobs before each list: after each run the
side with fewer starts gets the others, the jobs that remain are stopped, and archiving has come to its end. A round has
as many jobs as the faster side starts, and stopping and archiving them all takes the slower one its time.

Both get new jobs, which are stopped again, so point neither to a server in use; only addresses on this machine are
taken.
"""

import argparse
import contextlib
import itertools
import json
import math
import os
import statistics
import tempfile
import time
import urllib.parse
import urllib.request
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

from benchmarks import many
from benchmarks.api import FIRST_JOB, Server, start_body, stop_body
from benchmarks.load import drive, http_request
from benchmarks.worker import metric_store

_NOW = int(time.time())
_FIRST = FIRST_JOB + _NOW % 1_000_000 * 1000  # no earlier run against the same servers had these
_EPOCH = _NOW - _FIRST // 16  # the first job starts now
LISTS = {
    "running": "state=running&items-per-page=-1",
    "list25": "items-per-page=25&page=1",
    "filtered3": "cluster=demo&state=completed&state=failed"
    f"&start-time={_NOW - many.DAYS * 86_400}-{_NOW - 1}&items-per-page=50&page=3",  # only jobs that were there before
    "list1000": "items-per-page=1000&page=1",
}
OPERATIONS = ("running", "start", "list25", "filtered3", "list1000", "mixed", "stop")
_LATEST_STOPPED = f"cluster=demo&state=completed&start-time={_NOW}-{_NOW + 30 * 86_400}&items-per-page=200&page=1"


@dataclass
class Side:
    """One of the two servers, and what it has been sent."""

    port: int
    token: str
    started: int = _FIRST
    stopped: int = _FIRST
    rates: dict[str, list[float]] = field(default_factory=dict)
    refused: dict[str, int] = field(default_factory=dict)

    def requests(self, operation: str) -> Iterator[bytes]:
        """Yield requests without end, or until all started jobs are stopped."""
        if operation == "stop":
            return (self._request("stop") for _ in range(self.started - self.stopped))
        if operation == "mixed":
            calls = ("start", "stop", "start", "stop", "list25")
            return (self._request(call) for call in itertools.cycle(calls))
        return (self._request(operation) for _ in itertools.count())

    def run(self, operation: str, connections: int, seconds: float) -> None:
        """Run an operation and keep its rate."""
        rate = self._drive(operation, self.requests(operation), connections, seconds)
        self.rates.setdefault(operation, []).append(rate)
        if operation in ("mixed", "stop"):
            self.wait_for_archive()

    def start_up_to(self, number: int) -> None:
        """Start the jobs that the other side has started and this one has not."""
        requests = (self._request("start") for _ in range(number - self.started))
        self._drive("start", requests, connections=4, seconds=600)

    def stop_all(self) -> None:
        """Stop the jobs that are left, and wait until they are archived."""
        self._drive("stop", self.requests("stop"), connections=4, seconds=600)
        self.wait_for_archive()

    def wait_for_archive(self) -> None:
        """Wait until of the latest stopped jobs none waits for the archive."""
        url = f"http://127.0.0.1:{self.port}/api/jobs/?{_LATEST_STOPPED}"
        request = urllib.request.Request(url, headers={"X-Auth-Token": self.token})
        deadline = time.monotonic() + 600
        while time.monotonic() < deadline:
            with urllib.request.urlopen(request, timeout=60) as answer:  # noqa: S310  http, see url
                jobs = json.load(answer)["jobs"]
            if all(job.get("monitoringStatus") != 1 for job in jobs):
                return
            time.sleep(0.5)
        raise SystemExit(f"127.0.0.1:{self.port} does not archive the jobs that were stopped")

    def _drive(self, operation: str, requests: Iterator[bytes], connections: int, seconds: float) -> float:
        result = drive(self.port, requests, connections=connections, seconds=seconds)
        accepted = sum(number for status, number in result.statuses.items() if status in (200, 201))
        refused = len(result.latencies) - accepted
        self.refused[operation] = self.refused.get(operation, 0) + refused
        return accepted / result.seconds

    def _request(self, operation: str) -> bytes:
        if operation == "start":
            self.started += 1
            return http_request("POST", "/api/jobs/start_job/", self.token, start_body(self.started, _EPOCH))
        if operation == "stop":
            self.stopped += 1
            return http_request("POST", "/api/jobs/stop_job/", self.token, stop_body(self.stopped, _EPOCH))
        return http_request("GET", f"/api/jobs/?{LISTS[operation]}", self.token)


def _side(url: str, token: str) -> Side:
    parts = urllib.parse.urlsplit(url)
    if parts.hostname not in ("127.0.0.1", "localhost") or parts.port is None:
        raise SystemExit(f"{url}: expected http://127.0.0.1:PORT")
    return Side(parts.port, token)


@contextlib.contextmanager
def _own(given: list[str] | None, jobs: int) -> Iterator[Side]:
    if given:
        yield _side(*given)
        return
    with tempfile.TemporaryDirectory(prefix="benchmark-") as folder:
        server = Server(Path(folder), workers=2, jobs=jobs)
        try:
            yield Side(server.port, server.token)
        finally:
            server.stop()


@contextlib.contextmanager
def _store(port: int | None) -> Iterator[None]:
    """Run the metric store, and let a server that is started meanwhile use it."""
    if port is None:
        yield
        return
    os.environ["METRIC_SOURCES"] = json.dumps({"*": {"kind": "cc-metric-store", "url": f"http://127.0.0.1:{port}"}})
    with metric_store(port):
        yield


def compare(own: Side, peer: Side, options: argparse.Namespace) -> None:
    """Run all operations on both sides, round by round."""
    for _ in range(options.rounds):
        for operation in options.operations:
            for side in (own, peer):
                side.run(operation, options.connections, options.seconds)
            if operation == "start":
                for side in (own, peer):
                    side.start_up_to(max(own.started, peer.started))
        for side in (own, peer):
            side.stop_all()


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--peer", nargs=2, required=True, metavar=("URL", "TOKEN"))
    parser.add_argument("--own", nargs=2, metavar=("URL", "TOKEN"))
    many.add_option(parser)
    parser.add_argument("--store", type=int, metavar="PORT", help="of the metric store")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--seconds", type=float, default=3, help="of each run")
    parser.add_argument("--connections", type=int, default=8)
    parser.add_argument("--operations", nargs="*", default=OPERATIONS, choices=OPERATIONS)
    options = parser.parse_args()
    with _store(options.store), _own(options.own, options.table) as own:
        peer = _side(*options.peer)
        compare(own, peer, options)
        for operation in options.operations:
            pairs = zip(own.rates[operation], peer.rates[operation], strict=True)
            ratios = [ours / theirs if theirs else math.inf for ours, theirs in pairs]  # none answered: no limit
            print(f"{operation:9} {_shown(own.rates[operation])}  peer {_shown(peer.rates[operation])}", end="")
            print(f"  ratio {statistics.median(ratios):.2f} ({min(ratios):.2f} to {max(ratios):.2f})", end="")
            print(f"  refused {own.refused[operation]}, peer {peer.refused[operation]}")


def _shown(rates: list[float]) -> str:
    return f"{statistics.median(rates):7.1f}/s ({min(rates):.1f} to {max(rates):.1f})"


if __name__ == "__main__":
    main()
