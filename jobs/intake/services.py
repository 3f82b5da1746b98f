"""Start and stop jobs, for API, admin and commands."""

import contextlib
from collections.abc import Sequence
from typing import Any, NamedTuple

from django.conf import settings
from django.db import transaction
from msgspec import UNSET, Raw, UnsetType

from archive.format.meta_json import EXCLUSIVE_OF_SHARED
from jobs.exceptions import (
    DuplicateJobError,
    InvalidJobError,
    JobError,
    JobNotFoundError,
    JobNotRunningError,
    described,
)
from jobs.intake.clusters import known_cluster
from jobs.intake.sql import insert_run, insert_runs, stop_run, stop_runs
from jobs.messages import StartJob, encode_resources
from jobs.models import Job
from jobs.rows.columns import Row, encode_metadata, submit_time_in
from jobs.states import SCHEDULER_STATE, JobState, MonitoringStatus, expected_final, final_state, is_start_state
from jobs.tags.services import check_tags, link_tags
from jobs.text import is_whole

_LONGEST_NUMBER = 30  # characters, more than a number of 64 bits has
_NEVER = 2**63  # later than any time


def start_job(*, job: StartJob) -> int:
    """Store a job as running and return its row id.

    Raises InvalidJobError for the first invalid field, and DuplicateJobError if the run exists already.
    """
    row = started_row(job)
    with transaction.atomic() if job.tags else contextlib.nullcontext():  # the insert is a transaction by itself
        row_id = insert_run(row, window=settings.DUPLICATE_START_WINDOW)
        if row_id is None:
            raise _is_duplicate(row)
        if job.tags:
            link_tags([row_id], job.tags)
    return row_id


def start_jobs(rows: Sequence[Row]) -> list[int | JobError]:
    """Store jobs of different jobIds, without tags, as running; return the row id of each, or why it is refused."""
    row_ids = insert_runs(rows, window=settings.DUPLICATE_START_WINDOW)
    return [_is_duplicate(row) if row_id is None else row_id for row, row_id in zip(rows, row_ids, strict=True)]


def _is_duplicate(row: Row) -> DuplicateJobError:
    known = _duplicate_of(row)
    return DuplicateJobError(
        f"a job with that jobId, cluster and startTime already exists: dbid: {known.pk if known else None}, "
        f"jobid: {row.job_id}",
        is_known=known is not None and known.start_time == row.start_time,
    )


def started_row(job: StartJob) -> Row:
    """Return the row of a job that starts, without its id; raise InvalidJobError for the first invalid field."""
    sub_cluster = _sub_cluster(job)
    if not is_start_state(job.job_state or ""):
        raise InvalidJobError(f"not a valid job state: {(job.job_state or '')[:60]!r}, expected 'running' or none")
    _check_start(job)
    check_tags(job.tags or [])
    metadata = _metadata(job)
    return Row(
        id=0,
        job_id=job.job_id or 0,
        user=job.user or "",
        project=job.project or "",
        cluster=job.cluster or "",
        sub_cluster=sub_cluster,
        partition=job.partition or "",
        array_job_id=job.array_job_id or 0,
        num_nodes=len(job.resources or []),
        num_hwthreads=job.num_hwthreads or 0,
        num_acc=job.num_acc or 0,
        exclusive=_exclusive(job),
        monitoring_status=_monitoring_status(job),
        smt=job.smt or 0,
        job_state=JobState.RUNNING.value,
        duration=0,
        walltime=max(0, job.walltime or 0),  # an unlimited job's walltime arrives negative
        submit_time=submit_time_in(metadata),
        tags=None,
        resources=encode_resources(job.resources or []),
        meta_data=encode_metadata(metadata),
        start_time=job.start_time or 0,
        statistics=None,
    )


def _metadata(job: StartJob) -> dict[str, str | None] | None:
    """Return the metadata, with what else a client says of the job and no column holds, unless it is there already."""
    if job.submit_time is UNSET and job.requested_memory is UNSET:
        return job.meta_data
    more = {"submitTime": _beginning(job.submit_time), "requestedMemory": _beginning(job.requested_memory)}
    return {key: text for key, text in more.items() if is_whole(text) and int(text) > 0} | (job.meta_data or {})


def _beginning(value: Raw | UnsetType) -> str:
    """Return enough of a value to see whether it is a number, written as a number or as a text."""
    return "" if value is UNSET else bytes(memoryview(value)[:_LONGEST_NUMBER]).decode("ascii", "replace").strip('"')


def _sub_cluster(job: StartJob) -> str:
    """Return the job's subcluster; if none is given, that of its first host."""
    cluster, given = job.cluster or "", job.sub_cluster or ""
    config = known_cluster(cluster)
    if config is None:
        return given
    if given:
        if config.subcluster(given) is None:
            known = ", ".join(part.name for part in config.subclusters)
            raise InvalidJobError(f"no such subcluster of {cluster}: {given!r}, expected one of: {known}")
        return given
    host = job.resources[0].hostname if job.resources else None
    if not host:
        raise InvalidJobError("'resources' and 'user' should not be empty: expected a hostname for each resource")
    found = config.subcluster_of(host)
    if found is None:
        raise InvalidJobError(
            f"no subcluster found for cluster {cluster} and host {host!r}: expected a configured host"
        )
    return found.name


def _check_start(job: StartJob) -> None:
    resources = job.resources or []
    num_nodes = len(resources) if job.num_nodes is None else job.num_nodes
    if not resources or not job.user:
        empty = "user" if resources else "resources"
        raise InvalidJobError(f"'resources' and 'user' should not be empty: {empty!r} is")
    for number, resource in enumerate(resources):
        if not resource.hostname:
            raise InvalidJobError(f"field 'resources[{number}].hostname': expected a host name, got none")
    least = {"numNodes": (num_nodes, 1), "numAcc": (job.num_acc or 0, 0), "numHwthreads": (job.num_hwthreads or 0, 0)}
    for name, (value, minimum) in (least | {"smt": (job.smt or 0, 0)}).items():
        if value < minimum:
            raise InvalidJobError(f"field {name!r}: expected {minimum} or more, got {value}")
    if len(resources) != num_nodes:
        raise InvalidJobError(f"len(resources) does not equal numNodes ({len(resources)} vs {num_nodes})")
    for name, time_or_id in (("startTime", job.start_time), ("jobId", job.job_id)):
        if not time_or_id or time_or_id < 0:
            raise InvalidJobError(f"field {name!r}: expected a number above 0, got {time_or_id}")


def _exclusive(job: StartJob) -> int:
    if job.shared:
        if job.shared not in EXCLUSIVE_OF_SHARED:
            raise InvalidJobError(
                f"field 'shared': expected one of {', '.join(EXCLUSIVE_OF_SHARED)}, got {job.shared!r}"
            )
        return EXCLUSIVE_OF_SHARED[job.shared]
    value = 1 if job.exclusive is None else job.exclusive
    if not 0 <= value <= 3:
        raise InvalidJobError(f"field 'exclusive': expected 0, 1 or 2, got {value}")
    return 0 if value == 3 else value


def _monitoring_status(job: StartJob) -> int:
    value = MonitoringStatus.ARCHIVING if job.monitoring_status is None else job.monitoring_status
    if not 0 <= value <= 3:
        raise InvalidJobError(f"field 'monitoringStatus': expected 0 to 3, got {value}")
    return min(value, MonitoringStatus.ARCHIVING)


def _duplicate_of(row: Row) -> Job | None:
    """Return the nearest run that a start collided with; None if it has just been deleted."""
    start_time, window = row.start_time, settings.DUPLICATE_START_WINDOW
    nearby = (start_time - window, min(start_time + window, _NEVER - 1))
    near = Job.objects.filter(job_id=row.job_id, cluster=row.cluster, start_time__range=nearby)
    in_the_way = [job for job in near if job.start_time == start_time or (job.stop_time or _NEVER) > start_time]
    return min(in_the_way, key=lambda job: abs(job.start_time - start_time), default=None)


def stop_job(
    *,
    stop_time: int,
    job_state: str,
    job_id: int | None = None,
    cluster: str | None = None,
    start_time: int | None = None,
    row_id: int | None = None,
) -> Row:
    """Stop a running job, named by `row_id`, or by `job_id` and the other keys that are given; return its row.

    If several running jobs match, stop the one with the newest start not after `stop_time`. The same UPDATE makes the
    job wait for the archive (final state, monitoringStatus 1), so that a crash cannot lose it. Raises InvalidJobError,
    JobNotFoundError, or JobNotRunningError for a job that has ended already.
    """
    word, own_word = stopped_state(job_state)
    keys = {"row_id": row_id, "job_id": job_id, "cluster": cluster or None, "start_time": start_time}
    if own_word is None:
        row = stop_run(state=word, stop_time=stop_time, **keys)  # type: ignore[arg-type]
    else:
        with transaction.atomic():
            row = stop_run(state=word, stop_time=stop_time, **keys)  # type: ignore[arg-type]
            if row is not None:
                _keep_scheduler_state(row.id, own_word)
    if row is None:
        raise _why_not_stopped(stop_time=stop_time, **keys)  # type: ignore[arg-type]
    return row


class Stop(NamedTuple):
    """The end of the job with these keys; `own_word` is the scheduler's state if it says more, as `stopped_state`."""

    state: str
    own_word: str | None
    stop_time: int
    job_id: int
    cluster: str | None = None
    start_time: int | None = None

    @property
    def keys(self) -> dict[str, Any]:
        """Return the keys of the job."""
        return {"job_id": self.job_id, "cluster": self.cluster or None, "start_time": self.start_time}

    @property
    def arguments(self) -> dict[str, Any]:
        """Return the arguments of `jobs.intake.sql.stop_run`."""
        return {"state": self.state, "stop_time": self.stop_time, **self.keys}


def stop_jobs(stops: Sequence[Stop]) -> list[Row | JobError]:
    """Stop jobs of different jobIds, each as `stop_job` does; return the row of each, or why it is refused.

    The rows are without what is large in them, see `jobs.rows.select.whole`. If one has a word of its own, the caller
    opens the transaction.
    """
    rows = stop_runs([stop.arguments for stop in stops], whole=False)
    for stop, row in zip(stops, rows, strict=True):
        if row is not None and stop.own_word is not None:
            _keep_scheduler_state(row.id, stop.own_word)
    return [
        row or _why_not_stopped(stop_time=stop.stop_time, row_id=None, **stop.keys)
        for stop, row in zip(stops, rows, strict=True)
    ]


def stopped_state(text: str) -> tuple[str, str | None]:
    """Return the state to store for a scheduler's, and its own text if that says more; raise InvalidJobError."""
    state = final_state(text)
    if state is None:
        raise InvalidJobError(f"invalid job state: {text[:60]!r}, expected one of {expected_final()}")
    return state


def _keep_scheduler_state(row_id: int, word: str) -> None:
    job = Job.objects.only("meta_data").get(pk=row_id)
    Job.objects.filter(pk=row_id).update(meta_data=encode_metadata(job.metadata | {SCHEDULER_STATE: word}))


def _why_not_stopped(
    *, stop_time: int, row_id: int | None, job_id: int | None, cluster: str | None, start_time: int | None
) -> JobError:
    """Return the error that explains why no job was stopped."""
    given = {"pk": row_id, "job_id": job_id, "cluster": cluster, "start_time": start_time}
    jobs = Job.objects.filter(**{key: value for key, value in given.items() if value is not None})
    named = row_id is not None or start_time is not None
    if not named:
        jobs = jobs.filter(start_time__lte=stop_time)
    job = jobs.order_by("-start_time").only("job_id", "cluster", "job_state", "start_time", "duration").first()
    if job is None or (job.is_running and job.start_time <= stop_time):  # the latter has just started
        return JobNotFoundError(f"finding job failed: {described(given, stop_time)}")
    if job.is_running:
        return InvalidJobError(
            f"field 'stopTime': expected {job.start_time} or later, the start of the job, got {stop_time}"
        )
    return JobNotRunningError(
        f"job {job.job_id} on {job.cluster} (dbid: {job.pk}) is not running: {job.job_state} since {job.stop_time}"
    )
