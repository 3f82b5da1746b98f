"""Restore a backup into an empty database and an empty archive."""

from pathlib import Path
from typing import Any

from django.core.management.base import CommandError, CommandParser

from accounts.console import INTERRUPTED, ServerCommand
from accounts.formatting import quantity
from jobs.console import progress, shown_time
from jobs.maintenance.backup import SETTINGS, BackupError, restore
from jobs.maintenance.dump import DumpError
from jobs.models import Job


class Command(ServerCommand):
    """Parse, restore, and print the counts."""

    help = (
        "Restore a backup into the database of DATABASE_URL and the archive of ARCHIVE_ROOT, which must be empty. A "
        "backup of an older release is migrated; one of a newer release is refused."
    )

    def add_arguments(self, parser: CommandParser) -> None:
        """Declare the options."""
        parser.add_argument("folder", metavar="FOLDER", type=Path, help="The folder of a backup.")
        parser.add_argument("--copy", action="store_true", help="Copy the archive's files instead of linking them.")

    def handle(self, *args: Any, **options: Any) -> None:
        """Restore, and print the counts."""
        folder = options["folder"]
        try:
            with progress(total=None, unit="job", verbosity=self.verbosity) as bar:
                manifest = restore(folder, links=not options["copy"], seen=bar.update)
        except (BackupError, DumpError, OSError) as error:
            raise CommandError(str(error)) from None
        except KeyboardInterrupt:
            text = "Interrupted. Empty database and archive, and run it again."
            raise CommandError(text, returncode=INTERRUPTED) from None
        jobs = "" if manifest.database is None else f"{quantity(Job.objects.count(), 'job')}, "
        files = quantity(manifest.files.linked + manifest.files.copied, "file")
        self.say(f"Restored the backup of {shown_time(manifest.made_at)}: {jobs}{files} of the archive.")
        if (folder / SETTINGS).exists():
            self.note(f"The settings of then are in {folder / SETTINGS}; they were not changed here.")
