"""Read and check the files of an import, and copy them into the archive; runs in processes without a database."""

import filecmp
from collections.abc import Mapping, Sequence
from functools import cache
from pathlib import Path
from typing import NamedTuple

from archive.exceptions import READ_ERRORS, DocumentError, reason
from archive.format.before_version_1 import convert_data
from archive.format.cluster_json import Cluster, decode_cluster
from archive.format.data_document import BeforeVersion1Error, check_document
from archive.format.layout import CLUSTER_FILE, COMPRESSED_DATA_FILE, META_FILE, JobKey, job_folder, parse_job_folder
from archive.storage.copying import Content, JobCopy, copy_jobs
from archive.storage.files import read_file
from archive.storage.store import ArchiveStore, compress, data_name, read_data_file, store_for
from jobs.archiving import writing
from jobs.exceptions import InvalidJobError
from jobs.maintenance.import_sources import DEPTH, FoundJob
from jobs.maintenance.restore import LARGEST_BATCH, ArchivedJob, read_job
from jobs.rows.columns import Row


class ReadJob(NamedTuple):
    """The files of a job, the values of its row, and whether the files are in our archive already."""

    found: FoundJob
    job: ArchivedJob
    in_place: bool


class Reading(NamedTuple):
    """The result of reading some meta.json files: jobs, and a line for each refused file."""

    jobs: list[ReadJob]
    refused: list[str]


def read_jobs(root: Path, found: list[FoundJob]) -> tuple[Reading, list[FoundJob] | None]:
    """Read and check meta.json of some jobs; return the result, and the rest of `found` if the batch became too large.

    `root` is that of our archive.
    """
    reading, size = Reading([], []), 0
    for number, one in enumerate(found):
        if size > LARGEST_BATCH:
            return reading, found[number:]
        try:
            job, length = read_job(one.meta)
            _check_place(one.meta, job)
            ours = job_folder(root, job.key) / META_FILE
            reading.jobs.append(ReadJob(one, job, ours.exists() and ours.samefile(one.meta)))
            size += length
        except FileNotFoundError:
            reading.refused.append(f"{one.meta.parent}: {one.meta.name} is missing")
        except (InvalidJobError, *READ_ERRORS) as error:
            reading.refused.append(f"{one.meta}: {reason(error)}")
    return reading, None


def _check_place(meta: Path, job: ArchivedJob) -> None:
    """Raise InvalidJobError for a meta.json in a folder that is named after another job."""
    folder = meta.parent.absolute()
    if meta.name == META_FILE and len(folder.parents) > DEPTH:
        named = parse_job_folder(folder.parents[DEPTH - 1], folder)
        if named and named[1:] != job.key[1:]:
            raise InvalidJobError(
                f"it holds job {job.key.job_id} with startTime {job.key.start_time}: the wrong folder"
            )


class Copying(NamedTuple):
    """Jobs whose files are to be copied, and the rows that their meta.json are written from; None in a dry run."""

    jobs: Sequence[ReadJob]
    rows: Sequence[Row] | None


class Checked(NamedTuple):
    """The result of `check_and_copy`: for each job why it is refused, or None; remarks; number of converted jobs."""

    refused: list[str | None]
    remarks: list[str]
    converted: int


class _Files(NamedTuple):
    """The data files of a job to import, with a remark for each damaged one that is left out."""

    data: Sequence[Path | Content]
    remarks: list[str]
    converted: bool = False


def check_and_copy(root: Path, copying: Copying) -> tuple[Checked, None]:
    """Check data files and copy missing files, durable on return. `root` is that of our archive."""
    store = store_for(root)
    checked = Checked([None] * len(copying.jobs), [], 0)
    copies: dict[int, JobCopy] = {}
    for number, one in enumerate(copying.jobs):
        try:
            files = _whole_files(store, one)
            missing = () if one.in_place else _missing_copies(store, one.job.key, files.data)
        except (InvalidJobError, *READ_ERRORS) as error:
            checked.refused[number] = f"{one.found.meta}: {reason(error)}"
        else:
            checked.remarks.extend(files.remarks)
            checked = checked._replace(converted=checked.converted + files.converted)
            if copying.rows is not None and not one.in_place:
                meta = writing.meta_document(copying.rows[number], one.job.row.statistics)
                copies[number] = JobCopy(one.job.key, meta, missing)
    for number, failure in zip(copies, copy_jobs(store, list(copies.values())), strict=True):
        if failure is not None:
            checked.refused[number] = f"{copying.jobs[number].found.meta}: {reason(failure)}"
    return checked, None


def _whole_files(store: ArchiveStore, one: ReadJob) -> _Files:
    """Return the data files that are what they should be, converted if they are from before version 1.

    A damaged file beside a whole one is left out. Raise DocumentError if all are damaged.
    """
    whole: list[Path] = []
    damaged: dict[Path, DocumentError] = {}
    for path in one.found.data:
        try:
            check_data(path)
        except BeforeVersion1Error as error:
            if one.in_place:
                raise DocumentError(f"{path.name}: {error}") from error
            return _Files([_converted(store, one, path)], _remarks(damaged, path), converted=True)
        except DocumentError as error:
            damaged[path] = error
        else:
            whole.append(path)
    if damaged and not whole:
        raise next(iter(damaged.values()))
    return _Files(whole, _remarks(damaged, whole[0]) if whole else [])


def _remarks(damaged: Mapping[Path, DocumentError], whole: Path) -> list[str]:
    return [f"{path.parent}: {error}; {whole.name} is taken alone" for path, error in damaged.items()]


def _converted(store: ArchiveStore, one: ReadJob, path: Path) -> Content:
    """Return a data file from before version 1 in the form of version 1; raise DocumentError."""
    try:
        document = convert_data(read_data_file(path), _accelerators(store, one))
        check_document(document)
    except DocumentError as error:
        raise DocumentError(f"{path.name}: {error}") from error
    return Content(COMPRESSED_DATA_FILE, compress(document))


def _accelerators(store: ArchiveStore, one: ReadJob) -> list[str]:
    """Return the ids of a node's accelerators in the job's subcluster, in the order of cluster.json."""
    row, found = one.job.row, one.found.meta.absolute()
    folders = [store.root / row.cluster, *found.parents[DEPTH - 1 : DEPTH]]
    for folder in reversed(folders):
        try:
            cluster = _cluster(folder / CLUSTER_FILE)
        except READ_ERRORS:
            continue
        part = cluster.subcluster(row.sub_cluster)
        return [accelerator.id for accelerator in part.topology.accelerators] if part else []
    return []


@cache
def _cluster(path: Path) -> Cluster:
    """Return the cluster of a cluster.json, which is read once by each process."""
    return decode_cluster(read_file(path))


def _missing_copies(store: ArchiveStore, key: JobKey, data: Sequence[Path | Content]) -> list[Path | Content]:
    """Return the data files that our archive lacks; raise InvalidJobError if it has different ones of this job."""
    here = {path.name: path for path in store.data_files(key)}
    theirs = {one.name if isinstance(one, Content) else data_name(one): one for one in data}
    same = {name for name in here.keys() & theirs if _is_same(here[name], theirs[name])}
    if here.keys() - theirs or (store.has_job(key) and here.keys() - same):
        raise InvalidJobError(
            f"the archive holds other data of this job, in {job_folder(store.root, key)}; "
            "remove that folder, or have its row back with rebuild_jobs"
        )
    return [theirs[name] for name in sorted(theirs.keys() - same)]


def _is_same(ours: Path, theirs: Path | Content) -> bool:
    if isinstance(theirs, Content):
        return read_file(ours) == theirs.content
    return filecmp.cmp(ours, theirs, shallow=False)


def check_data(path: Path) -> None:
    """Raise DocumentError unless a data.json or data.json.gz is complete and what `check_archive` takes for right."""
    try:
        check_document(read_data_file(path))
    except BeforeVersion1Error:  # which the caller converts
        raise
    except DocumentError as error:
        raise DocumentError(f"{path.name}: {str(error).removeprefix(f'{path}: ')}") from error
