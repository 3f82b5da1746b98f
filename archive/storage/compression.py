"""Compress data.json to data.json.gz in bounded memory; there is always a complete file of one name or the other."""

import itertools
import mmap
import os
import shutil
import stat
import threading
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, field
from enum import Enum
from pathlib import Path
from typing import IO, Any, NamedTuple, TypeVar

import msgspec
from isal import igzip, isal_zlib

from archive.exceptions import DECODE_ERRORS, READ_ERRORS, ArchiveError, DocumentError, concerns_all, reason
from archive.format.layout import COMPRESSED_DATA_FILE, DATA_FILE, JobKey, job_folder
from archive.format.meta_json import decode_meta
from archive.storage.files import Folder, drop_cached, open_folder
from archive.storage.store import COMPRESSION_LEVEL, ArchiveStore

_CHUNK = 1 << 20  # bytes
_QUEUED = 8  # items per thread

Item = TypeVar("Item")
Result = TypeVar("Result")

_anything = msgspec.json.Decoder(msgspec.Raw)


class Plain(NamedTuple):
    """A job with a data.json, and the size of the file in bytes."""

    key: JobKey
    size: int


class Compressed(NamedTuple):
    """The sizes of data.json and data.json.gz in bytes."""

    before: int
    after: int


class _Match(Enum):
    """The result of comparing a gzip file with a plain file."""

    EQUAL = "equal"
    DIFFERENT = "different"
    BROKEN = "cut, or not gzip"


def find_plain(
    store: ArchiveStore, *, before: int | None, cluster: str | None, trouble: Callable[[str], None]
) -> Iterator[Plain]:
    """Yield the complete jobs with a data.json, only those that ended before `before` (epoch seconds) if it is given.

    Report jobs whose end cannot be read from meta.json to `trouble`.
    """
    for key in store.iter_jobs(cluster):
        path = job_folder(store.root, key) / DATA_FILE
        try:
            status = path.stat()
            if stat.S_ISREG(status.st_mode) and (before is None or _end(store, key) < before):
                yield Plain(key, status.st_size)
        except FileNotFoundError:  # not there, or just removed
            continue
        except READ_ERRORS as error:
            trouble(f"{path.parent}: {reason(error)}")


def _end(store: ArchiveStore, key: JobKey) -> int:
    """Return the end of a job (epoch seconds)."""
    return key.start_time + decode_meta(store.read_meta(key)).duration


def compress(store: ArchiveStore, key: JobKey) -> Compressed | None:
    """Replace the data.json of a job by data.json.gz, durably; return None if another process was faster.

    The new file is read back and compared before it is renamed. If data.json.gz exists already, it is kept if its
    content is the same, and replaced if it is truncated and data.json is valid. Raise DocumentError if the files differ
    or neither is valid, OSError or ArchiveError if the directory cannot be written; both files are kept then.
    """
    with open_folder(job_folder(store.root, key)) as folder:
        folder.remove_dead_temps()
        begun_with = [_identity(folder.path / name) for name in (DATA_FILE, COMPRESSED_DATA_FILE)]

        def check_unchanged(names: Sequence[str]) -> None:
            for name, identity in zip(names, begun_with, strict=False):
                if _identity(folder.path / name) != identity:
                    raise ArchiveError(f"{folder.path / name}: was written by another process meanwhile")

        try:
            plain = (folder.path / DATA_FILE).open("rb")
        except FileNotFoundError:
            return None
        with plain:

            def fill(descriptor: int) -> None:
                _compress(plain, descriptor)
                check_unchanged([DATA_FILE, COMPRESSED_DATA_FILE])

            if not _is_compressed(folder, plain):
                folder.write(COMPRESSED_DATA_FILE, fill)
                folder.sync()
            check_unchanged([DATA_FILE])
            sizes = Compressed(os.fstat(plain.fileno()).st_size, (folder.path / COMPRESSED_DATA_FILE).stat().st_size)
            folder.remove(DATA_FILE)
            folder.sync()
    return sizes


def _identity(path: Path) -> tuple[int, int, int] | None:
    """Return inode, size and time of a file, which reveal a change; None if there is no file."""
    try:
        status = path.stat()
    except FileNotFoundError:
        return None
    return status.st_ino, status.st_size, status.st_mtime_ns


def _is_compressed(folder: Folder, plain: IO[bytes]) -> bool:
    """Return whether data.json.gz has the same content; False if it is missing or truncated, and may be replaced."""
    path = folder.path / COMPRESSED_DATA_FILE
    try:
        file = path.open("rb")
    except FileNotFoundError:
        return False
    with file:
        drop_cached(file.fileno())
        match = _match(file, plain)
    if match is _Match.DIFFERENT:
        raise DocumentError(f"{path}: is whole, but differs from {DATA_FILE} beside it; both are left")
    if match is _Match.BROKEN and not _is_json(plain):
        raise DocumentError(f"{path}: is {match.value}, and {DATA_FILE} beside it is no JSON; both are left")
    return match is _Match.EQUAL


def _compress(plain: IO[bytes], descriptor: int) -> None:
    """Write a plain file in compressed form, and read it back from the disk."""
    plain.seek(0)
    with (
        os.fdopen(descriptor, "wb", closefd=False) as target,
        igzip.IGzipFile("", "wb", COMPRESSION_LEVEL, target, mtime=0) as compressed,  # type: ignore[no-untyped-call]
    ):
        shutil.copyfileobj(plain, compressed, _CHUNK)
    os.fsync(descriptor)
    drop_cached(descriptor)
    os.lseek(descriptor, 0, os.SEEK_SET)
    with os.fdopen(descriptor, "rb", closefd=False) as written:
        if _match(written, plain) is not _Match.EQUAL:
            raise ArchiveError(f"{COMPRESSED_DATA_FILE}: what was read back differs from {DATA_FILE}, which is left")


def _match(compressed: IO[bytes], plain: IO[bytes]) -> _Match:
    """Compare both files to the end: a truncated one is broken even if the content before differs."""
    if not os.fstat(compressed.fileno()).st_size:  # igzip reads an empty file without an error
        return _Match.BROKEN
    plain.seek(0)
    match = _Match.EQUAL
    try:
        with igzip.IGzipFile("", "rb", fileobj=compressed) as unpacked:  # type: ignore[no-untyped-call]
            while True:
                ours, theirs = plain.read(_CHUNK), unpacked.read(_CHUNK)
                if ours != theirs:
                    match = _Match.DIFFERENT
                if not theirs:
                    return match
    except (igzip.BadGzipFile, EOFError, isal_zlib.IsalError):  # type: ignore[misc]  # its stub has no class
        return _Match.BROKEN


def _is_json(plain: IO[bytes]) -> bool:
    """Return whether a file is valid JSON, without reading it into memory."""
    try:
        with mmap.mmap(plain.fileno(), 0, prot=mmap.PROT_READ) as content:
            _anything.decode(content)
    except DECODE_ERRORS:  # ValueError: an empty file
        return False
    return True


@dataclass
class CompressionCounts:
    """The number of compressed files, their bytes before and after, and the number of failures."""

    files: int = 0
    before: int = 0
    after: int = 0
    failed: int = 0


@dataclass
class Compression:
    """Compress the files that `find_plain` yields, one per CPU at a time; `counts` is always current.

    Report files that could not be compressed to `trouble`, with the reason, and numbers of processed files to
    `progress`.
    """

    store: ArchiveStore
    before: int | None = None
    cluster: str | None = None
    trouble: Callable[[str], None] = lambda text: None
    progress: Callable[[int], Any] = lambda number: None
    counts: CompressionCounts = field(default_factory=CompressionCounts)
    stopping: threading.Event = field(default_factory=threading.Event)

    def survey(self) -> CompressionCounts:
        """Count the plain files and their bytes, without a change."""
        for plain in self._found():
            self.counts.files += 1
            self.counts.before += plain.size
        return self.counts

    def run(self) -> CompressionCounts:
        """Compress all files, or until `stopping` is set; raise OSError if the file system is full or read-only."""
        for plain, result in in_threads(self._attempt, self._found()):
            if isinstance(result, Compressed):
                self.counts.files += 1
                self.counts.before += result.before
                self.counts.after += result.after
            elif result is not None:
                self._failed(f"{job_folder(self.store.root, plain.key)}: {reason(result)}")
                if concerns_all(result):
                    raise result
            self.progress(1)
        return self.counts

    def _found(self) -> Iterator[Plain]:
        found = find_plain(self.store, before=self.before, cluster=self.cluster, trouble=self._failed)
        return itertools.takewhile(lambda plain: not self.stopping.is_set(), found)

    def _failed(self, text: str) -> None:
        self.counts.failed += 1
        self.trouble(text)

    def _attempt(self, plain: Plain) -> tuple[Plain, Compressed | Exception | None]:
        if self.stopping.is_set():
            return plain, None
        try:
            return plain, compress(self.store, plain.key)
        except READ_ERRORS as error:
            return plain, error


def in_threads(function: Callable[[Item], Result], items: Iterable[Item]) -> Iterator[Result]:
    """Yield function(item) for each item, in order, computed by one thread per CPU, a limited number ahead."""
    threads = len(os.sched_getaffinity(0))
    waiting: deque[Future[Result]] = deque()
    with ThreadPoolExecutor(threads, thread_name_prefix="compress") as pool:
        try:
            for item in items:
                waiting.append(pool.submit(function, item))
                if len(waiting) >= threads * _QUEUED:
                    yield waiting.popleft().result()
            while waiting:
                yield waiting.popleft().result()
        finally:
            for future in waiting:
                future.cancel()
