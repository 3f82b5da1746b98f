"""Durable, atomic files: a temporary file in the same folder, flushed to disk, then renamed."""

import contextlib
import errno
import fcntl
import os
import secrets
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path

from archive.exceptions import ArchiveError

FILE_MODE = 0o644
FOLDER_MODE = 0o755
TEMP_PREFIX = "."
TEMP_SUFFIX = ".tmp"

_PIECE = 64 * 1024 * 1024  # bytes

# What a file system without locks answers: Lustre mounted without `flock`, some network file systems.
_NO_LOCKS = frozenset({errno.ENOSYS, errno.EOPNOTSUPP, errno.ENOLCK, errno.EINVAL})


def make_folders(root: Path, folder: Path, *, flush: bool = True) -> None:
    """Create `folder` with its parents below `root`, each one durable: its entry is flushed in the parent.

    With `flush` False that is left to the caller.
    """
    if folder.is_dir():
        return
    missing = [folder]
    while missing[-1] != root and not missing[-1].parent.is_dir():
        missing.append(missing[-1].parent)
    for path in reversed(missing):
        # One that another writer made just now may not be on disk yet: it is flushed like a folder of our own.
        with contextlib.suppress(FileExistsError):
            path.mkdir(mode=FOLDER_MODE)
        if flush:
            sync_folder(path.parent)


def temp_name(name: str) -> str:
    """Return a name that no reader of the archive looks at, for what will have `name` or had it."""
    return f"{TEMP_PREFIX}{name}.{os.getpid()}-{secrets.token_hex(6)}{TEMP_SUFFIX}"


def is_temp_name(name: str) -> bool:
    """Say whether `temp_name` may have made this name."""
    return name.startswith(TEMP_PREFIX) and name.endswith(TEMP_SUFFIX)


def drop_cached(descriptor: int) -> None:
    """Let the system forget a flushed file's content, so that who reads it again gets what lies on the disk."""
    os.posix_fadvise(descriptor, 0, 0, os.POSIX_FADV_DONTNEED)


def sync_folder(folder: Path) -> None:
    """Flush the entries of a folder to disk."""
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def read_file(path: Path | str, most: int | None = None) -> bytes:
    """Return what a file holds, or that many bytes of its beginning at most.

    With the plain calls of the system: a file object takes twice as long, and so does a Path instead of a text.
    """
    descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    try:
        expected = os.fstat(descriptor).st_size if most is None else most
        content = os.read(descriptor, expected + 1 if most is None else most)
        if most is None and len(content) != expected:  # it is being written, or larger than one call reads
            while more := os.read(descriptor, _PIECE):
                content += more
        return content
    finally:
        os.close(descriptor)


def copier(source: Path) -> Callable[[int], None]:
    """Return what `Folder.write` fills a file with to make it a copy of another."""

    def copy(descriptor: int) -> None:
        with source.open("rb") as origin, os.fdopen(descriptor, "wb", closefd=False) as target:
            shutil.copyfileobj(origin, target, 1 << 20)

    return copy


class Folder:
    """An open folder in which files are written whole or not at all.

    All work goes through one descriptor, so that a folder which others remove and make again in between is an
    error, and never ends up with half of the files.
    """

    def __init__(self, path: Path, descriptor: int) -> None:
        """Wrap an open descriptor; use `open_folder`."""
        self.path = path
        self.descriptor = descriptor

    @contextlib.contextmanager
    def temporary(self, name: str, fill: Callable[[int], None]) -> Iterator[int]:
        """Write what `fill` writes to a temporary file, which becomes `name` when the block ends without an error.

        Yields its descriptor, for the block to flush it to disk.
        """
        temp, descriptor = self._create_temp(name)
        try:
            fill(descriptor)
            yield descriptor
            os.rename(temp, name, src_dir_fd=self.descriptor, dst_dir_fd=self.descriptor)
        except BaseException:
            with contextlib.suppress(OSError):
                os.unlink(temp, dir_fd=self.descriptor)
            raise
        finally:
            os.close(descriptor)

    def write(self, name: str, fill: Callable[[int], None]) -> None:
        """Put a file under `name` with what `fill` writes to the descriptor it is given.

        The new file is flushed before the rename; call `sync` to make the rename itself durable.
        """
        with self.temporary(name, fill) as descriptor:
            os.fsync(descriptor)

    def write_bytes(self, name: str, content: bytes) -> None:
        """Put a file with this content under `name`."""
        self.write(name, lambda descriptor: write_all(descriptor, content))

    def sync(self) -> None:
        """Flush the folder's entries to disk."""
        os.fsync(self.descriptor)

    def remove(self, name: str) -> None:
        """Remove a file, if it is there."""
        with contextlib.suppress(FileNotFoundError):
            os.unlink(name, dir_fd=self.descriptor)

    def holds(self, name: str) -> bool:
        """Say whether a file of this name is in the folder."""
        try:
            os.stat(name, dir_fd=self.descriptor)
        except FileNotFoundError:
            return False
        return True

    def remove_dead_temps(self) -> int:
        """Remove the temporary files whose writers are gone, return how many; those of live writers are locked."""
        with os.scandir(self.descriptor) as entries:
            names = [entry.name for entry in entries]
        return sum(self.is_dead_temp(name, remove=True) for name in names if is_temp_name(name))

    def is_dead_temp(self, name: str, *, remove: bool = False) -> bool:
        """Say whether the lock of a temporary file can be had: its writer is gone. With `remove` it is unlinked too."""
        try:
            # Network file systems grant an exclusive lock on a writable descriptor only.
            descriptor = os.open(name, os.O_RDWR | os.O_NOFOLLOW | os.O_CLOEXEC, dir_fd=self.descriptor)
        except OSError:
            return False
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
            if remove:
                os.unlink(name, dir_fd=self.descriptor)
        except OSError:
            return False
        finally:
            os.close(descriptor)
        return True

    def _create_temp(self, name: str) -> tuple[str, int]:
        """Create a temporary file that this writer alone holds the lock of."""
        while True:
            temp = temp_name(name)
            flags = os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC
            descriptor = os.open(temp, flags, FILE_MODE, dir_fd=self.descriptor)
            try:
                fcntl.flock(descriptor, fcntl.LOCK_EX)
            except OSError as error:
                if error.errno not in _NO_LOCKS:
                    os.close(descriptor)
                    raise
            # Between creation and lock a cleaner may have taken the file for a dead one.
            if os.fstat(descriptor).st_nlink > 0:
                return temp, descriptor
            os.close(descriptor)


@contextlib.contextmanager
def open_folder(path: Path) -> Iterator[Folder]:
    """Open an existing folder for writing; raise ArchiveError where it is removed while in use."""
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        try:
            yield Folder(path, descriptor)
        finally:
            os.close(descriptor)
    except FileNotFoundError as error:
        raise ArchiveError(f"{path}: the folder or a file in it was removed while it was written") from error


def write_all(descriptor: int, content: bytes) -> None:
    """Write all bytes; the system may take fewer per call."""
    view = memoryview(content)
    while view:
        view = view[os.write(descriptor, view) :]
