"""Compare jobs/events/ with the same starts and stops one by one: `python -m benchmarks.events [--rounds 3]`.

The server is started as in production, as for benchmarks.api, whose starts and stops are sent in turns one by one and
in calls of many lines. The jobs are not monitored: the archive worker, which runs too, has none to archive, so that
both ways have the machine to themselves. See docs/performance.md.
"""

import argparse
import gzip
import http.client
import json
import statistics
import tempfile
from collections.abc import Iterator
from pathlib import Path

from benchmarks.api import Server, start_body, stop_body
from benchmarks.load import Result, drive, http_request
from benchmarks.many import add_option


def _start_body(number: int) -> bytes:
    return start_body(number).replace(b'"monitoringStatus": 1', b'"monitoringStatus": 0')


BODIES = {"start": _start_body, "stop": stop_body}
PATH = "/api/jobs/events/"


def singles(operation: str, token: str, numbers: range) -> list[bytes]:
    """Return the requests that start or stop jobs with these numbers, one in each."""
    return [http_request("POST", f"/api/jobs/{operation}_job/", token, BODIES[operation](n)) for n in numbers]


def calls(operation: str, token: str, numbers: range, lines: int, *, pack: bool) -> list[bytes]:
    """Return the requests that start or stop jobs with these numbers, many in each."""
    requests = []
    for begin in range(numbers.start, numbers.stop, lines):
        some = numbers[begin - numbers.start : begin - numbers.start + lines]
        line = b'{"operation":"%b_job","body":%b}\n'
        body = b"".join(line % (operation.encode(), BODIES[operation](number)) for number in some)
        request = http_request("POST", PATH, token, gzip.compress(body, 1) if pack else body)
        requests.append(request.replace(b"\r\n", b"\r\nContent-Encoding: gzip\r\n", 1) if pack else request)
    return requests


def rate(server: Server, requests: Iterator[bytes], connections: int, events: int) -> float:
    """Send requests that carry so many events, and return the events per second; a refused request ends all."""
    result: Result = drive(server.port, requests, connections=connections, seconds=600)
    if set(result.statuses) - {200, 201}:
        raise SystemExit(f"answers by status: {result.statuses}")
    return events / result.seconds


def require_stopped(server: Server, numbers: range) -> None:
    """End the benchmark unless these jobs were started and stopped: a call of many lines is 200 in any case."""
    connection = http.client.HTTPConnection("127.0.0.1", server.port, timeout=60)
    for number in numbers:
        path = f"/api/jobs/?state=completed&job-id={number}"
        connection.request("GET", path, headers={"X-Auth-Token": server.token})
        if json.load(connection.getresponse())["items"] != 1:
            raise SystemExit(f"job {number} was not started and stopped")
    connection.close()


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--connections", type=int, default=8)
    parser.add_argument("--workers", type=int, default=2, help="gunicorn's processes")
    add_option(parser)
    parser.add_argument("--single", type=int, default=2_000, help="starts and stops one by one in each round")
    parser.add_argument("--many", type=int, default=16_000, help="in calls of many lines")
    parser.add_argument("--lines", type=int, default=2_000, help="of a call")
    parser.add_argument("--gzip", action="store_true", help="pack the calls")
    options = parser.parse_args()
    rates: dict[tuple[str, str], list[float]] = {}
    with tempfile.TemporaryDirectory(prefix="benchmark-") as folder:
        server = Server(Path(folder), workers=options.workers, jobs=options.table)
        try:
            first = 10_000_000
            for _ in range(options.rounds):
                for operation in BODIES:
                    single = singles(operation, server.token, range(first, first + options.single))
                    measured = rate(server, iter(single), options.connections, options.single)
                    rates.setdefault((operation, "one by one"), []).append(measured)
                first += options.single
                numbers = range(first, first + options.many)
                for operation in BODIES:
                    many = calls(operation, server.token, numbers, options.lines, pack=options.gzip)
                    measured = rate(server, iter(many), options.connections, options.many)
                    rates.setdefault((operation, "many in a call"), []).append(measured)
                require_stopped(server, numbers[:: max(1, options.many // 50)])
                first += options.many
        finally:
            server.stop()
    for operation in BODIES:
        single_rates, many_rates = (rates[operation, way] for way in ("one by one", "many in a call"))
        for way, measured_rates in (("one by one", single_rates), ("many in a call", many_rates)):
            median = statistics.median(measured_rates)
            print(f"{operation:6} {way:15} {median:7.0f}/s ({min(measured_rates):.0f} to {max(measured_rates):.0f})")
        ratios = [many / single for many, single in zip(many_rates, single_rates, strict=True)]
        print(f"{operation:6} {statistics.median(ratios):.1f} times ({min(ratios):.1f} to {max(ratios):.1f})")


if __name__ == "__main__":
    main()
