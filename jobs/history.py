"""The history of jobs: each change with its author, time and reason, kept in Django's log of actions.

The change_message of an entry is data, a JSON list with one object, as Django's own structured messages are lists;
`text_of` makes sentences of it. Older entries, and those of other models, are plain text and stay so.
"""

import json
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from typing import Any

import msgspec
from django.contrib.admin.models import CHANGE, LogEntry
from django.contrib.contenttypes.models import ContentType
from django.db import connection
from django.db.models import Q, QuerySet
from django.utils import timezone

from jobs.models import Job
from jobs.records import bulk_entries_of

_INSERT = f"""
    INSERT INTO "{LogEntry._meta.db_table}"
    ("action_time", "user_id", "content_type_id", "object_id", "object_repr", "action_flag", "change_message")
    SELECT %s, %s, %s, CAST("id" AS TEXT), SUBSTR("cluster" || ' ' || "job_id", 1, 200), %s, %s
    FROM "{Job._meta.db_table}"
"""  # noqa: S608  names of ours
_SHOWN = 80  # characters of a value
_BEFORE = 20  # characters in front of the first difference of two long values


@dataclass(frozen=True, slots=True)
class Actor:
    """The account that does something; `through` names the token or shell that it uses, empty for the admin site."""

    user_id: int
    through: str = ""


class Change(msgspec.Struct, frozen=True):
    """A field's name, and its old and new value as `shown` writes them."""

    field: str
    old: str
    new: str


class Message(msgspec.Struct, frozen=True, omit_defaults=True):
    """The data of an entry: a sentence, the changed fields, the note, the token or shell.

    `state` is the state of work in steps, in the form of the module that does the work.
    """

    text: str
    changes: Sequence[Change] = ()
    note: str = ""
    through: str = ""
    state: msgspec.Raw = msgspec.Raw()

    def __str__(self) -> str:
        """Return it in sentences, one a line."""
        lines = [self.text]
        lines += [f"{shown(change.field)}: {change.old} → {change.new}" for change in self.changes]
        if self.note:
            lines.append(f"Note: {self.note}")
        if self.through:
            lines.append(f"Through {self.through}.")
        return "\n".join(lines)


def record(
    actor: Actor,
    row_ids: Collection[int],
    text: str,
    *,
    changes: Sequence[Change] = (),
    note: str = "",
    flag: int = CHANGE,
) -> None:
    """Write an entry for each of these jobs, in the caller's transaction, before a deletion deletes them.

    One statement, however many jobs: while it runs nobody else writes to SQLite, and 10,000 rows by way of the ORM take
    more than a second.
    """
    data = encode(Message(text, changes, note, actor.through))
    kind = ContentType.objects.get_for_model(Job)
    ids: Any
    now = connection.ops.adapt_datetimefield_value(timezone.now())
    if connection.vendor == "postgresql":
        condition, ids = '"id" = ANY(%s::bigint[])', list(row_ids)
    else:
        condition, ids = '"id" IN (SELECT value FROM json_each(%s))', json.dumps(list(row_ids))
    with connection.cursor() as cursor:
        cursor.execute(f"{_INSERT} WHERE {condition}", [now, actor.user_id, kind.pk, flag, data, ids])


def record_bulk(actor: Actor, title: str, message: Message, *, flag: int = CHANGE) -> int:
    """Write the one entry of a change of many jobs, in the caller's transaction; return its id.

    Everybody who sees one of the jobs can read the message, so it must not tell of others; the title is for its author.
    """
    entry = LogEntry.objects.create(
        user_id=actor.user_id,
        content_type=ContentType.objects.get_for_model(Job),
        object_repr=title[:200],
        action_flag=flag,
        change_message=encode(message),
    )
    return entry.pk


def encode(message: Message) -> str:
    """Return a message as an entry keeps it."""
    return msgspec.json.encode([message]).decode()


def decode(change_message: str) -> Message | None:
    """Return the message that an entry keeps; None for plain text, and for the lists that Django itself writes."""
    try:
        return _MESSAGES.decode(change_message)[0]
    except msgspec.DecodeError:
        return None


_MESSAGES = msgspec.json.Decoder(tuple[Message])


def text_of(entry: LogEntry) -> str:
    """Return an entry's sentences, one a line."""
    message = decode(entry.change_message)
    return entry.get_change_message() if message is None else str(message)


def of_job(row_id: int) -> QuerySet[LogEntry]:
    """Return a job's entries with their users, newest first, and those of bulk changes of the job."""
    kind = ContentType.objects.get_for_model(Job)
    of_job = Q(content_type=kind, object_id=str(row_id))
    if of_bulk := bulk_entries_of(row_id):
        of_job |= Q(pk__in=of_bulk)
    return LogEntry.objects.filter(of_job).select_related("user").order_by("-action_time", "-pk")


def last_change(row_id: int, field: str) -> LogEntry | None:
    """Return the entry of the last change of a job's field; None if a program made all of them."""
    for entry in of_job(row_id).iterator():
        message = decode(entry.change_message)
        if message and any(change.field == field for change in message.changes):
            return entry
    return None


def last_note(row_id: int) -> tuple[LogEntry, str] | None:
    """Return the entry of a job's newest note and the note; None if it has none."""
    entry = of_job(row_id).filter(change_message__contains='"note":"').first()  # as `encode` writes it, and only there
    message = decode(entry.change_message) if entry else None
    return (entry, message.note) if entry and message else None


def compared(field: str, old: str | None, new: str | None) -> Change:
    """Return the change of a text; long texts are shown from just before their first difference."""
    begin = 0
    if old and new and max(len(old), len(new)) > _SHOWN:
        pairs = enumerate(zip(old, new, strict=False))
        same = next((place for place, (a, b) in pairs if a != b), min(len(old), len(new)))
        begin = max(0, same - _BEFORE)
    return Change(field, shown(old, begin), shown(new, begin))


def shown(value: str | None, begin: int = 0) -> str:
    """Return a value on one line, shortened; `begin` is the first character to show."""
    if value is None:
        return "null"
    if not value:
        return "(empty)"
    part = value[begin : begin + _SHOWN]
    line = "⏎".join(part.splitlines())
    text = f"{'…' if begin else ''}{line}{'…' if begin + _SHOWN < len(value) else ''}"
    return text if len(part) == len(value) else f"{text} ({len(value):,} characters)"
