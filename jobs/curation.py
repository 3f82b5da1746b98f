"""Corrections by staff: a job's project, partition and metadata, its end, its archive files, and notes on it."""

import hashlib
import time
from collections.abc import Sequence
from dataclasses import dataclass, field

import msgspec
from django.db import transaction
from msgspec import UNSET, UnsetType

from archive import root
from archive.exceptions import SourceError
from jobs import history
from jobs.archiving import queue, writing
from jobs.exceptions import EditConflictError, InvalidJobError, JobError, UnknownJobError
from jobs.history import Actor, Change
from jobs.intake.services import stop_job
from jobs.ledger.books import kind_of, move, rename
from jobs.models import ArchiveTask, Job
from jobs.rows.columns import Row, encode_metadata
from jobs.rows.select import fetch_row
from jobs.text import clean_text, utc_time

CLOCK_SKEW = 60
"""Seconds that an end may lie in the future: clocks differ."""

FACTS = ("project", "partition")
"""The columns of a job that can be corrected."""

METADATA = "metaData."
"""The prefix of a field's name that stands for a key of the metadata."""

LONGEST = 255
"""Characters of a project, a partition, or a new key of the metadata."""

_STOPPED_AT_ONCE = 50  # jobs per transaction: other writers wait some milliseconds for one

FieldValue = str | None | UnsetType
"""A field's text; None for a key of the metadata that is null, UNSET for one that is not there."""


@dataclass(frozen=True, slots=True)
class Edit:
    """A wanted value of one field (project, partition, or metaData.KEY).

    `opened` is the fingerprint of the value that the editor was shown; None replaces whatever value there is.
    """

    field: str
    opened: str | None
    value: FieldValue


def fields_of(job: Job) -> dict[str, FieldValue]:
    """Return the fields of a job that can be corrected; no metadata if it is not a map of texts."""
    fields: dict[str, FieldValue] = {"project": job.project, "partition": job.partition}
    try:
        return fields | {METADATA + key: value for key, value in job.metadata.items()}
    except msgspec.DecodeError:
        return fields


def fingerprint(value: FieldValue) -> str:
    """Return a digest of a value; how a browser writes the ends of lines makes no difference."""
    if isinstance(value, UnsetType):
        return "-"
    text = None if value is None else _with_newlines(value)
    return hashlib.sha256(msgspec.json.encode(text)).hexdigest()[:32]


def _with_newlines(text: str) -> str:
    return text.replace("\r\n", "\n").replace("\r", "\n")


def correct_job(*, row_id: int, edits: Sequence[Edit], note: str | None, actor: Actor) -> list[str]:
    """Correct fields of a job, all or none, with a note why; return the names of those that changed.

    Programs give None as their note. A field that the editor left alone keeps the value that it has now. The meta.json
    of an archived job follows. Raises UnknownJobError, InvalidJobError, and EditConflictError if somebody else has
    changed a field that this editor changes too.
    """
    with transaction.atomic():
        jobs = Job.objects.select_for_update().defer("resources", "statistics")
        job = jobs.filter(pk=row_id).first()
        if job is None:
            raise UnknownJobError(f"no job with database id {row_id}")
        before, kind = fields_of(job), kind_of(job)
        changed = _changed(row_id, before, edits)
        if not changed:
            return []
        for name, value in changed.items():
            _set(job, name, value)
        job.save(update_fields=["project", "partition", "meta_data"])
        if job.is_booked and kind_of(job) != kind:
            move([(row_id, kind, kind_of(job))])
        if job.is_booked and f"{METADATA}jobName" in changed:
            rename(row_id, job.meta_data)
        queue.record_edit([row_id])
        changes = [_change(name, before.get(name, UNSET), value) for name, value in changed.items()]
        history.record(actor, [row_id], "Corrected.", changes=changes, note="" if note is None else checked_note(note))
    writing.write_edit(row_id)
    return list(changed)


def set_metadata(*, row_id: int, key: str, value: str, actor: Actor) -> Row:
    """Set one key of a job's metadata, new or not, and return the job's row; the meta.json of an archived job follows.

    Raises UnknownJobError, and InvalidJobError for a key that cannot be.
    """
    correct_job(row_id=row_id, edits=[Edit(METADATA + key, None, value)], note=None, actor=actor)
    row = fetch_row(row_id)
    if row is None:
        raise UnknownJobError(f"no job with database id {row_id}")
    return row


def _changed(row_id: int, before: dict[str, FieldValue], edits: Sequence[Edit]) -> dict[str, FieldValue]:
    """Return the new values of the fields that an editor changes; raise EditConflictError, InvalidJobError."""
    changed: dict[str, FieldValue] = {}
    conflicts: dict[str, str] = {}
    for edit in edits:
        if clean_text(edit.field) != edit.field:
            raise InvalidJobError(f"field {edit.field[:60]!r}: expected text without NUL and surrogates")
        now, wanted = before.get(edit.field, UNSET), edit.value
        if fingerprint(wanted) in (edit.opened, fingerprint(now)):
            continue
        if edit.opened not in (None, fingerprint(now)):
            conflicts[edit.field] = _conflict(row_id, edit.field, now)
            continue
        changed[edit.field] = _valid(edit.field, wanted, is_new=edit.field not in before)
    if conflicts:
        raise EditConflictError(conflicts)
    return {name: value for name, value in changed.items() if value != before.get(name, UNSET)}


def _valid(name: str, value: FieldValue, *, is_new: bool) -> FieldValue:
    """Return a value as it is stored."""
    if isinstance(value, str):
        value = _with_newlines(clean_text(value))
    if name.startswith(METADATA):
        key = name.removeprefix(METADATA)
        if is_new and not 0 < len(key) <= LONGEST:
            raise InvalidJobError(f"metaData: expected a key of 1 to {LONGEST} characters, got {key[:60]!r}")
        return value
    return valid_fact(name, value)


def valid_fact(name: str, value: FieldValue) -> str:
    """Return a project or partition as it is stored; raise InvalidJobError for another field, or one too long."""
    if name not in FACTS or not isinstance(value, str) or len(value.strip()) > LONGEST:
        raise InvalidJobError(f"field {name[:60]!r}: expected at most {LONGEST} characters of project or partition")
    return clean_text(value).strip()


def _conflict(row_id: int, name: str, now: FieldValue) -> str:
    entry = history.last_change(row_id, name)
    author = f"by {entry.user} at {entry.action_time:%Y-%m-%d %H:%M:%S} UTC" if entry else "by a program"
    change = "was removed" if isinstance(now, UnsetType) else f"was changed to {history.shown(now)}"
    return f"{name} {change} {author}, after this page was opened"


def _set(job: Job, name: str, value: FieldValue) -> None:
    if not name.startswith(METADATA):
        setattr(job, name, value)
        return
    metadata = dict(job.metadata)
    key = name.removeprefix(METADATA)
    if isinstance(value, UnsetType):
        metadata.pop(key, None)
    else:
        metadata[key] = value
    job.metadata = metadata
    job.meta_data = encode_metadata(metadata)


def _change(name: str, old: FieldValue, new: FieldValue) -> Change:
    if isinstance(old, UnsetType):
        return Change(name, "(none)", "(none)" if isinstance(new, UnsetType) else history.shown(new))
    if isinstance(new, UnsetType):
        return Change(name, history.shown(old), "(removed)")
    return history.compared(name, old, new)


def checked_note(note: str) -> str:
    """Return a note as it is stored; raise InvalidJobError for an empty one."""
    note = clean_text(note).strip()
    if not note:
        raise InvalidJobError("note: expected why this is done, got nothing")
    return note


def annotate_jobs(*, row_ids: Sequence[int], note: str, actor: Actor) -> None:
    """Put a note into the history of jobs; every user who sees a job can read it.

    Raises InvalidJobError for an empty note.
    """
    with transaction.atomic():
        history.record(actor, row_ids, "Noted.", note=checked_note(note))


@dataclass
class Outcome:
    """The result for a selection: the row ids for which it was done, and the reasons why not for the others."""

    done: list[int] = field(default_factory=list)
    refused: list[str] = field(default_factory=list)


@dataclass(frozen=True, slots=True)
class End:
    """The state and the end (epoch seconds) with which a job is stopped, and why with these, for its history."""

    row_id: int
    job_state: str
    stop_time: int
    why: str = ""


def stop_jobs(*, row_ids: Sequence[int], job_state: str, stop_time: int, note: str, actor: Actor) -> Outcome:
    """Stop running jobs by hand, all with one state and end (epoch seconds); see `stop_each`."""
    return stop_each(
        ends=[End(row_id, job_state, stop_time) for row_id in row_ids], how="by hand", note=note, actor=actor
    )


def stop_each(*, ends: Sequence[End], how: str, note: str, actor: Actor) -> Outcome:
    """Stop running jobs whose end the scheduler did not report, each with its own state and end.

    The history says `how`, the end with its reason, and the note. A job that ended meanwhile, or that started later
    than its end, is refused. Raises InvalidJobError for an end in the future and for an empty note.
    """
    note = checked_note(note)
    if any(end.stop_time > time.time() + CLOCK_SKEW for end in ends):
        raise InvalidJobError("the end lies in the future; expected a time that has passed")
    outcome = Outcome()
    for begin in range(0, len(ends), _STOPPED_AT_ONCE):
        done: dict[str, list[int]] = {}
        with transaction.atomic():
            for end in ends[begin : begin + _STOPPED_AT_ONCE]:
                try:
                    stop_job(row_id=end.row_id, job_state=end.job_state, stop_time=end.stop_time)
                except JobError as error:
                    outcome.refused.append(str(error))
                else:
                    why = f" ({end.why})" if end.why else ""
                    text = f"Stopped {how}: {end.job_state}, ended {utc_time(end.stop_time)}{why}."
                    done.setdefault(text, []).append(end.row_id)
            for text, row_ids in done.items():
                history.record(actor, row_ids, text, note=note)
        outcome.done += [row_id for row_ids in done.values() for row_id in row_ids]
    return outcome


def archive_again(*, row_ids: Sequence[int], actor: Actor | None) -> Outcome:
    """Let jobs wait for the archive worker again: those that were given up, and archived ones.

    Without an actor the caller writes the history.

    Of the latter the samples are fetched anew from the metric source; the files stay until the new ones replace them,
    or for good if the new ones would hold less (see `archiving.write`). A job is refused that runs, waits already, was
    never to be archived, has no metric source, or is being written at this moment.
    """
    outcome = Outcome()
    sources: dict[str, str] = {}
    with transaction.atomic():
        jobs = Job.objects.select_for_update(of=("self",)).among("id", row_ids).order_by("pk")
        given_up, archived = [], []
        claimed = ArchiveTask.objects.claimed().filter(pk__in=row_ids)
        being_written = set(claimed.values_list("pk", flat=True))
        for job in jobs.only("cluster", "job_id", "job_state", "monitoring_status"):
            if job.is_given_up:
                given_up.append(job.pk)
            elif not job.is_archived:
                outcome.refused.append(f"job {job}: {_why_not_archived(job)}")
            elif reason := sources.setdefault(job.cluster, why_no_samples(job.cluster)):
                outcome.refused.append(f"job {job}: {reason}")
            elif job.pk in being_written:
                outcome.refused.append(f"job {job}: its meta.json is being written at this moment; try again")
            else:
                archived.append(job.pk)
        queue.retry_failed(only=given_up)
        queue.write_again(archived)
        if actor:
            history.record(actor, given_up, "Archiving asked for again.")
            history.record(actor, archived, "Archiving asked for again; the samples are fetched anew.")
        outcome.done = given_up + archived
    return outcome


def _why_not_archived(job: Job) -> str:
    if job.is_running:
        return "it is still running"
    return "it waits already" if job.awaits_archive else "it is not monitored"


def why_no_samples(cluster: str) -> str:
    """Return why the samples of a cluster's jobs cannot be fetched; an empty text if they can be asked for."""
    try:
        if root.source_of(cluster).archives_data:
            return ""
    except SourceError as error:
        return str(error)
    return f"cluster {cluster} has no metric source, so there are no samples to fetch"
