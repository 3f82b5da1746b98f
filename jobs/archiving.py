"""The bridge from a job's row to its files in the archive."""

import contextlib
import logging
import threading
import time
from collections.abc import Collection, Iterator
from pathlib import Path

import msgspec
import orjson
from django.conf import settings
from django.db import DatabaseError

from archive.clusters import registry_for
from archive.documents import JobData, Resource, decode_data, encode_data, sample_counts, select_data
from archive.exceptions import ArchiveError, DocumentError, SourceError
from archive.layout import JobKey
from archive.sources import JobInfo, MetricSource, get_source
from archive.statistics import job_statistics
from archive.store import ArchiveStore, store_for
from jobs import encoding, statements, tasks
from jobs.encoding import Row
from jobs.exceptions import ArchiveUnavailableError, NoSamplesError
from jobs.states import JobState, MonitoringStatus

logger = logging.getLogger(__name__)

_INDEX = {name: position for position, name in enumerate(encoding.COLUMNS)}
# Loads from metric sources at once in one process of the server: the others of its threads stay free where one hangs.
_LOADS = 3
_WAIT_FOR_LOAD = 5.0  # seconds
_loading = threading.BoundedSemaphore(_LOADS)
_resources = msgspec.json.Decoder(list[Resource])


def store() -> ArchiveStore:
    """Return the archive of ARCHIVE_ROOT."""
    return store_for(Path(settings.ARCHIVE_ROOT))


def source_of(cluster: str) -> MetricSource:
    """Return the metric source of a cluster; raise SourceError where METRIC_SOURCES is wrong about it."""
    return get_source(cluster, settings.METRIC_SOURCES)


def job_info(row: Row) -> JobInfo:
    """Return what a metric source must know of a job; one that runs is asked about until now."""
    start_time = row[_INDEX["start_time"]]
    running = row[_INDEX["job_state"]] == JobState.RUNNING
    return JobInfo(
        cluster=row[_INDEX["cluster"]],
        sub_cluster=row[_INDEX["sub_cluster"]],
        job_id=row[_INDEX["job_id"]],
        start_time=start_time,
        stop_time=max(start_time, int(time.time())) if running else start_time + row[_INDEX["duration"]],
        resources=_resources.decode(row[_INDEX["resources"]]),
        num_nodes=row[_INDEX["num_nodes"]],
    )


def meta_document(row: Row, statistics: str | None) -> bytes:
    """Return meta.json of an archived job; `statistics` is the JSON text of the map."""
    document = encoding.job_meta(row)
    document["monitoringStatus"] = MonitoringStatus.ARCHIVED.value
    document["statistics"] = orjson.Fragment(statistics or "{}")
    return encoding.encode(document)


def write(row: Row) -> str:
    """Write a finished job to the archive, durable on return; return its statistics as JSON text.

    A job that is archived already gets its meta.json anew. One that was archived and waits again, which its statistics
    tell, gets its samples anew, unless they are less than what the archive has. Reads no database, so that threads can
    write side by side. Raises SourceError, ArchiveError or OSError.
    """
    job = job_info(row)
    key = _key(row)
    if row[_INDEX["monitoring_status"]] == MonitoringStatus.ARCHIVED:
        statistics: str = row[_INDEX["statistics"]] or "{}"
        store().write_meta(key, meta_document(row, statistics))
        return statistics
    source = source_of(job.cluster)
    had: str | None = row[_INDEX["statistics"]]
    if not source.archives_data:
        if had is not None:
            raise SourceError(f"cluster {job.cluster} has no metric source any more", transient=False)
        store().write_job(key, meta_document(row, "{}"), None)
        return "{}"
    cluster = registry_for(Path(settings.ARCHIVE_ROOT)).get(job.cluster)
    data = source.load(job, cluster)
    if had is not None:
        _refuse_less(key, data, had)
    document = encode_data(data)
    statistics = orjson.dumps(job_statistics(data, cluster)).decode()
    store().write_job(key, meta_document(row, statistics), document)
    return statistics


def _refuse_less(key: JobKey, data: JobData, statistics: str) -> None:
    """Raise SourceError where the archive has samples of a job that a new load has not brought: any series with fewer.

    Where its data file is gone or cannot be read, the metrics of its statistics count.
    """
    new = sample_counts(data)
    if not new:
        raise SourceError("the metric source has no samples of this job any more", transient=False)
    try:
        old = sample_counts(decode_data(store().read_data(key)))
        less = {series.metric for series, count in old.items() if count > new.get(series, 0)}
    except (FileNotFoundError, DocumentError):
        less = set(orjson.loads(statistics)) - {series.metric for series in new}
    if less:
        names = ", ".join(sorted(less)[:10])
        raise SourceError(f"the metric source has fewer samples than the archive, of {names}", transient=False)


def _key(row: Row) -> JobKey:
    return JobKey(row[_INDEX["cluster"]], row[_INDEX["job_id"]], row[_INDEX["start_time"]])


def fetch_rows(row_ids: Collection[int]) -> dict[int, Row]:
    """Return jobs by row id, with tags and metadata."""
    places = ", ".join(["%s"] * len(row_ids))
    condition = (f'"id" IN ({places})', list(row_ids))
    parts = statements.select_rows([condition], with_metadata=True, limit=len(row_ids))
    return {row[0]: row for part in parts for row in part}


def write_edit(row_id: int) -> None:
    """Bring meta.json of a job up to date after an edit, if it is archived and nobody else is at it.

    The edit is recorded (tasks.record_edit), so whatever goes wrong here is tried again by the worker, with its reason
    kept; whoever writes the job at this moment will see the edit too.
    """
    worker = tasks.worker_name()
    try:
        for claim in tasks.claim_edited(worker, 1, only=[row_id]):
            try:
                for row in fetch_rows([row_id]).values():  # none where the job was deleted this moment
                    tasks.finish(worker, [(claim, write(row))])
            except (ArchiveError, OSError) as error:
                logger.warning("meta.json of job %s could not be written, will be tried again: %s", row_id, error)
                tasks.fail(worker, claim, describe(error), permanent=False)
    except DatabaseError as error:
        logger.warning("meta.json of job %s is left to the worker: %s", row_id, error)


def describe(error: Exception) -> str:
    """Return the reason of a failure as it is kept and shown."""
    return f"{type(error).__name__}: {error}"


def samples(row: Row, metrics: list[str] | None) -> bytes:
    """Return the samples of a job as the JSON array of `jobs/{id}`: from the archive, or from the metric source.

    `metrics` None is all. A job that has none is an empty array. Raises ArchiveUnavailableError with the reason.
    """
    if metrics == []:
        return b"[]"
    try:
        return select_data(data_document(row, metrics), metrics, row[_INDEX["num_nodes"]])
    except NoSamplesError:
        return b"[]"
    except (SourceError, ArchiveError, OSError) as error:
        raise ArchiveUnavailableError(f"loading the samples of job {row[0]} failed: {error}") from error


def data_document(row: Row, metrics: list[str] | None, most_bytes: int | None = None) -> bytes:
    """Return data.json of a job (plain JSON): that of the archive, or one made of what the metric source has.

    `metrics` (None: all) are those that a source is asked for; the archive's document has all that it has. Raises
    NoSamplesError where there is none or it has more than `most_bytes`, SourceError, ArchiveError or OSError.
    """
    status = row[_INDEX["monitoring_status"]]
    if status == MonitoringStatus.DISABLED:
        raise NoSamplesError(
            "This job is not monitored: it was started with monitoring off, or its samples left the archive."
        )
    if status == MonitoringStatus.ARCHIVED:
        return _archived_document(_key(row), most_bytes)
    job = job_info(row)
    source = source_of(job.cluster)
    if not source.archives_data:
        raise NoSamplesError(f"Cluster {job.cluster} has no metric source that samples could come from.")
    with _one_of(_loading, _LOADS):
        return encode_data(source.load(job, registry_for(Path(settings.ARCHIVE_ROOT)).get(job.cluster), metrics))


def _archived_document(key: JobKey, most_bytes: int | None) -> bytes:
    """Return data.json from the archive."""
    try:
        size = 0 if most_bytes is None else store().data_size(key)
        if most_bytes is not None and size > most_bytes:
            raise NoSamplesError(f"The job has {size / 1e6:,.0f} MB of samples, more than can be shown here.")
        return store().read_data(key)
    except FileNotFoundError:
        if not store().has_job(key):
            raise NoSamplesError("The job's files are no longer in the archive.") from None
        raise NoSamplesError("The job was archived without samples: its cluster had no metric source then.") from None


@contextlib.contextmanager
def _one_of(places: threading.Semaphore, number: int) -> Iterator[None]:
    """Hold one of a number of places; raise SourceError where none becomes free in time."""
    if not places.acquire(timeout=_WAIT_FOR_LOAD):
        raise SourceError(f"{number} others are being loaded; try again later", transient=True)
    try:
        yield
    finally:
        places.release()
