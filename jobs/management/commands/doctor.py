"""Say how the server is, on one page."""

import json
import time
from typing import Any

from django.conf import settings
from django.core.management.base import CommandError, CommandParser

from accounts.console import BAD_USAGE, ServerCommand
from jobs.health.checks import report, worst
from jobs.health.mail import tell
from jobs.health.page import page
from jobs.health.report import Finding


class Command(ServerCommand):
    """Print what each check of health finds, and what to do."""

    help = (
        "Check database, archive, clusters, workers, metric sources, events and tokens, and print what is wrong and "
        "what to do about it. The exit status is 1 if anything needs a hand."
    )

    def add_arguments(self, parser: CommandParser) -> None:
        """Declare the options."""
        how = parser.add_mutually_exclusive_group()
        how.add_argument("--json", action="store_true", help="Print one JSON document, for programs.")
        how.add_argument(
            "--mail",
            action="store_true",
            help="Send a mail to ADMINS if a state has changed, and once a day while one is bad. The "
            "exit status is 1 if the mail could not be sent.",
        )

    def handle(self, *args: Any, **options: Any) -> None:
        """Print the findings to stdout."""
        if options["mail"] and not settings.ADMINS:
            raise CommandError("ADMINS is empty: name the addresses of those to tell", returncode=BAD_USAGE)
        findings = report()
        if options["mail"]:
            self._mail(findings)
            return
        state, bad = worst(findings)
        if options["json"]:
            document = {"state": state.word, "findings": [finding.as_dict() for finding in findings]}
            self.stdout.write(json.dumps(document, indent=1))
        else:
            self.stdout.write(page(findings))
        if bad:
            raise CommandError(f"{bad} of {len(findings)} findings need{'s' if bad == 1 else ''} a hand.", returncode=1)

    def _mail(self, findings: list[Finding]) -> None:
        try:
            subject = tell(findings, int(time.time()))
        except OSError as error:
            raise CommandError(f"The mail could not be sent: {error}", returncode=1) from error
        self.say("Nothing new." if subject is None else f"Mail sent: {subject}")
