"""Carry out calls that a client kept because the server refused them or could not be reached."""

import contextlib
import sys
from collections.abc import Iterator
from itertools import chain
from pathlib import Path
from typing import Any, BinaryIO

from django.core.management.base import CommandError, CommandParser

from accounts.console import BAD_USAGE, ServerCommand, printable
from accounts.formatting import quantity
from jobs.api.events import Outcome, process, unpacked
from jobs.console import shell_actor
from jobs.exceptions import DuplicateJobError, InvalidJobError, JobNotRunningError
from jobs.intake.events import is_away

_GZIP = b"\x1f\x8b"
_PART = 1 << 16  # bytes


class Command(ServerCommand):
    """Read the files, hand their lines to the service, and print what is refused."""

    help = (
        "Carry out the calls in spool files: lines of JSON as POST /api/jobs/events/ takes them, gzipped or not. "
        "Calls that were carried out before change nothing, so a file may be replayed again, for example after a "
        "missing node was added to cluster.json. Exit status 1 if calls are refused."
    )

    def add_arguments(self, parser: CommandParser) -> None:
        """Declare the arguments."""
        parser.add_argument("files", metavar="FILE", nargs="+", help="A file, in the order to replay them; - is stdin.")

    def handle(self, *args: Any, files: list[str], **options: Any) -> None:
        """Replay the files and print how many calls were carried out."""
        self.done = self.known = self.refused = 0
        for name in files:
            self._replay(name)
        total = quantity(self.done + self.known + self.refused, "call")
        known = f"{self.known:,} known already"
        self.say(f"{total}: {self.done:,} carried out, {known}, {self.refused:,} refused.")
        if self.refused:
            raise CommandError(f"{quantity(self.refused, 'call')} refused.")

    def _replay(self, name: str) -> None:
        try:
            with contextlib.nullcontext(sys.stdin.buffer) if name == "-" else Path(name).open("rb") as file:
                for outcome in process(_parts(file), actor=shell_actor()):
                    self._count(name, outcome)
        except OSError as error:
            raise CommandError(f"{printable(name)}: {error.strerror}", returncode=BAD_USAGE) from None
        except InvalidJobError as error:
            raise CommandError(f"{printable(name)}: {error}", returncode=BAD_USAGE) from None

    def _count(self, name: str, outcome: Outcome) -> None:
        error = outcome.error
        if error is None:
            self.done += 1
        elif isinstance(error, DuplicateJobError | JobNotRunningError):
            self.known += 1
        elif is_away(error):
            raise error
        else:
            self.refused += 1
            place = f"{name} line {outcome.number}"
            self.note(printable(f"{place}: {f'{outcome.operation}: ' if outcome.operation else ''}{error}"))


def _parts(file: BinaryIO) -> Iterator[bytes]:
    """Yield the content of a file in small parts, unpacked."""
    first = file.read(_PART)
    parts = chain([first], iter(lambda: file.read(_PART), b""))
    return unpacked(parts) if first.startswith(_GZIP) else parts
