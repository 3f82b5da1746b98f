"""Make a backup of database, archive and settings."""

from pathlib import Path
from typing import Any

from django.core.management.base import CommandError, CommandParser

from accounts.console import INTERRUPTED, ServerCommand
from accounts.formatting import quantity
from jobs.checks import missing_archive
from jobs.console import progress, shown_size
from jobs.maintenance.backup import BackupError, Choice, back_up
from jobs.maintenance.dump import DumpError


class Command(ServerCommand):
    """Parse, back up, and print the counts."""

    help = (
        "Make a backup of database, archive and settings in a new folder, as of one moment, while the server works. "
        "The archive's files are hard links where the folder is on the same file system, copies elsewhere."
    )

    def add_arguments(self, parser: CommandParser) -> None:
        """Declare the options."""
        parser.add_argument("folder", metavar="FOLDER", type=Path, help="A new folder for this backup alone.")
        parser.add_argument(
            "--previous", metavar="FOLDER", type=Path, help="An earlier backup: files that it has become links to it."
        )
        parser.add_argument("--copy", action="store_true", help="Copy the archive's files instead of linking them.")
        parser.add_argument("--no-archive", action="store_true", help="Leave the archive out.")
        parser.add_argument("--no-database", action="store_true", help="Leave the database out.")
        parser.add_argument(
            "--with-secrets", action="store_true", help="Keep the whole file of settings, with SECRET_KEY and tokens."
        )

    def handle(self, *args: Any, **options: Any) -> None:
        """Back up, and print the counts."""
        if not options["no_archive"] and (problem := missing_archive()):
            raise CommandError(problem)
        choice = Choice(
            database=not options["no_database"],
            archive=not options["no_archive"],
            secrets=options["with_secrets"],
            links=not options["copy"],
            previous=options["previous"],
        )
        try:
            with progress(total=None, unit="job", verbosity=self.verbosity) as bar:
                files = back_up(options["folder"], choice, bar.update).files
        except (BackupError, DumpError, OSError) as error:
            raise CommandError(str(error)) from None
        except KeyboardInterrupt:
            text = f"Interrupted. {options['folder']} is no whole backup; delete it."
            raise CommandError(text, returncode=INTERRUPTED) from None
        counts = f"{quantity(files.linked, 'file')} linked, {files.copied:,} copied ({shown_size(files.size)})"
        self.say(f"Backup made in {options['folder']}: {counts}.")
