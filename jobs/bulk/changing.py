"""Change the selected jobs batch by batch, and undo corrections and tags.

Each batch is a transaction of its own, which also writes down what became of it, so that an interruption loses nothing
and leaves nothing half done. A whole change has one entry in the history. The meta.json of archived jobs follows in
the background, as after every change of many jobs.
"""

import time
from collections.abc import Callable, Mapping

import msgspec
from django.contrib.admin.models import CHANGE, DELETION
from django.db import transaction

from accounts.formatting import quantity
from accounts.models import User
from archive.processes import uninterrupted
from jobs import history
from jobs.archiving import queue
from jobs.bulk.selecting import STEP, locked
from jobs.curation import archive_again, checked_note, valid_fact
from jobs.deletion.services import delete_jobs
from jobs.exceptions import InvalidJobError
from jobs.history import Actor, Change, Message
from jobs.ledger.books import kind_of, move
from jobs.ledger.usage import Kind
from jobs.messages import TagName
from jobs.models import Job, JobTag, Tag
from jobs.records import BulkChange, BulkCounts, BulkPart, packed, unpacked
from jobs.states import BulkKind, BulkState, PartState
from jobs.tags.ids import Pair, known_tags, tag_ids
from jobs.tags.services import check_tags, tag_jobs, untag_jobs

UNDO_SECONDS = 7 * 86_400
"""How long a change can be undone."""

_LONGEST_PAUSE = 0.5  # seconds
_MOST_REASONS = 20
_COLUMNS = (*Kind._fields, "is_booked")
_TITLES = {
    BulkKind.CORRECT: "corrected",
    BulkKind.TAG: "tagged",
    BulkKind.UNTAG: "untagged",
    BulkKind.ARCHIVE: "archived again",
    BulkKind.DELETE: "deleted from the database",
}


def confirm(*, change: BulkChange, wanted: Mapping[str, str], note: str | None, actor: Actor) -> BulkChange:
    """Begin a change whose jobs are selected, and write its entry of the history; nothing is changed yet.

    `wanted` are the new project, the new partition or both, where an empty one empties the field, or type and name of a
    tag. Raises InvalidJobError for values that cannot be, and if the change was begun already.
    """
    wanted = _checked(change.kind, wanted)
    with transaction.atomic():
        change = locked(change.pk)
        if change.state != BulkState.SELECTED:
            raise InvalidJobError("this change was begun already")
        change.wanted = msgspec.json.encode(wanted).decode()
        change.state, change.begun_at = BulkState.RUNNING, int(time.time())
        message = _message(change, wanted, "" if note is None else checked_note(note), actor)
        flag = DELETION if change.kind == BulkKind.DELETE else CHANGE
        change.entry = history.record_bulk(actor, _title(change, wanted), message, flag=flag)
        change.save()
    return change


def _checked(kind: str, wanted: Mapping[str, str]) -> dict[str, str]:
    if kind == BulkKind.CORRECT:
        if not wanted:
            raise InvalidJobError("expected a new project, a new partition, or both")
        return {name: valid_fact(name, value) for name, value in wanted.items()}
    if kind in (BulkKind.TAG, BulkKind.UNTAG):
        pair = (wanted.get("type", ""), wanted.get("name", ""))
        check_tags([TagName(*pair)])
        if kind == BulkKind.UNTAG and not known_tags([pair]):
            raise InvalidJobError(f"there is no tag {':'.join(pair)[:255]}")
        return {"type": pair[0], "name": pair[1]}
    return {}


def _message(change: BulkChange, wanted: Mapping[str, str], note: str, actor: Actor) -> Message:
    """Return the message of the entry, which must not tell of other jobs of the selection."""
    tag = in_words(wanted)
    texts = {
        BulkKind.CORRECT: "Corrected.",
        BulkKind.TAG: f"Added tag {tag}.",
        BulkKind.UNTAG: f"Removed tag {tag}.",
        BulkKind.ARCHIVE: "Archiving asked for again.",
        BulkKind.DELETE: "Deleted from the database; the archive keeps its files.",
    }
    changes = _changes(change, wanted) if change.kind == BulkKind.CORRECT else []
    return Message(texts[BulkKind(change.kind)], changes, note, actor.through)


def _changes(change: BulkChange, wanted: Mapping[str, str]) -> list[Change]:
    """Return the changed fields; the old value is named only if all jobs have the same one."""
    old = change.old_values
    is_whole = sum(number for _, _, number in old) == change.selected
    found = []
    for name, values in (("project", {each[0] for each in old}), ("partition", {each[1] for each in old})):
        if name in wanted:
            before = history.shown(values.pop()) if is_whole and len(values) == 1 else "(its own)"
            found.append(Change(name, before, history.shown(wanted[name])))
    return found


def _title(change: BulkChange, wanted: Mapping[str, str]) -> str:
    what = f" ({in_words(wanted)})" if wanted else ""
    return f"{quantity(change.selected, 'job')} {_TITLES[BulkKind(change.kind)]}{what}"


def in_words(wanted: Mapping[str, str]) -> str:
    """Return the new values of a change on one line: 'project chem, partition (empty)', or a tag as 'perf:bad'."""
    if "type" in wanted:
        return ":".join(wanted.values())
    return ", ".join(f"{name} {history.shown(value)}" for name, value in wanted.items())


def undo(*, change: BulkChange, actor: Actor) -> BulkChange:
    """Begin to undo a change, finished or not, and write that into the history; nothing is restored yet.

    Once more it is for the jobs that were kept the first time, as another change was in the way. Raises InvalidJobError
    if it cannot be undone, was undone already, or is older than a week.
    """
    with transaction.atomic():
        change = locked(change.pk)
        if not can_undo(change):
            raise InvalidJobError("only corrections and tags of the last seven days can be undone, and only once")
        parts, counts = BulkPart.objects.filter(change=change), change.outcome
        parts.filter(state=PartState.TO_DO)._raw_delete(using="default")
        parts.filter(state=PartState.UNDONE).exclude(kept=b"").update(state=PartState.DONE)
        number, counts.kept = counts.kept or counts.changed, 0
        change.counts = msgspec.json.encode(counts).decode()
        what = in_words(change.new_values)
        text, title = {
            BulkKind.CORRECT: ("Correction undone.", "correction undone"),
            BulkKind.TAG: (f"Removed tag {what} again: adding it was undone.", "tag removed again"),
            BulkKind.UNTAG: (f"Added tag {what} again: removing it was undone.", "tag added again"),
        }[BulkKind(change.kind)]
        new = change.new_values if change.kind == BulkKind.CORRECT else {}
        changes = [Change(each.field, each.new, each.old) for each in _changes(change, new)]
        title = f"{quantity(number, 'job')}: {title} ({what})"
        entry = history.record_bulk(actor, title, Message(text, changes, through=actor.through))
        change.undo_entry = change.undo_entry if counts.restored else entry  # jobs have the first one that did anything
        change.state = BulkState.UNDOING
        change.save()
    return change


def can_undo(change: BulkChange) -> bool:
    """Return whether a change can be undone now."""
    has_more = change.state == BulkState.UNDONE and change.outcome.kept > 0
    is_recent = change.begun_at is not None and change.begun_at > time.time() - UNDO_SECONDS
    return change.kind in UNDOABLE and is_recent and (has_more or change.state in (BulkState.RUNNING, BulkState.DONE))


def go_on(*, change_id: int, user: User, seconds: float | None = None) -> BulkChange:
    """Change batches, or undo them, for some seconds, STEP if none are given; return how far the change is then.

    Jobs that the user does not see any more are left out. Between two batches it pauses for as long as one took: half
    of the database's time is left to others. Raises UnknownJobError if there is no such change.
    """
    until = time.monotonic() + (STEP if seconds is None else seconds)
    while True:
        begun = time.monotonic()
        with uninterrupted():
            change = _next_part(change_id, user)
        ended = time.monotonic()
        if not change.goes_on or ended >= until:
            return change
        time.sleep(min(ended - begun, _LONGEST_PAUSE))


def _next_part(change_id: int, user: User) -> BulkChange:
    """Work on one part, and write down what became of it, in one transaction."""
    with transaction.atomic():
        change = locked(change_id)
        if change.state not in (BulkState.RUNNING, BulkState.UNDOING):
            return change
        is_undo = change.state == BulkState.UNDOING
        look_for = PartState.DONE if is_undo else PartState.TO_DO
        part = BulkPart.objects.filter(change=change, state=look_for).order_by("pk").first()
        if part is None:
            change.state = BulkState.UNDONE if is_undo else BulkState.DONE
        else:
            counts = change.outcome
            if is_undo:
                _restore(change, part, _jobs(part, user), counts)
            else:
                _change(change, part, _jobs(part, user), counts)
            change.counts = msgspec.json.encode(counts).decode()
        change.save(update_fields=["state", "counts"])
    return change


def _jobs(part: BulkPart, user: User) -> list[Job]:
    """Lock the jobs of a part that are still there and visible, in one order, and return them."""
    jobs = Job.objects.visible_to(user, by_index=False).select_for_update()
    return list(jobs.filter(pk__in=list(part.values)).order_by("pk").only(*_COLUMNS))


def _change(change: BulkChange, part: BulkPart, jobs: list[Job], counts: BulkCounts) -> None:
    """Change the jobs of a part; afterwards it has those that were changed, with their old values."""
    kind = BulkKind(change.kind)
    done = _ACTIONS[kind](change, part, jobs, counts)
    counts.gone += len(part.values) - len(jobs)
    counts.changed += len(done)
    if not done or kind == BulkKind.DELETE:
        part.delete()
        return
    part.hold({job.pk: (job.project, job.partition) for job in done})
    part.state = PartState.DONE
    part.save()


def _correct(change: BulkChange, part: BulkPart, jobs: list[Job], counts: BulkCounts) -> list[Job]:
    """Give jobs their new project and partition, unless somebody else has changed what is to be replaced."""
    wanted, done = change.new_values, []
    for job in jobs:
        now = {name: getattr(job, name) for name in wanted}
        selected = dict(zip(("project", "partition"), part.values[job.pk], strict=True))
        if now == wanted:
            counts.same += 1
        elif any(now[name] != selected[name] for name in wanted):
            counts.others += 1
        else:
            done.append(job)
    _set({job.pk: wanted for job in done}, done)
    return done


def _restore(change: BulkChange, part: BulkPart, jobs: list[Job], counts: BulkCounts) -> None:
    """Give the jobs of a part back what they had, where what they were given is still there."""
    kept = bytes(part.kept)  # of the last time, if it is done once more: the others are restored already
    left = set(unpacked(kept)) if kept else set(part.values)
    done = UNDOABLE[BulkKind(change.kind)](change, part, [job for job in jobs if job.pk in left], BulkCounts())
    left = left - {job.pk for job in done}
    counts.restored += len(done)
    counts.kept += len(left)
    part.kept = packed(sorted(left)) if left else b""
    part.state = PartState.UNDONE
    part.save()


def _correct_back(change: BulkChange, part: BulkPart, jobs: list[Job], counts: BulkCounts) -> list[Job]:
    wanted = change.new_values
    done = [job for job in jobs if all(getattr(job, name) == value for name, value in wanted.items())]
    old = {job.pk: dict(zip(("project", "partition"), part.values[job.pk], strict=True)) for job in done}
    _set({row_id: {name: values[name] for name in wanted} for row_id, values in old.items()}, done)
    return done


def _set(values: Mapping[int, Mapping[str, str]], jobs: list[Job]) -> None:
    """Store values of locked jobs; usage moves, and the archive follows."""
    alike: dict[tuple[tuple[str, str], ...], list[int]] = {}
    for row_id, of_job in values.items():
        alike.setdefault(tuple(of_job.items()), []).append(row_id)
    for pairs, row_ids in alike.items():
        Job.objects.filter(pk__in=row_ids).update(**dict(pairs))
    moves = [(job.pk, kind_of(job), kind_of(job)._replace(**values[job.pk])) for job in jobs if job.is_booked]
    if moves:
        move(moves)
    if jobs:
        queue.record_edit([job.pk for job in jobs])


def _tag(change: BulkChange, part: BulkPart, jobs: list[Job], counts: BulkCounts) -> list[Job]:
    pair = _pair(change)
    has_it = _with_tag(jobs, tag_ids([pair])[pair])
    new = [job for job in jobs if job.pk not in has_it]
    counts.same += len(has_it)
    if new:
        tag_jobs(row_ids=[job.pk for job in new], tags=[TagName(*pair)])
    return new


def _untag(change: BulkChange, part: BulkPart, jobs: list[Job], counts: BulkCounts) -> list[Job]:
    type_, name = _pair(change)
    tag = Tag.objects.filter(type=type_, name=name).first()  # it may have been deleted meanwhile
    has_it = set() if tag is None else _with_tag(jobs, tag.pk)
    counts.same += len(jobs) - len(has_it)
    if tag is not None and has_it:
        untag_jobs(row_ids=sorted(has_it), tag=tag)
    return [job for job in jobs if job.pk in has_it]


def _pair(change: BulkChange) -> Pair:
    wanted = change.new_values
    return wanted["type"], wanted["name"]


def _with_tag(jobs: list[Job], tag_id: int) -> set[int]:
    links = JobTag.objects.filter(tag_id=tag_id, job_id__in=[job.pk for job in jobs])
    return set(links.values_list("job_id", flat=True))


def _archive(change: BulkChange, part: BulkPart, jobs: list[Job], counts: BulkCounts) -> list[Job]:
    outcome = archive_again(row_ids=[job.pk for job in jobs], actor=None)
    counts.refused += len(outcome.refused)
    counts.reasons = [*counts.reasons, *outcome.refused][:_MOST_REASONS]
    done = set(outcome.done)
    return [job for job in jobs if job.pk in done]


def _delete(change: BulkChange, part: BulkPart, jobs: list[Job], counts: BulkCounts) -> list[Job]:
    delete_jobs(row_ids=[job.pk for job in jobs])
    return jobs


_Action = Callable[[BulkChange, BulkPart, list[Job], BulkCounts], list[Job]]

_ACTIONS: dict[BulkKind, _Action] = {
    BulkKind.CORRECT: _correct,
    BulkKind.TAG: _tag,
    BulkKind.UNTAG: _untag,
    BulkKind.ARCHIVE: _archive,
    BulkKind.DELETE: _delete,
}

UNDOABLE: dict[BulkKind, _Action] = {
    BulkKind.CORRECT: _correct_back,
    BulkKind.TAG: _untag,
    BulkKind.UNTAG: _tag,
}
"""The kinds of changes that can be undone, each with what does it to the jobs that were changed."""
