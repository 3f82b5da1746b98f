"""Import users and unarchived jobs from the database of cc-backend."""

from dataclasses import asdict
from pathlib import Path
from typing import Any

from django.core.management.base import CommandError, CommandParser

from accounts.console import BAD_USAGE, INTERRUPTED, ServerCommand
from accounts.formatting import quantity
from jobs.console import complaining, progress
from jobs.maintenance.ccbackend_database import SourceError, count_jobs, open_source
from jobs.maintenance.import_ccbackend import CcBackendImport, Counts


class Command(ServerCommand):
    """Parse, import, and print the counts."""

    help = (
        "Import what only the database of cc-backend 1.2 to 1.5 has: users with roles, projects and passwords, running "
        "jobs, and jobs that never got into its archive, with their tags. What is here already stays, so that it can "
        "be run again to go on. docs/from-ccbackend.md has the order of a cut-over."
    )

    def add_arguments(self, parser: CommandParser) -> None:
        """Declare the options."""
        parser.add_argument(
            "database",
            metavar="JOB.DB",
            type=Path,
            help="The SQLite database of cc-backend, or a dump that mysqldump wrote of its MySQL.",
        )
        parser.add_argument(
            "--archive",
            metavar="ROOT",
            type=Path,
            help="The archive of cc-backend: jobs that the database calls archived and that it lacks are imported too, "
            "as jobs whose archiving failed.",
        )
        parser.add_argument("--dry-run", action="store_true", help="Read and check everything, and change nothing.")
        parser.add_argument("--json", action="store_true", help="With --dry-run: print the counts as JSON.")

    def handle(self, *args: Any, **options: Any) -> None:
        """Import, and print the counts."""
        if options["json"] and not options["dry_run"]:
            raise CommandError("--json: expected --dry-run beside it", returncode=BAD_USAGE)
        archive, dry_run = options["archive"], options["dry_run"]
        if archive is not None and not archive.is_dir():
            raise CommandError(f"--archive {archive}: expected a folder", returncode=BAD_USAGE)
        counts = Counts()
        try:
            with open_source(options["database"]) as source:
                total = count_jobs(source)
                with progress(total=total, unit="job", verbosity=self.verbosity) as bar:
                    trouble = complaining(self.stderr, "refused")
                    CcBackendImport(source, trouble, archive, dry_run, bar.update, counts).run()
        except SourceError as error:
            raise CommandError(str(error), returncode=BAD_USAGE) from None
        except KeyboardInterrupt:
            text = f"Interrupted. {_closing(counts, dry_run=dry_run)} Run it again to go on."
            raise CommandError(text, returncode=INTERRUPTED) from None
        if options["json"]:
            self.print_json(asdict(counts))
        else:
            self.say(_closing(counts, dry_run=dry_run))
        if counts.left:
            self.note(f"{quantity(counts.left, 'job')} archived by cc-backend: import_jobs brings them.")
        if counts.refused:
            raise CommandError(f"{counts.refused:,} refused: see the reasons above.")


def _closing(counts: Counts, *, dry_run: bool) -> str:
    done = "would be imported" if dry_run else "imported"
    kinds = f"{counts.running:,} running, {counts.waiting:,} waiting for the archive"
    return (
        f"{quantity(counts.users, 'user')} and {quantity(counts.jobs, 'job')} {done} ({kinds}); here already: "
        f"{quantity(counts.known_users, 'user')}, {quantity(counts.known_jobs, 'job')}."
    )
