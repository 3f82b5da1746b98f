"""Durable, atomic writes: a temporary file in the same directory, flushed to disk, then renamed."""

import contextlib
import errno
import fcntl
import os
import secrets
import shutil
import stat
from collections.abc import Callable, Iterator
from pathlib import Path

from django.conf import settings

from archive.exceptions import ArchiveError, DocumentError
from archive.limits import max_json

TEMP_PREFIX = "."
TEMP_SUFFIX = ".tmp"

TOO_LARGE = "more than the setting ARCHIVE_MAX_JSON allows"

_PIECE = 64 * 1024 * 1024  # bytes

NO_LOCKS = frozenset({errno.ENOSYS, errno.EOPNOTSUPP, errno.ENOLCK, errno.EINVAL})
"""Errors of file systems without locks: Lustre mounted without `flock`, some network file systems."""


def file_mode() -> int:
    """Return the permissions of new files, as ARCHIVE_MODE says."""
    return int(settings.ARCHIVE_MODE)


def folder_mode() -> int:
    """Return the permissions of new folders: those who may read a file may enter its folder."""
    return file_mode() | (file_mode() & 0o444) >> 2


def _widen(target: int | Path, mode: int, wanted: int) -> None:
    """Set the permissions of a new file or folder if the umask took some away; keep the bits for a common group."""
    if stat.S_IMODE(mode) & 0o777 != wanted:
        os.chmod(target, stat.S_IMODE(mode) & ~0o777 | wanted)  # noqa: PTH101  a descriptor too


def make_folders(root: Path, folder: Path, *, flush: bool = True) -> None:
    """Create `folder` and its parents below `root`; flush the entry of each in its parent.

    With `flush` False, the caller has to flush.
    """
    if folder.is_dir():
        return
    missing = [folder]
    while missing[-1] != root and not missing[-1].parent.is_dir():
        missing.append(missing[-1].parent)
    for path in reversed(missing):
        # Another writer may have just created it without having flushed it, so flush it in any case.
        with contextlib.suppress(FileExistsError):
            path.mkdir(mode=folder_mode())
            _widen(path, path.stat().st_mode, folder_mode())
        if flush:
            sync_folder(path.parent)


def temp_name(name: str) -> str:
    """Return a temporary name, which readers ignore, for a file or directory called `name` before or after."""
    return f"{TEMP_PREFIX}{name}.{os.getpid()}-{secrets.token_hex(6)}{TEMP_SUFFIX}"


def is_temp_name(name: str) -> bool:
    """Return whether a name has the form of `temp_name`."""
    return name.startswith(TEMP_PREFIX) and name.endswith(TEMP_SUFFIX)


def drop_cached(descriptor: int) -> None:
    """Drop a flushed file from the page cache, so that the next read comes from the disk."""
    os.posix_fadvise(descriptor, 0, 0, os.POSIX_FADV_DONTNEED)


def sync_folder(folder: Path) -> None:
    """Flush the entries of a directory to disk."""
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def read_file(path: Path | str, most: int | None = None) -> bytes:
    """Return the content of a file, or at most its first `most` bytes.

    Raise DocumentError without reading a file that is larger than ARCHIVE_MAX_JSON, OSError for anything but a file,
    such as a pipe, which would never end. System calls take half the time of a file object, and a string half the time
    of a Path.
    """
    descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK)
    try:
        status = os.fstat(descriptor)
        if not stat.S_ISREG(status.st_mode):
            raise OSError(errno.EINVAL, "is no regular file", str(path))
        if most is not None:
            return os.read(descriptor, most)
        expected = status.st_size
        if expected > max_json():
            raise DocumentError(f"{expected:,} bytes, {TOO_LARGE}")
        content = os.read(descriptor, expected + 1)
        if len(content) != expected:  # growing, or larger than one call reads
            while more := os.read(descriptor, _PIECE):
                content += more
        return content
    finally:
        os.close(descriptor)


def copier(source: Path) -> Callable[[int], None]:
    """Return a function for `Folder.write` that fills a file with a copy of another."""

    def copy(descriptor: int) -> None:
        with source.open("rb") as origin, os.fdopen(descriptor, "wb", closefd=False) as target:
            shutil.copyfileobj(origin, target, 1 << 20)

    return copy


class Folder:
    """An open directory in which files are written atomically.

    All operations use one descriptor: if others remove and recreate the directory meanwhile, they fail, instead of
    leaving some of the files in the new one.
    """

    def __init__(self, path: Path, descriptor: int) -> None:
        """Wrap an open descriptor; use `open_folder`."""
        self.path = path
        self.descriptor = descriptor

    @contextlib.contextmanager
    def temporary(self, name: str, fill: Callable[[int], None]) -> Iterator[int]:
        """Let `fill` write a temporary file, and rename it to `name` when the block ends without an error.

        Yield the descriptor, so that the block can flush it to disk.
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
        """Write the file `name`: `fill` writes its content to a descriptor.

        The content is flushed before the rename; call `sync` to make the rename durable, too.
        """
        with self.temporary(name, fill) as descriptor:
            os.fsync(descriptor)

    def write_bytes(self, name: str, content: bytes) -> None:
        """Write the file `name` with this content."""
        self.write(name, lambda descriptor: write_all(descriptor, content))

    def sync(self) -> None:
        """Flush the entries of the directory to disk."""
        os.fsync(self.descriptor)

    def remove(self, name: str) -> None:
        """Remove a file if it exists."""
        with contextlib.suppress(FileNotFoundError):
            os.unlink(name, dir_fd=self.descriptor)

    def holds(self, name: str) -> bool:
        """Return whether the directory contains this file."""
        try:
            os.stat(name, dir_fd=self.descriptor)
        except FileNotFoundError:
            return False
        return True

    def remove_dead_temps(self) -> int:
        """Remove the temporary files of dead writers and return their number; live writers hold a lock."""
        with os.scandir(self.descriptor) as entries:
            names = [entry.name for entry in entries]
        return sum(self.is_dead_temp(name, remove=True) for name in names if is_temp_name(name))

    def is_dead_temp(self, name: str, *, remove: bool = False) -> bool:
        """Return whether a temporary file is not locked, so that its writer is dead; with `remove`, remove it."""
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
        """Create a temporary file and lock it."""
        while True:
            temp = temp_name(name)
            flags = os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC
            descriptor = os.open(temp, flags, file_mode(), dir_fd=self.descriptor)
            try:
                fcntl.flock(descriptor, fcntl.LOCK_EX)
            except OSError as error:
                if error.errno not in NO_LOCKS:
                    os.close(descriptor)
                    raise
            # A cleaner may have removed the file before it was locked.
            status = os.fstat(descriptor)
            if status.st_nlink > 0:
                _widen(descriptor, status.st_mode, file_mode())
                return temp, descriptor
            os.close(descriptor)


@contextlib.contextmanager
def open_folder(path: Path) -> Iterator[Folder]:
    """Open an existing directory for writing; raise ArchiveError if it is removed meanwhile."""
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        try:
            yield Folder(path, descriptor)
        finally:
            os.close(descriptor)
    except FileNotFoundError as error:
        raise ArchiveError(f"{path}: the directory or a file in it was removed while it was written") from error


def write_all(descriptor: int, content: bytes) -> None:
    """Write all bytes, in several calls if necessary."""
    view = memoryview(content)
    while view:
        view = view[os.write(descriptor, view) :]
