"""Write, read and list the jobs of an archive; every write is atomic."""

import contextlib
import functools
import io
import logging
import os
from collections.abc import Iterator
from pathlib import Path

from isal import igzip, isal_zlib

from archive.exceptions import ArchiveError, ArchiveVersionError, DocumentError, InvalidNameError, reason
from archive.format.layout import (
    CLUSTER_FILE,
    COMPRESSED_DATA_FILE,
    DATA_FILE,
    META_FILE,
    VERSION_FILE,
    JobKey,
    file_system_kind,
    is_valid_cluster_name,
    job_folder,
    parse_job_folder,
)
from archive.limits import max_json
from archive.storage.files import TOO_LARGE, Folder, copier, make_folders, open_folder, read_file

logger = logging.getLogger(__name__)

ARCHIVE_VERSION = "1"
RELEASES = {"2": "cc-backend 1.4", "3": "cc-backend 1.5"}
"""The releases that write other versions, which import_jobs reads."""

COMPRESSION_LEVEL = 2

_GZIP = 31  # zlib's wbits for the gzip format
_PIECE = 1 << 20  # bytes
_MAX_RATIO = 1032  # of the sizes before and after compression


def read_version(root: Path) -> str:
    """Return the version in version.txt, shortened if it is none; raise OSError."""
    return read_file(root / VERSION_FILE, 40).decode(errors="replace").strip()


class ArchiveStore:
    """An archive on disk; safe to use from several threads, processes and hosts at once."""

    def __init__(self, root: Path) -> None:
        """Set the root, without access to the disk."""
        self.root = root
        self._has_version = False

    def prepare(self) -> None:
        """Create the root with version.txt if it is missing; raise ArchiveVersionError if it has another version."""
        if not self.root.exists():
            make_folders(Path(self.root.anchor), self.root)
            self.write_version()
        elif self.root.is_dir() and not (self.root / VERSION_FILE).exists():
            with open_folder(self.root) as folder:
                interrupted = folder.remove_dead_temps() > 0
            if interrupted:
                # A process was killed while it created the root with version.txt.
                self.write_version()
        self.check_version()

    def check_version(self) -> None:
        """Raise ArchiveVersionError unless the root is a directory with version 1 or without version.txt."""
        if not self.root.is_dir():
            raise ArchiveVersionError(f"{self.root}: expected a folder, the root of a job archive")
        path = self.root / VERSION_FILE
        try:
            version = read_version(self.root)
        except FileNotFoundError:
            return
        if version != ARCHIVE_VERSION:
            release = f"; it is of {RELEASES[version]}, and import_jobs reads it" if version in RELEASES else ""
            raise ArchiveVersionError(f"{path}: archive version {version!r}, expected {ARCHIVE_VERSION!r}{release}")

    def write_job(self, key: JobKey, meta: bytes, data: bytes | None) -> None:
        """Write a job: `data` (plain JSON) compressed as data.json.gz, then `meta` (JSON) as meta.json.

        The job is durable on return. The data is durable before meta.json appears, so a directory with a meta.json is
        complete. Without data, only meta.json is written. Raise ArchiveError or OSError.
        """
        with self.writing(key) as folder:
            if data is not None:
                folder.write_bytes(COMPRESSED_DATA_FILE, compress(data))
                folder.sync()
                folder.remove(DATA_FILE)
                if not folder.holds(COMPRESSED_DATA_FILE):
                    raise ArchiveError(f"{folder.path / COMPRESSED_DATA_FILE}: was removed while the job was written")
            folder.write_bytes(META_FILE, meta)
            folder.sync()

    def write_meta(self, key: JobKey, meta: bytes) -> None:
        """Write only meta.json (JSON), durably; keep the data files."""
        self.write_job(key, meta, None)

    def copy_data(self, key: JobKey, source: Path) -> Path:
        """Copy a data.json or data.json.gz into the directory of a job, durably; return the path of the copy.

        The suffix decides the name of the copy. A data file with the other name is kept; readers prefer .gz.
        """
        with self.writing(key) as folder:
            folder.write(data_name(source), copier(source))
            folder.sync()
            return folder.path / data_name(source)

    def read_meta(self, key: JobKey) -> bytes:
        """Return the content of meta.json; raise FileNotFoundError if there is none."""
        return read_file(job_folder(self.root, key) / META_FILE)

    def read_data(self, key: JobKey) -> bytes:
        """Return the uncompressed data.json, from .gz if there are both files and it is whole.

        Raise FileNotFoundError if there is none, DocumentError if the .gz is truncated or invalid.
        """
        folder = job_folder(self.root, key)
        try:
            return read_data_file(folder / COMPRESSED_DATA_FILE)
        except FileNotFoundError:
            return read_data_file(folder / DATA_FILE)
        except DocumentError as error:
            try:
                plain = read_data_file(folder / DATA_FILE)
            except FileNotFoundError:
                raise error from None
            logger.warning("%s; %s beside it is read instead", error, DATA_FILE)
            return plain

    def data_size(self, key: JobKey) -> int:
        """Return the size of the uncompressed data.json in bytes; raise FileNotFoundError if there is none.

        For a .gz, the size modulo 4 GiB comes from the end of the file; if it is implausible, return the size of the
        .gz.
        """
        for path in self.data_files(key):
            with path.open("rb") as file:
                size = file.seek(0, os.SEEK_END)
                if path.suffix != ".gz":
                    return size
                file.seek(max(0, size - 4))
                plain = int.from_bytes(file.read(), "little")
                return plain if size <= plain <= size * _MAX_RATIO else size
        raise FileNotFoundError(job_folder(self.root, key) / DATA_FILE)

    def data_files(self, key: JobKey) -> list[Path]:
        """Return the paths of the data files of a job, the preferred one first."""
        folder = job_folder(self.root, key)
        return [path for name in (COMPRESSED_DATA_FILE, DATA_FILE) if (path := folder / name).is_file()]

    def has_job(self, key: JobKey) -> bool:
        """Return whether the archive has the complete job."""
        return (job_folder(self.root, key) / META_FILE).is_file()

    def iter_jobs(self, cluster: str | None = None) -> Iterator[JobKey]:
        """Yield the complete jobs of a cluster or of all, sorted by cluster, job id and start, in bounded memory."""
        for folder in self.iter_id_folders(cluster):
            yield from self._jobs_in(folder)

    def iter_id_folders(self, cluster: str | None = None) -> Iterator[Path]:
        """Yield the directories of job ids, of a cluster or of all, sorted by cluster and id."""
        for folder in self.iter_thousands(cluster):
            for rest in _folders(folder):
                yield folder / rest

    def iter_thousands(self, cluster: str | None = None) -> Iterator[Path]:
        """Yield the directories of thousands of job ids, of a cluster or of all."""
        names = _folders(self.root) if cluster is None else [cluster]
        for name in filter(is_valid_cluster_name, names):
            for thousands in _folders(self.root / name):
                yield self.root / name / thousands

    def holds_jobs(self) -> bool:
        """Return whether there is any complete job."""
        return next(self.iter_jobs(), None) is not None

    def clusters(self) -> list[str]:
        """Return the sorted names of the clusters that have a cluster.json."""
        names = filter(is_valid_cluster_name, _folders(self.root))
        return sorted(name for name in names if (self.root / name / CLUSTER_FILE).is_file())

    def write_version(self) -> None:
        """Write version.txt, durably, which makes the root an archive."""
        with open_folder(self.root) as folder:
            folder.write_bytes(VERSION_FILE, f"{ARCHIVE_VERSION}\n".encode())
            folder.sync()

    def _mark_root(self) -> None:
        """Write version.txt if an existing root has none: cc-backend refuses such a root."""
        if not self._has_version:
            if not (self.root / VERSION_FILE).exists():
                self.write_version()
            self._has_version = True

    def write_cluster(self, name: str, content: bytes) -> None:
        """Write the cluster.json (JSON) of a cluster, durably; raise InvalidNameError if the name is invalid."""
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
        """Yield the complete jobs of a job id, sorted by start."""
        for start in _folders(folder):
            path = folder / start
            key = parse_job_folder(self.root, path)
            if key is not None and (path / META_FILE).is_file():
                yield key

    @contextlib.contextmanager
    def writing(self, key: JobKey, *, flush: bool = True) -> Iterator[Folder]:
        """Open the directory of a job, after creating it if necessary and removing files of dead writers.

        With `flush` False, the caller has to flush the directories above it.
        """
        path = job_folder(self.root, key)
        if not self.root.is_dir():
            raise ArchiveError(f"{self.root}: the archive root is not there (a file system that is not mounted?)")
        self._mark_root()
        try:
            make_folders(self.root, path, flush=flush)
        except FileNotFoundError as error:
            raise ArchiveError(f"{path}: a parent directory was removed while this one was created") from error
        with open_folder(path) as folder:
            folder.remove_dead_temps()
            yield folder


def read_data_file(path: Path) -> bytes:
    """Return the uncompressed content of a data file.

    Raise DocumentError if a .gz is truncated or invalid, or the content larger than ARCHIVE_MAX_JSON.
    """
    try:
        content = read_file(path)
        return decompress(content) if path.suffix == ".gz" else content
    except (DocumentError, MemoryError) as error:
        raise DocumentError(f"{path}: {reason(error)}") from error


def data_name(path: Path) -> str:
    """Return the name of a data file in the archive, according to its suffix."""
    return COMPRESSED_DATA_FILE if path.suffix == ".gz" else DATA_FILE


def compress(data: bytes) -> bytes:
    """Return the content of a data.json.gz."""
    return igzip.compress(data, COMPRESSION_LEVEL, mtime=0)


def decompress(compressed: bytes) -> bytes:
    """Return the uncompressed content of a gzip file; raise DocumentError if it is truncated or invalid.

    The last four bytes of the file are the size of the content. Allocating it at once halves the time. If the size is
    wrong, as in a file with several gzip streams, or beyond ARCHIVE_MAX_JSON, the content is measured first, in little
    memory.
    """
    size = int.from_bytes(compressed[-4:], "little")
    try:
        if size <= min(len(compressed) * _MAX_RATIO, max_json()):
            stream = isal_zlib.decompressobj(_GZIP)
            plain: bytes = stream.decompress(compressed, size + 1)
            if stream.eof and not stream.unused_data:
                return plain
        _refuse_too_large(compressed)
        plain = igzip.decompress(compressed)  # type: ignore[no-untyped-call]  # isal leaves it untyped
    except (OSError, EOFError, isal_zlib.IsalError) as error:  # type: ignore[misc]  # its stub has no class
        raise DocumentError(f"{error}; expected a whole gzip file") from error
    return plain


def _refuse_too_large(compressed: bytes) -> None:
    """Raise DocumentError if the content of a gzip file is larger than ARCHIVE_MAX_JSON."""
    left = max_json()
    with igzip.IGzipFile("", "rb", fileobj=io.BytesIO(compressed)) as content:  # type: ignore[no-untyped-call]
        while piece := len(content.read(_PIECE)):
            left -= piece
            if left < 0:
                raise DocumentError(f"unpacks to {TOO_LARGE}")


@functools.lru_cache(maxsize=64)
def store_for(root: Path) -> ArchiveStore:
    """Return the store of a root, shared within this process."""
    return ArchiveStore(root)


def may_be_ours(name: str) -> bool:
    """Return whether a name is neither hidden nor that of a file system."""
    return not name.startswith(".") and file_system_kind(name) is None


def list_folders(path: Path | str) -> list[str]:
    """Return the names of the folders in `path`, numbers by value, without hidden ones and those of file systems.

    Raise OSError.
    """
    with os.scandir(path) as entries:
        names = [entry.name for entry in entries if may_be_ours(entry.name) and entry.is_dir()]
    return sorted(names, key=lambda name: (len(name), name) if name.isdecimal() else (0, name))


def _folders(path: Path) -> list[str]:
    """Return the names of the directories in `path`, numbers sorted by value; none if `path` does not exist."""
    try:
        return list_folders(path)
    except (FileNotFoundError, NotADirectoryError):
        return []
