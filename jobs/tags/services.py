"""Put tags on jobs and take them off; rename, merge and delete tags. The meta.json of archived jobs follows.

A tag may be on a million jobs, so they are worked through in batches, each a transaction of its own that changes the
links and records the edits. The old tag goes last: an interruption leaves it on the jobs that were not reached yet, and
the same call made once more goes on there.
"""

import time
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from django.db import IntegrityError, transaction

from jobs import history
from jobs.archiving import queue, writing
from jobs.exceptions import InvalidJobError, TagExistsError, UnknownJobError, UnknownTagError
from jobs.history import Actor
from jobs.messages import TagName
from jobs.models import Job, JobTag, Tag
from jobs.records import TagRule
from jobs.rows.columns import Row
from jobs.rows.insert import insert_links
from jobs.rows.select import fetch_row
from jobs.tags.ids import Pair, known_tags, tag_ids

# Jobs per transaction: small enough that a start waits only some milliseconds for one.
BATCH = 500

# Between two transactions (seconds): a writer that waits for SQLite tries again within this time.
_PAUSE = 0.005


@dataclass(frozen=True, slots=True)
class Progress:
    """The work of one call: how many jobs it changed, and which tags it deleted, being on no job any more."""

    jobs: int
    gone: list[int]


def rename_tag(*, tag_id: int, type_: str, name: str) -> Tag:
    """Give a tag a new type and name, and return the tag that has them.

    A tag on up to BATCH jobs keeps its id and is renamed at once. For one on more jobs a new tag is returned, and the
    old one stays as it is until `merge_tags` has moved its jobs. Raises InvalidJobError for an empty type or name,
    UnknownTagError, TagExistsError if another tag has the name: the two can be merged.
    """
    if not type_ or not name:
        raise InvalidJobError(f"tag: expected a type and a name, got type {type_!r} and name {name!r}")
    taken = TagExistsError(f"tag {type_}:{name} exists already")
    try:
        with transaction.atomic():
            tag = _locked(tag_id)
            if Tag.objects.filter(type=type_, name=name).exclude(pk=tag_id).exists():
                raise taken
            row_ids = list(JobTag.objects.filter(tag=tag).values_list("job_id", flat=True)[: BATCH + 1])
            if len(row_ids) > BATCH:
                return Tag.objects.create(type=type_, name=name)
            queue.record_edit(_lock_jobs(row_ids))
            tag.type, tag.name = type_, name
            tag.save(update_fields=["type", "name"])
    except IntegrityError:  # somebody else has just created it
        raise taken from None
    return tag


def merge_tags(*, tag_ids: Sequence[int], into: int, seconds: float | None = None) -> Progress:
    """Put the tag `into` on all jobs that have one of the others, and delete these.

    Stops after `seconds`, to be called again then; None works to the end. Raises InvalidJobError for a tag to be merged
    into itself, UnknownTagError if `into` is gone.
    """
    if into in tag_ids:
        raise InvalidJobError("a tag cannot be merged into itself")
    return _retire(tag_ids, into, seconds)


def delete_tags(*, tag_ids: Sequence[int], seconds: float | None = None) -> Progress:
    """Take tags from all jobs and delete them; stops after `seconds`, as `merge_tags` does."""
    return _retire(tag_ids, None, seconds)


def _retire(tag_ids: Sequence[int], into: int | None, seconds: float | None) -> Progress:
    deadline = None if seconds is None else time.monotonic() + seconds
    jobs = 0
    gone: list[int] = []
    for tag_id in tag_ids:
        while True:
            if deadline is not None and (jobs or gone) and time.monotonic() >= deadline:
                return Progress(jobs, gone)
            count = _take_batch(tag_id, into)
            if count == 0 and _delete_unused(tag_id):
                gone.append(tag_id)
                break
            jobs += count
            time.sleep(_PAUSE)
    return Progress(jobs, gone)


def _take_batch(tag_id: int, into: int | None) -> int:
    """Take a tag from some of its jobs, giving them `into` instead; return how many links of it there were."""
    with transaction.atomic():
        if into is not None and not Tag.objects.select_for_update(no_key=True).filter(pk=into):
            raise UnknownTagError("the tag to merge into is gone: somebody else has deleted or merged it")
        row_ids = list(JobTag.objects.filter(tag_id=tag_id).values_list("job_id", flat=True)[:BATCH])
        locked = _lock_jobs(row_ids)
        if into is not None:
            _move_rules(tag_id, into)
            insert_links([(row_id, into) for row_id in locked])
        JobTag.objects.filter(tag_id=tag_id, job_id__in=locked)._raw_delete(using="default")
        queue.record_edit(locked)
    return len(row_ids)


def _move_rules(tag_id: int, into: int) -> None:
    """Let the rules that set a tag set another one, so that no more jobs get the old one."""
    rules = TagRule.objects.filter(tag_id=tag_id)
    if rules.exists():
        rules.filter(words__in=TagRule.objects.filter(tag_id=into).values("words")).delete()  # these do it already
        rules.update(tag_id=into)


def _delete_unused(tag_id: int) -> bool:
    """Delete a tag; return False if a job has got it meanwhile."""
    with transaction.atomic():
        # A call that puts the tag on a job at this moment is through, and seen below, or waits and is refused.
        list(Tag.objects.select_for_update().filter(pk=tag_id))
        if JobTag.objects.filter(tag_id=tag_id).exists():
            return False
        Tag.objects.filter(pk=tag_id)._raw_delete(using="default")
    return True


def _locked(tag_id: int) -> Tag:
    tag = Tag.objects.select_for_update().filter(pk=tag_id).first()
    if tag is None:
        raise UnknownTagError("the tag is gone: somebody else has deleted or merged it")
    return tag


def _lock_jobs(row_ids: Sequence[int]) -> list[int]:
    """Lock jobs, all in one order; return the row ids of those that are still there."""
    jobs = Job.objects.select_for_update().filter(pk__in=row_ids).order_by("pk")
    return list(jobs.values_list("pk", flat=True))


def check_tags(tags: Iterable[TagName]) -> None:
    """Raise InvalidJobError for a tag without a type or a name."""
    for tag in tags:
        if not tag.type or not tag.name:
            raise InvalidJobError(f"tag: expected a type and a name, got type {tag.type!r} and name {tag.name!r}")


def tag_job(*, row_id: int, tags: Sequence[TagName], actor: Actor | None = None, in_background: bool = False) -> Row:
    """Put tags on a job, all or none, creating those that are new; return the job's row with all its tags.

    The meta.json of an archived job follows (see jobs.archiving.queue), at once or, inside a transaction of the caller,
    in the background; the tags that `actor` added go into the history. Raises InvalidJobError, UnknownJobError.
    """
    check_tags(tags)
    with transaction.atomic():
        _lock_job(row_id)
        if tags:
            link_tags([row_id], tags, actor)
            queue.record_edit([row_id])
    if tags and not in_background:
        writing.write_edit(row_id)
    return _row_of(row_id)


def untag_job(*, row_id: int, tags: Sequence[TagName], actor: Actor | None = None) -> Row:
    """Take tags from a job, all or none, and return the job's row with those that remain; the tags stay.

    The meta.json of an archived job follows. A tag that the job does not have is no error. Raises InvalidJobError,
    UnknownJobError.
    """
    check_tags(tags)
    with transaction.atomic():
        _lock_job(row_id)
        links = JobTag.objects.filter(job_id=row_id, tag__in=known_tags(_pairs(tags)).values())
        names = [str(link) for link in links.select_related("tag").order_by("tag_id")]
        if names:
            links.delete()
            queue.record_edit([row_id])
            if actor:
                text = f"Removed tag{'s' if len(names) > 1 else ''} {', '.join(names)}."
                history.record(actor, [row_id], text)
    if names:
        writing.write_edit(row_id)
    return _row_of(row_id)


def delete_named_tags(*, tags: Sequence[TagName]) -> int:
    """Take tags from all jobs and delete them; return how many of them there were. Raises InvalidJobError."""
    check_tags(tags)
    known = known_tags(_pairs(tags))
    delete_tags(tag_ids=list(known.values()))
    return len(known)


def _pairs(tags: Iterable[TagName]) -> list[Pair]:
    """Return types and names, each pair once."""
    return list(dict.fromkeys((tag.type or "", tag.name or "") for tag in tags))


def _lock_job(row_id: int) -> None:
    if Job.objects.select_for_update().filter(pk=row_id).values_list("pk").first() is None:
        raise UnknownJobError(f"no job with database id {row_id}")


def _row_of(row_id: int) -> Row:
    row = fetch_row(row_id)
    if row is None:
        raise UnknownJobError(f"no job with database id {row_id}")
    return row


def tag_jobs(*, row_ids: Sequence[int], tags: Sequence[TagName], actor: Actor | None = None) -> int:
    """Put tags on many jobs at once; the archive follows in the background. Return how many jobs there were."""
    check_tags(tags)
    with transaction.atomic():
        found = list(Job.objects.select_for_update().filter(pk__in=row_ids).values_list("pk", flat=True))
        link_tags(found, tags, actor)
        queue.record_edit(found)
    return len(found)


def untag_jobs(*, row_ids: Sequence[int], tag: Tag, actor: Actor | None = None) -> int:
    """Take a tag from jobs; the archive follows in the background. Return how many had it."""
    with transaction.atomic():
        jobs = Job.objects.select_for_update(of=("self",)).filter(pk__in=row_ids, tag_links__tag=tag)
        found = list(jobs.order_by("pk").values_list("pk", flat=True))
        removed, _ = JobTag.objects.filter(job_id__in=found, tag=tag).delete()
        queue.record_edit(found)
        if actor:
            history.record(actor, found, f"Removed tag {tag}.")
    return removed


def link_tags(row_ids: Sequence[int], tags: Sequence[TagName], actor: Actor | None = None) -> None:
    """Put tags on jobs, inside the transaction that locked their rows; a job that has one already keeps it."""
    wanted = _pairs(tags)
    known = tag_ids(wanted)
    there = set()
    if actor:
        links_there = JobTag.objects.filter(job_id__in=row_ids, tag_id__in=known.values())
        there = set(links_there.values_list("job_id", "tag_id"))
    links = [JobTag(job_id=row_id, tag_id=known[pair]) for row_id in row_ids for pair in wanted]
    JobTag.objects.bulk_create(links, ignore_conflicts=True, batch_size=1000)
    if actor:
        _record_tags(actor, row_ids, {known[pair]: ":".join(pair) for pair in wanted}, there)


def _record_tags(actor: Actor, row_ids: Sequence[int], names: dict[int, str], there: set[tuple[int, int]]) -> None:
    """Record the tags that each job got; nothing for one that had all."""
    by_tags: dict[tuple[str, ...], list[int]] = {}
    for row_id in row_ids:
        new = tuple(name for tag_id, name in names.items() if (row_id, tag_id) not in there)
        by_tags.setdefault(new, []).append(row_id)
    for new, of_these in by_tags.items():
        if new:
            history.record(actor, of_these, f"Added tag{'s' if len(new) > 1 else ''} {', '.join(new)}.")
