"""Jobs copied into an archive many at a time: each durable and whole, all of them flushed to disk together.

A flush makes a file system write its journal, and what others wrote until then comes along. So the jobs go forward in
step: all write, all flush, side by side; all rename and write the next, all flush. The journal is written a few times
for all of them, and the order of writes that keeps a single job whole holds for each.
"""

import os
from collections.abc import Generator, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import NamedTuple

from archive.exceptions import ArchiveError
from archive.format.layout import META_FILE, JobKey
from archive.storage.files import copier, sync_folder, write_all
from archive.storage.store import ArchiveStore, data_name

_THREADS = 8  # flushes at a time

Flush = int | Path
"""What is to be flushed: an open file or folder, or a folder by its path."""


class JobCopy(NamedTuple):
    """A job to be written: its meta.json, and where data.json or data.json.gz (or both) lie that are to be copied."""

    key: JobKey
    meta: bytes
    data: Sequence[Path]


def copy_jobs(store: ArchiveStore, jobs: Sequence[JobCopy]) -> list[Exception | None]:
    """Write jobs with copies of their data files, byte for byte; return what went wrong with each, None if nothing.

    When this returns, all is on disk. A folder with a meta.json is complete: its data is durable before meta.json
    appears. The suffix of a data file decides the name of its copy; files of other names stay.
    """
    failures: list[Exception | None] = [None] * len(jobs)
    steps = {number: _steps(store, job) for number, job in enumerate(jobs)}
    flushed: dict[Flush, Exception | None] = {}
    wanted: dict[int, list[Flush]] = {}
    with ThreadPoolExecutor(_THREADS) as threads:
        while steps:
            going_on: dict[int, list[Flush]] = {}
            for number, job_steps in list(steps.items()):
                failed = [error for flush in wanted.get(number, ()) if (error := flushed[flush])]
                try:
                    going_on[number] = job_steps.throw(failed[0]) if failed else next(job_steps)
                except StopIteration:
                    del steps[number]
                except (ArchiveError, OSError) as error:
                    failures[number] = error
                    del steps[number]
            wanted = going_on
            flushes = list({flush for wishes in wanted.values() for flush in wishes})
            flushed = dict(zip(flushes, threads.map(_flush, flushes), strict=True))
    return failures


def _steps(store: ArchiveStore, job: JobCopy) -> Generator[list[Flush], None, None]:
    """Write one job; yield what has to be flushed before the next step."""
    with store.writing(job.key, flush=False) as folder:
        for source in job.data:
            with folder.temporary(data_name(source), copier(source)) as descriptor:
                yield [descriptor]
        with folder.temporary(META_FILE, lambda descriptor: write_all(descriptor, job.meta)) as descriptor:
            yield [descriptor, folder.descriptor]
        # The folders above, too: another process may have made them just now, and not have flushed them yet.
        yield [folder.descriptor, *(path for path in folder.path.parents if path.is_relative_to(store.root))]


def _flush(what: Flush) -> Exception | None:
    try:
        if isinstance(what, int):
            os.fsync(what)
        else:
            sync_folder(what)
    except OSError as error:
        return error
    return None
