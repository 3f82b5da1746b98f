"""Read and check the files of an import, and copy them into the archive; runs in processes without a database."""

import filecmp
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

from archive.exceptions import READ_ERRORS, DocumentError, reason
from archive.format.data_document import check_document
from archive.format.layout import META_FILE, job_folder, parse_job_folder
from archive.storage.copying import JobCopy, copy_jobs
from archive.storage.store import ArchiveStore, data_name, decompress, store_for
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


def check_and_copy(root: Path, copying: Copying) -> tuple[list[str | None], None]:
    """Check data files and copy missing files, durable on return; return for each job why it is refused, or None.

    `root` is that of our archive.
    """
    store = store_for(root)
    refused: list[str | None] = [None] * len(copying.jobs)
    copies: dict[int, JobCopy] = {}
    for number, one in enumerate(copying.jobs):
        try:
            for path in one.found.data:
                check_data(path)
            missing = () if one.in_place else _missing_copies(store, one)
        except (InvalidJobError, *READ_ERRORS) as error:
            refused[number] = f"{one.found.meta}: {reason(error)}"
        else:
            if copying.rows is not None and not one.in_place:
                meta = writing.meta_document(copying.rows[number], one.job.row.statistics)
                copies[number] = JobCopy(one.job.key, meta, missing)
    for number, failure in zip(copies, copy_jobs(store, list(copies.values())), strict=True):
        if failure is not None:
            refused[number] = f"{copying.jobs[number].found.meta}: {reason(failure)}"
    return refused, None


def _missing_copies(store: ArchiveStore, one: ReadJob) -> Sequence[Path]:
    """Return the data files that our archive lacks; raise InvalidJobError if it has different ones of this job."""
    key = one.job.key
    here = {path.name: path for path in store.data_files(key)}
    theirs = {data_name(path): path for path in one.found.data}
    same = {name for name in here.keys() & theirs if filecmp.cmp(here[name], theirs[name], shallow=False)}
    if here.keys() - theirs or (store.has_job(key) and here.keys() - same):
        raise InvalidJobError(
            f"the archive holds other data of this job, in {job_folder(store.root, key)}; "
            "remove that folder, or have its row back with rebuild_jobs"
        )
    return [theirs[name] for name in sorted(theirs.keys() - same)]


def check_data(path: Path) -> None:
    """Raise DocumentError unless a data.json or data.json.gz is complete and what `check_archive` takes for right."""
    raw = path.read_bytes()
    try:
        check_document(decompress(raw) if path.suffix == ".gz" else raw)
    except DocumentError as error:
        raise DocumentError(f"{path.name}: {error}") from error
