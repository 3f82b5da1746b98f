"""Time lists of GET jobs/ without HTTP: `python -m benchmarks.lists [--rounds 30] [--query TEXT ...]`.

The database of DATABASE_URL is one that `python -m benchmarks.many` filled. Prints the median of the milliseconds that
each list takes from the parsed query to its JSON.
"""

import argparse
import statistics
import time
from urllib.parse import parse_qs

import django

from benchmarks import guard

QUERIES = (
    "",
    "page=1000",
    "page=10000",
    "items-per-page=1000",
    "cluster=demo&state=completed&state=failed&items-per-page=50&page=3",
    "state=running",
    "state=failed",
    "state=failed&page=400",
    "state=preempted",
    "state=preempted&state=stopped",
    "state=preempted&cluster=demo",
    "state=preempted&user=user001",
    "partition=nowhere",
    "partition=nowhere&cluster=demo",
    "partition=main&cluster=nowhere",
    "sub-cluster=nowhere",
    "user=nobody&cluster=demo",
    "user=user001&cluster=demo",
    "tag=no:such",
    "tag=ticket:7",
    "tag=perf:bad",
)


def milliseconds(query: str) -> float:
    """Return how long one list takes."""
    from jobs.api import parameters
    from jobs.api.pages import select_json

    begin = time.perf_counter()
    found = parameters.parse(parse_qs(query))
    for _ in select_json(found):
        pass
    return (time.perf_counter() - begin) * 1000


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=30)
    parser.add_argument("--query", nargs="*", default=QUERIES)
    options = parser.parse_args()
    django.setup()
    guard.require_benchmark()
    for query in options.query:
        times = [milliseconds(query) for _ in range(options.rounds)]
        print(f"{query or 'all':<70}{statistics.median(times):9.2f} ms ({min(times):.2f} to {max(times):.2f})")


if __name__ == "__main__":
    main()
