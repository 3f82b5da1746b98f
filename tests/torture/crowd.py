"""Let eight processes take random steps on one database and archive: `python -m tests.torture.crowd --minutes 5`.

Each starts, stops, tags, corrects, deletes, archives and removes jobs of its own cluster and compares them with a
simple model after each step, while the others archive its jobs, too. Between the steps all do the same to one job at
the same moment: one start, one stop, one correction and one deletion may win. Exit status 1 if anything is wrong.
"""

import argparse
import contextlib
import json
import logging
import os
import sys
import tempfile
import time
from pathlib import Path

import django

os.environ.setdefault("SECRET_KEY", "of the tests")
os.environ.setdefault("DJANGO_SETTINGS_MODULE", "ccbackend.settings")
django.setup()

from tests.support.server import Server  # noqa: E402  what they import looks at the settings
from tests.torture.postgres import KillablePostgres  # noqa: E402
from tests.torture.report import Report, sums_table  # noqa: E402


def crowd(server: Server, name: str, *, seconds: float, seed: int) -> Report:
    """Run on the database of a server that is prepared and not started; `name` is the database's in the report."""
    options = ("--seconds", str(seconds), "--seed", str(seed), "--token", server.tokens["admin"])
    done = server.python("-m", "tests.torture.members", *options, timeout=seconds + 600)
    if done.returncode:
        return Report(name, wrong=[f"{done.stdout}{done.stderr}"])
    report = Report(name, **json.loads(done.stdout))
    checked = server.manage("check_archive", "--against-database")
    if checked.returncode:
        report.wrong.append(f"check_archive: {checked.stdout}{checked.stderr}")
    if report.wrong:
        report.wrong.append(done.stderr[-8000:])
    return report


def main() -> int:
    """Run on SQLite and PostgreSQL one after the other, print the sums, and return the exit status."""
    parser = argparse.ArgumentParser(prog="python -m tests.torture.crowd", description=__doc__)
    parser.add_argument("--minutes", type=float, default=5, help="for each database (default: 5)")
    parser.add_argument("--database", choices=["sqlite", "postgres", "both"], default="both")
    parser.add_argument("--seed", type=int, default=int(time.time()), help="repeats the steps of each process")
    options = parser.parse_args()
    logging.disable(logging.WARNING)  # the wheel of PostgreSQL tells each step
    reports = []
    for name in ("sqlite", "postgres"):
        if options.database in (name, "both"):
            sys.stderr.write(f"{time.strftime('%H:%M:%S')} {name}, --seed {options.seed}\n")
            reports.append(_run(postgres=name == "postgres", seconds=options.minutes * 60, seed=options.seed))
    sys.stdout.write(f"{sums_table(reports)}\n")
    for report in reports:
        for line in report.wrong:
            sys.stdout.write(f"{report.database}: {line}\n")
    return int(any(report.wrong for report in reports))


def _run(*, postgres: bool, seconds: float, seed: int) -> Report:
    with contextlib.ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="ccbackend-crowd-")))
        url = f"sqlite:///{folder / 'server' / 'ccbackend.sqlite3'}"
        if postgres:
            database = KillablePostgres()
            stack.callback(database.remove)
            url = database.url
        server = Server(folder / "server", sources={"*": {"kind": "synthetic"}}, database_url=url)
        stack.callback(server.stop)
        server.prepare()
        return crowd(server, "PostgreSQL" if postgres else "SQLite", seconds=seconds, seed=seed)


if __name__ == "__main__":
    sys.exit(main())
