"""Say how the server is, on one page."""

import json
import textwrap
from typing import Any

from django.core.management.base import CommandError, CommandParser

from accounts.console import ServerCommand, printable
from jobs.console import shown_time
from jobs.health.checks import report, worst
from jobs.health.report import Finding, State

_WIDTH = 100
_INDENT = " " * 8


class Command(ServerCommand):
    """Print what each check of health finds, and what to do."""

    help = (
        "Check database, archive, clusters, workers, metric sources, events and tokens, and print what is wrong and "
        "what to do about it. The exit status is 1 if anything needs a hand."
    )

    def add_arguments(self, parser: CommandParser) -> None:
        """Declare the options."""
        parser.add_argument("--json", action="store_true", help="Print one JSON document, for programs.")

    def handle(self, *args: Any, **options: Any) -> None:
        """Print the findings to stdout."""
        findings = report()
        state, bad = worst(findings)
        if options["json"]:
            document = {"state": state.word, "findings": [finding.as_dict() for finding in findings]}
            self.stdout.write(json.dumps(document, indent=1))
        else:
            for finding in findings:
                self.stdout.write("\n".join(_lines(finding)))
        if bad:
            raise CommandError(f"{bad} of {len(findings)} findings need{'s' if bad == 1 else ''} a hand.", returncode=1)


def _lines(finding: Finding) -> list[str]:
    word = "ok" if finding.state == State.OK else finding.state.name
    first = f"{word:7} {finding.name}: {printable(finding.sentence)}"
    since = "" if finding.since is None else f"since {shown_time(finding.since)}"
    rest = [text for text in (since, printable(finding.cure)) if text]
    wrapped = textwrap.wrap(first, _WIDTH, subsequent_indent=_INDENT, break_long_words=False)
    for text in rest:
        wrapped += textwrap.wrap(text, _WIDTH, initial_indent=_INDENT, subsequent_indent=_INDENT)
    return wrapped
