"""Compare this server with another one that has the same API, turn about; see docs/performance.md.

    python -m benchmarks.beside --peer http://127.0.0.1:8081 TOKEN [--own http://127.0.0.1:8080 TOKEN]

Prints the rates of both (1/s, median and range of the rounds) and the median of the ratios of neighbouring runs, ours
divided by theirs. Without --own a server is started on a fresh database with --table jobs; the peer should hold
as many. Both must know the cluster "demo" with nodes n01 to n08 (`python -m benchmarks.prepare` writes its
cluster.json). Both get new jobs, which are stopped again, so point neither to a server in use; only addresses on this
machine are taken.
"""

import argparse
import contextlib
import itertools
import statistics
import tempfile
import time
import urllib.parse
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

from benchmarks import many
from benchmarks.api import FIRST_JOB, Server, start_body, stop_body
from benchmarks.load import Result, drive, http_request

_DAYS = f"{int(time.time()) - many.DAYS * 86_400}-{int(time.time())}"  # those of the jobs of benchmarks.prepare
LISTS = {
    "list25": "items-per-page=25&page=1",
    "filtered3": f"cluster=demo&state=completed&state=failed&start-time={_DAYS}&items-per-page=50&page=3",
    "list1000": "items-per-page=1000&page=1",
    "running": "state=running&items-per-page=-1",
}
OPERATIONS = ("start", "mixed", "stop", *LISTS)


@dataclass
class Side:
    """One of the two servers, and what it has been sent."""

    port: int
    token: str
    started: int = FIRST_JOB
    stopped: int = FIRST_JOB
    rates: dict[str, list[float]] = field(default_factory=dict)
    refused: int = 0

    def requests(self, operation: str) -> Iterator[bytes]:
        """Yield requests without end, or until all started jobs are stopped."""
        if operation == "stop":
            return (self._request("stop") for _ in range(self.started - self.stopped))
        if operation == "mixed":
            calls = ("start", "stop", "start", "stop", "list25")
            return (self._request(call) for call in itertools.cycle(calls))
        return (self._request(operation) for _ in itertools.count())

    def run(self, operation: str, connections: int, seconds: float) -> float:
        """Run an operation and return its rate."""
        result = drive(self.port, self.requests(operation), connections=connections, seconds=seconds)
        self.refused += _refused(result)
        self.rates.setdefault(operation, []).append(result.rate)
        return result.rate

    def _request(self, operation: str) -> bytes:
        if operation == "start":
            self.started += 1
            return http_request("POST", "/api/jobs/start_job/", self.token, start_body(self.started))
        if operation == "stop":
            self.stopped += 1
            return http_request("POST", "/api/jobs/stop_job/", self.token, stop_body(self.stopped))
        return http_request("GET", f"/api/jobs/?{LISTS[operation]}", self.token)


def _refused(result: Result) -> int:
    return sum(number for status, number in result.statuses.items() if status not in (200, 201))


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


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--peer", nargs=2, required=True, metavar=("URL", "TOKEN"))
    parser.add_argument("--own", nargs=2, metavar=("URL", "TOKEN"))
    many.add_option(parser)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--seconds", type=float, default=3, help="of each run")
    parser.add_argument("--connections", type=int, default=8)
    parser.add_argument("--operations", nargs="*", default=OPERATIONS, choices=OPERATIONS)
    options = parser.parse_args()
    with _own(options.own, options.table) as own:
        peer = _side(*options.peer)
        for _, operation in itertools.product(range(options.rounds), options.operations):
            for side in (own, peer):
                side.run(operation, options.connections, options.seconds)
        for operation in options.operations:
            ratios = [ours / theirs for ours, theirs in zip(own.rates[operation], peer.rates[operation], strict=True)]
            print(f"{operation:9} {_shown(own.rates[operation])}  peer {_shown(peer.rates[operation])}", end="")
            print(f"  ratio {statistics.median(ratios):.2f} ({min(ratios):.2f} to {max(ratios):.2f})")
        print(f"refused: {own.refused}, peer {peer.refused}")


def _shown(rates: list[float]) -> str:
    return f"{statistics.median(rates):7.1f}/s ({min(rates):.1f} to {max(rates):.1f})"


if __name__ == "__main__":
    main()
