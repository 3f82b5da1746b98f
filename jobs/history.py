"""The history of jobs: who changed what, when and why, kept in the admin's log.

An entry's message is plain text that this module alone writes: what was done, a line per changed field, the note, and
through which token it came.
"""

import json
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from typing import Any

from django.contrib.admin.models import CHANGE, LogEntry
from django.contrib.contenttypes.models import ContentType
from django.db import connection
from django.db.models import QuerySet
from django.utils import timezone

from jobs.models import Job

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
    """Who does something; `through` names the token that it came through, empty for the admin site."""

    user_id: int
    through: str = ""


@dataclass(frozen=True, slots=True)
class Change:
    """A field's old and new value, as `shown` writes them."""

    field: str
    old: str
    new: str


def record(
    actor: Actor,
    row_ids: Collection[int],
    what: str,
    *,
    changes: Sequence[Change] = (),
    note: str = "",
    flag: int = CHANGE,
) -> None:
    """Write an entry for each of these jobs, in the caller's transaction; before it deletes them, where it does.

    One statement, however many jobs: while it runs nobody else writes to SQLite, and 10,000 rows by way of the ORM take
    more than a second.
    """
    text = message(what, changes=changes, note=note, through=actor.through)
    kind = ContentType.objects.get_for_model(Job)
    ids: Any
    now = connection.ops.adapt_datetimefield_value(timezone.now())
    if connection.vendor == "postgresql":
        condition, ids = '"id" = ANY(%s)', list(row_ids)
    else:
        condition, ids = '"id" IN (SELECT value FROM json_each(%s))', json.dumps(list(row_ids))
    with connection.cursor() as cursor:
        cursor.execute(f"{_INSERT} WHERE {condition}", [now, actor.user_id, kind.pk, flag, text, ids])


def message(what: str, *, changes: Sequence[Change] = (), note: str = "", through: str = "") -> str:
    """Return the text of an entry."""
    lines = [what, *(f"{change.field}: {change.old} → {change.new}" for change in changes)]
    if note:
        lines.append(f"Note: {note}")
    if through:
        lines.append(f"Through {through}.")
    return "\n".join(lines)


def of_job(row_id: int) -> QuerySet[LogEntry]:
    """Return a job's entries with their users, newest first."""
    kind = ContentType.objects.get_for_model(Job)
    entries = LogEntry.objects.filter(content_type=kind, object_id=str(row_id))
    return entries.select_related("user").order_by("-action_time", "-pk")


def last_change(row_id: int, field: str) -> LogEntry | None:
    """Return the entry that tells the last change of a job's field."""
    return of_job(row_id).filter(change_message__contains=f"\n{field}: ").first()


def compared(field: str, old: str | None, new: str | None) -> Change:
    """Return the change of a text; of long ones the part where they begin to differ is shown."""
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
