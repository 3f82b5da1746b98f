"""What a check of the archive can find, and how it is told."""

import enum
from dataclasses import dataclass
from pathlib import Path

from archive.format.layout import JobKey


class Severity(enum.StrEnum):
    """An error is a file that is missing, cut, wrong or in the wrong place; a warning an imperfection to know of."""

    ERROR = "error"
    WARNING = "warning"


class Code(enum.StrEnum):
    """The kinds of findings."""

    UNREADABLE = "unreadable"
    BAD_VERSION = "bad-version"
    BAD_CLUSTER = "bad-cluster"
    BAD_META = "bad-meta"
    BAD_DATA = "bad-data"
    META_MISSING = "meta-missing"
    DATA_MISSING = "data-missing"
    WRONG_PLACE = "wrong-place"
    DUPLICATE = "duplicate"
    STRAY = "stray"
    FOLDER_MISSING = "folder-missing"
    ROW_DIFFERS = "row-differs"

    LEFTOVER = "leftover"
    EMPTY_FOLDER = "empty-folder"
    TWO_DATA_FILES = "two-data-files"
    NO_CLUSTER = "no-cluster"
    UNKNOWN_HOST = "unknown-host"
    UNKNOWN_METRIC = "unknown-metric"
    UNKNOWN_SCOPE = "unknown-scope"
    NO_STATISTICS = "no-statistics"
    WRONG_STATISTICS = "wrong-statistics"
    AVERAGE_OUTSIDE = "average-outside"
    STOP_TIME = "stop-time"
    ROW_MISSING = "row-missing"

    @property
    def severity(self) -> Severity:
        """How much it matters."""
        return Severity.WARNING if self in _WARNINGS else Severity.ERROR


_WARNINGS = frozenset(list(Code)[list(Code).index(Code.LEFTOVER) :])


@dataclass(slots=True)
class Finding:
    """One thing that is not as it should be; `repaired` says what was done about it, empty where nothing was.

    `job` is the job whose folder it is found in, by the folder's name.
    """

    code: Code
    path: Path
    message: str
    job: JobKey | None = None
    repaired: str = ""
