"""The exceptions of the archive."""

import errno
from functools import partial
from typing import Any

_FILE_SYSTEM_ERRORS = frozenset({errno.ENOSPC, errno.EDQUOT, errno.EROFS})


class ArchiveError(Exception):
    """Base of all errors of the archive."""


class ArchiveVersionError(ArchiveError):
    """The archive root has another version, or is not an archive."""


class InvalidNameError(ArchiveError):
    """A cluster name, job id or start time cannot be part of a path."""


class DocumentError(ArchiveError):
    """The content of a file is invalid; the message names the file or key and the expected form."""


class SourceError(ArchiveError):
    """A metric source did not deliver the samples of a job.

    `transient`: another attempt may succeed. `source_failed`: the source itself did not answer, so that other jobs will
    probably fail, too; otherwise the error concerns this job only, such as a response of unexpected form.
    """

    def __init__(self, message: str, *, transient: bool, source_failed: bool = False) -> None:
        """Set the message and the two flags."""
        super().__init__(message)
        self.transient = transient
        self.source_failed = source_failed

    def __reduce__(self) -> tuple[Any, ...]:
        """Support pickling, with the keyword arguments."""
        return partial(type(self), transient=self.transient, source_failed=self.source_failed), self.args


DECODE_ERRORS = (ValueError, ArithmeticError, RecursionError, MemoryError)
"""The errors of decoders on foreign content; ValueError includes those of msgspec, orjson and Unicode."""

READ_ERRORS = (ArchiveError, OSError, *DECODE_ERRORS)
"""The errors of reading and decoding a foreign file: they concern this file only, others can be read."""


def reason(error: Exception) -> str:
    """Return the reason of an error without the file name, for messages that already have it."""
    if isinstance(error, RecursionError):
        return "nested too deeply"
    if isinstance(error, MemoryError):
        return "needs more memory than there is"
    return (error.strerror or str(error)) if isinstance(error, OSError) else str(error)


def concerns_all(error: Exception) -> bool:
    """Return whether all other files would fail as well: the file system is full or read-only."""
    return isinstance(error, OSError) and error.errno in _FILE_SYSTEM_ERRORS
