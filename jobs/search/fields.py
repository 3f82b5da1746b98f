"""The fields of a search as data: the name that is typed, the values that it takes, the condition that they make."""

import re
import time
from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass, replace
from functools import partial, reduce
from operator import or_
from typing import Any, NamedTuple

from django.db.models import F, FloatField, Q
from django.db.models.functions import Cast
from django.db.models.lookups import GreaterThan, GreaterThanOrEqual, IExact, In, IStartsWith, LessThan, LessThanOrEqual

from archive.format.meta_json import EXCLUSIVE_OF_SHARED
from jobs.ledger.slots import slots
from jobs.models import Job, Tag
from jobs.querysets import Plain
from jobs.search import names as stored_names
from jobs.search.booked import by_footprint, by_name, by_number
from jobs.search.criteria import (
    MOST_PATHS,
    Criterion,
    any_criterion,
    by_archiving,
    by_array,
    by_cluster,
    by_job_id,
    by_partition,
    by_project,
    by_state,
    by_sub_cluster,
    by_tag,
    by_user,
    started,
)
from jobs.search.footprints import by_energy, energy, figure_of
from jobs.search.hosts import by_hosts
from jobs.search.values import Names, Range, Ranges, any_in, count, names, ranges, seconds, share, times
from jobs.states import WORDS, JobState, searched_state
from jobs.text import is_whole, pairs_of

Seen = Collection[tuple[str, str]] | None
"""What the person who searches may see, as `jobs.querysets.seen_by` returns it; None for all jobs."""


class Span(NamedTuple):
    """A range of start times (epoch seconds, both ends included; None for no end)."""

    since: int | None
    until: int | None

    @property
    def criterion(self) -> Criterion:
        """Return the range as a condition."""
        return Criterion(started(self.since, self.until))


class NotUnderstoodError(ValueError):
    """A value is none of those that a field knows; the message says which those are."""


@dataclass(frozen=True)
class Field:
    """A field: `read` parses a value (ValueError if it cannot), `expected` says what it takes, with an example."""

    name: str
    expected: str
    read: Callable[..., Any]
    criterion: Callable[[Any, Seen], Criterion | Span]

    def parse(self, text: str, *, quoted: bool, seen: Seen) -> Criterion | Span:
        """Return the condition of a value as it was typed; raise NotUnderstoodError."""
        try:
            return self.criterion(
                self.read(text, quoted=True) if quoted and self.read is names else self.read(text), seen
            )
        except NotUnderstoodError:
            raise
        except (ValueError, OverflowError):
            raise NotUnderstoodError(self.expected) from None


# --- job ids ---

_JOB_ID = re.compile(r"#?(?P<id>[0-9]{1,19})(?:_(?P<task>[0-9]{1,9})|\.[a-z0-9+]{1,20})?")


class JobId(NamedTuple):
    """A job id as schedulers write it, perhaps with the number of a task of the array that it names."""

    number: int
    task: int | None


def job_id(text: str) -> JobId | None:
    """Parse `1234567`, `#1234567`, `1234567.batch` or `1234600_3`; return None for anything else."""
    word = _JOB_ID.fullmatch(text)
    if word is None or not is_whole(word["id"]):
        return None
    return JobId(int(word["id"]), None if word["task"] is None else int(word["task"]))


def _job_ids(text: str) -> list[JobId]:
    found = [job_id(part) for part in text.split(",") if part]
    if not found or None in found:
        raise ValueError(text)
    return [each for each in found if each is not None]


def by_job_ids(ids: Sequence[JobId]) -> Criterion:
    """Match the runs of these job ids, and the tasks of these arrays."""
    return any_criterion([each for job in ids for each in _of_id(job)])


def _of_id(job: JobId) -> list[Criterion]:
    if job.task is None:
        return [by_job_id(job.number)]
    return [_task(by_array(job.number), job.task), _task(by_job_id(job.number), job.task)]


def _task(criterion: Criterion, task: int) -> Criterion:
    """Narrow to one task of an array where the scheduler's own text in the metadata says which task a job is."""
    said = Q(meta_data__isnull=False) & Q(meta_data__contains="ArrayTaskId=")
    same = ~said | Q(meta_data__regex=rf"ArrayTaskId={task}([^0-9]|$)")
    paths = tuple(replace(path, condition=path.condition & same) for path in criterion.paths)
    return Criterion(Q(criterion.test) & same, paths, criterion.rank, few=True)


def _arrays(ids: Sequence[JobId], seen: Seen) -> Criterion:
    return any_criterion([by_array(job.number) for job in ids])


# --- names ---


def values_of(column: str, found: Names) -> list[str] | None:
    """Return the values of a column that some names mean, in any case, or their beginnings; None if there are too many.

    Only for somebody who sees all jobs: the answer would tell others of hidden ones.
    """
    return stored_names.resolved(
        found,
        exists=lambda value: Job.objects.filter((column, value)).order_by().exists(),
        values=partial(stored_names.distinct, column),
    )


def like(column: str, found: Names) -> Q:
    """Return the condition that a column has one of some values, in any case, or begins with one."""
    tests = [Q(IExact(F(column), value)) for value in found.exact]
    return reduce(or_, [*tests, *(Q(IStartsWith(F(column), value)) for value in found.beginnings)])


def _by_names(column: str, one: Callable[[str], Criterion]) -> Callable[[Names, Seen], Criterion]:
    def criterion(found: Names, seen: Seen) -> Criterion:
        values = values_of(column, found) if seen is None else None
        if values is None:
            return Criterion(like(column, found))
        return any_value(column, one, values)

    return criterion


def any_value(column: str, one: Callable[[str], Criterion], values: Sequence[str]) -> Criterion:
    """Match the jobs whose column has one of some values; by an index if they are few enough for that."""
    if len(values) > MOST_PATHS:
        return Criterion(In(Plain(F(column)), values))
    return any_criterion([one(value) for value in values])


def _by_words(known: Sequence[str], one: Callable[[str], Criterion | None]) -> Callable[[Names, Seen], Criterion]:
    def criterion(found: Names, seen: Seen) -> Criterion:
        words = [word.lower() for word in found.exact]
        beginnings = tuple(text.lower() for text in found.beginnings)
        words += [word for word in known if word.startswith(beginnings)] if beginnings else []
        each = [one(word) for word in words]
        if not each or None in each:
            raise NotUnderstoodError(f"one of {', '.join(known)}")
        return any_criterion([criterion for criterion in each if criterion is not None])

    return criterion


def _state(word: str) -> Criterion | None:
    found = searched_state(word)
    return by_state(*found) if found else None


_ARCHIVING = ("waiting", "failed", "archived", "disabled")


def _archiving(word: str) -> Criterion | None:
    return by_archiving(word) if word in _ARCHIVING else None


def _shared(word: str) -> Criterion | None:
    exclusive = EXCLUSIVE_OF_SHARED.get(word)
    return None if exclusive is None else Criterion(Q(exclusive=exclusive))


def _tag(found: Names, seen: Seen) -> Criterion:
    """Match tags by `type:name`, or by a type alone."""
    tags: set[Tag] = set()
    for text in found.exact:
        pairs = pairs_of(text)
        near = Q(type__in={type_ for type_, _ in pairs}, name__in={name for _, name in pairs}) | Q(type=text)
        tags.update(tag for tag in Tag.objects.filter(near) if text in (str(tag), tag.type))
    for text in found.beginnings:
        type_, _, name = text.partition(":")
        tags.update(Tag.objects.filter(type=type_, name__startswith=name) if name else ())
        tags.update(Tag.objects.filter(type__startswith=text))
    return by_tag(*tags)


# --- numbers and times ---


def _column(column: str, found: Ranges, seen: Seen) -> Criterion:
    return Criterion(any_in(column, found))


def nodes(found: Ranges, seen: Seen = None) -> Criterion:
    """Match the jobs with such numbers of nodes."""
    test = any_in("num_nodes", found)
    return by_number(test, test)


def elapsed(found: Ranges, seen: Seen = None) -> Criterion:
    """Match the jobs that ran for so many seconds, or have been running for so long until now."""
    now = int(time.time())
    parts = []
    for each in found:
        begun = Range(
            None if each.most is None else now - each.most,
            None if each.least is None else now - each.least,
            above=each.below,
            below=each.above,
        )
        parts.append(Q(job_state=JobState.RUNNING) & begun.on("start_time"))
        parts.append(~Q(job_state=JobState.RUNNING) & each.on("duration"))
    return by_number(reduce(or_, parts), any_in("duration", found))


def _compared(value: Any, each: Range, unit: Any = 1) -> Q:
    """Return the condition that an expression is within a range, whose limits are in a unit."""
    test = Q()
    if each.least is not None:
        test &= Q((GreaterThan if each.above else GreaterThanOrEqual)(value, unit * each.least))
    if each.most is not None:
        test &= Q((LessThan if each.below else LessThanOrEqual)(value, unit * each.most))
    return test


def _limit(found: Ranges, seen: Seen) -> Criterion:
    """Match the jobs that used such a share of the time that they had asked for."""
    asked = Cast(F("walltime"), FloatField())
    now = int(time.time())
    running = Q(job_state=JobState.RUNNING)
    used = Cast(F("duration"), FloatField()), now - Cast(F("start_time"), FloatField())
    parts = [~running & _compared(used[0], each, asked) | running & _compared(used[1], each, asked) for each in found]
    return Criterion(Q(walltime__gt=0) & reduce(or_, parts))


def _waiting(found: Ranges, seen: Seen) -> Criterion:
    """Match the jobs that waited so many seconds for their start."""
    waited = F("start_time") - F("submit_time")
    return Criterion(Q(submit_time__gt=0) & reduce(or_, (_compared(waited, each) for each in found)))


def _ended(found: tuple[int | None, int | None], seen: Seen) -> Criterion:
    ended = ~Q(job_state=JobState.RUNNING) & started(None, found[1])
    return Criterion(ended & _compared(F("start_time") + F("duration"), Range(*found)))


_NAMES = "a name, a list as {0}, or a beginning as {1}"
_COUNT = "a number, a list, a range as 8..32 or 8..<32, or a limit as >64"
_SECONDS = "a time as 90s, 15m, 12h or 1d, a range as 1h..2h or 1h..<2h, or a limit as >12h"
_SHARE = "a share as 50%, a range as 10%..50% or 10%..<50%, or a limit as >95%"
_TIMES = "today, yesterday, this-month, last-month, a span until now as 7d, a day as 2026-11-01, two as 2026-11-01..2026-11-07, or a limit as >2026-11-01T08:00"  # noqa: E501

FIELDS: dict[str, Field] = {
    field.name: field
    for field in (
        Field("job", "job ids as 1234567, 1234567.batch or 1234600_3", _job_ids, lambda ids, seen: by_job_ids(ids)),
        Field("user", _NAMES.format("alice,bob", "ali*"), names, _by_names("user", by_user)),
        Field("project", _NAMES.format("bio,chem", "bio*"), names, _by_names("project", by_project)),
        Field("cluster", _NAMES.format("fritz,alex", "fri*"), names, _by_names("cluster", by_cluster)),
        Field("subcluster", _NAMES.format("main,gpu", "ma*"), names, _by_names("sub_cluster", by_sub_cluster)),
        Field("partition", _NAMES.format("main,gpu", "sin*"), names, _by_names("partition", by_partition)),
        Field("host", _NAMES.format("f0123,f0124", "f01*"), names, lambda found, seen: by_hosts(found)),
        Field("state", f"one of {', '.join(WORDS)}", names, _by_words(WORDS, _state)),
        Field("name", "a text, or one with blanks in quotes", names, lambda found, seen: by_name(found)),
        Field("tag", "type and name as perf:bad, or a type", names, _tag),
        Field("nodes", _COUNT, ranges(count), nodes),
        Field("cores", _COUNT, ranges(count), partial(_column, "num_hwthreads")),
        Field("gpus", _COUNT, ranges(count), partial(_column, "num_acc")),
        Field("duration", _SECONDS, ranges(seconds), elapsed),
        Field("walltime", _SECONDS, ranges(seconds), partial(_column, "walltime")),
        Field("limit", _SHARE, ranges(share), _limit),
        Field("waiting", _SECONDS, ranges(seconds), _waiting),
        Field("energy", "kilowatt hours, a range as 1..10, or a limit as >2MWh", energy, by_energy),
        Field("start", _TIMES, times, lambda found, seen: Span(*found)),
        Field("end", _TIMES, times, _ended),
        Field("archiving", f"one of {', '.join(_ARCHIVING)}", names, _by_words(_ARCHIVING, _archiving)),
        Field(
            "shared", f"one of {', '.join(EXCLUSIVE_OF_SHARED)}", names, _by_words(tuple(EXCLUSIVE_OF_SHARED), _shared)
        ),
        Field("array", "job ids of arrays", _job_ids, _arrays),
    )
}
"""The fields by name, but for those of footprints."""

OF_METRIC = "a share of the peak as <5% or 10%..<20%, or an amount as >200GB"
"""What the field of a metric takes."""


def field_named(name: str) -> Field | None:
    """Return the field of a name, in any case: one of FIELDS, or a figure of a metric as `mem_used.max`."""
    name = name.lower()
    if name in FIELDS:
        return FIELDS[name]
    figure = figure_of(name)
    if figure is None:
        return None
    return Field(name, OF_METRIC, figure.read, lambda condition, seen: by_footprint(condition))


def field_names() -> list[str]:
    """Return the names of all fields; of a metric other figures have `.max`, `.idle` or `.imbalance` after its name."""
    return [*FIELDS, *slots()]
