"""Take old jobs out of the archive and, with `rows`, out of the database.

The order of the steps makes a kill at any instant safe. A job's row is claimed, so that no worker writes its files. If
the job is to be moved, its data files are copied. Then the row records that the archive no longer has the job
(monitoringStatus 0): from then on no edit is written to the archive, so meta.json does not change while it is copied.
Then the folder is renamed to a hidden name, the row is deleted if requested, and the hidden folder is removed last:
while it exists, it leads the next run to the row.
"""

import threading
import time
from collections.abc import Callable, Collection, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from itertools import islice
from pathlib import Path
from typing import Any

from archive import root
from archive.exceptions import READ_ERRORS, ArchiveError, concerns_all
from archive.storage import removal
from archive.storage.store import ArchiveStore
from jobs.archiving import queue
from jobs.archiving.worker import ArchiveWorker
from jobs.deletion.services import delete_jobs
from jobs.models import ArchiveTask, Job, JobTag

_BATCH = 32  # jobs that are claimed at once
_THREADS = 8  # jobs whose files are worked on at once; the threads mostly wait for the disk
_PATIENCE = queue.LEASE.seconds + 2  # seconds until the jobs of a killed process are free again
_LOOK_EVERY = 0.5  # seconds


@dataclass
class RetentionCounts:
    """Jobs and bytes that a run took out or would take out, in total and by cluster, and the jobs that it left."""

    jobs: int = 0
    size: int = 0
    by_cluster: dict[str, tuple[int, int]] = field(default_factory=dict)
    rows: int = 0
    leftovers: int = 0
    tagged: int = 0
    busy: int = 0
    held: int = 0
    failed: int = 0

    def add(self, found: removal.DueFolder) -> None:
        """Count a job, or the rest of a job from a killed run."""
        if found.removed:
            self.leftovers += 1
            return
        self.jobs += 1
        self.size += found.size
        jobs, size = self.by_cluster.get(found.key.cluster, (0, 0))
        self.by_cluster[found.key.cluster] = jobs + 1, size + found.size


class _NotBegunError(ArchiveError):
    """The run stops before this job."""


@dataclass(slots=True)
class _Entry:
    """A job to take out: its folder, renamed to a hidden name in the course of it, and its row, if it has one."""

    found: removal.DueFolder
    folder: Path
    row_id: int | None
    keeps_row: bool


@dataclass
class Retention:
    """Take jobs that ended before a time (epoch seconds) out of the archive; `counts` is right at any time.

    With a `target` the jobs are moved there. `rows` deletes their rows, too. `trouble` is called with a line for each
    job that could not be taken out, `progress` with the number of jobs just done.
    """

    before: int
    target: ArchiveStore | None = None
    cluster: str | None = None
    omit_tagged: bool = False
    rows: bool = False
    trouble: Callable[[str], None] = lambda text: None
    progress: Callable[[int], Any] = lambda number: None
    name: str = field(default_factory=queue.worker_name)
    counts: RetentionCounts = field(default_factory=RetentionCounts)
    stopping: threading.Event = field(default_factory=threading.Event)
    _hopeless: Exception | None = None

    def survey(self) -> RetentionCounts:
        """Count the jobs that are due, and change nothing."""
        for entries in self._batches():
            for entry in entries:
                self.counts.add(entry.found)
        return self.counts

    def run(self) -> RetentionCounts:
        """Take the jobs out, until all are done or `stopping` is set.

        Raise OSError for an error that affects every job, such as a full file system; ArchiveError for a bad target.
        """
        if self.target:
            removal.prepare_target(root.store(), self.target, self.cluster)
        with ThreadPoolExecutor(_THREADS, "retention") as pool, queue.renewing(self.name, lambda: True):
            for entries in self._batches():
                self._take_out(entries, pool)
                self.progress(len(entries))
                if self._hopeless:
                    raise self._hopeless
        removal.remove_empty_folders(root.store(), self.cluster)
        return self.counts

    def _batches(self) -> Iterator[list[_Entry]]:
        """Yield the jobs that are due, in batches."""
        found = removal.find(root.store(), before=self.before, cluster=self.cluster, trouble=self._refuse)
        while not self.stopping.is_set() and (batch := list(islice(found, _BATCH))):
            yield self._choose(batch)

    def _refuse(self, text: str) -> None:
        self.counts.failed += 1
        self.trouble(text)

    def _choose(self, batch: Sequence[removal.DueFolder]) -> list[_Entry]:
        """Leave out jobs that run or wait, and with `omit_tagged` those with tags, by the row or else by meta.json."""
        known = Job.objects.ids_of(found.key for found in batch)
        rows = Job.objects.filter(pk__in=known.values())
        busy = set(rows.busy().values_list("pk", flat=True))
        tagged = set(JobTag.objects.filter(job_id__in=known.values()).values_list("job_id", flat=True))
        entries = []
        for found in batch:
            row_id = known.get(found.key)
            has_tags = self.omit_tagged and (found.tagged if row_id is None else row_id in tagged)
            if found.removed:  # taken out earlier; if the job has been added again since, the row is not of this folder
                came_back = row_id in busy or root.store().has_job(found.key)
                entries.append(_Entry(found, found.folder, None if came_back else row_id, keeps_row=has_tags))
            elif row_id in busy:
                self.counts.busy += 1
            elif has_tags:
                self.counts.tagged += 1
            else:
                entries.append(_Entry(found, found.folder, row_id, keeps_row=False))
        return entries

    def _take_out(self, entries: Sequence[_Entry], pool: ThreadPoolExecutor) -> None:
        """Take one batch out of the archive, in the order that the module's docstring explains."""
        retired: dict[int, int] = {}
        copied: list[_Entry] = []
        gone: list[_Entry] = []
        try:
            claimed = self._claim({entry.row_id for entry in entries if entry.row_id is not None})
            free = self._without_rows_or_in(claimed, entries)
            copied = self._each(self._copy, free, pool)
            retired = queue.retire(self.name, [entry.row_id for entry in copied if entry.row_id is not None])
            gone = self._each(self._hide, self._without_rows_or_in(retired, copied), pool)
        finally:
            row_ids = {entry.row_id for entry in gone if entry.row_id is not None}
            queue.reinstate({row_id: status for row_id, status in retired.items() if row_id not in row_ids})
            queue.end_removal(self.name, row_ids)
            self._each(self._drop_copy, [entry for entry in copied if entry not in gone], pool)
        if self.rows:
            going = [entry.row_id for entry in gone if entry.row_id is not None and not entry.keeps_row]
            self.counts.rows += delete_jobs(row_ids=going)
        for entry in gone:
            self.counts.add(entry.found)
        self._each(self._remove, gone, pool)

    def _claim(self, row_ids: set[int]) -> set[int]:
        """Claim rows once their meta.json has followed the last edit; wait for claims of a killed process to expire."""
        edited = ArchiveTask.objects.filter(pk__in=row_ids, edits__gt=0, job__in=Job.objects.archived())
        due = list(edited.values_list("pk", flat=True))
        if due:
            ArchiveWorker(only=due, at_once=True).drain()
            row_ids -= set(edited.filter(worker="").values_list("pk", flat=True))  # meta.json could not be written
        claimed: set[int] = set()
        give_up_at = time.monotonic() + _PATIENCE
        while missing := row_ids - claimed:
            queue.reclaim_expired()
            claimed |= {claim.row_id for claim in queue.claim_for_removal(self.name, missing)}
            held = ArchiveTask.objects.filter(pk__in=missing - claimed).exclude(worker="")
            if not held.exists() or time.monotonic() > give_up_at or self.stopping.wait(_LOOK_EVERY):
                break
        return claimed

    def _without_rows_or_in(self, held: Collection[int], entries: Sequence[_Entry]) -> list[_Entry]:
        """Leave out the jobs whose row another process has claimed or has just edited."""
        free = [entry for entry in entries if entry.row_id is None or entry.row_id in held]
        self.counts.held += len(entries) - len(free)
        return free

    def _each(
        self, step: Callable[[_Entry], None], entries: Sequence[_Entry], pool: ThreadPoolExecutor
    ) -> list[_Entry]:
        """Do one step for each job in threads; return the jobs for which it succeeded."""

        def attempt(entry: _Entry) -> Exception | None:
            try:
                step(entry)
            except READ_ERRORS as error:
                if concerns_all(error):
                    self._hopeless = error
                return error
            return None

        done = []
        for entry, error in zip(entries, pool.map(attempt, entries), strict=True):
            if error is None:
                done.append(entry)
            elif not isinstance(error, _NotBegunError):
                self._refuse(f"{entry.folder}: {error}")
        return done

    def _copy(self, entry: _Entry) -> None:
        if self._hopeless or self.stopping.is_set():
            raise _NotBegunError
        if self.target and not entry.found.removed:
            removal.copy_data(root.store(), self.target, entry.found.key)

    def _hide(self, entry: _Entry) -> None:
        if self._hopeless:
            raise _NotBegunError
        if entry.found.removed:
            return
        if self.target:
            removal.copy_meta(root.store(), self.target, entry.found.key)
        entry.folder = removal.hide(root.store(), entry.found.key)

    def _drop_copy(self, entry: _Entry) -> None:
        if self.target and not entry.found.removed:
            removal.drop_copy(self.target, entry.found.key)

    def _remove(self, entry: _Entry) -> None:
        removal.remove_folder(entry.folder)
