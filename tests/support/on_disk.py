"""What lies in an archive, or in a folder of it."""

from pathlib import Path

from archive.format.layout import JobKey, job_folder
from archive.storage.store import ArchiveStore


def names(store: ArchiveStore, key: JobKey) -> list[str]:
    """List what lies in a job's folder."""
    return sorted(path.name for path in job_folder(store.root, key).iterdir())


def content(folder: Path) -> dict[str, bytes]:
    """Return the content of all files in a folder and below."""
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def temp_files(folder: Path) -> list[Path]:
    """List all temporary files in a folder and below."""
    return [path for path in folder.rglob("*") if path.name.endswith(".tmp")]
