"""Rebuild the job table from the archive: add rows for the jobs that are in the archive and not in the database.

Rows alone, so that all jobs are there soon; `jobs.ledger.backlog` books them afterwards.

Two passes. The first looks at the beginning of each meta.json for the greatest row id, so that neither a job that is
started meanwhile nor a job from elsewhere gets an id that belongs to a job read later. The second reads and inserts.
"""

from collections.abc import Callable, Iterable, Iterator
from contextlib import suppress
from dataclasses import dataclass, field
from functools import partial
from itertools import islice
from pathlib import Path
from typing import Any, NamedTuple

from django.db import connection

from archive.exceptions import READ_ERRORS, reason
from archive.format.layout import COMPRESSED_DATA_FILE, DATA_FILE, META_FILE, JobKey, parse_job_folder, place_of
from archive.processes import Workers, collecting_rarely, uninterrupted
from archive.root import store
from archive.storage.files import read_file
from archive.storage.store import list_folders
from jobs.exceptions import InvalidJobError
from jobs.maintenance import restore
from jobs.maintenance.restore import LARGEST_BATCH, ArchivedJob, Report
from jobs.models import Job
from jobs.rows.insert import gather_statistics, keep_ids, use_little_memory

_BATCH = 250  # folders of job ids that are read together: mostly of one job each
_INSERTED_TOGETHER = 1000  # jobs
_BEGINNING = 64  # bytes of a meta.json that hold its first key and value


@dataclass
class RebuildCounts:
    """Numbers of the jobs in the archive, by outcome."""

    restored: int = 0
    present: int = 0
    refused: int = 0


class _Survey(NamedTuple):
    """The number of jobs, and the greatest row id that one of them may name."""

    jobs: int
    greatest: int


class _Refused(NamedTuple):
    """A refused folder, with the reason in one line, and the job that the folder is named after."""

    text: str
    key: JobKey | None


class _Reading(NamedTuple):
    """The jobs and refusals of some folders, and the size of the files (bytes)."""

    jobs: list[ArchivedJob]
    refused: list[_Refused]
    size: int


@dataclass
class Rebuild:
    """Insert the missing rows, of one cluster or of all; `counts` is right at any time, even if `run` is interrupted.

    `trouble` is called with a line for each refused folder, `total` with the number of all jobs, `progress` with the
    number of jobs just done.
    """

    trouble: Report
    total: Callable[[int], Any] = lambda number: None
    progress: Callable[[int], Any] = lambda number: None
    cluster: str | None = None
    counts: RebuildCounts = field(default_factory=RebuildCounts)

    def run(self) -> RebuildCounts:
        """Read the archive and insert in batches, each a transaction of its own."""
        use_little_memory()
        with collecting_rarely(), Workers("jobs.maintenance.preload") as workers:
            jobs = greatest = 0
            for survey in workers.map(_survey, self._batches(lambda text: None)):
                jobs, greatest = jobs + survey.jobs, max(greatest, survey.greatest)
            self.total(jobs)
            if greatest:
                keep_ids(Job, greatest)
            readings = _joined(workers.map(partial(_read, store().root), self._batches(self._refuse)))
            for number, reading in enumerate(readings):
                with uninterrupted():
                    self._restore(reading)
                if number == 0:
                    gather_statistics("job_id")  # of which jobs are booked it would be wrong soon
        return self.counts

    def _refuse(self, text: str) -> None:
        self.counts.refused += 1
        self.trouble(text)

    def _restore(self, reading: _Reading) -> None:
        restored = restore.restore(reading.jobs)
        self.counts.restored += restored
        self.counts.present += len(reading.jobs) - restored
        known = Job.objects.ids_of(refused.key for refused in reading.refused if refused.key is not None)
        for refused in reading.refused:
            if refused.key in known:
                self.counts.present += 1
            else:
                self._refuse(refused.text)
        self.progress(len(reading.jobs) + len(reading.refused))

    def _batches(self, trouble: Report) -> Iterator[list[str]]:
        """Yield the folders of job ids (CLUSTER/1034/871 under the root), by number, in batches."""
        root = store().root
        clusters = _folders(root, trouble) if self.cluster is None else [str(root / self.cluster)]
        ids = (
            path for name in clusters for thousands in _folders(name, trouble) for path in _folders(thousands, trouble)
        )
        return iter(lambda: list(islice(ids, _BATCH)), [])


def _folders(path: str | Path, trouble: Report) -> Iterator[str]:
    """Yield the folders in a folder, numbers by value; call `trouble` with a line if it cannot be read."""
    try:
        names = list_folders(path)
    except OSError as error:
        trouble(f"{path}: {reason(error)}")
    else:
        yield from (f"{path}/{name}" for name in names)


def _survey(ids: list[str]) -> tuple[_Survey, None]:
    """Count the jobs in folders of job ids and find the greatest row id; `_read` reports unreadable files."""
    jobs = greatest = 0
    for folder in ids:
        for path in _folders(folder, lambda text: None):
            jobs += 1
            with suppress(OSError):
                beginning = read_file(f"{path}/{META_FILE}", _BEGINNING)
                greatest = max(greatest, restore.own_id_at_most(beginning))
    return _Survey(jobs, greatest), None


def _joined(readings: Iterable[_Reading]) -> Iterator[_Reading]:
    """Join readings, to be inserted in one transaction each.

    On PostgreSQL a transaction is expensive and blocks nobody; on SQLite it keeps all other writers waiting.
    """
    most = _INSERTED_TOGETHER if connection.vendor == "postgresql" else 1
    jobs, refused, size = [], [], 0
    for reading in readings:
        jobs += reading.jobs
        refused += reading.refused
        size += reading.size
        if len(jobs) >= most or size > LARGEST_BATCH:
            yield _Reading(jobs, refused, size)
            jobs, refused, size = [], [], 0
    yield _Reading(jobs, refused, size)


def _read(root: Path, ids: list[str]) -> tuple[_Reading, list[str] | None]:
    """Read the jobs in folders of job ids; return them, and the rest of `ids` if the batch became too large."""
    jobs: list[ArchivedJob] = []
    refused: list[_Refused] = []
    size = 0
    for number, folder in enumerate(ids):
        if size > LARGEST_BATCH:
            return _Reading(jobs, refused, size), ids[number:]

        def refuse(text: str) -> None:
            refused.append(_Refused(text, None))

        for path in _folders(folder, refuse):
            found = _read_folder(root, path)
            if isinstance(found, _Refused):
                refused.append(found)
            elif found is not None:
                jobs.append(found[0])
                size += found[1]
    return _Reading(jobs, refused, size), None


def _read_folder(root: Path, folder: str) -> tuple[ArchivedJob, int] | _Refused | None:
    """Read the job in a folder; return it and the size of its meta.json (bytes), or None if there are no files.

    The folder is a string: Path objects would take as long as all the rest.
    """
    try:
        job, size = restore.read_job(f"{folder}/{META_FILE}")
        if folder != f"{root}/{place_of(job.key)}":
            raise InvalidJobError(
                f"it holds job {job.key.job_id} of {job.key.cluster} with startTime {job.key.start_time}, "
                f"which belongs into {root}/{place_of(job.key)}"
            )
    except FileNotFoundError:
        if any(Path(folder, name).exists() for name in (COMPRESSED_DATA_FILE, DATA_FILE)):
            return _Refused(f"{folder}: {META_FILE} is missing", parse_job_folder(root, Path(folder)))
        return None
    except (InvalidJobError, *READ_ERRORS) as error:
        return _Refused(f"{folder}/{META_FILE}: {reason(error)}", parse_job_folder(root, Path(folder)))
    return job, size
