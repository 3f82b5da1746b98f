"""What can be done to jobs; API, admin and commands all come through here."""

from collections.abc import Callable, Iterable, Sequence
from typing import NamedTuple

from django.conf import settings
from django.contrib.admin.models import DELETION
from django.db import transaction
from django.db.models import Exists, OuterRef

from archive.metadocument import EXCLUSIVE_OF_SHARED
from jobs import archiving, history, statements, tasks
from jobs.clusters import known_cluster
from jobs.encoding import Row
from jobs.exceptions import (
    DuplicateJobError,
    InvalidJobError,
    JobNotFoundError,
    JobNotRunningError,
    UnknownJobError,
)
from jobs.history import Actor
from jobs.messages import StartJob, TagName, encode_metadata, encode_resources
from jobs.models import ArchiveTask, Job, JobTag, Tag
from jobs.querysets import JobQuerySet
from jobs.states import MonitoringStatus, expected_final, final_state, is_start_state
from jobs.tagging import tag_ids

# Jobs per transaction of a large deletion: small enough that a start waits only some milliseconds for one.
_DELETE_BATCH = 500

_NEVER = 2**63  # later than any time

SCHEDULER_STATE = "schedulerState"


def start_job(*, job: StartJob) -> int:
    """Store a job as running and return its row id.

    Raises InvalidJobError for the first thing that is wrong with it, DuplicateJobError when the run is known.
    """
    cluster = job.cluster or ""
    sub_cluster = _sub_cluster(job)
    if not is_start_state(job.job_state or ""):
        raise InvalidJobError(f"not a valid job state: {job.job_state!r}, expected 'running' or none")
    resources, tags = job.resources or [], job.tags or []
    _check_start(job)
    _check_tags(tags)
    job_id, start_time = job.job_id or 0, job.start_time or 0
    values = (
        job_id,
        cluster,
        sub_cluster,
        job.partition or "",
        job.user,
        job.project or "",
        job.array_job_id or 0,
        job.num_nodes,
        job.num_hwthreads or 0,
        job.num_acc or 0,
        _exclusive(job),
        _monitoring_status(job),
        job.smt or 0,
        start_time,
        max(0, job.walltime or 0),  # an unlimited job's walltime arrives negative
        encode_resources(resources),
        encode_metadata(job.meta_data),
    )
    with transaction.atomic():
        statements.lock_run(job_id, cluster)
        row_id = statements.insert_run(
            values, job_id=job_id, cluster=cluster, start_time=start_time, window=settings.DUPLICATE_START_WINDOW
        )
        if row_id is None:
            known = _duplicate_of(job_id, cluster, start_time)
            raise DuplicateJobError(
                f"a job with that jobId, cluster and startTime already exists: dbid: {known}, jobid: {job_id}"
            )
        if tags:
            _link_tags([row_id], tags)
    return row_id


def _sub_cluster(job: StartJob) -> str:
    """Return the job's subcluster, found by the first host where none is given."""
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
    resources, num_nodes = job.resources or [], job.num_nodes or 0
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


def _check_tags(tags: Iterable[TagName]) -> None:
    for tag in tags:
        if not tag.type or not tag.name:
            raise InvalidJobError(f"tag: expected a type and a name, got type {tag.type!r} and name {tag.name!r}")


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


def _duplicate_of(job_id: int, cluster: str, start_time: int) -> int | None:
    """Return the row id of the run that a start collided with, the nearest; None if it was deleted this moment."""
    window = settings.DUPLICATE_START_WINDOW
    near = Job.objects.filter(
        job_id=job_id, cluster=cluster, start_time__range=(start_time - window, min(start_time + window, _NEVER - 1))
    )
    in_the_way = [job for job in near if job.start_time == start_time or (job.stop_time or _NEVER) > start_time]
    return min(in_the_way, key=lambda job: abs(job.start_time - start_time)).pk if in_the_way else None


def stop_job(
    *,
    stop_time: int,
    job_state: str,
    job_id: int | None = None,
    cluster: str | None = None,
    start_time: int | None = None,
    row_id: int | None = None,
) -> Row:
    """Stop a running job, named by `row_id` or by `job_id` with what else is given, and return its row.

    Of several runs that match, a running one; of several running, the newest start not after `stop_time`. The same
    UPDATE makes the job wait for the archive (final state, monitoringStatus 1), so that a crash cannot lose it. Raises
    InvalidJobError, JobNotFoundError, or JobNotRunningError for a job that has ended already.
    """
    state = final_state(job_state)
    if state is None:
        raise InvalidJobError(f"invalid job state: {job_state!r}, expected one of {expected_final()}")
    word, own_word = state
    keys = {"row_id": row_id, "job_id": job_id, "cluster": cluster or None, "start_time": start_time}
    if own_word is None:
        row = statements.stop_run(state=word, stop_time=stop_time, **keys)  # type: ignore[arg-type]
    else:
        with transaction.atomic():
            row = statements.stop_run(state=word, stop_time=stop_time, **keys)  # type: ignore[arg-type]
            if row is not None:
                _keep_scheduler_state(row[0], own_word)
    return _why_not_stopped(stop_time=stop_time, **keys) if row is None else row  # type: ignore[arg-type]


def _keep_scheduler_state(row_id: int, word: str) -> None:
    job = Job.objects.only("meta_data").get(pk=row_id)
    Job.objects.filter(pk=row_id).update(meta_data=encode_metadata(job.metadata | {SCHEDULER_STATE: word}))


def _why_not_stopped(
    *, stop_time: int, row_id: int | None, job_id: int | None, cluster: str | None, start_time: int | None
) -> Row:
    """Raise the error that says why no job was stopped."""
    given = {"pk": row_id, "job_id": job_id, "cluster": cluster, "start_time": start_time}
    jobs = Job.objects.filter(**{key: value for key, value in given.items() if value is not None})
    named = row_id is not None or start_time is not None
    if not named:
        jobs = jobs.filter(start_time__lte=stop_time)
    job = jobs.order_by("-start_time").only("job_id", "cluster", "job_state", "start_time", "duration").first()
    if job is None or (job.is_running and job.start_time <= stop_time):  # the latter has started this moment
        raise JobNotFoundError(f"finding job failed: {_described(given, stop_time)}")
    if job.is_running:
        raise InvalidJobError(
            f"field 'stopTime': expected {job.start_time} or later, the start of the job, got {stop_time}"
        )
    raise JobNotRunningError(
        f"job {job.job_id} on {job.cluster} (dbid: {job.pk}) is not running: {job.job_state} since {job.stop_time}"
    )


def _described(keys: dict[str, int | str | None], stop_time: int | None = None) -> str:
    names = {"pk": "database id", "job_id": "jobId", "cluster": "cluster", "start_time": "startTime"}
    given = ", ".join(f"{names[key]} {value}" for key, value in keys.items() if value is not None)
    return f"no job with {given}" + ("" if stop_time is None else f" that started by {stop_time}")


def tag_job(*, row_id: int, tags: Sequence[TagName], actor: Actor | None = None) -> Row:
    """Put tags on a job, all or none, creating those that are new; return the job's row with all its tags.

    The meta.json of an archived job follows (see jobs.tasks); what `actor` added goes into the history. Raises
    InvalidJobError, UnknownJobError.
    """
    _check_tags(tags)
    with transaction.atomic():
        if Job.objects.select_for_update().filter(pk=row_id).values_list("pk").first() is None:
            raise UnknownJobError(f"no job with database id {row_id}")
        if tags:
            _link_tags([row_id], tags, actor)
            tasks.record_edit([row_id])
    if tags:
        archiving.write_edit(row_id)
    row = statements.fetch_row(row_id)
    if row is None:
        raise UnknownJobError(f"no job with database id {row_id}")
    return row


def tag_jobs(*, row_ids: Sequence[int], tags: Sequence[TagName], actor: Actor | None = None) -> int:
    """Put tags on many jobs at once; the archive follows in the background. Return how many jobs there were."""
    _check_tags(tags)
    with transaction.atomic():
        found = list(Job.objects.select_for_update().filter(pk__in=row_ids).values_list("pk", flat=True))
        _link_tags(found, tags, actor)
        tasks.record_edit(found)
    return len(found)


def untag_jobs(*, row_ids: Sequence[int], tag: Tag, actor: Actor | None = None) -> int:
    """Take a tag from jobs; the archive follows in the background. Return how many had it."""
    with transaction.atomic():
        jobs = Job.objects.select_for_update(of=("self",)).filter(pk__in=row_ids, tag_links__tag=tag)
        found = list(jobs.order_by("pk").values_list("pk", flat=True))
        removed, _ = JobTag.objects.filter(job_id__in=found, tag=tag).delete()
        tasks.record_edit(found)
        if actor:
            history.record(actor, found, f"Removed tag {tag}.")
    return removed


def _link_tags(row_ids: Sequence[int], tags: Sequence[TagName], actor: Actor | None = None) -> None:
    wanted = list(dict.fromkeys((tag.type or "", tag.name or "") for tag in tags))
    known = tag_ids(wanted)
    there = set()
    if actor:
        links_there = JobTag.objects.filter(job_id__in=row_ids, tag_id__in=known.values())
        there = set(links_there.values_list("job_id", "tag_id"))
    links = [JobTag(job_id=row_id, tag_id=known[pair]) for row_id in row_ids for pair in wanted]
    JobTag.objects.bulk_create(links, ignore_conflicts=True, batch_size=1000)
    if actor:
        _record_tags(actor, row_ids, {known[pair]: ":".join(pair) for pair in wanted}, there)


def _record_tags(actor: Actor, row_ids: Sequence[int], names: dict[int, str], there: set[tuple[int, int]]) -> None:
    """Write which of these tags each job got; nothing for one that had all."""
    by_tags: dict[tuple[str, ...], list[int]] = {}
    for row_id in row_ids:
        new = tuple(name for tag_id, name in names.items() if (row_id, tag_id) not in there)
        by_tags.setdefault(new, []).append(row_id)
    for new, of_these in by_tags.items():
        if new:
            history.record(actor, of_these, f"Added tag{'s' if len(new) > 1 else ''} {', '.join(new)}.")


def delete_job(
    *,
    row_id: int | None = None,
    job_id: int | None = None,
    cluster: str | None = None,
    start_time: int | None = None,
    actor: Actor | None = None,
) -> int:
    """Delete one job from the database and return its row id; the archive keeps its files.

    Of several that match, the newest start. Raises JobNotFoundError, also for the second of two calls at once.
    """
    given = {"pk": row_id, "job_id": job_id, "cluster": cluster or None, "start_time": start_time}
    jobs = Job.objects.filter(**{key: value for key, value in given.items() if value is not None})
    with transaction.atomic():
        found = jobs.order_by("-start_time").values_list("pk", flat=True).first()
        if found is None or not _delete_rows([found], actor):
            raise JobNotFoundError(f"finding job failed: {_described(given)}")
    return found


def delete_jobs(*, row_ids: Sequence[int], actor: Actor | None = None) -> int:
    """Delete a selection of jobs from the database; return how many there were."""
    deleted = 0
    for begin in range(0, len(row_ids), _DELETE_BATCH):
        with transaction.atomic():
            deleted += _delete_rows(row_ids[begin : begin + _DELETE_BATCH], actor)
    return deleted


def jobs_before(*, start_time: int, omit_tagged: bool = False, cluster: str | None = None) -> JobQuerySet:
    """Return the jobs whose start lies before `start_time` (epoch seconds), as a JobQuerySet."""
    jobs = Job.objects.filter(start_time__lt=start_time)
    if cluster:
        jobs = jobs.filter(cluster=cluster)
    if omit_tagged:
        jobs = jobs.filter(~Exists(JobTag.objects.filter(job_id=OuterRef("pk"))))
    return jobs


class DeletedBatch(NamedTuple):
    """How many jobs a batch deleted, the start of its last one, and whether no more are to come."""

    deleted: int
    reached: int
    is_last: bool


def delete_next_before(
    *, start_time: int, since: int = 0, omit_tagged: bool = False, cluster: str | None = None
) -> DeletedBatch:
    """Delete the oldest of the jobs that started before a time, one batch of them in one transaction.

    `since`: what the batch before reached; so jobs that stay are passed over once and not by every batch.
    """
    jobs = jobs_before(start_time=start_time, omit_tagged=omit_tagged, cluster=cluster).filter(start_time__gte=since)
    with transaction.atomic():
        batch = list(jobs.order_by("start_time", "pk").values_list("pk", "start_time")[:_DELETE_BATCH])
        count = _delete_rows([row_id for row_id, _ in batch])
    return DeletedBatch(count, batch[-1][1] if batch else since, len(batch) < _DELETE_BATCH)


def delete_jobs_before(
    *,
    start_time: int,
    omit_tagged: bool = False,
    cluster: str | None = None,
    progress: Callable[[int], None] = lambda count: None,
) -> int:
    """Delete jobs that started before a time, oldest first; return how many.

    Each batch is a transaction of its own: memory stays small, other writers get their turn in between, and what was
    deleted stays so when the call is interrupted. `progress` is told the size of each batch.
    """
    deleted = since = 0
    while True:
        batch = delete_next_before(start_time=start_time, since=since, omit_tagged=omit_tagged, cluster=cluster)
        deleted, since = deleted + batch.deleted, batch.reached
        progress(batch.deleted)
        if batch.is_last:
            return deleted


def _delete_rows(row_ids: Sequence[int], actor: Actor | None = None) -> int:
    """Delete jobs with what hangs on them, inside the caller's transaction; tags themselves stay."""
    locked = list(Job.objects.select_for_update().filter(pk__in=row_ids).order_by("pk").values_list("pk", flat=True))
    if not locked:  # somebody else was faster
        return 0
    if actor:
        history.record(actor, locked, "Deleted from the database; the archive keeps its files.", flag=DELETION)
    JobTag.objects.filter(job_id__in=locked)._raw_delete(using="default")
    ArchiveTask.objects.filter(job_id__in=locked)._raw_delete(using="default")
    deleted: int = Job.objects.filter(pk__in=locked)._raw_delete(using="default")
    return deleted
