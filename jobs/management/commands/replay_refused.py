"""Carry out calls that a client kept, in files, or that the server kept when it refused them."""

import contextlib
import sys
from collections.abc import Iterator
from itertools import chain
from pathlib import Path
from typing import Any, BinaryIO

from django.core.management.base import CommandError, CommandParser
from django.db.models import Count, Min

from accounts.console import BAD_USAGE, ServerCommand, printable
from accounts.formatting import quantity
from jobs.api.events import LINE, Outcome, process, unpacked
from jobs.api.refusals import replay_all
from jobs.console import parse_when, shell_actor, shown_time
from jobs.exceptions import DuplicateJobError, InvalidJobError, JobError, JobNotRunningError
from jobs.intake.events import is_away
from jobs.messages import EVENTS
from jobs.models import RefusedCall
from jobs.querysets import RefusedCallQuerySet

_GZIP = b"\x1f\x8b"
_PART = 1 << 16  # bytes


class Command(ServerCommand):
    """Replay the lines of files, or calls of the intake log, and print what is refused."""

    help = (
        "Carry out calls that were refused: with --kept those that this server kept, else those in spool files, lines "
        "of JSON as POST /api/jobs/events/ takes them, gzipped or not. Calls that were carried out before change "
        "nothing, so all may be replayed again, for example after a missing node was added to cluster.json. Exit "
        "status 1 if calls are refused."
    )

    def add_arguments(self, parser: CommandParser) -> None:
        """Declare the arguments."""
        parser.add_argument("files", metavar="FILE", nargs="*", help="A file, in the order to replay them; - is stdin.")
        kept = parser.add_argument_group("calls that this server kept")
        kept.add_argument("--kept", action="store_true", help="Replay them, the oldest first.")
        kept.add_argument("--reason", default="", metavar="TEXT", help="Only if the reason has this text in it.")
        kept.add_argument("--token", default="", metavar="PREFIX", help="Only those of the token with this prefix.")
        kept.add_argument("--operation", default="", choices=[*EVENTS, LINE], help="Only those of this operation.")
        kept.add_argument("--since", type=parse_when, metavar="WHEN", help="Only those that came then or later.")
        kept.add_argument("--dry-run", action="store_true", help="Print how many there are by reason; replay nothing.")
        kept.add_argument("--json", action="store_true", help="With --dry-run: print these numbers as JSON.")

    def handle(self, *args: Any, files: list[str], kept: bool, **options: Any) -> None:
        """Replay the files or the kept calls, and print how many were carried out."""
        self.done = self.known = self.refused = 0
        selects = [name for name in ("reason", "token", "operation", "since", "dry_run") if options[name]]
        if options["json"] and not options["dry_run"]:
            raise CommandError("--json: expected --dry-run beside it", returncode=BAD_USAGE)
        if bool(files) == kept or (selects and not kept):
            raise CommandError("expected files, or --kept with options that select calls", returncode=BAD_USAGE)
        if kept:
            calls = _selected(options)
            if options["dry_run"]:
                self._show(calls, as_json=options["json"])
                return
            self._replay_kept(calls)
        for name in files:
            self._replay(name)
        total = quantity(self.done + self.known + self.refused, "call")
        known = f"{self.known:,} known already"
        self.say(f"{total}: {self.done:,} carried out, {known}, {self.refused:,} refused.")
        if self.refused:
            raise CommandError(f"{quantity(self.refused, 'call')} refused.")

    def _show(self, calls: RefusedCallQuerySet, *, as_json: bool) -> None:
        """Print the number of calls by operation, user and reason, those that came first at the top."""
        numbers = calls.values("operation", "user", "kind").annotate(count=Count("pk"), first=Min("received_at"))
        groups = list(numbers.order_by("first", "operation", "kind"))
        total = sum(group["count"] for group in groups)
        if as_json:
            named = [
                {
                    "operation": group["operation"],
                    "user": group["user"],
                    "reason": group["kind"],
                    "count": group["count"],
                    "since": group["first"],
                }
                for group in groups
            ]
            self.print_json({"total": total, "groups": named})
            return
        for group in groups:
            since = shown_time(group["first"])
            what = f"{group['operation']} of {group['user']} since {since}: {group['kind']}"
            self.say(printable(f"{group['count']:6,}  {what}"))
        self.say(f"{quantity(total, 'call')} would be replayed.")

    def _replay_kept(self, calls: RefusedCallQuerySet) -> None:
        actor = shell_actor()

        def tell(call: RefusedCall, error: JobError | None) -> None:
            if error:
                self.note(printable(f"call {call.pk}: {call.operation} of {call.user}: {error}"))

        counts, _ = replay_all(calls, actor=actor, by=actor.through, told=tell)
        self.done, self.known, self.refused = counts.done, counts.known, counts.refused

    def _replay(self, name: str) -> None:
        try:
            with contextlib.nullcontext(sys.stdin.buffer) if name == "-" else Path(name).open("rb") as file:
                for outcome in process(_parts(file), actor=shell_actor()):
                    self._count(name, outcome)
        except OSError as error:
            raise CommandError(f"{printable(name)}: {error.strerror}", returncode=BAD_USAGE) from None
        except InvalidJobError as error:
            raise CommandError(f"{printable(name)}: {error}", returncode=BAD_USAGE) from None

    def _count(self, name: str, outcome: Outcome) -> None:
        error = outcome.error
        if error is None:
            self.done += 1
        elif isinstance(error, DuplicateJobError | JobNotRunningError):
            self.known += 1
        elif is_away(error):
            raise error
        else:
            self.refused += 1
            place = f"{name} line {outcome.number}"
            self.note(printable(f"{place}: {f'{outcome.operation}: ' if outcome.operation else ''}{error}"))


def _parts(file: BinaryIO) -> Iterator[bytes]:
    """Yield the content of a file in small parts, unpacked."""
    first = file.read(_PART)
    parts = chain([first], iter(lambda: file.read(_PART), b""))
    return unpacked(parts) if first.startswith(_GZIP) else parts


def _selected(options: dict[str, Any]) -> RefusedCallQuerySet:
    """Return the open calls that the options select; those that come meanwhile are left."""
    newest = RefusedCall.objects.order_by("-pk").values_list("pk", flat=True).first() or 0
    calls = RefusedCall.objects.open().filter(pk__lte=newest)
    if options["reason"]:
        calls = calls.filter(reason__icontains=options["reason"])
    if options["token"]:
        calls = calls.filter(token__startswith=options["token"])
    if options["operation"]:
        calls = calls.filter(operation=options["operation"])
    return calls.filter(received_at__gte=options["since"]) if options["since"] else calls
