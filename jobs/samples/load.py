"""Load a job's samples from the archive, or from its cluster's metric source."""

import contextlib
import threading
from collections.abc import Callable, Iterator, Sequence

from archive import root
from archive.exceptions import READ_ERRORS, SourceError, reason
from archive.format.data_json import default_scopes, encode_data, select_data, select_map
from archive.format.layout import JobKey
from jobs.exceptions import ArchiveUnavailableError, NoSamplesError
from jobs.rows.columns import Row
from jobs.states import MonitoringStatus

# Concurrent loads from metric sources in one process of the server: if a source hangs, its other threads stay free.
_LOADS = 3
_WAIT_FOR_LOAD = 5.0  # seconds
_loading = threading.BoundedSemaphore(_LOADS)
_waiting = threading.BoundedSemaphore(1)  # more would hold up all calls that need a thread, if a source hangs


def samples(row: Row, metrics: list[str] | None, scopes: Sequence[str] | None = None) -> bytes:
    """Return the samples of a job as the JSON array of `jobs/{id}`: from the archive, or from the metric source.

    `metrics` None is all, `scopes` None is core for a job on one node and node for others. The array is empty if there
    are no samples. Raises ArchiveUnavailableError with the reason.
    """
    if metrics == []:
        return b"[]"
    wanted = default_scopes(row.num_nodes) if scopes is None else scopes
    return _selected(row, metrics, lambda raw: select_data(raw, metrics, wanted)) or b"[]"


def samples_by_metric(row: Row) -> bytes:
    """Return all samples of a job as a JSON object: metric name, then scope. Empty, and raises, as for `samples`."""
    return _selected(row, None, lambda raw: select_map(raw, default_scopes(row.num_nodes))) or b"{}"


def _selected(row: Row, metrics: list[str] | None, select: Callable[[bytes], bytes]) -> bytes:
    """Return a part of a job's data.json; nothing if the job has no samples."""
    try:
        return select(data_document(row, metrics))
    except NoSamplesError:
        return b""
    except READ_ERRORS as error:
        why = str(error) or reason(error)
        raise ArchiveUnavailableError(f"loading the samples of job {row.id} failed: {why}") from error


def data_document(row: Row, metrics: list[str] | None, most_bytes: int | None = None) -> bytes:
    """Return data.json of a job (plain JSON) from the archive, or made from the samples of the metric source.

    `metrics` (None: all) limits the query to a source; the archive's document is always complete. Raises NoSamplesError
    if there is none or it is larger than `most_bytes`, SourceError, ArchiveError or OSError.
    """
    if row.monitoring_status == MonitoringStatus.DISABLED:
        raise NoSamplesError(
            "This job is not monitored: it was started with monitoring off, or its samples left the archive."
        )
    if row.monitoring_status == MonitoringStatus.ARCHIVED:
        return _archived_document(row.key, most_bytes)
    job = row.info()
    source = root.source_of(job.cluster)
    if not source.archives_data:
        raise NoSamplesError(f"Cluster {job.cluster} has no metric source that samples could come from.")
    with _one_of(_loading, _LOADS):
        return encode_data(source.load(job, root.registry().get(job.cluster), metrics))


def _archived_document(key: JobKey, most_bytes: int | None) -> bytes:
    """Return data.json from the archive."""
    try:
        size = 0 if most_bytes is None else root.store().data_size(key)
        if most_bytes is not None and size > most_bytes:
            raise NoSamplesError(f"The job has {size / 1e6:,.0f} MB of samples, more than can be shown here.")
        return root.store().read_data(key)
    except FileNotFoundError:
        if not root.store().has_job(key):
            raise NoSamplesError("The job's files are no longer in the archive.") from None
        raise NoSamplesError("The job was archived without samples: its cluster had no metric source then.") from None


@contextlib.contextmanager
def _one_of(places: threading.Semaphore, number: int) -> Iterator[None]:
    """Hold one of `number` places; raise SourceError if none becomes free in time, at once if another waits already."""
    if not places.acquire(blocking=False) and not _waited_for(places):
        raise SourceError(f"{number} others are being loaded; try again later", transient=True)
    try:
        yield
    finally:
        places.release()


def _waited_for(places: threading.Semaphore) -> bool:
    """Wait for a place; return whether there was one in time."""
    if not _waiting.acquire(blocking=False):
        return False
    try:
        return places.acquire(timeout=_WAIT_FOR_LOAD)
    finally:
        _waiting.release()
