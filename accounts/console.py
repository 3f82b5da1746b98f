"""The base of all commands: output, exit statuses, interruption."""

import argparse
import json
import re
import sys
from collections.abc import Sequence
from typing import Any, Literal

from django.core.checks import run_checks
from django.core.exceptions import ImproperlyConfigured
from django.core.management.base import BaseCommand, CommandError, CommandParser
from django.db import DatabaseError

SETTINGS = "settings"  # the tag of system checks that look at nothing but settings
BAD_USAGE = 2  # exit status; 1 means that the work failed
INTERRUPTED = 130


def on_terminal() -> bool:
    """Return whether there is a terminal to ask a question on."""
    return sys.stdin is not None and sys.stdin.isatty()


def encodable(text: str) -> str:
    """Return a text in which bytes of a file name that are not UTF-8 are escaped, such as `b\\xf6se`."""
    escaped = re.sub("[\udc80-\udcff]", lambda byte: f"\\x{ord(byte[0]) - 0xDC00:02x}", text)
    return escaped.encode(errors="backslashreplace").decode()


def printable(text: str) -> str:
    """Return a text with `?` in place of unprintable characters, for one line of a terminal."""
    return "".join(character if character.isprintable() else "?" for character in encodable(text))


def whole_number(text: str, *, least: int, most: int) -> int:
    """Parse a whole number for argparse; raise ArgumentTypeError with the limits."""
    if not text.isascii() or not text.isdecimal() or not least <= int(text[:30]) <= most:
        raise argparse.ArgumentTypeError(f"{text!r}: expected a whole number from {least} to {most}")
    return int(text)


def check_settings() -> None:
    """Raise ImproperlyConfigured for the first setting that cannot be; it looks at no file and no database."""
    for message in run_checks(tags=[SETTINGS]):
        raise ImproperlyConfigured(message.msg)


def _without_values(message: str) -> str:
    """Return a message of argparse without words of the command line that may be a password or a token."""
    told, unknown, words = message.partition("unrecognized arguments: ")
    if unknown:
        options = [word.partition("=")[0] for word in words.split() if word.startswith("--")]
        return f"{told}{unknown}{' '.join(options) or 'more words than expected'}"
    return re.sub("ignored explicit argument .*", "expected no value", message)


def _words(value: object) -> list[object]:
    return value if isinstance(value, list) else []


class ServerCommand(BaseCommand):
    """A command that prints nothing with `-v 0` and ends without a traceback if it is interrupted.

    System checks are off by default, so that revoking a token does not wait for a hanging file system. Commands that
    use the archive turn them on.
    """

    requires_system_checks: Sequence[str] | Literal["__all__"] = ()  # type: ignore[assignment]
    verbosity = 1

    def create_parser(self, prog_name: str, subcommand: str, **kwargs: Any) -> CommandParser:
        """Return the parser of the arguments."""
        parser = super().create_parser(prog_name, subcommand, **kwargs)
        refuse = parser.error
        parser.error = lambda message: refuse(_without_values(message))  # type: ignore[method-assign]
        return parser

    def execute(self, *args: Any, **options: Any) -> str | None:
        """Run the command; turn Ctrl-C and database errors into a message and an exit status."""
        self.verbosity = options["verbosity"]
        check_settings()
        for name, value in options.items():
            if any(isinstance(word, str) and encodable(word) != word for word in [value, *_words(value)]):
                raise CommandError(f"{name}: expected UTF-8", returncode=BAD_USAGE)
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

    def print_json(self, document: object) -> None:
        """Print a result to stdout as JSON."""
        self.stdout.write(json.dumps(document, indent=1))
        self.stdout.flush()

    def note(self, text: str) -> None:
        """Print a remark to stderr, unless the verbosity is 0."""
        if self.verbosity > 0:
            self.stderr.write(text, lambda line: line)


def table(rows: Sequence[tuple[str, ...]]) -> list[str]:
    """Return the lines of a table whose columns are as wide as their widest cell."""
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    return ["  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip() for row in rows]
