"""The paths of jobs under the archive root, and back; without access to the disk."""

import re
from pathlib import Path
from typing import NamedTuple

from archive.exceptions import InvalidNameError

VERSION_FILE = "version.txt"
CLUSTER_FILE = "cluster.json"
META_FILE = "meta.json"
DATA_FILE = "data.json"
COMPRESSED_DATA_FILE = "data.json.gz"

_CLUSTER_NAME = re.compile(r"[A-Za-z0-9_-][A-Za-z0-9_.-]{0,254}")
_NUMBER = re.compile(r"0|[1-9][0-9]{0,18}")
_THREE_DIGITS = re.compile(r"[0-9]{3}")


_OF_FILE_SYSTEMS = frozenset({".snapshot", ".snapshots", ".zfs", "lost+found", ".DS_Store"})
_FORGOTTEN_FILES = (".nfs", ".fuse_hidden")  # that were removed while a process had them open


def file_system_kind(name: str) -> str | None:
    """Return the kind of a name that file systems and desktops put into any folder; None for other names."""
    if name in _OF_FILE_SYSTEMS:
        return name
    return next((f"{prefix}*" for prefix in _FORGOTTEN_FILES if name.startswith(prefix)), None)


class JobKey(NamedTuple):
    """The key of a job in the archive: cluster, the scheduler's job id, and start in epoch seconds."""

    cluster: str
    job_id: int
    start_time: int


def is_valid_cluster_name(name: str) -> bool:
    """Return whether `name` may be a directory of the root (ASCII letters, digits, `_`, `-`, `.`)."""
    return _CLUSTER_NAME.fullmatch(name) is not None and name != VERSION_FILE


def may_be_folder(depth: int, name: str) -> bool:
    """Return whether a directory of this name may be at `depth` (1 to 4) below the root."""
    if depth == 1:
        return is_valid_cluster_name(name)
    return (_THREE_DIGITS if depth == 3 else _NUMBER).fullmatch(name) is not None


def job_folder(root: Path, key: JobKey) -> Path:
    """Return the directory of a job; raise InvalidNameError if the key cannot be a path."""
    if not is_valid_cluster_name(key.cluster):
        raise InvalidNameError(
            f"cluster name {key.cluster!r}: expected 1 to 255 letters, digits, '_', '-' or '.', not starting with '.'"
        )
    if key.job_id <= 0 or key.start_time <= 0:
        raise InvalidNameError(f"jobId {key.job_id}, startTime {key.start_time}: expected numbers above zero")
    return root / place_of(key)


def place_of(key: JobKey) -> str:
    """Return the directory of a job relative to the root; the key must be valid."""
    thousands, rest = divmod(key.job_id, 1000)
    return f"{key.cluster}/{thousands}/{rest:03d}/{key.start_time}"


def parse_job_folder(root: Path, path: Path) -> JobKey | None:
    """Return the key of the job that belongs in the directory `path`, or None if no job can be there."""
    # On strings, in half the time that `relative_to` takes.
    above, below = f"{root}/", str(path)
    if not below.startswith(above):
        return None
    parts = below.removeprefix(above).split("/")
    if len(parts) != 4:
        return None
    if not all(may_be_folder(depth, name) for depth, name in enumerate(parts, start=1)):
        return None
    cluster, thousands, rest, start = parts
    key = JobKey(cluster, int(thousands) * 1000 + int(rest), int(start))
    return key if key.job_id > 0 and key.start_time > 0 else None
