"""Measure nodestate/ on a server started as in production: `python -m benchmarks.nodestate [--nodes 1000]`.

One client sends the states of all nodes again and again, as an adapter does each minute; the time is that of a call
over HTTP, its answer read. See docs/performance.md.
"""

import argparse
import http.client
import json
import statistics
import tempfile
import time
from pathlib import Path

from benchmarks import many
from benchmarks.api import Server


def body(nodes: int, turn: int) -> bytes:
    """Return the states of some nodes; they differ from turn to turn."""
    states = [["IDLE"], ["MIXED"], ["ALLOCATED"], ["IDLE", "DRAIN"]]
    reports = [
        {
            "hostname": f"n{number:04}",
            "states": states[(number + turn) % len(states)],
            "cpusAllocated": (number + turn) % 128,
            "memoryAllocated": 1000 * ((number + turn) % 256),
            "gpusAllocated": 0,
            "jobsRunning": (number + turn) % 4,
        }
        for number in range(nodes)
    ]
    return json.dumps({"cluster": "demo", "nodes": reports}).encode()


def seconds_of_a_call(server: Server, content: bytes) -> float:
    """Send one body and return how long the call took; anything but 200 ends the benchmark."""
    begin = time.perf_counter()
    connection = http.client.HTTPConnection("127.0.0.1", server.port, timeout=60)
    connection.request("POST", "/api/nodestate/", content, {"X-Auth-Token": server.token})
    answer = connection.getresponse()
    answer.read()
    connection.close()
    if answer.status != 200:
        raise SystemExit(f"nodestate: {answer.status}")
    return time.perf_counter() - begin


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--nodes", type=int, default=1000)
    many.add_option(parser)
    parser.add_argument("--calls", type=int, default=200)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="benchmark-") as folder:
        server = Server(Path(folder), workers=2, jobs=options.table)
        try:
            first = seconds_of_a_call(server, body(options.nodes, 0))
            times = [seconds_of_a_call(server, body(options.nodes, turn)) for turn in range(1, options.calls + 1)]
        finally:
            server.stop()
    cuts = statistics.quantiles([1000 * seconds for seconds in times], n=100)
    print(f"{options.nodes} nodes: the first call {1000 * first:.1f} ms")
    print(f"{options.calls} more: median {cuts[49]:.1f} ms, p99 {cuts[98]:.1f} ms, longest {1000 * max(times):.1f} ms")


if __name__ == "__main__":
    main()
