"""Compare the running jobs with the scheduler's, stop those that have ended there, and start those that are missing."""

import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar

from django.core.management.base import CommandError, CommandParser

from accounts.console import BAD_USAGE, ServerCommand, printable
from accounts.formatting import quantity
from archive.format.layout import is_valid_cluster_name
from jobs import history
from jobs.console import confirm, parse_when, require_cluster, shell_actor, shown_time
from jobs.curation import End, stop_each
from jobs.exceptions import JobError
from jobs.models import Job
from jobs.reconcile import scheduler
from jobs.reconcile.compare import Comparison, compare, known_ends, planned_ends, start_lost
from jobs.reconcile.scheduler import EndedJob, Listing, RunningJob, SchedulerError
from jobs.states import JobState

T = TypeVar("T")

_STATES = [state for state in JobState.values if state != JobState.RUNNING]
_RUN_SACCT = ""


class Command(ServerCommand):
    """Read the scheduler's list, print the differences, and settle them."""

    help = (
        "Compare the running jobs of a cluster with those of the scheduler: jobs that run here alone (ghosts) are "
        "stopped, and with --start-missing jobs that run there alone are started. The list is FILE, what squeue or "
        "slurmrestd says, or a plain list of jobids. Exit status 1 if something was refused."
    )

    def add_arguments(self, parser: CommandParser) -> None:
        """Declare the options."""
        parser.add_argument("file", metavar="FILE", nargs="?", help="JSON of squeue, or jobids; - is stdin.")
        parser.add_argument("--cluster", required=True, metavar="C", help="The cluster, as it is called here.")
        parser.add_argument("--squeue", action="store_true", help="Run squeue --json on this host.")
        parser.add_argument("--slurmrestd", action="store_true", help="Ask the slurmrestd of the setting SLURMRESTD.")
        parser.add_argument(
            "--sacct",
            metavar="FILE",
            nargs="?",
            const=_RUN_SACCT,
            help="Take states and ends of ghosts from JSON of sacct; without FILE run sacct for them on this host.",
        )
        parser.add_argument("--start-missing", action="store_true", help="Start the jobs that are missing here.")
        parser.add_argument("--state", choices=_STATES, default="failed", help="State of ghosts without a known one.")
        parser.add_argument(
            "--end",
            type=parse_when,
            metavar="WHEN",
            help="End of ghosts without a known one; by default start and requested time, at most now.",
        )
        parser.add_argument("--allow-empty", action="store_true", help="Believe a list without any running job.")
        parser.add_argument("--dry-run", action="store_true", help="Print what would be done, change nothing.")
        parser.add_argument("--json", action="store_true", help="With --dry-run: print the differences as JSON.")
        parser.add_argument("--yes", action="store_true", help="Do not ask.")

    def handle(self, *args: Any, cluster: str, **options: Any) -> None:
        """Compare, print, ask, and settle."""
        if options["json"] and not options["dry_run"]:
            raise CommandError("--json: expected --dry-run beside it", returncode=BAD_USAGE)
        if not is_valid_cluster_name(cluster):
            raise CommandError(f"--cluster {cluster!r}: expected the name of a cluster", returncode=BAD_USAGE)
        require_cluster(cluster)
        listing = _attempted(lambda: _listing(cluster, options))
        found = compare(cluster, listing)
        if found.here and not listing.running and not options["allow_empty"]:
            raise CommandError(
                f"The list has no running job, and {quantity(found.here, 'job')} run here: give --allow-empty if that "
                "is so.",
                returncode=BAD_USAGE,
            )
        known = known_ends(found.ghosts, listing.ended)
        if options["sacct"] is not None:
            known |= _attempted(lambda: self._accounted(found, options["sacct"]))
        ends = planned_ends(found.ghosts, known, state=options["state"], stop_time=options["end"], now=int(time.time()))
        if options["json"]:
            self.print_json(_document(cluster, listing, found, ends))
        else:
            self._show(cluster, listing, found, ends)
        lost = found.lost if options["start_missing"] else []
        if options["dry_run"] or not (ends or lost):
            return
        if not confirm(f"Stop {quantity(len(ends), 'job')}, start {quantity(len(lost), 'job')}?", yes=options["yes"]):
            raise CommandError("Nothing was done.")
        self._settle(cluster, ends, lost)

    def _accounted(self, found: Comparison, file: str) -> dict[int, EndedJob]:
        """Return the ends that sacct has, by row id; a job that runs by its word is no ghost and left alone."""
        if file == _RUN_SACCT:
            lists = list(scheduler.ends_by_sacct(sorted({job.job_id for job in found.ghosts})))
        else:
            lists = [scheduler.ends_in(_content(file))]
        still = {job_id for each in lists for job_id in each.running}
        for job in (job for job in found.ghosts if job.job_id in still):
            self.note(printable(f"{job.job_id} of {job.user} runs by the word of sacct; it is left alone"))
        found.ghosts = [job for job in found.ghosts if job.job_id not in still]
        return known_ends(found.ghosts, [end for each in lists for end in each.ended])

    def _show(self, cluster: str, listing: Listing, found: Comparison, ends: list[End]) -> None:
        """Print the differences."""
        when = shown_time(listing.taken_at)
        self.say(f"Cluster {cluster}: {found.here:,} jobs run here, {found.there:,} in the list of {when}.")
        self._group("run here alone", [_ghost(job, end) for job, end in zip(found.ghosts, ends, strict=True)])
        self._group("run there alone", [_lost(job) for job in found.lost])
        self._group("run there and have ended here", [_ended(*pair) for pair in found.ended_here])
        self._group("have another start time there", [_other_start(*pair) for pair in found.other_start])

    def _group(self, title: str, lines: list[str]) -> None:
        self.say(f"{len(lines):,} {title}{':' if lines else '.'}")
        for line in lines:
            self.say(printable(f"  {line}"))

    def _settle(self, cluster: str, ends: list[End], lost: list[RunningJob]) -> None:
        """Stop the ghosts, start what is missing, and print how many."""
        actor = shell_actor()
        note = f"The scheduler of {cluster} does not list the job any more."
        outcome = stop_each(ends=ends, how="by reconcile_jobs", note=note, actor=actor)
        for reason in outcome.refused:
            self.note(printable(f"not stopped: {reason}"))
        started, refused = 0, len(outcome.refused)
        for job in lost:
            try:
                row_id = start_lost(cluster, job)
            except JobError as error:
                refused += 1
                self.note(printable(f"not started: {job.job_id} of {job.user or 'an unknown user'}: {error}"))
            else:
                started += 1
                history.record(actor, [row_id], "Started by reconcile_jobs.")
        self.say(f"{quantity(len(outcome.done), 'job')} stopped, {started:,} started, {refused:,} refused.")
        if refused:
            raise CommandError(f"{quantity(refused, 'job')} refused.")


def _listing(cluster: str, options: dict[str, Any]) -> Listing:
    sources = [options["file"] is not None, options["squeue"], options["slurmrestd"]]
    if sum(sources) != 1:
        raise CommandError("expected one of FILE, --squeue and --slurmrestd", returncode=BAD_USAGE)
    if options["squeue"]:
        return scheduler.from_squeue()
    if options["slurmrestd"]:
        return scheduler.from_slurmrestd(cluster)
    return scheduler.from_file(options["file"], sys.stdin.buffer)


def _content(file: str) -> bytes:
    try:
        return Path(file).read_bytes()
    except OSError as error:
        raise SchedulerError(f"{file}: {error.strerror}") from None


def _attempted(work: Callable[[], T]) -> T:
    try:
        return work()
    except SchedulerError as error:
        raise CommandError(printable(str(error)), returncode=BAD_USAGE) from None


def _document(cluster: str, listing: Listing, found: Comparison, ends: list[End]) -> dict[str, Any]:
    """Return the differences for JSON; times in epoch seconds, null where the list has none."""
    return {
        "cluster": cluster,
        "takenAt": listing.taken_at,
        "here": found.here,
        "there": found.there,
        "ghosts": [
            {**_here(job), "stopTime": end.stop_time, "jobState": end.job_state, "why": end.why}
            for job, end in zip(found.ghosts, ends, strict=True)
        ],
        "missing": [
            {"jobId": job.job_id, "user": job.user, "startTime": job.start_time, "nodes": job.nodes}
            for job in found.lost
        ],
        "endedHere": [
            {**_here(job), "stopTime": job.stop_time, "jobState": job.job_state} for job, _ in found.ended_here
        ],
        "otherStart": [{**_here(job), "startTimeThere": there.start_time} for job, there in found.other_start],
    }


def _here(job: Job) -> dict[str, Any]:
    return {"jobId": job.job_id, "user": job.user, "startTime": job.start_time}


def _ghost(job: Job, end: End) -> str:
    begun, ended = shown_time(job.start_time), shown_time(end.stop_time)
    return f"{job.job_id} of {job.user} since {begun}: ends {ended} {end.job_state} ({end.why})"


def _lost(job: RunningJob) -> str:
    begun = "" if job.start_time is None else f" since {shown_time(job.start_time)}"
    return f"{job.job_id}{f' of {job.user}' if job.user else ''}{f' on {job.nodes}' if job.nodes else ''}{begun}"


def _ended(job: Job, there: RunningJob) -> str:
    return f"{job.job_id} of {job.user}: {job.job_state} here since {shown_time(job.stop_time or 0)}"


def _other_start(job: Job, there: RunningJob) -> str:
    return f"{job.job_id} of {job.user}: {shown_time(job.start_time)} here, {shown_time(there.start_time or 0)} there"
