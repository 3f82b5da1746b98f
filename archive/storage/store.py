"""The job archive as a store: write, read and list job folders; every file is whole or absent."""

import contextlib
import functools
import os
from collections.abc import Iterator
from pathlib import Path

from isal import igzip, isal_zlib

from archive.exceptions import ArchiveError, ArchiveVersionError, DocumentError, InvalidNameError
from archive.format.layout import (
    CLUSTER_FILE,
    COMPRESSED_DATA_FILE,
    DATA_FILE,
    META_FILE,
    VERSION_FILE,
    JobKey,
    is_valid_cluster_name,
    job_folder,
    parse_job_folder,
)
from archive.storage.files import Folder, copier, make_folders, open_folder, read_file, sync_folder

ARCHIVE_VERSION = "1"
COMPRESSION_LEVEL = 2

_GZIP = 31  # zlib's number for the gzip format
_MOST_DENSE = 1032  # bytes that one byte of a gzip file can stand for


class ArchiveStore:
    """One archive root on disk; safe to use from several threads, processes and hosts at once."""

    def __init__(self, root: Path) -> None:
        """Remember the root; nothing is touched before the first call."""
        self.root = root
        self._has_version = False

    def prepare(self) -> None:
        """Create a missing root with version.txt; raise ArchiveVersionError for a root of another version."""
        if not self.root.exists():
            self.root.parent.mkdir(parents=True, exist_ok=True)
            self.root.mkdir(exist_ok=True)
            self.write_version()
            sync_folder(self.root.parent)
        elif self.root.is_dir() and not (self.root / VERSION_FILE).exists():
            with open_folder(self.root) as folder:
                interrupted = folder.remove_dead_temps() > 0
            if interrupted:
                # What lay there was our own version.txt: the process that made the root was killed.
                self.write_version()
        self.check_version()

    def check_version(self) -> None:
        """Raise ArchiveVersionError unless the root is a folder of version 1; no version.txt reads as version 1."""
        if not self.root.is_dir():
            raise ArchiveVersionError(f"{self.root}: expected a folder, the root of a job archive")
        path = self.root / VERSION_FILE
        try:
            version = path.read_text(encoding="utf-8", errors="replace").strip()
        except FileNotFoundError:
            return
        if version != ARCHIVE_VERSION:
            raise ArchiveVersionError(f"{path}: archive version {version[:40]!r}, expected {ARCHIVE_VERSION!r}")

    def write_job(self, key: JobKey, meta: bytes, data: bytes | None) -> None:
        """Write a job: `data` (plain JSON) compressed as data.json.gz, then `meta` (JSON) as meta.json.

        When this returns, all is on disk. A folder with a meta.json is complete: the data is durable before
        meta.json appears. Without data, meta.json alone is written. Raises ArchiveError or OSError.
        """
        with self.writing(key) as folder:
            if data is not None:
                folder.write_bytes(COMPRESSED_DATA_FILE, igzip.compress(data, COMPRESSION_LEVEL, mtime=0))
                folder.sync()
                folder.remove(DATA_FILE)
                if not folder.holds(COMPRESSED_DATA_FILE):
                    raise ArchiveError(f"{folder.path / COMPRESSED_DATA_FILE}: was removed while the job was written")
            folder.write_bytes(META_FILE, meta)
            folder.sync()

    def write_meta(self, key: JobKey, meta: bytes) -> None:
        """Write meta.json (JSON) alone, durable on return; data files stay as they are."""
        self.write_job(key, meta, None)

    def copy_data(self, key: JobKey, source: Path) -> Path:
        """Copy a data.json or data.json.gz byte for byte into the job's folder, durable on return; return its path.

        The suffix decides the name. Another data file of the job stays: both may lie there, and .gz wins.
        """
        with self.writing(key) as folder:
            folder.write(data_name(source), copier(source))
            folder.sync()
            return folder.path / data_name(source)

    def read_meta(self, key: JobKey) -> bytes:
        """Return meta.json as it is; raise FileNotFoundError where there is none."""
        return (job_folder(self.root, key) / META_FILE).read_bytes()

    def read_data(self, key: JobKey) -> bytes:
        """Return the data document as plain JSON, from .gz where both forms lie there.

        Raises FileNotFoundError where there is none, DocumentError for a file that is cut or not gzip.
        """
        folder = job_folder(self.root, key)
        try:
            return read_data_file(folder / COMPRESSED_DATA_FILE)
        except FileNotFoundError:
            return read_data_file(folder / DATA_FILE)

    def data_size(self, key: JobKey) -> int:
        """Return the size of the data document as plain JSON (bytes); raise FileNotFoundError where there is none.

        For a .gz it is what its end says, modulo 4 GiB; what cannot be is left to who reads it.
        """
        for path in self.data_files(key):
            with path.open("rb") as file:
                size = file.seek(0, os.SEEK_END)
                if path.suffix != ".gz":
                    return size
                file.seek(max(0, size - 4))
                plain = int.from_bytes(file.read(), "little")
                return plain if size <= plain <= size * _MOST_DENSE else size
        raise FileNotFoundError(job_folder(self.root, key) / DATA_FILE)

    def data_files(self, key: JobKey) -> list[Path]:
        """Return the data files of a job, the one that is read first."""
        folder = job_folder(self.root, key)
        return [path for name in (COMPRESSED_DATA_FILE, DATA_FILE) if (path := folder / name).is_file()]

    def has_job(self, key: JobKey) -> bool:
        """Say whether the job is in the archive, complete."""
        return (job_folder(self.root, key) / META_FILE).is_file()

    def iter_jobs(self, cluster: str | None = None) -> Iterator[JobKey]:
        """Yield the complete jobs, of one cluster or of all, by cluster, job id and start, in bounded memory."""
        for folder in self.iter_id_folders(cluster):
            yield from self._jobs_in(folder)

    def iter_id_folders(self, cluster: str | None = None) -> Iterator[Path]:
        """Yield the folders that each hold the runs of one job id, of one cluster or of all, by cluster and id."""
        for folder in self.iter_thousands(cluster):
            for rest in _folders(folder):
                yield folder / rest

    def iter_thousands(self, cluster: str | None = None) -> Iterator[Path]:
        """Yield the folders that each hold a thousand job ids, of one cluster or of all."""
        names = _folders(self.root) if cluster is None else [cluster]
        for name in filter(is_valid_cluster_name, names):
            for thousands in _folders(self.root / name):
                yield self.root / name / thousands

    def holds_jobs(self) -> bool:
        """Say whether there is any complete job; stop at the first."""
        return next(self.iter_jobs(), None) is not None

    def clusters(self) -> list[str]:
        """Return the names of the folders that have a cluster.json, sorted."""
        names = filter(is_valid_cluster_name, _folders(self.root))
        return sorted(name for name in names if (self.root / name / CLUSTER_FILE).is_file())

    def write_version(self) -> None:
        """Write version.txt, durable on return: the root is an archive from then on."""
        with open_folder(self.root) as folder:
            folder.write_bytes(VERSION_FILE, f"{ARCHIVE_VERSION}\n".encode())
            folder.sync()

    def _mark_root(self) -> None:
        """Write version.txt where a root that existed before has none: cc-backend refuses such a root."""
        if not self._has_version:
            if not (self.root / VERSION_FILE).exists():
                self.write_version()
            self._has_version = True

    def write_cluster(self, name: str, content: bytes) -> None:
        """Write a cluster's cluster.json (JSON), durable on return; raise InvalidNameError for a bad name."""
        if not is_valid_cluster_name(name):
            raise InvalidNameError(f"cluster name {name[:80]!r}: expected a name that can be a folder")
        self._mark_root()
        path = self.root / name
        make_folders(self.root, path)
        with open_folder(path) as folder:
            folder.remove_dead_temps()
            folder.write_bytes(CLUSTER_FILE, content)
            folder.sync()

    def _jobs_in(self, folder: Path) -> Iterator[JobKey]:
        """Yield the complete jobs of one id, by start."""
        for start in _folders(folder):
            path = folder / start
            key = parse_job_folder(self.root, path)
            if key is not None and (path / META_FILE).is_file():
                yield key

    @contextlib.contextmanager
    def writing(self, key: JobKey, *, flush: bool = True) -> Iterator[Folder]:
        """Open the job's folder, made where missing, rid of what dead writers left; the root gets its version.txt.

        With `flush` False the caller flushes the folders above it.
        """
        path = job_folder(self.root, key)
        if not self.root.is_dir():
            raise ArchiveError(f"{self.root}: the archive root is not there (a file system that is not mounted?)")
        self._mark_root()
        try:
            make_folders(self.root, path, flush=flush)
        except FileNotFoundError as error:
            raise ArchiveError(f"{path}: a folder above was removed while this one was made") from error
        with open_folder(path) as folder:
            folder.remove_dead_temps()
            yield folder


def read_data_file(path: Path) -> bytes:
    """Return a data.json or data.json.gz as plain JSON; raise DocumentError for a .gz that is cut or not gzip."""
    content = read_file(path)
    if path.suffix != ".gz":
        return content
    try:
        return decompress(content)
    except DocumentError as error:
        raise DocumentError(f"{path}: {error}") from error


def data_name(path: Path) -> str:
    """Return the name that a data file has in a job's folder."""
    return COMPRESSED_DATA_FILE if path.suffix == ".gz" else DATA_FILE


def decompress(compressed: bytes) -> bytes:
    """Return what a gzip file holds; raise DocumentError for one that is cut or none.

    The file's last four bytes say how much that is. With memory for all of it at once, it takes less than half of the
    time; where they do not fit, as with a file of several gzip streams, it is done the usual way.
    """
    size = int.from_bytes(compressed[-4:], "little")
    try:
        if size <= len(compressed) * _MOST_DENSE:
            stream = isal_zlib.decompressobj(_GZIP)
            plain: bytes = stream.decompress(compressed, size + 1)
            if stream.eof and not stream.unused_data:
                return plain
        plain = igzip.decompress(compressed)  # type: ignore[no-untyped-call]  # isal leaves it untyped
    except (OSError, EOFError, isal_zlib.IsalError) as error:  # type: ignore[misc]  # its stub has no class
        raise DocumentError(f"{error}; expected a whole gzip file") from error
    return plain


@functools.lru_cache(maxsize=64)
def store_for(root: Path) -> ArchiveStore:
    """Return the store of a root that this process shares."""
    return ArchiveStore(root)


def list_folders(path: Path | str) -> list[str]:
    """Return the names of the folders in `path`, numbers by value, without hidden ones; raise OSError."""
    with os.scandir(path) as entries:
        names = [entry.name for entry in entries if not entry.name.startswith(".") and entry.is_dir()]
    return sorted(names, key=lambda name: (len(name), name) if name.isdecimal() else (0, name))


def _folders(path: Path) -> list[str]:
    """Return the names of the folders in `path`; none where it does not exist."""
    try:
        return list_folders(path)
    except (FileNotFoundError, NotADirectoryError):
        return []
