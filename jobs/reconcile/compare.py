"""The running jobs here against the scheduler's: what runs here alone, there alone, and under another start time."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field

from django.conf import settings
from django.db.models import Value
from django.db.models.functions import Coalesce

from jobs.curation import End
from jobs.exceptions import InvalidJobError
from jobs.intake.services import start_job
from jobs.messages import Resource, StartJob
from jobs.models import Job
from jobs.querysets import any_of
from jobs.reconcile.scheduler import EndedJob, Listing, RunningJob
from jobs.states import final_state

MARGIN = 60
"""Seconds before the list was made in which a start or an end may not have been reported yet, or clocks may differ."""


@dataclass(slots=True)
class Comparison:
    """Running jobs of a cluster, here and by the scheduler's list.

    `ghosts` run here alone, `lost` there alone; `ended_here` run there, and were stopped here; of `other_start` the
    start times differ. `here` and `there` are how many were compared.
    """

    here: int = 0
    there: int = 0
    ghosts: list[Job] = field(default_factory=list)
    lost: list[RunningJob] = field(default_factory=list)
    ended_here: list[tuple[Job, RunningJob]] = field(default_factory=list)
    other_start: list[tuple[Job, RunningJob]] = field(default_factory=list)


def compare(cluster: str, listing: Listing) -> Comparison:
    """Compare the jobs that run on a cluster with a list; what began within MARGIN of the list is left alone."""
    # An expression, for which no index of the cluster's jobs is used instead of the small one of running jobs.
    running = Job.objects.running().annotate(place=Coalesce("cluster", Value(""))).filter(place=cluster)
    columns = ("job_id", "cluster", "user", "start_time", "walltime", "job_state")
    here = list(running.only(*columns).order_by("start_time", "pk"))
    latest = listing.taken_at - MARGIN
    found = Comparison(len(here), len(listing.running))
    known: set[int] = set()
    for job in here:
        known.add(job.job_id)
        there = listing.running.get(job.job_id)
        if there is None:
            if job.start_time <= latest:
                found.ghosts.append(job)
        elif there.start_time is not None and there.start_time != job.start_time:
            found.other_start.append((job, there))
    alone = [other for job_id, other in listing.running.items() if job_id not in known]
    ended = _ended(cluster, alone)
    for other in alone:
        if other.job_id in ended:
            found.ended_here.append((ended[other.job_id], other))
        elif other.start_time is None or other.start_time <= latest:
            found.lost.append(other)
    return found


def _ended(cluster: str, jobs: Iterable[RunningJob]) -> dict[int, Job]:
    """Return the runs here of jobs that run there, by jobId: those that began at the same time, give or take."""
    by_id = {job.job_id: job for job in jobs}
    rows = Job.objects.among("job_id", by_id).filter(any_of([("cluster", cluster)], by_index=False)).order_by()
    columns = ("job_id", "cluster", "user", "start_time", "duration", "job_state")
    return {job.job_id: job for job in rows.only(*columns) if _is_same(job.start_time, by_id[job.job_id].start_time)}


def _is_same(start: int, other: int | None) -> bool:
    return other is None or abs(start - other) <= max(MARGIN, settings.DUPLICATE_START_WINDOW)


def known_ends(ghosts: Sequence[Job], ended: Iterable[EndedJob]) -> dict[int, EndedJob]:
    """Return the ends of ghosts that the scheduler remembers, by row id: of the run that began at the same time."""
    by_id: dict[int, list[EndedJob]] = {}
    for end in ended:
        by_id.setdefault(end.job_id, []).append(end)
    found = {}
    for job in ghosts:
        runs = [end for end in by_id.get(job.job_id, ()) if _is_same(job.start_time, end.start_time)]
        if runs:
            found[job.pk] = max(runs, key=lambda end: end.stop_time)
    return found


def planned_ends(
    ghosts: Sequence[Job], known: Mapping[int, EndedJob], *, state: str, stop_time: int | None, now: int
) -> list[End]:
    """Return with which state and end each ghost is to be stopped.

    These are the scheduler's if it remembers the run; else `state`, and `stop_time` or the end of the requested time,
    or now if none was requested; never before the start and never after now.
    """
    ends = []
    for job in ghosts:
        if job.pk in known:
            end = known[job.pk]
            word, when, why = end.state.lower(), end.stop_time, "by the scheduler's accounting"
        elif stop_time is not None:
            word, when, why = state, stop_time, "by option"
        elif job.walltime:
            word, when, why = state, job.start_time + job.walltime, "start and requested time"
        else:
            word, when, why = state, now, "now"
        if final_state(word) is None:
            word = state
        ends.append(End(job.pk, word, max(job.start_time, min(when, now)), why))
    return ends


def start_lost(cluster: str, job: RunningJob) -> int:
    """Start a job from what the scheduler says of it; return its row id. Raises JobError if that is refused."""
    if not job.nodes or job.start_time is None:
        raise InvalidJobError("the list says neither nodes nor start of the job")
    start = StartJob(
        job_id=job.job_id,
        user=job.user,
        project=job.project,
        cluster=cluster,
        partition=job.partition,
        array_job_id=job.array_job_id,
        num_hwthreads=job.cpus,
        num_acc=job.gpus,
        start_time=job.start_time,
        walltime=job.walltime,
        resources=[Resource(hostname=host) for host in job.hosts()],
        meta_data={"jobName": job.name} if job.name else None,
    )
    return start_job(job=start)
