"""The sources of an import: each PATH argument of import_jobs, and the jobs found there."""

import os
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from archive.format.layout import CLUSTER_FILE, COMPRESSED_DATA_FILE, DATA_FILE, META_FILE
from archive.storage.store import ARCHIVE_VERSION, RELEASES, may_be_ours, read_version
from jobs.maintenance.restore import Report

DEPTH = 4
"""Folders between an archive's root and a job's files."""

_DATA_FILES = (COMPRESSED_DATA_FILE, DATA_FILE)


@dataclass(frozen=True, slots=True)
class FoundJob:
    """The paths of one job's files; `meta` may be missing on disk."""

    meta: Path
    data: tuple[Path, ...] = ()


@dataclass(frozen=True, slots=True)
class Source:
    """One PATH argument: a folder to search, or a meta.json with or without its data file."""

    path: Path
    data: Path | None = None

    @classmethod
    def parse(cls, text: str) -> "Source":
        """Parse a PATH; raise ValueError if it is neither an existing path nor a pair of existing files."""
        if Path(text).exists():
            return cls(Path(text))
        for position, character in enumerate(text):
            meta, data = Path(text[:position]), Path(text[position + 1 :])
            if character == ":" and meta.is_file() and data.is_file():
                return cls(meta, data)
        raise ValueError(f"{text!r}: expected a folder, a meta.json, or meta.json:data.json; there is no such file")

    def jobs(self, trouble: Report) -> Iterator[FoundJob]:
        """Yield the jobs, by cluster, id and start; call `trouble` with a line for each folder that cannot be read."""
        if self.path.is_dir():
            yield from _search(self.path, DEPTH, trouble)
        else:
            yield FoundJob(self.path, () if self.data is None else (self.data,))

    def cluster_files(self) -> list[Path]:
        """Return the cluster.json of a cluster folder, or those of an archive root."""
        if not self.path.is_dir():
            return []
        here = self.path / CLUSTER_FILE
        return [here] if here.is_file() else sorted(self.path.glob(f"*/{CLUSTER_FILE}"))

    def is_empty(self) -> bool:
        """Return whether there is nothing to import; stops at the first job."""
        return next(self.jobs(lambda text: None), None) is None and not self.cluster_files()

    def remark(self) -> str | None:
        """Return a remark to print before reading, or None."""
        if self.path.is_file() and self.data is None and _data_beside(self.path):
            return f"{self.path}: imported without samples; to import the data files beside it, give the folder"
        try:
            version = read_version(self.path)
        except OSError:
            return None
        if version == ARCHIVE_VERSION:
            return None
        if version in RELEASES:
            return f"{self.path}: archive version {version!r}, of {RELEASES[version]}; read by its rules"
        return f"{self.path}: archive version {version!r}, which is unknown; read by the rules of versions 1 to 3"


def _data_beside(meta: Path) -> tuple[Path, ...]:
    return tuple(path for name in _DATA_FILES if (path := meta.with_name(name)).is_file())


def _search(folder: Path, depth: int, trouble: Report) -> Iterator[FoundJob]:
    try:
        with os.scandir(folder) as entries:
            seen = {entry.name: entry.is_dir() for entry in entries if may_be_ours(entry.name)}
    except OSError as error:
        trouble(f"{folder}: {error.strerror or error}")
        return
    if META_FILE in seen or not seen.keys().isdisjoint(_DATA_FILES):
        yield FoundJob(folder / META_FILE, _data_beside(folder / META_FILE))
    elif depth:
        below = [name for name, is_folder in seen.items() if is_folder]
        for name in sorted(below, key=lambda name: (len(name), name) if name.isdecimal() else (0, name)):
            yield from _search(folder / name, depth - 1, trouble)
