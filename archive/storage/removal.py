"""Taking jobs out of an archive by the time they ended: find them, copy them to another archive, remove them.

A job is removed in two steps. Its folder gets, in one rename, a hidden name that no reader looks at (`.START.*.tmp`):
until then the job is complete, from then on it is gone. Then the hidden folder is emptied. What a killed run left of
the second step is known by its name, and the next run finishes it.

A job is moved by copying its data files first; each copy is compared with what it was made from. Last comes meta.json,
so that the other archive has the job complete or not at all, and only then it is removed here.
"""

import contextlib
import filecmp
import os
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import NamedTuple

from archive.exceptions import ArchiveError, DocumentError, reason
from archive.format.layout import (
    CLUSTER_FILE,
    COMPRESSED_DATA_FILE,
    DATA_FILE,
    META_FILE,
    VERSION_FILE,
    JobKey,
    job_folder,
    parse_job_folder,
)
from archive.format.meta_json import decode_meta
from archive.storage.files import drop_cached, is_temp_name, open_folder, sync_folder, temp_name
from archive.storage.store import ArchiveStore

_JOB_FILES = frozenset({META_FILE, COMPRESSED_DATA_FILE, DATA_FILE})


class Found(NamedTuple):
    """A job's folder that is due: its size in bytes, whether meta.json has tags, and what a killed run left of it.

    `removed` says that the folder has its hidden name already: the job is gone, its files are not yet.
    """

    key: JobKey
    folder: Path
    size: int
    tagged: bool = False
    removed: bool = False


def find(
    store: ArchiveStore, *, before: int, cluster: str | None = None, trouble: Callable[[str], None]
) -> Iterator[Found]:
    """Yield the complete jobs that ended before a time (epoch seconds), and what a killed run left, in bounded memory.

    `trouble` is told of jobs that may be due and cannot be taken, with the reason.
    """
    for id_folder in store.iter_id_folders(cluster):
        try:
            folders = sorted(id_folder.iterdir())
        except FileNotFoundError:  # removed meanwhile
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
            except (ArchiveError, OSError) as error:
                trouble(f"{folder}: {reason(error)}")
            else:
                if found:
                    yield found


def _leftover(key: JobKey, folder: Path) -> Found:
    return Found(key, folder, sum(_files(folder).values()), removed=True)


def _due(key: JobKey, folder: Path, before: int) -> Found | None:
    """Return the job if it is complete and ended before that time."""
    try:
        meta = decode_meta((folder / META_FILE).read_bytes())
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
    return Found(key, folder, sum(files.values()), tagged=bool(meta.tags))


def _files(folder: Path) -> dict[str, int]:
    """Return what lies in a folder with its size in bytes."""
    with os.scandir(folder) as entries:
        return {entry.name: entry.stat(follow_symlinks=False).st_size for entry in entries}


def _refuse_others(names: Iterator[str]) -> None:
    others = sorted(set(names) - _JOB_FILES)
    if others:
        raise ArchiveError(f"holds {', '.join(others)[:80]}, which is no file of an archived job")


def hide(store: ArchiveStore, key: JobKey) -> Path:
    """Take a job out of the archive, durable on return; return the hidden folder, to be emptied by `remove_folder`.

    Raises ArchiveError where the folder holds other files, those too that somebody is writing at this moment.
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
    """Remove a folder with its files; what another run removes at the same time is no error."""
    # meta.json first: other readers of the format may look at hidden folders, and must not take this one for complete.
    with contextlib.suppress(FileNotFoundError):
        for name in [META_FILE, *_files(folder)]:
            (folder / name).unlink(missing_ok=True)
        folder.rmdir()


def remove_empty_folders(store: ArchiveStore, cluster: str | None = None) -> None:
    """Remove the folders of job ids, and of thousands of them, in which nothing is left."""
    for folder in store.iter_thousands(cluster):
        for empty in [*folder.iterdir(), folder]:
            with contextlib.suppress(OSError):  # not empty, or no folder
                empty.rmdir()


def open_target(source: ArchiveStore, root: Path) -> ArchiveStore:
    """Return the archive that jobs may be moved to; changes nothing.

    Raises ArchiveError where it is this archive or overlaps it, is of another version, or is a folder of other things.
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
        others = sorted(path.name for path in there.iterdir() if not is_temp_name(path.name))
        if others:
            raise ArchiveError(
                f"{root}: holds {', '.join(others)[:80]} and no {VERSION_FILE}; "
                "expected a job archive, an empty folder, or one that does not exist yet"
            )
    return target


def prepare_target(source: ArchiveStore, target: ArchiveStore, cluster: str | None = None) -> None:
    """Make the target an archive, with the cluster.json of each cluster (or of one) that has none there."""
    target.prepare()
    if not (target.root / VERSION_FILE).exists():
        target.write_version()
    wanted = set(source.clusters()) if cluster is None else {cluster} & set(source.clusters())
    for name in sorted(wanted - set(target.clusters())):
        target.write_cluster(name, (source.root / name / CLUSTER_FILE).read_bytes())


def copy_data(source: ArchiveStore, target: ArchiveStore, key: JobKey) -> None:
    """Copy a job's data files to another archive, durable and compared on return; meta.json is left to `copy_meta`.

    A job that is complete there is compared. Raises ArchiveError where it differs; nothing of it is changed then.
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
    """Make a job complete in another archive, durable and compared on return, after `copy_data`."""
    if not target.has_job(key):
        target.write_meta(key, source.read_meta(key))
    _compare(job_folder(source.root, key) / META_FILE, job_folder(target.root, key) / META_FILE)


def drop_copy(target: ArchiveStore, key: JobKey) -> None:
    """Remove what `copy_data` wrote, of a job that did not become complete in the other archive."""
    if not target.has_job(key):
        remove_folder(job_folder(target.root, key))


def _compare(ours: Path, theirs: Path) -> None:
    """Raise ArchiveError unless two files have the same content, theirs as it lies on the disk."""
    with theirs.open("rb") as file:
        drop_cached(file.fileno())
    if not filecmp.cmp(ours, theirs, shallow=False):
        raise ArchiveError(f"{theirs}: differs from the file here, remove that folder if it is not needed")
