"""Import jobs of other archives: find their folders, check each job, copy its files, add its row.

The order of the steps makes a kill at any instant safe: row ids are reserved, the data files are copied, then meta.json
is written, which names the row's id, each durable and whole; then a batch of rows is inserted in one transaction.
Before the commit there is a complete folder without a row: the next run finds its files in place and goes on from
there. After it, row and folder agree in every value. At no time does a row claim files that are not there. If rows were
inserted before the files, they would; if files were copied in the transaction, starts and stops would wait for the
disk.

Files are read, checked and copied in processes on all cores; this one alone talks to the database.
"""

from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

from django.db import transaction

from archive import root
from archive.exceptions import READ_ERRORS, reason
from archive.format.before_version_1 import convert_cluster
from archive.format.cluster_json import decode_cluster
from archive.format.layout import JobKey
from archive.processes import Workers, uninterrupted
from archive.storage.files import read_file
from jobs.archiving import queue
from jobs.maintenance import restore
from jobs.maintenance.import_files import Copying, Reading, ReadJob, check_and_copy, read_jobs
from jobs.maintenance.import_sources import FoundJob, Source
from jobs.maintenance.restore import Report
from jobs.models import Job
from jobs.rows.insert import reserve_ids, use_little_memory
from jobs.tags.ids import Pair

_BATCH = 50  # jobs that are read, copied and inserted together
_LARGEST_BATCH = 8_000_000  # bytes of their data files, about: large ones take their time, and all cores share it


@dataclass
class ImportCounts:
    """Numbers of jobs of an import, the clusters whose cluster.json it copied, and the clusters without one.

    `converted` jobs are of an archive from before version 1.
    """

    imported: int = 0
    skipped: int = 0
    refused: int = 0
    in_place: int = 0
    converted: int = 0
    clusters: list[str] = field(default_factory=list)
    without_config: set[str] = field(default_factory=set)


class _Batch(NamedTuple):
    """Jobs whose files are being copied, by their reserved row ids, and the ids of their tags."""

    jobs: dict[int, ReadJob]
    tags: dict[Pair, int]


@dataclass
class JobImport:
    """Import jobs from sources; `counts` is right at any time, even if `run` is interrupted.

    `trouble` is called with a line for each refused job, `remark` with a line for each damaged file that was left out,
    `progress` with the number of jobs just done.
    """

    sources: Sequence[Source]
    trouble: Report
    remark: Report = lambda text: None
    progress: Callable[[int], Any] = lambda number: None
    dry_run: bool = False
    counts: ImportCounts = field(default_factory=ImportCounts)
    _copied: deque[_Batch] = field(default_factory=deque)  # or being copied, in this order
    _twice: list[FoundJob] = field(default_factory=list)

    def run(self) -> ImportCounts:
        """Import all jobs that have no row; with `dry_run` only check them."""
        for source in self.sources:
            for path in source.cluster_files():
                self._import_cluster(path)
        use_little_memory()
        found = (job for source in self.sources for job in source.jobs(self._refuse))
        with Workers("jobs.maintenance.preload") as workers:
            self._import(workers, found)
            while self._twice:
                again, self._twice = self._twice, []
                self._import(workers, iter(again))
        self.counts.without_config.difference_update(self.counts.clusters, root.store().clusters())
        return self.counts

    def _refuse(self, text: str) -> None:
        self.counts.refused += 1
        self.trouble(text)

    def _import_cluster(self, path: Path) -> None:
        """Copy a cluster.json, unless its cluster is configured here."""
        store = root.store()
        try:
            raw = read_file(path)
            cluster = decode_cluster(raw)
            name = cluster.name
            if name in store.clusters() or name in self.counts.clusters:
                return
            if not self.dry_run:
                store.write_cluster(name, convert_cluster(raw))
        except READ_ERRORS as error:
            self._refuse(f"{path}: {reason(error)}")
        else:
            self.counts.clusters.append(name)
            for fault in cluster.faults:
                self.remark(f"{path}: {fault}; the metric is left out")

    def _import(self, workers: Workers, found: Iterator[FoundJob]) -> None:
        """Pass jobs through the steps, several batches at a time in each."""
        here = root.store().root
        chosen = (self._choose(reading) for reading in workers.map(partial(read_jobs, here), _batches(found)))
        for checked in workers.map(partial(check_and_copy, here), chosen):
            for text in checked.remarks:
                self.remark(text)
            self.counts.converted += checked.converted
            with uninterrupted():
                self._insert(self._copied.popleft(), checked.refused)

    def _choose(self, reading: Reading) -> Copying:
        """Select the jobs that have no row, and reserve ids for them and their tags."""
        for text in reading.refused:
            self._refuse(text)
        known = Job.objects.ids_of(one.job.key for one in reading.jobs)
        under_way = {one.job.key for batch in self._copied for one in batch.jobs.values()}
        chosen: dict[JobKey, ReadJob] = {}
        twice = 0
        for one in reading.jobs:
            if one.job.key in known:
                self.counts.skipped += 1
            elif one.job.key in under_way or one.job.key in chosen:
                # The first copy may turn out to be broken, so this one is read again once that is known.
                self._twice.append(one.found)
                twice += 1
            else:
                chosen[one.job.key] = one
        self.progress(len(reading.refused) + len(reading.jobs) - len(chosen) - twice)
        jobs = list(chosen.values())
        if self.dry_run or not jobs:
            self._copied.append(_Batch(dict(enumerate(jobs)), {}))
            return Copying(jobs, None)
        tags = restore.ids_of_tags(one.job for one in jobs)
        batch = _Batch(dict(zip(reserve_ids(len(jobs)), jobs, strict=True)), tags)
        self._copied.append(batch)
        return Copying(jobs, [one.job.as_stored(row_id, tags) for row_id, one in batch.jobs.items()])

    def _insert(self, batch: _Batch, refused: Sequence[str | None]) -> None:
        """Insert the rows of the jobs whose files are in place."""
        ready = {}
        for (row_id, one), why in zip(batch.jobs.items(), refused, strict=True):
            if why is None:
                ready[row_id] = one
            else:
                self._refuse(why)
        if not self.dry_run and ready:
            rows = {row_id: one.job for row_id, one in ready.items()}
            inserted = restore.insert(rows, written=batch.tags)
            self._note_overwritten(one for row_id, one in ready.items() if row_id not in inserted)
            self.counts.skipped += len(ready) - len(inserted)
            ready = {row_id: ready[row_id] for row_id in inserted}
        self.counts.imported += len(ready)
        self.counts.without_config.update(one.job.key.cluster for one in ready.values())
        self.counts.in_place += sum(one.in_place for one in ready.values())
        self.progress(len(batch.jobs))

    def _note_overwritten(self, jobs: Iterable[ReadJob]) -> None:
        """Record that meta.json has to follow the rows of jobs that another process inserted during the copying."""
        if known := Job.objects.ids_of(one.job.key for one in jobs if not one.in_place):
            with transaction.atomic():
                queue.record_edit(sorted(known.values()))


def _batches(found: Iterable[FoundJob]) -> Iterator[list[FoundJob]]:
    """Yield jobs in batches, limited by number and by the size of their data files."""
    batch: list[FoundJob] = []
    size = 0
    for one in found:
        batch.append(one)
        with suppress(OSError):  # reading it reports the error
            size += sum(path.stat().st_size for path in one.data)
        if len(batch) == _BATCH or size > _LARGEST_BATCH:
            yield batch
            batch, size = [], 0
    if batch:
        yield batch
