"""The base of all commands: output, exit statuses, interruption."""

import argparse
import io
import re
import sys
from collections.abc import Sequence
from typing import Any, Literal

from django.core.management.base import BaseCommand, CommandError
from django.db import DatabaseError

BAD_USAGE = 2  # exit status; 1 means that the work failed
INTERRUPTED = 130

_SURROGATE = re.compile("[\ud800-\udfff]")  # os.fsdecode makes one of each such byte


def on_terminal() -> bool:
    """Return whether there is a terminal to ask a question on."""
    return sys.stdin is not None and sys.stdin.isatty()


def printable(text: str) -> str:
    """Return a text for one line of a terminal: `?` for unprintable characters, `\\xf6` for bytes that are no UTF-8."""
    return "".join(character if character.isprintable() else "?" for character in with_bytes_escaped(text))


def with_bytes_escaped(text: str) -> str:
    """Return a text in which the bytes of file names that are no UTF-8 are escaped, as in `b\\xf6se`."""
    return _SURROGATE.sub(lambda found: f"\\x{ord(found[0]) & 0xFF:02x}", text)


def escape_unencodable(*streams: Any) -> None:
    """Let streams escape what their encoding does not have, such as emoji in ASCII, instead of failing."""
    for stream in streams:
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")


def whole_number(text: str, *, least: int, most: int) -> int:
    """Parse a whole number for argparse; raise ArgumentTypeError with the limits."""
    if not text.isascii() or not text.isdecimal() or not least <= int(text[:30]) <= most:
        raise argparse.ArgumentTypeError(f"{text!r}: expected a whole number from {least} to {most}")
    return int(text)


class ServerCommand(BaseCommand):
    """A command that prints nothing with `-v 0` and ends without a traceback if it is interrupted.

    System checks are off by default, so that revoking a token does not wait for a hanging file system. Commands that
    use the archive turn them on.
    """

    requires_system_checks: Sequence[str] | Literal["__all__"] = ()  # type: ignore[assignment]
    verbosity = 1

    def execute(self, *args: Any, **options: Any) -> str | None:
        """Run the command; turn Ctrl-C and database errors into a message and an exit status."""
        self.verbosity = options["verbosity"]
        escape_unencodable(sys.stdout, sys.stderr)
        try:
            return super().execute(*args, **options)
        except KeyboardInterrupt:
            raise CommandError("Interrupted.", returncode=INTERRUPTED) from None
        except DatabaseError as error:
            hint = "Is it running, and has `manage.py migrate` been run?"
            raise CommandError(f"The database failed: {str(error).strip()}\n{hint}") from error

    def say(self, text: str) -> None:
        """Print a result to stdout, unless the verbosity is 0."""
        if self.verbosity > 0:
            self.stdout.write(text)
            self.stdout.flush()

    def note(self, text: str) -> None:
        """Print a remark to stderr, unless the verbosity is 0."""
        if self.verbosity > 0:
            self.stderr.write(text, lambda line: line)
