"""Break a running server for real, under load, and print what was sent, answered, stored and archived.

Kills HTTP server, archive worker and PostgreSQL (kill -9), fills the archive or makes it read-only, locks the database,
lets the metric store hang or die, sets leases as a clock that was set back leaves them. Meanwhile hooks start and stop
jobs and repeat each call until it is answered. Exit status 1 if anything was lost, doubled or answered wrongly.
"""

import argparse
import logging
import os
import sys
import time

import django

os.environ.pop("DATABASE_URL", None)  # each database is a new one
os.environ.setdefault("SECRET_KEY", "of the tests")
os.environ.setdefault("DJANGO_SETTINGS_MODULE", "ccbackend.settings")
django.setup()

from tests.torture.report import tables  # noqa: E402  what they import looks at the settings
from tests.torture.run import torture  # noqa: E402


def main() -> int:
    """Run on SQLite and PostgreSQL one after the other, print the tables, and return the exit status."""
    parser = argparse.ArgumentParser(prog="python -m tests.torture", description=__doc__)
    parser.add_argument("--minutes", type=float, default=10, help="for each database (default: 10)")
    parser.add_argument("--database", choices=["sqlite", "postgres", "both"], default="both")
    parser.add_argument("--seed", type=int, default=int(time.time()), help="repeats the order of an earlier run")
    options = parser.parse_args()
    logging.disable(logging.WARNING)  # the wheel of PostgreSQL tells each step
    reports = []
    for name in ("sqlite", "postgres"):
        if options.database in (name, "both"):
            _say(f"{name}, --seed {options.seed}")
            seconds = options.minutes * 60
            reports.append(torture(postgres=name == "postgres", seconds=seconds, seed=options.seed, say=_say))
    sys.stdout.write(f"{tables(reports)}\n")
    for report in reports:
        for line in report.wrong:
            sys.stdout.write(f"{report.database}: {line}\n")
    return int(any(report.wrong for report in reports))


def _say(line: str) -> None:
    sys.stderr.write(f"{time.strftime('%H:%M:%S')} {line}\n")
    sys.stderr.flush()


if __name__ == "__main__":
    sys.exit(main())
