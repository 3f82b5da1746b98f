"""Compress the archive's plain data files."""

from dataclasses import asdict
from typing import Any

from django.core.management.base import CommandError, CommandParser

from accounts.console import BAD_USAGE, INTERRUPTED, ServerCommand
from accounts.formatting import quantity
from archive import root
from archive.exceptions import ArchiveError
from archive.storage.compression import Compression, CompressionCounts
from jobs.checks import archive_problem
from jobs.console import complaining, days_ago, progress, require_cluster, shown_size, stop_on_signals


class Command(ServerCommand):
    """Find the files, compress them, and print how much that saved."""

    help = (
        "Compress each data.json of the archive to data.json.gz. The new file is read back and compared before the "
        "plain one is removed. A file that cannot be compressed is left as it is and reported with the reason, and the "
        "exit status is 1. If it is interrupted or killed, run it again to go on."
    )
    requires_system_checks = "__all__"

    def add_arguments(self, parser: CommandParser) -> None:
        """Declare the options."""
        parser.add_argument(
            "--older-than", metavar="DAYS", type=days_ago, help="Only jobs that ended more than DAYS days ago."
        )
        parser.add_argument("--cluster", metavar="C", help="Only jobs of this cluster.")
        parser.add_argument(
            "--dry-run", action="store_true", help="Print the number of files and bytes, and change nothing."
        )
        parser.add_argument("--json", action="store_true", help="With --dry-run: print the counts as JSON.")

    def handle(self, *args: Any, **options: Any) -> None:
        """Compress, and print the sizes."""
        if options["json"] and not options["dry_run"]:
            raise CommandError("--json: expected --dry-run beside it", returncode=BAD_USAGE)
        if options["cluster"] is not None:
            require_cluster(options["cluster"])
        which = {"store": root.store(), "before": options["older_than"], "cluster": options["cluster"]}
        if options["dry_run"]:
            counts = Compression(**which, trouble=complaining(self.stderr, "left")).survey()
            if options["json"]:
                self.print_json(asdict(counts))
            else:
                sizes = f"{quantity(counts.files, 'file')} ({shown_size(counts.before)})"
                self.say(f"Dry run: {sizes} would be compressed.")
        else:
            if problem := archive_problem():
                raise CommandError(problem)
            counts = self._run(which)
        if counts.failed:
            raise CommandError(f"{quantity(counts.failed, 'job')} could not be done: see the reasons above.")

    def _run(self, which: dict[str, Any]) -> CompressionCounts:
        with progress(total=None, unit="file", verbosity=self.verbosity) as bar:
            if not bar.disable:
                bar.total = Compression(**which).survey().files
            work = Compression(**which, trouble=complaining(self.stderr, "left"), progress=bar.update)
            try:
                with stop_on_signals(work.stopping):
                    work.run()
            except (ArchiveError, OSError) as error:
                bar.close()
                raise CommandError(f"{error}\n{_closing(work.counts)} Run it again to go on.") from error
        if work.stopping.is_set():
            raise CommandError(f"Interrupted. {_closing(work.counts)} Run it again to go on.", returncode=INTERRUPTED)
        self.say(_closing(work.counts))
        return work.counts


def _closing(counts: CompressionCounts) -> str:
    sizes = f": {shown_size(counts.before)} before, {shown_size(counts.after)} after" if counts.files else ""
    return f"{quantity(counts.files, 'file')} compressed{sizes}."
