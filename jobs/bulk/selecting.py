"""Select the jobs of a bulk change: those of a list, in steps if there are many, with the values that they have now.

The selection is written down before anybody is asked to confirm, so that what is changed is what was shown, whatever
starts, ends or is changed meanwhile.
"""

import time
from collections import Counter
from collections.abc import Mapping, Sequence

import msgspec
from django.db import transaction

from archive.processes import uninterrupted
from jobs.deletion.services import Survey
from jobs.exceptions import UnknownJobError
from jobs.history import Actor
from jobs.models import Job
from jobs.querysets import JobQuerySet
from jobs.records import BulkChange, BulkPart, unpacked
from jobs.search.find import Place, Search
from jobs.states import BulkKind, BulkState

STEP = 1.0
"""Seconds that one step works."""

BATCH = 500
"""Jobs of a part, which is changed in one transaction: other writers wait some milliseconds for one."""

_READ = 10_000  # jobs that one statement reads
_MOST_VALUES = 100  # different pairs of project and partition that are counted
_FORGOTTEN_AFTER = 86_400  # seconds after which a selection with which nothing was done is deleted

Selected = tuple[int, str, str]
"""Database id, project and partition of a job."""


def begin_selection(
    *, kind: BulkKind, actor: Actor, query: str, conditions: str, wanted: Mapping[str, str] | None = None
) -> BulkChange:
    """Write down that jobs are to be selected; `query` and `conditions` say from which list.

    `wanted` is proposed when the change is to be confirmed.

    Selections with which nothing was done for a day are deleted.
    """
    now = int(time.time())
    with transaction.atomic():
        old = BulkChange.objects.filter(
            state__in=[BulkState.SELECTING, BulkState.SELECTED], created_at__lt=now - _FORGOTTEN_AFTER
        )
        for change in old:
            forget(change)
        return BulkChange.objects.create(
            user_id=actor.user_id,
            kind=kind,
            created_at=now,
            query=query,
            conditions=conditions,
            wanted=msgspec.json.encode(dict(wanted or {})).decode(),
        )


def locked(change_id: int) -> BulkChange:
    """Return a change as it is now, with its row locked; raise UnknownJobError if it was forgotten meanwhile."""
    change = BulkChange.objects.select_for_update().filter(pk=change_id).first()
    if change is None:
        raise UnknownJobError("there is no such bulk change any more")
    return change


def forget(change: BulkChange) -> None:
    """Delete a change that was not begun, with its selection."""
    BulkPart.objects.filter(change=change)._raw_delete(using="default")
    BulkChange.objects.filter(pk=change.pk)._raw_delete(using="default")


def select_all(change: BulkChange, jobs: JobQuerySet) -> BulkChange:
    """Select some thousand jobs at once."""
    rows = list(jobs.values_list("pk", "project", "partition"))
    return _store(change.pk, None, rows, None)


def select_more(change: BulkChange, search: Search, *, seconds: float | None = None) -> BulkChange:
    """Select matching jobs for some seconds, STEP if none are given; return how far the change is then."""
    until = time.monotonic() + (STEP if seconds is None else seconds)
    while change.state == BulkState.SELECTING:
        place = _place(change)
        rows, further = search.next_values("project", "partition", most=_READ, after=place)
        with uninterrupted():
            change = _store(change.pk, place, rows, further)
        if time.monotonic() >= until:
            break
    return change


def losses(change: BulkChange) -> Survey:
    """Return how many of the selected jobs a deletion would take from their end or their archive, without groups."""
    jobs = Job.objects.order_by()
    lost = [set(few.values_list("pk", flat=True)) for few in (jobs.running(), jobs.awaiting_first_archive())]
    numbers = [0, 0]
    for part in BulkPart.objects.filter(change=change).values_list("jobs", flat=True).iterator():
        row_ids = unpacked(bytes(part))
        numbers = [number + len(few.intersection(row_ids)) for number, few in zip(numbers, lost, strict=True)]
    return Survey([], *numbers)


def _place(change: BulkChange) -> Place | None:
    if change.place_start is None or change.place_row is None:
        return None
    return Place(change.place_start, change.place_row)


def _store(change_id: int, place: Place | None, rows: Sequence[Selected], further: Place | None) -> BulkChange:
    """Add jobs to a selection that has got as far as a place, and note the next; nothing if it is further already."""
    with transaction.atomic():
        change = locked(change_id)
        if change.state != BulkState.SELECTING or _place(change) != place:
            return change
        parts = [rows[begin : begin + BATCH] for begin in range(0, len(rows), BATCH)]
        BulkPart.objects.bulk_create(
            [
                BulkPart.of(change, {row_id: (project, partition) for row_id, project, partition in part})
                for part in parts
            ]
        )
        change.selected += len(rows)
        change.values = _counted(change, rows)
        if further is None:
            change.state = BulkState.SELECTED
        else:
            change.place_start, change.place_row = further
        change.save()
    return change


def _counted(change: BulkChange, rows: Sequence[Selected]) -> str:
    """Return the numbers of jobs by project and partition, of the first pairs that are found."""
    numbers = Counter({(project, partition): number for project, partition, number in change.old_values})
    for pair, number in Counter((project, partition) for _, project, partition in rows).most_common():
        if pair in numbers or len(numbers) < _MOST_VALUES:
            numbers[pair] += number
    return msgspec.json.encode([(*pair, number) for pair, number in numbers.most_common()]).decode()
