"""The manners that all commands share: what goes where, how a command ends, and how it is interrupted."""

import argparse
import sys
from collections.abc import Sequence
from typing import Any, Literal

from django.core.management.base import BaseCommand, CommandError
from django.db import DatabaseError

BAD_USAGE = 2  # exit status; 1 says that the work failed
INTERRUPTED = 130


def on_terminal() -> bool:
    """Tell whether somebody can be asked."""
    return sys.stdin is not None and sys.stdin.isatty()


def printable(text: str) -> str:
    """Return a text for one line of a terminal: what would move the cursor becomes `?`."""
    return "".join(character if character.isprintable() else "?" for character in text)


def whole_number(text: str, *, least: int, most: int) -> int:
    """Parse an option that is a whole number; argparse names the option, this names the limits."""
    if not text.isascii() or not text.isdecimal() or not least <= int(text[:30]) <= most:
        raise argparse.ArgumentTypeError(f"{text!r}: expected a whole number from {least} to {most}")
    return int(text)


class ServerCommand(BaseCommand):
    """A command that keeps quiet with `-v 0` and ends without a traceback when it is interrupted.

    The system checks are left out: who has to revoke a token must not wait for a file system. Commands that use the
    archive ask for them.
    """

    requires_system_checks: Sequence[str] | Literal["__all__"] = ()  # type: ignore[assignment]
    verbosity = 1

    def execute(self, *args: Any, **options: Any) -> str | None:
        """Run the command; what the database refuses and Ctrl-C become an error message and an exit status."""
        self.verbosity = options["verbosity"]
        try:
            return super().execute(*args, **options)
        except KeyboardInterrupt:
            raise CommandError("Interrupted.", returncode=INTERRUPTED) from None
        except DatabaseError as error:
            hint = "Is it running, and has `manage.py migrate` been run?"
            raise CommandError(f"The database did not do it: {str(error).strip()}\n{hint}") from error

    def say(self, text: str) -> None:
        """Print a result to stdout, unless the command is to be quiet."""
        if self.verbosity > 0:
            self.stdout.write(text)
            self.stdout.flush()

    def note(self, text: str) -> None:
        """Print a remark to stderr, unless the command is to be quiet."""
        if self.verbosity > 0:
            self.stderr.write(text, lambda line: line)
