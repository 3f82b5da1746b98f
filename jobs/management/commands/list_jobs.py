"""List jobs from the shell, by the words of the search box."""

import itertools
from collections.abc import Iterator
from typing import Any

from django.core.management.base import CommandError, CommandParser

from accounts.console import BAD_USAGE, ServerCommand, printable, whole_number
from accounts.formatting import duration
from jobs.console import shown_time
from jobs.models import Job
from jobs.rows.encoding import encode, job_meta
from jobs.rows.select import fetch_rows
from jobs.search.box import narrow
from jobs.search.criteria import Criteria
from jobs.search.find import Search

_PART = 1000  # jobs per query
_MOST = 1_000_000_000
_LINE = "{:>12}  {:<13} {:<12} {:<12} {:<14} {:>5}  {:<24} {:>13}"


class Command(ServerCommand):
    """Print the jobs that match a search, the newest first."""

    help = (
        "List jobs by the words of the search box, such as: user:alice state:failed,timeout start:last-month. All jobs "
        "are searched. Times are in TIME_ZONE; with --json each line is a job as GET jobs/ has it."
    )

    def add_arguments(self, parser: CommandParser) -> None:
        """Declare the options."""
        parser.add_argument("words", metavar="WORD", nargs="*", help="As in the search box; write -- before -WORD.")
        parser.add_argument(
            "--limit",
            type=lambda text: whole_number(text, least=1, most=_MOST),
            default=50,
            metavar="N",
            help="Print at most N jobs (default: 50).",
        )
        parser.add_argument("--json", action="store_true", help="Print a line of JSON for each job.")

    def handle(self, *args: Any, **options: Any) -> None:
        """Print the jobs."""
        criteria = Criteria()
        narrow(criteria, " ".join(map(_as_word, options["words"])), None)
        if criteria.problems:
            raise CommandError("; ".join(criteria.problems), returncode=BAD_USAGE)
        found, left = _found(Search(seen=None, criteria=criteria)), options["limit"]
        while row_ids := list(itertools.islice(found, min(left, _PART))):
            if options["json"]:
                self._print_json(row_ids)
            else:
                self._print(row_ids, first=left == options["limit"])
            left -= len(row_ids)
        if left == options["limit"]:
            self.note("No matching jobs.")
        elif next(found, None) is not None:
            self.note(f"There are more than these {options['limit']:,}: narrow the search, or raise --limit.")

    def _print(self, row_ids: list[int], *, first: bool) -> None:
        if first:
            heads = ("JOB", "STATE", "USER", "PROJECT", "CLUSTER", "NODES", "STARTED", "DURATION")
            self.stdout.write(_LINE.format(*heads).rstrip())
        jobs = Job.objects.defer("meta_data", "statistics", "resources").in_bulk(row_ids)
        for job in (jobs[row_id] for row_id in row_ids if row_id in jobs):
            texts = (str(job.job_id), job.job_state, job.user, job.project, job.cluster, str(job.num_nodes))
            line = _LINE.format(*texts, shown_time(job.start_time), duration(job.elapsed))
            self.stdout.write(printable(line))

    def _print_json(self, row_ids: list[int]) -> None:
        rows = fetch_rows(row_ids)
        for row_id in row_ids:
            if row_id in rows:
                self.stdout.write(encode(job_meta(rows[row_id])).decode(), ending="")


def _as_word(argument: str) -> str:
    """Return what the shell passed as one argument as one word: `name:my job` needs quotes again."""
    key, colon, value = argument.partition(":")
    if not any(character.isspace() for character in argument) or '"' in argument:
        return argument
    quoted = value.replace('"', '""') if colon else argument
    return f'{key}:"{quoted}"' if colon else f'"{quoted}"'


def _found(search: Search) -> Iterator[int]:
    """Yield the row ids of all matching jobs, the newest first."""
    for part in search.parts():
        yield from part.values_list("pk", flat=True).iterator(_PART)
