"""Copies of a whole archive: hard links where they can be, else copies of the files that a previous copy lacks.

A file of an archive is never written again in place, so a hard link keeps what it had.
"""

import os
import shutil
from collections.abc import Callable, Container, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from archive.format.layout import JobKey, parse_job_folder
from archive.storage.files import is_temp_name


@dataclass
class Mirrored:
    """Numbers of the files of a copy, by how they were made."""

    linked: int = 0
    copied: int = 0
    size: int = 0
    """Bytes of the files that were copied."""


@dataclass(frozen=True)
class Mirror:
    """How to copy an archive: without the folders of `left_out`, with links to `previous`, a copy of it from before.

    With `links` False the files of the archive are never linked. `seen` is called for each job's folder, with the
    latest modification of a file in it (epoch seconds).
    """

    source: Path
    target: Path
    previous: Path | None = None
    left_out: Container[JobKey] = ()
    links: bool = True
    seen: Callable[[JobKey, float], Any] = lambda key, changed: None

    def run(self) -> Mirrored:
        """Copy everything but temporary files, and flush it to disk; raise OSError."""
        done = Mirrored()
        for folder, names in self._folders():
            key = parse_job_folder(self.source, folder)
            if key is not None and key in self.left_out:
                continue
            place = folder.relative_to(self.source)
            target = self.target / place
            target.mkdir(parents=True, exist_ok=True, mode=folder.stat().st_mode & 0o777)
            latest = 0.0
            for name in names:
                changed = self._copy(place / name, done)
                latest = max(latest, changed)
            if key is not None:
                self.seen(key, latest)
        os.sync()
        return done

    def _folders(self) -> Iterator[tuple[Path, list[str]]]:
        """Yield each folder with the names of its files, those of folders that vanish meanwhile left out."""
        for folder, _, names in os.walk(self.source):
            yield Path(folder), [name for name in names if not is_temp_name(name)]

    def _copy(self, place: Path, done: Mirrored) -> float:
        """Link or copy one file, and return when it was changed; 0 if it has gone meanwhile."""
        source, target = self.source / place, self.target / place
        try:
            status = source.stat()
            same = [source] if self.links else []
            if self.previous is not None and _is_same(status, self.previous / place):
                same.insert(0, self.previous / place)
            if any(_link(path, target) for path in same):
                done.linked += 1
            else:
                shutil.copy2(source, target)
                done.copied += 1
                done.size += status.st_size
        except FileNotFoundError:
            return 0.0
        return status.st_mtime


def _is_same(status: os.stat_result, other: Path) -> bool:
    """Return whether a file of the previous copy has the size and the time of one of the archive."""
    try:
        known = other.stat()
    except OSError:
        return False
    return (known.st_size, known.st_mtime_ns) == (status.st_size, status.st_mtime_ns)


def _link(source: Path, target: Path) -> bool:
    """Make a hard link; return False where the two are on different file systems, or links are not to be had."""
    try:
        os.link(source, target)
    except FileNotFoundError:
        raise
    except OSError:
        return False
    return True
