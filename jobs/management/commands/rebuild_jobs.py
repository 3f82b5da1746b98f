"""Restore the job table from the archive."""

import sys
from concurrent.futures.process import BrokenProcessPool
from typing import Any

from django.core.management.base import CommandError, CommandParser
from django.db import DatabaseError
from tqdm import tqdm

from accounts.console import BAD_USAGE, INTERRUPTED, ServerCommand, printable
from accounts.formatting import quantity
from archive.format.layout import is_valid_cluster_name
from archive.root import store
from jobs.checks import archive_problem
from jobs.console import Bar, progress
from jobs.maintenance.rebuild import Rebuild, RebuildCounts
from jobs.management.indexing import index


class Command(ServerCommand):
    """Run the rebuild, and print its counts."""

    help = (
        "Restore the job table from the archive: add rows for jobs that are in the archive and not in the database, "
        "with tags, metadata and statistics. Existing rows and all files stay as they are; data files are not read. "
        "When all rows are there, nodes, footprint and usage are written down, as index_jobs does. If it is "
        "interrupted, run it again to go on. A folder that cannot be read is reported with the reason, and the exit "
        "status is 1."
    )
    requires_system_checks = "__all__"

    def add_arguments(self, parser: CommandParser) -> None:
        """Declare the options."""
        parser.add_argument("--cluster", metavar="C", help="Only the jobs of this cluster.")

    def handle(self, *args: Any, **options: Any) -> None:
        """Rebuild, and print the counts."""
        if problem := archive_problem():
            raise CommandError(problem)
        cluster = options["cluster"]
        root = store().root
        if cluster is not None and not (is_valid_cluster_name(cluster) and (root / cluster).is_dir()):
            raise CommandError(f"--cluster {cluster!r}: {root} has no such folder", returncode=BAD_USAGE)
        with progress(total=None, unit="job", verbosity=self.verbosity) as bar:
            work = Rebuild(
                trouble=self._trouble, total=lambda total: bar.reset(total), progress=bar.update, cluster=cluster
            )
            counts = self._run(work, bar)
        self.say(_closing(counts))
        index(self)
        if counts.refused:
            raise CommandError(f"{counts.refused:,} refused: see the reasons above.")

    def _run(self, work: Rebuild, bar: Bar) -> RebuildCounts:
        try:
            return work.run()
        except KeyboardInterrupt:
            bar.close()
            raise CommandError(
                f"Interrupted. {_closing(work.counts)} Run it again to go on.", returncode=INTERRUPTED
            ) from None
        except (DatabaseError, BrokenProcessPool) as error:
            bar.close()
            raise CommandError(
                f"It could not go on: {error}\n{_closing(work.counts)} Run it again to go on."
            ) from error

    def _trouble(self, text: str) -> None:
        with tqdm.external_write_mode(file=sys.stderr):
            self.stderr.write(f"refused: {printable(text)}")


def _closing(counts: RebuildCounts) -> str:
    return f"{quantity(counts.restored, 'job')} restored, {counts.present:,} there already, {counts.refused:,} refused."
