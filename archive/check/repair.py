"""Repair findings of a check if that loses nothing: each repair looks at the files again before it acts."""

import contextlib
from pathlib import Path

import orjson

from archive.check import measure
from archive.check.findings import Code, Finding, Severity
from archive.check.job import JobChecker
from archive.check.samples import encoded, shift_back
from archive.exceptions import ArchiveError, DocumentError
from archive.format.layout import COMPRESSED_DATA_FILE, DATA_FILE, META_FILE, JobKey, job_folder
from archive.format.meta_json import decode_meta
from archive.storage.files import is_temp_name, make_folders, open_folder, read_file, sync_folder
from archive.storage.removal import remove_folder
from archive.storage.store import compress, read_data_file

_LEVELS_OF_A_JOB = 3  # folders below that of the cluster


def repair(root: Path, finding: Finding) -> str:
    """Repair one finding from the files alone; return a description of the repair, empty if there was none.

    Raises ArchiveError or OSError if the repair failed.
    """
    repairs = {
        Code.LEFTOVER: _remove_leftover,
        Code.EMPTY_FOLDER: _remove_empty_folder,
        Code.TWO_DATA_FILES: _remove_copy,
        Code.BAD_DATA: _remove_damaged_copy,
        Code.WRONG_PLACE: _move_job,
        Code.SHIFTED: _shift_back,
    }
    action = repairs.get(finding.code)
    return "" if action is None else action(root, finding.path)


def _remove_leftover(root: Path, path: Path) -> str:
    if path.is_dir():
        remove_folder(path)
        return "removed"
    with open_folder(path.parent) as folder:
        return "removed" if folder.is_dead_temp(path.name, remove=True) else ""


def _remove_empty_folder(root: Path, path: Path) -> str:
    cluster = root / path.relative_to(root).parts[0]
    return "removed" if _remove_if_empty(path, cluster) else ""


def _remove_if_empty(path: Path, top: Path) -> bool:
    """Remove a folder if it is empty, and then the folders above it, up to `top`, that become empty."""
    removed = False
    while path != top:
        try:
            path.rmdir()
        except OSError:  # something is in it
            break
        removed, path = True, path.parent
    if removed:
        sync_folder(path)
    return removed


def _remove_copy(root: Path, path: Path) -> str:
    """Remove a data.json with the same content as the data.json.gz beside it."""
    try:
        plain = read_data_file(path.with_name(COMPRESSED_DATA_FILE))
        measure.measure(plain)
    except DocumentError:
        return ""
    if plain != read_file(path):
        return ""
    _remove(path)
    return "removed, data.json.gz holds the same"


def _remove_damaged_copy(root: Path, path: Path) -> str:
    """Remove a damaged data file beside an intact one: a .gz, or a data.json that is a prefix of the intact one."""
    is_compressed = path.name == COMPRESSED_DATA_FILE
    intact = path.with_name(DATA_FILE if is_compressed else COMPRESSED_DATA_FILE)
    if not intact.exists():
        return ""
    try:
        content = read_data_file(intact)
        measure.measure(content)
    except DocumentError:
        return ""
    if not is_compressed and not content.startswith(read_file(path)):
        return ""
    _remove(path)
    return f"removed, {intact.name} is intact"


def _shift_back(root: Path, path: Path) -> str:
    """Move the series of a data file back that are provably late."""
    try:
        raw = read_data_file(path)
        measure.measure(raw)
        duration = decode_meta(read_file(path.with_name(META_FILE))).duration
    except (DocumentError, FileNotFoundError):
        return ""
    document = orjson.loads(raw)
    count = shift_back(document, duration)
    if not count:
        return ""
    content = encoded(document)
    with open_folder(path.parent) as folder:
        folder.write_bytes(path.name, compress(content) if path.suffix == ".gz" else content)
        folder.sync()
    return f"{count} series moved back"


def _remove(path: Path) -> None:
    with open_folder(path.parent) as folder:
        folder.remove(path.name)
        folder.sync()


def _move_job(root: Path, path: Path) -> str:
    """Move an intact job to the folder that its meta.json names, if nothing is there."""
    folder = path.parent
    errors = [finding for finding in JobChecker(root).check(folder) if finding.code.severity == Severity.ERROR]
    if [finding.code for finding in errors] != [Code.WRONG_PLACE] or any(
        is_temp_name(entry.name) for entry in folder.iterdir()
    ):
        return ""
    meta = decode_meta(read_file(folder / META_FILE))
    place = job_folder(root, JobKey(meta.cluster, meta.job_id, meta.start_time))
    make_folders(root, place.parent)
    try:
        folder.rename(place)
    except OSError as error:
        with contextlib.suppress(OSError):
            _remove_if_empty(place.parent, root / meta.cluster)
        raise ArchiveError(f"{folder}: cannot be moved to {place}: {error.strerror}") from error
    sync_folder(place.parent)
    sync_folder(folder.parent)
    above = folder.parents[_LEVELS_OF_A_JOB - 1]
    _remove_if_empty(folder.parent, above)
    return f"moved to {place.relative_to(root)}"
