"""Copy many jobs into an archive at a time, each durably and atomically, with few flushes of the file system.

A flush makes the file system write its journal, including everything that others wrote before. So all jobs advance in
step: each writes a file, all flush in parallel; each renames it and writes the next, all flush again. The journal is
written a few times for all jobs together, and the writes of each job keep the order that makes it atomic.
"""

import os
from collections.abc import Generator, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path
from typing import NamedTuple

from archive.exceptions import READ_ERRORS
from archive.format.layout import META_FILE, JobKey
from archive.storage.files import copier, sync_folder, write_all
from archive.storage.store import ArchiveStore, data_name

_THREADS = 8  # parallel flushes

Flush = int | Path
"""Something to flush: the descriptor of an open file or directory, or the path of a directory."""


class Content(NamedTuple):
    """A data file to write: its name in the archive, and its content."""

    name: str
    content: bytes


class JobCopy(NamedTuple):
    """A job to write: its meta.json, and the data.json or data.json.gz (or both): paths to copy, or contents."""

    key: JobKey
    meta: bytes
    data: Sequence[Path | Content]


def copy_jobs(store: ArchiveStore, jobs: Sequence[JobCopy]) -> list[Exception | None]:
    """Write jobs with copies of their data files, durably; return the error of each job, or None.

    The data of a job is durable before its meta.json appears, so a directory with a meta.json is complete. The suffix
    of a data file decides the name of its copy; files with other names are kept.
    """
    failures: list[Exception | None] = [None] * len(jobs)
    steps = {number: _steps(store, job) for number, job in enumerate(jobs)}
    flushed: dict[Flush, Exception | None] = {}
    wanted: dict[int, list[Flush]] = {}
    with ThreadPoolExecutor(_THREADS) as threads:
        while steps:
            advancing: dict[int, list[Flush]] = {}
            for number, job_steps in list(steps.items()):
                failed = [error for flush in wanted.get(number, ()) if (error := flushed[flush])]
                try:
                    advancing[number] = job_steps.throw(failed[0]) if failed else next(job_steps)
                except StopIteration:
                    del steps[number]
                except READ_ERRORS as error:
                    failures[number] = error
                    del steps[number]
            wanted = advancing
            flushes = list({flush for each in wanted.values() for flush in each})
            flushed = dict(zip(flushes, threads.map(_flush, flushes), strict=True))
    return failures


def _steps(store: ArchiveStore, job: JobCopy) -> Generator[list[Flush], None, None]:
    """Write a job; yield what to flush before each next step."""
    with store.writing(job.key, flush=False) as folder:
        for source in job.data:
            name = data_name(source) if isinstance(source, Path) else source.name
            fill = copier(source) if isinstance(source, Path) else partial(write_all, content=source.content)
            with folder.temporary(name, fill) as descriptor:
                yield [descriptor]
        with folder.temporary(META_FILE, partial(write_all, content=job.meta)) as descriptor:
            yield [descriptor, folder.descriptor]
        # The directories above, too: another process may have just created them, but not flushed them yet.
        yield [folder.descriptor, *(path for path in folder.path.parents if path.is_relative_to(store.root))]


def _flush(target: Flush) -> Exception | None:
    try:
        if isinstance(target, int):
            os.fsync(target)
        else:
            sync_folder(target)
    except OSError as error:
        return error
    return None
