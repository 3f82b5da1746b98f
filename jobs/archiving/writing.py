"""The bridge from a job's row to its files in the archive."""

import logging

import orjson
from django.db import DatabaseError

from archive import root
from archive.exceptions import ArchiveError, DocumentError, SourceError
from archive.format.data_json import JobData, decode_data, encode_data, job_statistics, sample_counts
from archive.format.layout import JobKey
from jobs.archiving import queue
from jobs.archiving.queue import Written
from jobs.ledger.footprint import footprint_of
from jobs.rows import encoding
from jobs.rows.columns import Row
from jobs.rows.select import fetch_rows
from jobs.states import MonitoringStatus

logger = logging.getLogger(__name__)


def meta_document(row: Row, statistics: str | None) -> bytes:
    """Return meta.json of an archived job; `statistics` is the JSON text of the map."""
    archived = row._replace(monitoring_status=MonitoringStatus.ARCHIVED.value, statistics=statistics or "{}")
    return encoding.encode(encoding.job_meta(archived))


def write(row: Row) -> Written:
    """Write a finished job to the archive, durable on return; return its statistics and its footprint.

    If the job is archived, only meta.json is written anew. If it was archived and waits again (it has statistics), its
    samples are loaded anew, unless the archive has more of them. Reads no database, so that threads can write side by
    side. Raises SourceError, ArchiveError or OSError.
    """
    job, key = row.info(), row.key
    if row.monitoring_status == MonitoringStatus.ARCHIVED:
        statistics = row.statistics or "{}"
        root.store().write_meta(key, meta_document(row, statistics))
        return Written(statistics)
    source = root.source_of(job.cluster)
    cluster = root.registry().get(job.cluster)
    had = row.statistics
    if not source.archives_data:
        if had is not None:
            raise SourceError(f"cluster {job.cluster} has no metric source any more", transient=False)
        root.store().write_job(key, meta_document(row, "{}"), None)
        return Written("{}", footprint_of(row, None, cluster))
    data = source.load(job, cluster)
    if had is not None:
        _refuse_less(key, data, had)
    document = encode_data(data)
    statistics = orjson.dumps(job_statistics(data, cluster)).decode()
    root.store().write_job(key, meta_document(row, statistics), document)
    return Written(statistics, footprint_of(row, statistics, cluster, data))


def _refuse_less(key: JobKey, data: JobData, statistics: str) -> None:
    """Raise SourceError if any series of a job has fewer samples in a new load than in the archive.

    If its data file is missing or cannot be read, the new load must have every metric of its statistics.
    """
    new = sample_counts(data)
    if not new:
        raise SourceError("the metric source has no samples of this job any more", transient=False)
    try:
        old = sample_counts(decode_data(root.store().read_data(key)))
        less = {series.metric for series, count in old.items() if count > new.get(series, 0)}
    except (FileNotFoundError, DocumentError):
        less = set(orjson.loads(statistics)) - {series.metric for series in new}
    if less:
        names = ", ".join(sorted(less)[:10])
        raise SourceError(f"the metric source has fewer samples than the archive, of {names}", transient=False)


def write_edit(row_id: int) -> None:
    """Bring meta.json of a job up to date after an edit, if it is archived and no worker has claimed it.

    The edit is recorded (queue.record_edit): if writing fails here, the reason is kept and the worker tries again, and
    a worker that is writing the job now sees the edit.
    """
    worker = queue.worker_name()
    try:
        for claim in queue.claim_edited(worker, 1, only=[row_id]):
            try:
                for row in fetch_rows([row_id]).values():  # none if the job has just been deleted
                    queue.finish(worker, [(claim, write(row))])
            except (ArchiveError, OSError) as error:
                logger.warning("meta.json of job %s could not be written, will be tried again: %s", row_id, error)
                queue.fail(worker, claim, describe(error), of_source=isinstance(error, SourceError))
    except DatabaseError as error:
        logger.warning("meta.json of job %s is left to the worker: %s", row_id, error)


def describe(error: Exception) -> str:
    """Return the reason for a failure as it is stored and shown."""
    return f"{type(error).__name__}: {error}"
