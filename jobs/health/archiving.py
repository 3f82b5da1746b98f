"""The health of archiving: a worker lives, jobs do not wait for long or fail, the metric sources answer."""

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass

from django.db.models import BigIntegerField, Count, DurationField, ExpressionWrapper, F, Min
from django.db.models.functions import Now

from jobs.health.report import Finding, State, span
from jobs.models import ArchiveTask, Job, WorkerHeartbeat

WORKER = "archive worker"
JOBS = "archiving"
SOURCES = "metric sources"

SILENT = 60
"""Seconds without a sign of life after which a worker counts as dead; it gives one every ten."""

LONG_WAIT = 600
"""Seconds that a job may have waited for the archive; usually it waits for less than one."""

MOST_COUNTED = 10_000

_OF_SOURCE = "SourceError: "  # how jobs.archiving.writing begins the reason of a metric source
_RUN = "Run `manage.py archive_worker` as a service (docs/deployment.md); jobs wait meanwhile and are not lost."


@dataclass(frozen=True, slots=True)
class Worker:
    """An archive worker: host and process, seconds since its last sign of life, its counts since it began.

    `clusters` maps a cluster to the epoch seconds of its last success and failure.
    """

    place: str
    age: int
    archived: int
    failed: int
    clusters: Mapping[str, Mapping[str, int | None]]

    @property
    def lives(self) -> bool:
        """Return whether the worker has given a sign of life recently."""
        return self.age <= SILENT


def workers() -> list[Worker]:
    """Return the workers that have not ended as they were told to, by the age of their last sign of life."""
    age = ExpressionWrapper(Now() - F("seen_at"), output_field=DurationField())
    rows = WorkerHeartbeat.objects.annotate(age=age).order_by("-seen_at")
    return [
        Worker(str(row), max(0, int(row.age.total_seconds())), row.archived, row.failed, row.clusters) for row in rows
    ]


def waiting() -> tuple[int, int | None]:
    """Return how many jobs wait for the archive, and when the first of them ended (epoch seconds).

    More than MOST_COUNTED are not looked at.
    """
    end = ExpressionWrapper(F("start_time") + F("duration"), output_field=BigIntegerField())
    some = Job.objects.awaiting_archive().order_by("cluster", "pk").annotate(end=end)
    found = some[: MOST_COUNTED + 1].aggregate(jobs=Count("pk"), first=Min("end"))
    return found["jobs"], found["first"]


def check_worker(now: int) -> Iterator[Finding]:
    """Yield which workers live, and which died."""
    found = workers()
    living = [worker for worker in found if worker.lives]
    if not living:
        jobs, _ = waiting()
        last = found[0] if found else None
        sentence = f"No archive worker runs{_so_many(jobs)}" + (
            f"; {last.place} gave its last sign of life {span(last.age)} ago." if last else "."
        )
        state = State.ERROR if jobs or last else State.WARNING
        yield Finding(WORKER, state, sentence, _RUN, now - last.age if last else None)
        return
    for worker in found:
        if not worker.lives:
            sentence = f"The archive worker {worker.place} gave its last sign of life {span(worker.age)} ago."
            cure = f"Start it again on its host, or forget it: after a day it is not shown any more. {_RUN}"
            yield Finding(WORKER, State.WARNING, sentence, cure, now - worker.age)
    names = ", ".join(worker.place for worker in living)
    archived = sum(worker.archived for worker in living)
    yield Finding(WORKER, State.OK, f"{names}: {archived:,} archived since the start.")


def check_jobs(now: int) -> Iterator[Finding]:
    """Yield whether jobs wait for long, fail, or were given up; from the first failed attempt on."""
    jobs, first = waiting()
    failing = ArchiveTask.objects.tried().filter(job__monitoring_status__in=(1, 3))
    failed = failing.exclude(error="").exclude(error__startswith=_OF_SOURCE)[: MOST_COUNTED + 1].count()
    given_up = Job.objects.given_up().order_by()[: MOST_COUNTED + 1].count()
    bad = list(_of_jobs(now, jobs, first))
    if failed:
        last = failing.exclude(error__startswith=_OF_SOURCE).order_by("-not_before").first()
        sentence = f"{_count(failed)} could not be written, one of them for this reason: {last.error if last else ''}"
        bad.append(Finding(JOBS, State.ERROR, sentence, "Remove the reason; each job is tried again by itself."))
    if given_up:
        sentence = f"{_count(given_up)} could not be archived in twelve attempts, or never will."
        cure = 'See why in the job list (filter "Archiving: failed"), then `manage.py archive_jobs --failed`.'
        bad.append(Finding(JOBS, State.WARNING, sentence, cure))
    yield from bad or [Finding(JOBS, State.OK, f"No attempt fails{_so_many(jobs)}.")]


def _of_jobs(now: int, jobs: int, first: int | None) -> Iterator[Finding]:
    if first is not None and now - first > LONG_WAIT:
        sentence = f"{_count(jobs)} wait for the archive; one of them ended {span(now - first)} ago."
        cure = "Look at the other findings, and at the worker's log; after an import, many jobs wait for a while."
        yield Finding(JOBS, State.WARNING, sentence, cure, first)


def check_sources(now: int) -> Iterator[Finding]:
    """Yield the clusters whose metric source fails, with its last reason, and those where it answers."""
    failing = ArchiveTask.objects.tried().filter(error__startswith=_OF_SOURCE, job__monitoring_status=1)
    counts = dict(failing.order_by().values_list("job__cluster").annotate(Count("pk")))
    found = workers()
    successes, failures = _times(found, "success"), _times(found, "failure")
    for cluster, jobs in sorted(counts.items()):
        last = failing.filter(job__cluster=cluster).order_by("-not_before").first()
        why = last.error.removeprefix(_OF_SOURCE) if last else "now it answers"
        success, failure = successes.get(cluster), failures.get(cluster)
        answers = success is not None and (failure is None or success > failure)
        yield Finding(
            SOURCES,
            State.WARNING if answers else State.ERROR,
            f"Cluster {cluster}: the samples of {_count(jobs)} cannot be had: {why}"
            + (f" (the last job was archived {span(now - success)} ago)" if success else ""),
            f"Look at the metric store, and at METRIC_SOURCES for {cluster}; each job is tried again by itself.",
            None if answers else success,
        )
    good = [f"{name} {span(now - when)} ago" for name, when in sorted(successes.items()) if name not in counts]
    if not counts:
        yield Finding(SOURCES, State.OK, f"Last success: {', '.join(good)}." if good else "No failure is known.")


def _times(found: Iterable[Worker], word: str) -> dict[str, int]:
    """Return when each cluster had its last "success" or "failure" in any of these workers (epoch seconds)."""
    times: dict[str, int] = {}
    for worker in found:
        for cluster, seen in worker.clusters.items():
            if when := seen.get(word):
                times[cluster] = max(when, times.get(cluster, 0))
    return times


def _count(jobs: int) -> str:
    if jobs > MOST_COUNTED:
        return f"more than {MOST_COUNTED:,} jobs"
    return "1 job" if jobs == 1 else f"{jobs:,} jobs"


def _so_many(jobs: int) -> str:
    return f", and {_count(jobs)} wait{'s' if jobs == 1 else ''}" if jobs else ""
