"""Delete old jobs from the archive, or move them to another archive."""

import argparse
from dataclasses import asdict
from pathlib import Path
from typing import Any

from django.core.management.base import CommandError, CommandParser
from django.db import DatabaseError

from accounts.console import BAD_USAGE, INTERRUPTED, ServerCommand, printable
from accounts.formatting import quantity
from archive import root
from archive.exceptions import ArchiveError
from archive.storage.removal import open_target
from archive.storage.store import ArchiveStore
from jobs.checks import archive_problem
from jobs.console import (
    complaining,
    confirm,
    days_ago,
    progress,
    require_answer,
    require_cluster,
    shown_size,
    shown_time,
    stop_on_signals,
)
from jobs.maintenance.retention import Retention, RetentionCounts

_MOVE = "move:"


def _what_to_do(text: str) -> str:
    if text != "delete" and not (text.startswith(_MOVE) and len(text) > len(_MOVE)):
        raise argparse.ArgumentTypeError(f"{text!r}: expected delete, or move:TARGET with the root of another archive")
    return text


class Command(ServerCommand):
    """Print the jobs that are due, ask, and take them out of the archive."""

    help = (
        "Delete the archived jobs that ended more than a number of days ago, or move them to another archive: each "
        "copy is compared with its original before that is removed. Jobs that run or wait for the archive are kept. "
        "Without --rows the database keeps the jobs, without samples. If it is interrupted or killed, run it again to "
        "go on."
    )
    requires_system_checks = "__all__"

    def add_arguments(self, parser: CommandParser) -> None:
        """Declare the options."""
        parser.add_argument(
            "--older-than",
            metavar="DAYS",
            type=days_ago,
            required=True,
            help="Only jobs that ended more than DAYS days ago.",
        )
        parser.add_argument(
            "--do",
            metavar="delete|move:TARGET",
            type=_what_to_do,
            required=True,
            help="Delete the jobs' files, or move them to the archive TARGET: an existing archive, an empty folder, or "
            "a folder to create; it may be on another file system.",
        )
        parser.add_argument("--omit-tagged", action="store_true", help="Keep jobs that have a tag.")
        parser.add_argument("--rows", action="store_true", help="Delete the jobs from the database, too.")
        parser.add_argument("--cluster", metavar="C", help="Only jobs of this cluster.")
        parser.add_argument("--dry-run", action="store_true", help="Print which jobs are due, and change nothing.")
        parser.add_argument("--yes", action="store_true", help="Do not ask; required without a terminal.")
        parser.add_argument("--json", action="store_true", help="With --dry-run: print the counts as JSON.")

    def handle(self, *args: Any, **options: Any) -> None:
        """Count the jobs, ask, take them out, and print how many were taken out."""
        dry_run, yes = options["dry_run"], options["yes"]
        if options["json"] and not dry_run:
            raise CommandError("--json: expected --dry-run beside it", returncode=BAD_USAGE)
        if not dry_run:
            require_answer(yes=yes)
        if options["cluster"] is not None:
            require_cluster(options["cluster"])
        target = self._target(options["do"])
        if not dry_run and (problem := archive_problem()):
            raise CommandError(problem)
        which = {
            "before": options["older_than"],
            "target": target,
            "cluster": options["cluster"],
            "omit_tagged": options["omit_tagged"],
            "rows": options["rows"],
        }
        done = "deleted" if target is None else f"moved to {target.root}"
        if options["json"]:
            counts = Retention(**which, trouble=complaining(self.stderr, "left")).survey()
            self.print_json(asdict(counts))
        elif dry_run:
            counts = self._describe(Retention(**which, trouble=complaining(self.stderr, "left")))
            self.say(f"Dry run: {_size_of(counts)} would be {done}, 0 were.")
        else:
            counts = self._run(which, done, yes=yes)
        if counts.failed:
            raise CommandError(f"{quantity(counts.failed, 'folder')} could not be taken: see the reasons above.")

    def _target(self, what: str) -> ArchiveStore | None:
        if what == "delete":
            return None
        try:
            return open_target(root.store(), Path(what.removeprefix(_MOVE)))
        except (ArchiveError, OSError) as error:
            raise CommandError(f"--do {what}: {error}", returncode=BAD_USAGE) from None

    def _describe(self, work: Retention) -> RetentionCounts:
        """Print number and size of the jobs that are due, by cluster."""
        counts = work.survey()
        self.say(f"{_size_of(counts)} ended before {shown_time(work.before)}{_left(counts)}")
        for cluster, (jobs, size) in sorted(counts.by_cluster.items()):
            self.say(f"  {printable(cluster)}  {quantity(jobs, 'job')}  {shown_size(size)}")
        if counts.leftovers:
            self.say(f"{quantity(counts.leftovers, 'job')} of an interrupted run: the rest of the files")
        return counts

    def _run(self, which: dict[str, Any], done: str, *, yes: bool) -> RetentionCounts:
        total = None
        if not yes or self.verbosity > 0:
            found = self._describe(Retention(**which))
            total = found.jobs + found.leftovers
            rows = " and their rows" if which["rows"] else ""
            if total and not confirm(f"{_size_of(found)}{rows} will be {done}. Go on?", yes=yes):
                raise CommandError(f"Cancelled: 0 jobs {done}.")
        with progress(total=total, unit="job", verbosity=self.verbosity) as bar:
            work = Retention(**which, trouble=complaining(self.stderr, "left"), progress=bar.update)
            try:
                with stop_on_signals(work.stopping):
                    work.run()
            except (DatabaseError, ArchiveError, OSError) as error:
                bar.close()
                raise CommandError(f"{error}\n{_closing(work, done)} Run it again to go on.") from error
        if work.stopping.is_set():
            raise CommandError(f"Interrupted. {_closing(work, done)} Run it again to go on.", returncode=INTERRUPTED)
        self.say(_closing(work, done))
        return work.counts


def _size_of(counts: RetentionCounts) -> str:
    return f"{quantity(counts.jobs, 'job')} ({shown_size(counts.size)})"


def _left(counts: RetentionCounts) -> str:
    reasons = {"tagged": counts.tagged, "running or waiting": counts.busy, "in use": counts.held}
    left = ", ".join(f"{number:,} {why}" for why, number in reasons.items() if number)
    return f"; left: {left}" if left else ""


def _closing(work: Retention, done: str) -> str:
    rows = f", {quantity(work.counts.rows, 'row')} deleted" if work.rows else ""
    return f"{_size_of(work.counts)} {done}{rows}{_left(work.counts)}."
