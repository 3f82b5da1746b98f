"""Time calls and pages on tables of several sizes, and draw how they grow. See docs/performance.md.

    python -m benchmarks.growth [--rounds 30] >> figures
    python -m benchmarks.growth --draw docs/images/growth.svg < figures

The database of DATABASE_URL is one that `python -m benchmarks.many` filled, and gets some jobs more. Prints a line of
JSON: the database, its number of jobs, and the median milliseconds of each call and page, in this process, without
HTTP; of the first page also with an empty cache.
"""

import argparse
import importlib
import json
import math
import statistics
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import django

from benchmarks import guard
from benchmarks.inprocess import environ, microseconds

_CALLS = ("start", "stop", "list25")
_PAGES = {
    "first page": "/admin/",
    "jobs": "/admin/jobs/job/",
    "host, failed": "/admin/jobs/job/?q=host:n0123+state:failed",
    "usage": "/admin/usage/?by=user",
}
_EMPTY = "first page, empty cache"
_COLOURS = ("#0072b2", "#c65102", "#00795a", "#b0408c", "#8a6d00", "#5f6368", "#1b9e9e", "#3b7dd8")
_WIDTH, _HEIGHT, _LEFT, _TOP, _KEY = 420, 300, 52, 30, 190


def measure(rounds: int) -> dict[str, Any]:
    """Return the figures of the database."""
    from django.core.cache import cache
    from django.db import connection
    from django.test import Client

    from accounts.models import ApiToken, User
    from jobs.models import Job

    admin = User.objects.get(username=guard.PEOPLE[0])
    admin.add_roles(["api"])
    token = ApiToken.issue(user=admin, name="growth")[1]
    application = importlib.import_module("ccbackend.wsgi").application
    newest = Job.objects.order_by("-job_id").values_list("job_id", flat=True)[0]
    first = max(newest, 10_000_000) + 1
    found = {call: microseconds(application, _environments(call, token, first, rounds * 10)) / 1000 for call in _CALLS}
    client = Client(headers={"host": "localhost"})
    client.force_login(admin)
    for name, path in _PAGES.items():
        client.get(path)
        found[name] = _median(lambda path=path: client.get(path), rounds)  # type: ignore[misc]
    found[_EMPTY] = _median(lambda: client.get("/admin/"), rounds, before=cache.clear)
    return {"database": connection.vendor, "jobs": Job.objects.count(), "milliseconds": found}


def _environments(call: str, token: str, first: int, count: int) -> Iterator[dict[str, Any]]:
    return (environ(call, token, number) for number in range(first, first + count))


def _median(act: Callable[[], Any], rounds: int, before: Callable[[], Any] = lambda: None) -> float:
    times = []
    for _ in range(rounds):
        before()
        begin = time.perf_counter()
        if act().status_code != 200:
            sys.exit("a page did not answer with 200")
        times.append((time.perf_counter() - begin) * 1000)
    return statistics.median(times)


def drawing(figures: Sequence[dict[str, Any]]) -> str:
    """Return the figures as SVG: for each database a plot with a line for each call and page, both axes logarithmic."""
    names = list(figures[0]["milliseconds"])
    vendors = sorted({each["database"] for each in figures}, reverse=True)
    sizes = [each["jobs"] for each in figures]
    times = [value for each in figures for value in each["milliseconds"].values()]
    left, right = math.log10(min(sizes)), math.log10(max(sizes))
    low, high = math.floor(math.log10(min(times))), math.ceil(math.log10(max(times)))

    def x(jobs: int) -> float:
        return _LEFT + (math.log10(jobs) - left) / (right - left) * (_WIDTH - _LEFT - 20)

    def y(milliseconds: float) -> float:
        return _TOP + (high - math.log10(milliseconds)) / (high - low) * (_HEIGHT - _TOP - 40)

    parts = []
    for panel, vendor in enumerate(vendors):
        parts.append(f'<g transform="translate({panel * _WIDTH} 0)">')
        title = {"sqlite": "SQLite", "postgresql": "PostgreSQL"}[vendor]
        parts.append(f'<text x="{_LEFT}" y="18" font-weight="bold">{title}: milliseconds by number of jobs</text>')
        for power in range(low, high + 1):
            parts.append(f'<path d="M{_LEFT} {y(10**power):.1f}H{_WIDTH - 20}" stroke="#ccc"/>')
            parts.append(f'<text x="{_LEFT - 6}" y="{y(10**power) + 4:.1f}" text-anchor="end">{10**power:g}</text>')
        for power in range(math.ceil(left - 0.1), math.floor(right + 0.1) + 1):
            place = min(max(x(10**power), _LEFT), _WIDTH - 20)
            parts.append(f'<text x="{place:.1f}" y="{_HEIGHT - 16}" text-anchor="middle">{10**power:,}</text>')
        own = sorted((each for each in figures if each["database"] == vendor), key=lambda each: int(each["jobs"]))
        for name, colour in zip(names, _COLOURS, strict=False):
            points = [(x(each["jobs"]), y(each["milliseconds"][name])) for each in own]
            path = "L".join(f"{across:.1f} {down:.1f}" for across, down in points)
            parts.append(f'<path d="M{path}" fill="none" stroke="{colour}" stroke-width="2"/>')
            parts += [f'<circle cx="{across:.1f}" cy="{down:.1f}" r="3" fill="{colour}"/>' for across, down in points]
        parts.append("</g>")
    for row, (name, colour) in enumerate(zip(names, _COLOURS, strict=False)):
        at = f'x="{len(vendors) * _WIDTH + 8}" y="{_TOP + 10 + row * 20}"'
        parts.append(f'<text {at} fill="{colour}">{name}</text>')
    width = len(vendors) * _WIDTH + _KEY
    body = "\n".join(parts)
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width} {_HEIGHT}" width="{width}" height="{_HEIGHT}" '
        f'font-family="sans-serif" font-size="12">\n<rect width="{width}" height="{_HEIGHT}" fill="#fff"/>\n'
        f"{body}\n</svg>\n"
    )


def main() -> None:
    """Measure and print, or draw."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=30)
    parser.add_argument("--draw", metavar="FILE", type=Path)
    options = parser.parse_args()
    if options.draw:
        options.draw.write_text(drawing([json.loads(line) for line in sys.stdin]))
        return
    django.setup()
    guard.require_benchmark()
    print(json.dumps(measure(options.rounds)))


if __name__ == "__main__":
    main()
