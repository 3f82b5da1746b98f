"""Check the job archive."""

import contextlib
import json
import sys
from collections import Counter
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from django.conf import settings
from django.core.management.base import CommandError, CommandParser
from tqdm import tqdm

from accounts.console import BAD_USAGE, INTERRUPTED, ServerCommand, encodable, printable
from accounts.formatting import quantity
from archive.check import repair
from archive.check.findings import Code, Finding, Severity
from archive.check.walk import ArchiveCheck
from archive.exceptions import READ_ERRORS, ArchiveError, reason
from archive.format.layout import is_valid_cluster_name
from jobs.checks import missing_archive
from jobs.console import progress
from jobs.maintenance import check
from jobs.maintenance.check import DatabaseCheck, knows


class Command(ServerCommand):
    """Check the archive, repair it if asked to, and print findings as they come."""

    help = (
        "Check every file of the job archive: that it is there, complete, well-formed and in its place, and that "
        "statistics fit the samples. Prints a line for each finding; the exit status is 1 if errors remain. Changes "
        "nothing without --repair. The server and its workers may run meanwhile."
    )

    def add_arguments(self, parser: CommandParser) -> None:
        """Declare the options."""
        parser.add_argument("--cluster", metavar="C", help="Check only this cluster.")
        parser.add_argument(
            "--against-database",
            action="store_true",
            help="Also compare with the database: archived jobs without a folder, folders without a job, jobs whose "
            "meta.json differs.",
        )
        parser.add_argument(
            "--repair",
            action="store_true",
            help="Make the repairs that lose nothing, and print each with its finding. With --against-database, "
            "missing files are written again from the database and the metric source.",
        )
        parser.add_argument("--json", action="store_true", help="Print one JSON document instead of lines.")

    def handle(self, *args: Any, **options: Any) -> None:
        """Check, and print the counts."""
        self.root = Path(settings.ARCHIVE_ROOT)
        self.as_json, self.with_repair = options["json"], options["repair"]
        self.counts: Counter[str] = Counter(jobs=0, errors=0, warnings=0, repaired=0, remaining=0)
        cluster = options["cluster"]
        if not self.root.is_dir():
            raise CommandError(f"{self.root}: there is no such folder; expected the archive that ARCHIVE_ROOT names")
        if cluster is not None and not (is_valid_cluster_name(cluster) and (self.root / cluster).is_dir()):
            raise CommandError(f"--cluster {cluster!r}: the archive has no such folder", returncode=BAD_USAGE)
        self.database = DatabaseCheck(cluster) if options["against_database"] else None
        if self.database and (problem := missing_archive()):
            raise CommandError(problem)
        complete = False
        if self.as_json:
            self.stdout.write('{"findings":[', ending="")
        try:
            self._check_files(ArchiveCheck(self.root, cluster))
            self._check_rows()
            complete = True
        except KeyboardInterrupt:
            raise CommandError(f"Interrupted. {self._closing()}", returncode=INTERRUPTED) from None
        except ArchiveError as error:
            raise CommandError(f"The check did not end: {error}. {self._closing()}") from error
        finally:
            if self.as_json:
                rest = {"counts": self.counts, "complete": complete}
                self.stdout.write("]," + json.dumps(rest)[1:])
        if not self.as_json:
            self.say(self._closing())
        if self.counts["remaining"]:
            raise CommandError(f"{quantity(self.counts['remaining'], 'error')}: see above.")

    def _check_files(self, check: ArchiveCheck) -> None:
        with (
            progress(total=None, unit="folder", verbosity=self.verbosity) as bar,
            contextlib.closing(check.run()) as run,
        ):
            if not bar.disable:
                bar.total = check.count_folders()
            for report in run:
                self.counts["jobs"] += len(report.jobs)
                self._tell(report.findings)
                if self.database:
                    self._tell(self.database.compare(report.jobs))
                bar.update(report.folders)

    def _check_rows(self) -> None:
        if self.database is None:
            return
        with progress(total=self.database.rows().count(), unit="row", verbosity=self.verbosity) as bar:
            for finding in self.database.rows_without_folder():
                if finding is not None:
                    self._tell([finding])
                bar.update()

    def _tell(self, findings: Iterable[Finding]) -> None:
        for finding in findings:
            if self.with_repair:
                self._repair(finding)
            severity = finding.code.severity
            self.counts[f"{severity}s"] += 1
            self.counts["repaired"] += bool(finding.repaired)
            self.counts["remaining"] += severity == Severity.ERROR and not finding.repaired
            self._print(finding, severity)
        self.stdout.flush()

    def _repair(self, finding: Finding) -> None:
        if finding.code == Code.WRONG_PLACE and self.database and knows(finding.job):
            return
        try:
            finding.repaired = repair.repair(self.root, finding)
            if self.database and not finding.repaired:
                finding.repaired = check.repair(finding)
        except OSError as error:
            finding.message += f" (not repaired: {error})"
        except READ_ERRORS as error:
            finding.message += f" (not repaired: {reason(error)})"

    def _print(self, finding: Finding, severity: Severity) -> None:
        path = str(finding.path.relative_to(self.root))
        if self.as_json:
            texts = {"path": encodable(path), "message": encodable(finding.message)}
            told = {"severity": severity, "code": finding.code, **texts, "repaired": finding.repaired or None}
            comma = "," if self.counts["errors"] + self.counts["warnings"] > 1 else ""
            self.stdout.write(f"{comma}\n{json.dumps(told)}", ending="")  # in ASCII, whatever stdout can encode
        elif self.verbosity > 0 or severity == Severity.ERROR:
            repaired = f" [repaired: {finding.repaired}]" if finding.repaired else ""
            with tqdm.external_write_mode(file=sys.stderr):
                self.stdout.write(printable(f"{severity} {finding.code} {path}: {finding.message}{repaired}"))

    def _closing(self) -> str:
        counts = self.counts
        text = (
            f"{quantity(counts['jobs'], 'job')} checked, {quantity(counts['errors'], 'error')}, "
            f"{quantity(counts['warnings'], 'warning')}"
        )
        return f"{text}, {counts['repaired']:,} repaired." if self.with_repair else f"{text}."
