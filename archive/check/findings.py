"""The findings of an archive check: their kinds and severities."""

import enum
from dataclasses import dataclass
from pathlib import Path
from typing import Self

from archive.format.layout import JobKey


class Severity(enum.StrEnum):
    """The severity of a finding: an error is a missing, cut, wrong or misplaced file, a warning an imperfection."""

    ERROR = "error"
    WARNING = "warning"


class Code(enum.StrEnum):
    """The kinds of findings, each with its severity."""

    severity: Severity

    def __new__(cls, word: str, severity: Severity) -> Self:
        """Make a member: its value is the word alone."""
        code = str.__new__(cls, word)
        code._value_ = word
        code.severity = severity
        return code

    UNREADABLE = "unreadable", Severity.ERROR
    BAD_VERSION = "bad-version", Severity.ERROR
    BAD_CLUSTER = "bad-cluster", Severity.ERROR
    BAD_META = "bad-meta", Severity.ERROR
    BAD_DATA = "bad-data", Severity.ERROR
    META_MISSING = "meta-missing", Severity.ERROR
    DATA_MISSING = "data-missing", Severity.ERROR
    WRONG_PLACE = "wrong-place", Severity.ERROR
    DUPLICATE = "duplicate", Severity.ERROR
    STRAY = "stray", Severity.ERROR
    FOLDER_MISSING = "folder-missing", Severity.ERROR
    ROW_DIFFERS = "row-differs", Severity.ERROR

    LEFTOVER = "leftover", Severity.WARNING
    FILE_SYSTEM = "file-system", Severity.WARNING
    EMPTY_FOLDER = "empty-folder", Severity.WARNING
    TWO_DATA_FILES = "two-data-files", Severity.WARNING
    NO_CLUSTER = "no-cluster", Severity.WARNING
    UNKNOWN_HOST = "unknown-host", Severity.WARNING
    UNKNOWN_METRIC = "unknown-metric", Severity.WARNING
    UNKNOWN_SCOPE = "unknown-scope", Severity.WARNING
    NO_STATISTICS = "no-statistics", Severity.WARNING
    WRONG_STATISTICS = "wrong-statistics", Severity.WARNING
    AVERAGE_OUTSIDE = "average-outside", Severity.WARNING
    SHIFTED = "shifted", Severity.WARNING
    TOO_LONG = "too-long", Severity.WARNING
    IMPOSSIBLE = "impossible", Severity.WARNING
    STOP_TIME = "stop-time", Severity.WARNING
    ROW_MISSING = "row-missing", Severity.WARNING


@dataclass(slots=True)
class Finding:
    """One defect of the archive.

    `job` is the job that the folder is named after, `repaired` a description of the repair, empty if there was none.
    """

    code: Code
    path: Path
    message: str
    job: JobKey | None = None
    repaired: str = ""
