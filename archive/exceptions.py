"""The errors that the archive raises; plain exceptions that know nothing of HTTP."""

import errno
from functools import partial
from typing import Any

_CONCERNS_ALL = frozenset({errno.ENOSPC, errno.EDQUOT, errno.EROFS})


class ArchiveError(Exception):
    """Base of everything that goes wrong with the archive."""


class ArchiveVersionError(ArchiveError):
    """The archive root is of another version, or is no archive at all."""


class InvalidNameError(ArchiveError):
    """A cluster name or an id cannot become part of a path."""


class DocumentError(ArchiveError):
    """The content of a file is wrong; the message names the file or key, and what was expected."""


class SourceError(ArchiveError):
    """A metric source did not deliver; `transient` says whether trying again may help.

    `source_failed`: the source itself did not answer, so that other jobs probably meet the same; else it is a matter of
    this job alone, such as an answer of an unexpected shape.
    """

    def __init__(self, message: str, *, transient: bool, source_failed: bool = False) -> None:
        """Keep the reason, whether it may pass by itself, and whether the source itself failed."""
        super().__init__(message)
        self.transient = transient
        self.source_failed = source_failed

    def __reduce__(self) -> tuple[Any, ...]:
        """Travel between processes."""
        return partial(type(self), transient=self.transient, source_failed=self.source_failed), self.args


def reason(error: Exception) -> str:
    """Return why something failed, for a line that names the file or folder already."""
    return (error.strerror or str(error)) if isinstance(error, OSError) else str(error)


def concerns_all(error: Exception) -> bool:
    """Say whether the next file would meet the same: a file system that is full or read-only."""
    return isinstance(error, OSError) and error.errno in _CONCERNS_ALL
