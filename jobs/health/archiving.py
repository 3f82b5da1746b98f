"""The health of archiving: a worker lives, jobs do not wait for long or fail, the metric sources answer."""

from collections.abc import Iterable, Iterator

from accounts.formatting import quantity
from jobs.health.look import MOST_COUNTED, Look, Worker
from jobs.health.report import Finding, State, span
from jobs.models import Job

WORKER = "archive worker"
JOBS = "archiving"
SOURCES = "metric sources"

LONG_WAIT = 600
"""Seconds that a job may have waited for the archive; usually it waits for less than one."""

_RUN = "Run `manage.py archive_worker` as a service (docs/deployment.md); jobs wait meanwhile and are not lost."


def check_worker(look: Look) -> Iterator[Finding]:
    """Yield which workers live, and which died."""
    now, found = look.now, look.workers
    living = [worker for worker in found if worker.lives]
    if not living:
        jobs, _ = look.waiting
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
    names = "; ".join(f"{worker.place} lives and has archived {quantity(worker.archived, 'job')}" for worker in living)
    yield Finding(WORKER, State.OK, f"{names}.")


def check_jobs(look: Look) -> Iterator[Finding]:
    """Yield whether jobs wait for long, fail, or were given up; from the first failed attempt on."""
    jobs, first = look.waiting
    failed = [failure.reason for failure in look.failures if not failure.of_source]
    given_up = Job.objects.given_up().order_by()[: MOST_COUNTED + 1].count()
    bad = list(_of_jobs(look.now, jobs, first))
    if failed:
        sentence = f"{quantity(len(failed), 'job')} could not be written, one of them for this reason: {failed[0]}"
        bad.append(Finding(JOBS, State.ERROR, sentence, "Remove the reason; each job is tried again by itself."))
    if given_up:
        sentence = f"{_capped(given_up)} could not be archived in twelve attempts, or never will."
        cure = 'See why in the job list (filter "Archiving: failed"), then `manage.py archive_jobs --failed`.'
        bad.append(Finding(JOBS, State.WARNING, sentence, cure))
    yield from bad or [Finding(JOBS, State.OK, f"No attempt fails{_so_many(jobs)}.")]


def _of_jobs(now: int, jobs: int, first: int | None) -> Iterator[Finding]:
    if first is not None and now - first > LONG_WAIT:
        verb = "waits" if jobs == 1 else "wait"
        sentence = f"{_capped(jobs)} {verb} for the archive; one of them ended {span(now - first)} ago."
        cure = "Look at the other findings, and at the worker's log; after an import, many jobs wait for a while."
        yield Finding(JOBS, State.WARNING, sentence, cure, first)


def check_sources(look: Look) -> Iterator[Finding]:
    """Yield the clusters whose metric source fails, with its last reason, and those where it answers."""
    now, found = look.now, look.workers
    reasons: dict[str, list[str]] = {}
    for failure in look.failures:
        if failure.of_source:
            reasons.setdefault(failure.cluster, []).append(failure.reason)
    successes, failures = _times(found, "success"), _times(found, "failure")
    for cluster, failed in sorted(reasons.items()):
        success, trouble = successes.get(cluster), failures.get(cluster)
        answers = success is not None and (trouble is None or success > trouble)
        yield Finding(
            SOURCES,
            State.WARNING if answers else State.ERROR,
            f"Cluster {cluster}: the samples of {quantity(len(failed), 'job')} cannot be had: {failed[0]}"
            + (f" (the last job was archived {span(now - success)} ago)" if success else ""),
            f"Look at the metric store, and at METRIC_SOURCES for {cluster}; each job is tried again by itself.",
            None if answers else success,
        )
    good = [f"{name} {span(now - when)} ago" for name, when in sorted(successes.items()) if name not in reasons]
    if not reasons:
        yield Finding(SOURCES, State.OK, f"Last success: {', '.join(good)}." if good else "No failure is known.")


def _times(found: Iterable[Worker], word: str) -> dict[str, int]:
    """Return when each cluster had its last "success" or "failure" in any of these workers (epoch seconds)."""
    times: dict[str, int] = {}
    for worker in found:
        for cluster, seen in worker.clusters.items():
            if when := seen.get(word):
                times[cluster] = max(when, times.get(cluster, 0))
    return times


def _capped(jobs: int) -> str:
    """Return a number of jobs of which no more than MOST_COUNTED + 1 were counted."""
    return f"more than {MOST_COUNTED:,} jobs" if jobs > MOST_COUNTED else quantity(jobs, "job")


def _so_many(jobs: int) -> str:
    return f", and {_capped(jobs)} wait{'s' if jobs == 1 else ''}" if jobs else ""
