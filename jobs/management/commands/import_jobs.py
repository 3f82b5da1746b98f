"""Import jobs from another archive."""

from concurrent.futures.process import BrokenProcessPool
from dataclasses import asdict
from typing import Any

from django.core.management.base import CommandError, CommandParser
from django.db import DatabaseError

from accounts.console import BAD_USAGE, INTERRUPTED, ServerCommand
from accounts.formatting import quantity
from jobs.checks import archive_problem
from jobs.console import Bar, complaining, progress
from jobs.maintenance.import_jobs import ImportCounts, JobImport
from jobs.maintenance.import_sources import Source


class Command(ServerCommand):
    """Parse the paths, run the import, and print its counts."""

    help = (
        "Import jobs from another ClusterCockpit archive into the database and the archive of this server. Data files "
        "are copied byte for byte. Jobs that exist here are skipped, so an interrupted import goes on when it is run "
        "again. A job that cannot be imported is reported with the reason, and the exit status is 1."
    )
    requires_system_checks = "__all__"

    def add_arguments(self, parser: CommandParser) -> None:
        """Declare the options."""
        parser.add_argument(
            "paths",
            metavar="PATH",
            nargs="+",
            help="The root of an archive, a cluster's folder, a job's folder, or a pair meta.json:data.json (or "
            "meta.json:data.json.gz); a meta.json alone is a job without samples. A cluster.json in a root or a "
            "cluster's folder is copied if that cluster is not configured here.",
        )
        parser.add_argument("--dry-run", action="store_true", help="Check every job, and change nothing.")
        parser.add_argument("--json", action="store_true", help="With --dry-run: print the counts as JSON.")

    def handle(self, *args: Any, **options: Any) -> None:
        """Import, and print the counts."""
        if options["json"] and not options["dry_run"]:
            raise CommandError("--json: expected --dry-run beside it", returncode=BAD_USAGE)
        dry_run = options["dry_run"]
        sources = [_source(text) for text in options["paths"]]
        if not dry_run and (problem := archive_problem()):
            raise CommandError(problem)
        for source in sources:
            if remark := source.remark():
                self.note(remark)
        with progress(total=None, unit="job", verbosity=self.verbosity) as bar:
            if not bar.disable:
                bar.total = sum(1 for source in sources for _ in source.jobs(lambda text: None))
            work = JobImport(
                sources=sources,
                trouble=complaining(self.stderr, "refused"),
                remark=complaining(self.stderr, "remark") if self.verbosity > 0 else _say_nothing,
                progress=bar.update,
                dry_run=dry_run,
            )
            counts = self._run(work, bar)
        if options["json"]:
            self.print_json(asdict(counts) | {"without_config": sorted(counts.without_config)})
        else:
            self._tell(counts, dry_run=dry_run)
        if counts.refused:
            raise CommandError(f"{counts.refused:,} refused: see the reasons above.")

    def _tell(self, counts: ImportCounts, *, dry_run: bool) -> None:
        """Print what was done, or would be."""
        for name in counts.clusters:
            self.say(f"cluster {name}: cluster.json {'would be copied' if dry_run else 'copied'}")
        for name in sorted(counts.without_config):
            self.note(f"cluster {name}: jobs, but no cluster.json, neither there nor here.")
        if counts.converted:
            self.note(
                f"{quantity(counts.converted, 'job')} of an archive from before version 1: units and numbers of "
                f"accelerators {'would be' if dry_run else 'were'} converted."
            )
        if counts.in_place:
            self.note(
                f"{quantity(counts.in_place, 'job')} already in the archive of this server: only rows added, no file "
                "touched."
            )
        self.say(_closing(counts, dry_run=dry_run))

    def _run(self, work: JobImport, bar: Bar) -> ImportCounts:
        try:
            return work.run()
        except KeyboardInterrupt:
            bar.close()
            closing = _closing(work.counts, dry_run=work.dry_run)
            raise CommandError(f"Interrupted. {closing} Run it again to go on.", returncode=INTERRUPTED) from None
        except (DatabaseError, BrokenProcessPool) as error:
            bar.close()
            closing = _closing(work.counts, dry_run=work.dry_run)
            raise CommandError(f"It could not go on: {error}\n{closing} Run it again to go on.") from error


def _say_nothing(text: str) -> None:
    """Leave a remark out."""


def _source(text: str) -> Source:
    try:
        source = Source.parse(text)
    except (ValueError, OSError) as error:
        raise CommandError(str(error), returncode=BAD_USAGE) from None
    if source.is_empty():
        raise CommandError(f"{text!r}: holds no job and no cluster.json", returncode=BAD_USAGE)
    return source


def _closing(counts: ImportCounts, *, dry_run: bool) -> str:
    done = "would be imported" if dry_run else "imported"
    others = f"{counts.skipped:,} skipped (here already), {counts.refused:,} refused"
    return f"{quantity(counts.imported, 'job')} {done}, {others}."
