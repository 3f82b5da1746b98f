"""Import what the archive of cc-backend does not have: users, running jobs, and jobs that never got into it."""

from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import msgspec

from accounts import services
from accounts.exceptions import AccountError
from archive.exceptions import DocumentError
from archive.format.layout import META_FILE, JobKey, job_folder
from archive.format.meta_json import JobMeta, decode_meta
from jobs.exceptions import InvalidJobError
from jobs.maintenance import ccbackend_database, restore
from jobs.maintenance.ccbackend_database import FoundJob
from jobs.maintenance.restore import ArchivedJob, Report
from jobs.models import Job
from jobs.states import JobState, MonitoringStatus


@dataclass
class Counts:
    """Numbers of users and jobs, by outcome; `left` jobs are in the archive of cc-backend, for import_jobs."""

    users: int = 0
    known_users: int = 0
    jobs: int = 0
    running: int = 0
    waiting: int = 0
    known_jobs: int = 0
    left: int = 0
    refused: int = 0


@dataclass
class CcBackendImport:
    """Import from an open database; `counts` is right at any time, even if `run` is interrupted.

    `archive` is the root of the archive that belongs to the database; without it, jobs that the database calls archived
    are left to import_jobs. `trouble` is called with a line for each user or job that is refused.
    """

    source: Any
    trouble: Report
    archive: Path | None = None
    dry_run: bool = False
    progress: Callable[[int], Any] = lambda number: None
    counts: Counts = field(default_factory=Counts)

    def run(self) -> Counts:
        """Import what is not here yet."""
        for user in ccbackend_database.users(self.source):
            self._import_user(user)
        for batch in ccbackend_database.jobs(self.source):
            self._import_jobs(batch)
            self.progress(len(batch))
        return self.counts

    def _refuse(self, text: str) -> None:
        self.counts.refused += 1
        self.trouble(text)

    def _import_user(self, user: ccbackend_database.FoundUser) -> None:
        try:
            is_new = services.adopt_user(**user._asdict(), dry_run=self.dry_run)
        except AccountError as error:
            self._refuse(f"user {user.username}: {error}")
        else:
            self.counts.users += is_new
            self.counts.known_users += not is_new

    def _import_jobs(self, batch: list[FoundJob]) -> None:
        """Insert the jobs of a batch that have no row, in one transaction."""
        wanted: dict[JobKey, ArchivedJob] = {}
        for found in batch:
            try:
                job = self._job(found)
            except (DocumentError, InvalidJobError) as error:
                self._refuse(f"{found.place}: {str(error).removeprefix('meta.json: ')}")
            else:
                if job is not None:
                    wanted[job.key] = job
        known = Job.objects.ids_of(wanted)
        new = [job for key, job in wanted.items() if key not in known]
        self.counts.known_jobs += len(known)
        if not self.dry_run:
            restore.restore(new)
        self.counts.jobs += len(new)
        self.counts.running += sum(job.row.job_state == JobState.RUNNING for job in new)
        self.counts.waiting += sum(
            job.row.job_state != JobState.RUNNING and job.row.monitoring_status == MonitoringStatus.ARCHIVING
            for job in new
        )

    def _job(self, found: FoundJob) -> ArchivedJob | None:
        """Return a job as it will be stored here; None if the archive of cc-backend has it."""
        meta = decode_meta(found.meta)
        runs = meta.job_state == JobState.RUNNING
        status = meta.monitoring_status
        if status == MonitoringStatus.ARCHIVED and not runs:
            if self.archive is None or self._is_archived(meta):
                self.counts.left += 1
                return None
            status = MonitoringStatus.FAILED.value
        if status not in MonitoringStatus.values:
            raise InvalidJobError(f"monitoringStatus is {status}, expected 0 to 3")
        shown = msgspec.structs.replace(meta, job_state=JobState.COMPLETED.value) if runs else meta
        job = restore.archived_job(found.meta, shown)
        changes: dict[str, Any] = {"monitoring_status": status, "statistics": None}
        if runs:
            disabled = status == MonitoringStatus.DISABLED
            changes["monitoring_status"] = (MonitoringStatus.DISABLED if disabled else MonitoringStatus.ARCHIVING).value
            changes |= {"job_state": JobState.RUNNING.value, "duration": 0}
        return job._replace(row=job.row._replace(**changes), own_id=None, tags=dict.fromkeys(job.tags))

    def _is_archived(self, meta: JobMeta) -> bool:
        key = JobKey(meta.cluster, meta.job_id, meta.start_time)
        return self.archive is not None and (job_folder(self.archive, key) / META_FILE).is_file()
