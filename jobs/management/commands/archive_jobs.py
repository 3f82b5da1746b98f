"""Archive the waiting jobs now."""

from collections.abc import Collection
from typing import Any

from django.core.management.base import CommandError, CommandParser

from accounts.console import BAD_USAGE, INTERRUPTED, ServerCommand, whole_number
from accounts.formatting import quantity
from jobs.archiving import queue
from jobs.archiving.worker import ArchiveWorker, Counts
from jobs.checks import archive_problem
from jobs.console import following, progress, stop_on_signals
from jobs.models import ArchiveTask, Job
from jobs.querysets import JobQuerySet
from jobs.states import MonitoringStatus

_LARGEST_ID = 2**63 - 1
_LOOKED_UP = 500  # ids per query


def _row_id(text: str) -> int:
    return whole_number(text, least=1, most=_LARGEST_ID)


class Command(ServerCommand):
    """Select the jobs, let a worker in this process write them, and print why any failed."""

    help = (
        "Archive the stopped jobs that wait, now and in this process, including those that pause after a failed "
        "attempt. Prints the reason for each failure; the exit status is 1 if there was one. Workers may run beside it."
    )
    requires_system_checks = "__all__"

    def add_arguments(self, parser: CommandParser) -> None:
        """Declare the options."""
        parser.add_argument(
            "--failed", action="store_true", help="Also retry jobs whose archiving was given up (status 2)."
        )
        parser.add_argument(
            "--job",
            dest="jobs",
            type=_row_id,
            nargs="+",
            action="extend",
            metavar="DATABASE-ID",
            help="Archive only these jobs, by their database id (not the scheduler's).",
        )

        parser.add_argument(
            "--json", action="store_true", help="Print the counts, and each failure with its reason, as JSON."
        )

    def handle(self, *args: Any, **options: Any) -> None:
        """Archive, and report."""
        only = set(options["jobs"]) if options["jobs"] else None
        if only:
            _check_known(only)
        if problem := archive_problem():
            raise CommandError(problem)
        if options["failed"]:
            self.note(f"{quantity(queue.retry_failed(only=only), 'failed job')} will be tried again.")
        before = dict(_failures(only))
        counts, interrupted = self._drain(only)
        failures = {row_id: attempts for row_id, attempts in _failures(only) if attempts > before.get(row_id, 0)}
        failed = list(ArchiveTask.objects.filter(pk__in=failures).select_related("job").order_by("pk"))
        for task in failed:
            self.stderr.write(f"job {task.pk} ({task.job}): {task.error}")
        self._explain(only)
        left = _waiting(only).exclude(pk__in=failures).count()
        if options["json"]:
            reasons = [{"id": task.pk, **task.job.key._asdict(), "error": task.error} for task in failed]
            self.print_json({"archived": counts.archived, "failed": counts.failed, "left": left, "failures": reasons})
        else:
            why = " (with another worker, stopped just now, or left after others failed)"
            still = f", {left:,} still wait{why}." if left else "."
            self.say(f"{quantity(counts.archived, 'job')} archived, {counts.failed:,} failed{still}")
        if interrupted:
            raise CommandError("Interrupted: the other jobs still wait.", returncode=INTERRUPTED)
        if counts.failed:
            raise CommandError(f"{quantity(counts.failed, 'job')} could not be archived.")

    def _drain(self, only: Collection[int] | None) -> tuple[Counts, bool]:
        worker = ArchiveWorker(only=only, at_once=True)
        with (
            stop_on_signals(worker.stopping),
            progress(total=_waiting(only).count(), unit="job", verbosity=self.verbosity) as bar,
            following(bar, lambda: worker.counts.archived + worker.counts.failed),
        ):
            return worker.drain(), worker.stopping.is_set()

    def _explain(self, only: Collection[int] | None) -> None:
        """Print, for each job that was named, why there was nothing to do for it."""
        for part in _parts(only or ()):
            for job in Job.objects.filter(pk__in=part).only("job_state", "monitoring_status").order_by("pk"):
                if job.is_running:
                    self.note(f"job {job.pk} is running: it is archived once it has been stopped.")
                elif job.monitoring_status == MonitoringStatus.DISABLED:
                    self.note(f"job {job.pk} is never archived: its monitoring is disabled.")
                elif job.monitoring_status == MonitoringStatus.FAILED:
                    self.note(f"job {job.pk} has failed for good: --failed tries it again.")


def _parts(row_ids: Collection[int]) -> list[list[int]]:
    ordered = sorted(row_ids)
    return [ordered[begin : begin + _LOOKED_UP] for begin in range(0, len(ordered), _LOOKED_UP)]


def _check_known(row_ids: Collection[int]) -> None:
    known: set[int] = set()
    for part in _parts(row_ids):
        known.update(Job.objects.filter(pk__in=part).values_list("pk", flat=True))
    unknown = sorted(set(row_ids) - known)
    if unknown:
        raise CommandError(
            f"no job with database id {', '.join(map(str, unknown))}; nothing was archived", returncode=BAD_USAGE
        )


def _waiting(only: Collection[int] | None) -> JobQuerySet:
    jobs = Job.objects.awaiting_archive()
    return jobs if only is None else jobs.filter(pk__in=only)


def _failures(only: Collection[int] | None) -> list[tuple[int, int]]:
    """Return row id and number of failed attempts of each job with a failed attempt."""
    failed = ArchiveTask.objects.filter(attempts__gt=0).values_list("pk", "attempts")
    return list(failed if only is None else failed.filter(pk__in=only))
