"""Show one job from the shell."""

from typing import Any

from django.core.management.base import CommandError, CommandParser

from accounts.console import BAD_USAGE, ServerCommand, printable
from jobs.console import require_cluster, shown_time
from jobs.models import Job
from jobs.rows.encoding import encode, job_meta
from jobs.rows.select import fetch_row
from jobs.text import is_whole


class Command(ServerCommand):
    """Find a job by cluster and job id, or by its database id, and print it."""

    help = (
        "Show a job: the newest run of a cluster's job id, or the one with a database id. Times are in TIME_ZONE; with "
        "--json it is printed as GET jobs/ does, metadata and statistics included."
    )

    def add_arguments(self, parser: CommandParser) -> None:
        """Declare the options."""
        parser.add_argument(
            "words", metavar="WORD", nargs="+", help="CLUSTER and JOBID, or the DATABASE-ID that lists of jobs have."
        )
        parser.add_argument("--start", metavar="SECONDS", help="The run that started then (epoch seconds).")
        parser.add_argument("--json", action="store_true", help="Print the job as JSON.")

    def handle(self, *args: Any, **options: Any) -> None:
        """Print the job."""
        job = _find(options["words"], options["start"])
        row = fetch_row(job.pk)
        if options["json"] and row is not None:
            self.stdout.write(encode(job_meta(row)).decode())
            return
        for label, value in _facts(job):
            if value:
                self.stdout.write(f"{label:<12} {printable(str(value))}")


def _find(words: list[str], start: str | None) -> Job:
    """Return the job that the words name; raise CommandError if there is none."""
    if start is not None and not is_whole(start):
        raise CommandError(f"--start {start!r}: expected epoch seconds", returncode=BAD_USAGE)
    if not 1 <= len(words) <= 2 or not is_whole(words[-1]):
        text = "expected CLUSTER and JOBID, or a DATABASE-ID, with whole numbers"
        raise CommandError(f"{' '.join(words)!r}: {text}", returncode=BAD_USAGE)
    if len(words) == 1 and start is not None:
        raise CommandError(f"--start {start}: expected CLUSTER and JOBID with it", returncode=BAD_USAGE)
    jobs = Job.objects.order_by("-start_time", "-id")
    if len(words) == 1:
        found = jobs.filter(pk=int(words[0])).first()
    else:
        require_cluster(words[0])
        found = jobs.with_keys(
            job_id=int(words[1]), cluster=words[0], start_time=None if start is None else int(start)
        ).first()
    if found is None:
        raise CommandError(f"there is no job {' '.join(words)}{'' if start is None else f' that started at {start}'}")
    return found


def _facts(job: Job) -> list[tuple[str, Any]]:
    task = getattr(job, "archive_task", None)
    hosts = [str(node.get("hostname")) for node in job.nodes]
    return [
        ("job", f"{job.job_id} of {job.cluster}, database id {job.pk}"),
        ("name", job.metadata.get("jobName")),
        ("user", job.user),
        ("project", job.project),
        ("partition", job.partition),
        ("subcluster", job.sub_cluster),
        ("state", job.job_state),
        ("started", shown_time(job.start_time)),
        ("ended", None if job.stop_time is None else shown_time(job.stop_time)),
        ("nodes", f"{job.num_nodes:,}: {', '.join(hosts[:20])}{' ...' if len(hosts) > 20 else ''}"),
        ("archiving", job.get_monitoring_status_display()),
        ("error", task.error if task else ""),
        ("tags", ", ".join(map(str, job.tags.all()))),
    ]
