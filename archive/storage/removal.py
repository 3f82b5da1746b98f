"""Find archived jobs by the time when they ended, copy them to another archive, and remove them.

A job is removed in two steps. First, its directory is renamed to a hidden name (`.START.*.tmp`), which readers ignore:
this removes the job atomically. Then the hidden directory is deleted. If a process is killed in between, the next run
recognises the name and finishes the work.

A job is moved by copying its data files first, each compared with the original, and then meta.json. So the other
archive has the job completely or not at all, and only then it is removed here.
"""

import contextlib
import filecmp
import os
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import NamedTuple

from archive.exceptions import READ_ERRORS, ArchiveError, DocumentError, reason
from archive.format.layout import (
    CLUSTER_FILE,
    COMPRESSED_DATA_FILE,
    DATA_FILE,
    META_FILE,
    VERSION_FILE,
    JobKey,
    file_system_kind,
    job_folder,
    parse_job_folder,
)
from archive.format.meta_json import decode_meta
from archive.storage.files import drop_cached, is_temp_name, open_folder, read_file, sync_folder, temp_name
from archive.storage.store import ArchiveStore

_JOB_FILES = frozenset({META_FILE, COMPRESSED_DATA_FILE, DATA_FILE})


class DueFolder(NamedTuple):
    """The directory of a job to remove; `size` is in bytes.

    `removed`: it has its hidden name already, so that only files are left of the job.
    """

    key: JobKey
    folder: Path
    size: int
    tagged: bool = False
    removed: bool = False


def find(
    store: ArchiveStore, *, before: int, cluster: str | None = None, trouble: Callable[[str], None]
) -> Iterator[DueFolder]:
    """Yield the complete jobs that ended before a time (epoch seconds), and the leftovers of killed runs.

    Report jobs that may be due but cannot be removed to `trouble`, with the reason.
    """
    for id_folder in store.iter_id_folders(cluster):
        try:
            folders = sorted(id_folder.iterdir())
        except FileNotFoundError:  # just removed
            continue
        except OSError as error:
            trouble(f"{id_folder}: {reason(error)}")
            continue
        for folder in folders:
            name = folder.name
            key = parse_job_folder(store.root, id_folder / name.split(".")[1] if is_temp_name(name) else folder)
            if key is None or (key.start_time >= before and not is_temp_name(name)):
                continue
            try:
                found = _leftover(key, folder) if is_temp_name(name) else _due(key, folder, before)
            except FileNotFoundError:
                continue
            except READ_ERRORS as error:
                trouble(f"{folder}: {reason(error)}")
            else:
                if found:
                    yield found


def _leftover(key: JobKey, folder: Path) -> DueFolder:
    return DueFolder(key, folder, sum(_files(folder).values()), removed=True)


def _due(key: JobKey, folder: Path, before: int) -> DueFolder | None:
    """Return the job if it is complete and ended before this time."""
    try:
        meta = decode_meta(read_file(folder / META_FILE))
    except NotADirectoryError:
        return None
    if (meta.cluster, meta.job_id, meta.start_time) != key:
        raise DocumentError(
            f"{META_FILE} names job {meta.job_id} of {meta.cluster} with startTime {meta.start_time}: the wrong folder"
        )
    if meta.start_time + meta.duration >= before:
        return None
    if folder.is_symlink():
        raise ArchiveError("is a link, expected a folder")
    files = _files(folder)
    _refuse_others(name for name in files if not is_temp_name(name))
    return DueFolder(key, folder, sum(files.values()), tagged=bool(meta.tags))


def _files(folder: Path) -> dict[str, int]:
    """Return the sizes in bytes of the files of a directory, by name."""
    with os.scandir(folder) as entries:
        return {entry.name: entry.stat(follow_symlinks=False).st_size for entry in entries}


def _refuse_others(names: Iterator[str]) -> None:
    others = sorted(name for name in set(names) - _JOB_FILES if file_system_kind(name) is None)
    if others:
        raise ArchiveError(f"holds {', '.join(others)[:80]}, which is no file of an archived job")


def hide(store: ArchiveStore, key: JobKey) -> Path:
    """Remove a job from the archive, durably; return its hidden directory, for `remove_folder`.

    Raise ArchiveError if the directory contains other files, or temporary files of live writers.
    """
    folder = job_folder(store.root, key)
    with open_folder(folder) as opened:
        opened.remove_dead_temps()
        _refuse_others(iter(_files(folder)))
    hidden = folder.with_name(temp_name(folder.name))
    folder.rename(hidden)
    sync_folder(folder.parent)
    return hidden


def remove_folder(folder: Path) -> None:
    """Remove a directory with its files, possibly at the same time as another process."""
    # meta.json first: other programs may read hidden directories, and must not take this one for a complete job.
    with contextlib.suppress(FileNotFoundError):
        for name in [META_FILE, *_files(folder)]:
            (folder / name).unlink(missing_ok=True)
        folder.rmdir()


def remove_empty_folders(store: ArchiveStore, cluster: str | None = None) -> None:
    """Remove the empty directories of job ids and of thousands of job ids."""
    for folder in store.iter_thousands(cluster):
        for empty in [*folder.iterdir(), folder]:
            with contextlib.suppress(OSError):  # not empty, or not a directory
                empty.rmdir()


def open_target(source: ArchiveStore, root: Path) -> ArchiveStore:
    """Return the archive to which jobs are moved, without a change.

    Raise ArchiveError if it is or overlaps this archive, has another version, or is a directory of other files.
    """
    here, there = source.root.resolve(), root.resolve()
    if here == there or (here.exists() and there.exists() and here.samefile(there)):
        raise ArchiveError(f"{root}: is this archive itself, expected another one")
    if here in there.parents or there in here.parents:
        raise ArchiveError(f"{root}: overlaps this archive, {here}; expected a folder beside it")
    target = ArchiveStore(there)
    if not there.exists():
        if not there.parent.is_dir():
            raise ArchiveError(f"{root}: its parent folder is not there (a file system that is not mounted?)")
        return target
    target.check_version()
    if not (there / VERSION_FILE).exists():
        names = [path.name for path in there.iterdir()]
        others = sorted(name for name in names if not is_temp_name(name) and file_system_kind(name) is None)
        if others:
            raise ArchiveError(
                f"{root}: holds {', '.join(others)[:80]} and no {VERSION_FILE}; "
                "expected a job archive, an empty folder, or one that does not exist yet"
            )
    return target


def prepare_target(source: ArchiveStore, target: ArchiveStore, cluster: str | None = None) -> None:
    """Create the target if necessary, and copy the missing cluster.json of each cluster or of one."""
    target.prepare()
    if not (target.root / VERSION_FILE).exists():
        target.write_version()
    wanted = set(source.clusters()) if cluster is None else {cluster} & set(source.clusters())
    for name in sorted(wanted - set(target.clusters())):
        target.write_cluster(name, read_file(source.root / name / CLUSTER_FILE))


def copy_data(source: ArchiveStore, target: ArchiveStore, key: JobKey) -> None:
    """Copy the data files of a job to another archive, durably, and compare them; `copy_meta` completes the job.

    If the job is complete there, only compare it. Raise ArchiveError, without a change, if it differs.
    """
    theirs = job_folder(target.root, key)
    if theirs.exists() and theirs.samefile(job_folder(source.root, key)):
        raise ArchiveError(f"{theirs}: is the same folder as the one here")
    ours = source.data_files(key)
    others = {path.name for path in target.data_files(key)} ^ {path.name for path in ours}
    complete = target.has_job(key)
    if others - (set() if complete else {path.name for path in ours}):
        raise ArchiveError(f"{theirs}: holds other files of this job, remove that folder if it is not needed")
    for path in ours:
        _compare(path, theirs / path.name if complete else target.copy_data(key, path))
    if complete:
        _compare(job_folder(source.root, key) / META_FILE, theirs / META_FILE)


def copy_meta(source: ArchiveStore, target: ArchiveStore, key: JobKey) -> None:
    """Complete a job in another archive after `copy_data`: copy meta.json, durably, and compare it."""
    if not target.has_job(key):
        target.write_meta(key, source.read_meta(key))
    _compare(job_folder(source.root, key) / META_FILE, job_folder(target.root, key) / META_FILE)


def drop_copy(target: ArchiveStore, key: JobKey) -> None:
    """Remove the copies of `copy_data` if the job is not complete in the other archive."""
    if not target.has_job(key):
        remove_folder(job_folder(target.root, key))


def _compare(ours: Path, theirs: Path) -> None:
    """Raise ArchiveError unless two files have the same content; read theirs from the disk."""
    with theirs.open("rb") as file:
        drop_cached(file.fileno())
    if not filecmp.cmp(ours, theirs, shallow=False):
        raise ArchiveError(f"{theirs}: differs from the file here, remove that folder if it is not needed")
