"""Convert meta.json to a job's row, and insert many rows with their tags."""

import re
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import Any, NamedTuple

import msgspec
import orjson
from django.db import IntegrityError, transaction

from archive.format.before_version_1 import convert_statistics
from archive.format.layout import JobKey
from archive.format.meta_json import JobMeta, Resource, TagName, decode_meta, keys_of
from archive.storage.files import read_file
from jobs.archiving import queue
from jobs.exceptions import InvalidJobError
from jobs.ledger.backlog import book_rows
from jobs.ledger.books import take_back
from jobs.models import Job
from jobs.rows import encoding
from jobs.rows.columns import Row, encode_metadata, submit_time_in
from jobs.rows.insert import insert_jobs, insert_links, reserve_ids
from jobs.states import SCHEDULER_STATE, MonitoringStatus, expected_final, final_state
from jobs.tags.ids import Pair, tag_ids
from jobs.text import LATEST_TIME

Report = Callable[[str], Any]
"""A function that is called with one line about something that is left out, with the reason."""

LARGEST_BATCH = 8_000_000
"""Roughly the bytes of meta.json that one process reads for another in one batch."""

_TRIES = 5  # for a batch that conflicts with the deletion of one of its tags

_INT32 = 2**31 - 1
_INT64 = 2**63 - 1
_LONGEST_TEXT = 255
_LARGEST_ID = 2**53  # no table reaches it; the ids after it must fit into 63 bits
_NUL = "\\u0000"
_BEGINS_LIKE_OURS = re.compile(rb'\s*\{\s*"id"\s*:\s*([1-9][0-9]{0,15})\s*,\s*"jobId"')


class ArchivedJob(NamedTuple):
    """The values that the database stores of an archived job, in plain types that can be passed between processes.

    `row` has no id and no tags yet. If this server wrote the meta.json, `own_id` is the row id in it, and each tag, by
    type and name, has the id in it; otherwise these are None.
    """

    row: Row
    tags: dict[Pair, int | None]
    own_id: int | None

    @property
    def key(self) -> JobKey:
        """Return the key of the job's folder in the archive."""
        return self.row.key

    def as_stored(self, row_id: int, ids: Mapping[Pair, int]) -> Row:
        """Return the row as it will be in the database, for its meta.json; `ids` are the ids of tags."""
        by_id = sorted((ids[pair], *pair) for pair in self.tags)
        tags = orjson.dumps([{"id": tag_id, "type": type_, "name": name} for tag_id, type_, name in by_id])
        return self.row._replace(id=row_id, tags=tags.decode() if by_id else None)


def archived_job(raw: bytes, meta: JobMeta) -> ArchivedJob:
    """Return the values of a job's row; raise InvalidJobError for a value that does not fit.

    `meta` is the result of `decode_meta(raw)`.
    """
    state = final_state(meta.job_state) if meta.job_state else None
    if state is None:
        raise InvalidJobError(f"jobState is {meta.job_state[:40]!r}, expected one of {expected_final()}")
    word, own_word = state
    kept = {} if own_word is None else {SCHEDULER_STATE: own_word}
    row = Row(
        id=0,
        job_id=meta.job_id,
        user=_text("user", meta.user),
        project=_text("project", meta.project),
        cluster=meta.cluster,
        sub_cluster=_text("subCluster", meta.sub_cluster),
        partition=_text("partition", meta.partition),
        array_job_id=meta.array_job_id,
        num_nodes=_number("numNodes", meta.num_nodes, 1, _INT32),
        num_hwthreads=_number("numHwthreads", meta.num_hwthreads, 0, _INT32),
        num_acc=_number("numAcc", meta.num_acc, 0, _INT32),
        exclusive=_number("exclusive", meta.exclusive, 0, 3) % 3,  # 3 is another word for 0
        monitoring_status=MonitoringStatus.ARCHIVED.value,
        smt=_number("smt", meta.smt, 0, _INT32),
        job_state=word,
        duration=_number("duration", meta.duration, 0, _INT64 - meta.start_time),
        walltime=max(0, meta.walltime),  # negative for an unlimited job
        submit_time=min(max(0, meta.submit_time), LATEST_TIME) or submit_time_in(meta.meta_data),
        tags=None,
        resources=_resources(meta.resources),
        meta_data=encode_metadata(_clean_mapping(meta.meta_data or {}) | kept),
        start_time=meta.start_time,
        statistics=convert_statistics(msgspec.json.format(meta.statistics, indent=-1).decode()),
    )
    own_id = meta.id if _is_ours(raw, meta) else None
    tags = {pair: None if own_id is None else tag_id for pair, tag_id in _tags(meta.tags)}
    return ArchivedJob(row, tags, own_id)


def read_job(meta: Path | str) -> tuple[ArchivedJob, int]:
    """Read a meta.json; return its job and its size (bytes).

    Raises InvalidJobError, DocumentError, or OSError.
    """
    raw = read_file(meta)
    return archived_job(raw, decode_meta(raw)), len(raw)


def own_id_at_most(beginning: bytes) -> int:
    """Return the id at the beginning of a meta.json that this server may have written; 0 if there is none."""
    found = _BEGINS_LIKE_OURS.match(beginning)
    return int(found[1]) if found and int(found[1]) <= _LARGEST_ID else 0


def _is_ours(raw: bytes, meta: JobMeta) -> bool:
    """Return whether this server wrote a meta.json: it names the id of its row, and has our keys in our order.

    ClusterCockpit's own files have no id; those of its newer releases have other keys, in another order.
    """
    if meta.id is None or not 0 < meta.id <= _LARGEST_ID or meta.monitoring_status != MonitoringStatus.ARCHIVED:
        return False
    keys = keys_of(raw)
    return keys == tuple(key for key in encoding.KEYS if key in keys) and encoding.REQUIRED_KEYS.issubset(keys)


def _tags(tags: Iterable[TagName]) -> list[tuple[Pair, int | None]]:
    named = [((_text("tag type", tag.type), _text("tag name", tag.name)), tag.id) for tag in tags]
    if not all(type_ and name for (type_, name), _ in named):
        raise InvalidJobError("tags: expected a type and a name for each tag, got an empty text")
    return named


def _text(key: str, text: str) -> str:
    text = text.replace("\0", "")  # PostgreSQL refuses it
    if len(text) > _LONGEST_TEXT:
        raise InvalidJobError(f"{key} is {text[:40]!r}…, expected at most {_LONGEST_TEXT} characters, got {len(text)}")
    return text


def _number(key: str, number: int, least: int, most: int) -> int:
    if not least <= number <= most:
        raise InvalidJobError(f"{key} is {number}, expected {least} to {most}")
    return number


def _clean_mapping(texts: dict[str, str | None]) -> dict[str, str | None]:
    return {key.replace("\0", ""): text and text.replace("\0", "") for key, text in texts.items()}


def _resources(resources: list[Resource]) -> str:
    """Return resources as the JSON text that is stored, empty lists and nulls left out."""
    for resource in resources:
        if len(resource.hostname) > _LONGEST_TEXT:
            _text("hostname", resource.hostname)
    text = msgspec.json.encode(resources).decode()
    if _NUL in text:
        text = msgspec.json.encode([_clean_resource(resource) for resource in resources]).decode()
    return text


def _clean_resource(resource: Resource) -> Resource:
    return Resource(
        hostname=resource.hostname.replace("\0", ""),
        hwthreads=resource.hwthreads,
        accelerators=[name.replace("\0", "") for name in resource.accelerators],
        configuration=resource.configuration and resource.configuration.replace("\0", ""),
    )


def ids_of_tags(jobs: Iterable[ArchivedJob]) -> dict[Pair, int]:
    """Return the ids of these jobs' tags; a new tag gets the id in a meta.json of this server, if that id is free."""
    wishes: dict[Pair, int] = {}
    wanted: set[Pair] = set()
    for job in jobs:
        wanted.update(job.tags)
        wishes |= {pair: tag_id for pair, tag_id in job.tags.items() if tag_id and 0 < tag_id <= _LARGEST_ID}
    return tag_ids(sorted(wanted), wishes) if wanted else {}


def insert(
    jobs: Mapping[int, ArchivedJob], written: Mapping[Pair, int] | None = None, *, booked: bool = True
) -> set[int]:
    """Insert rows with these ids and their tags in one transaction; return the ids of the inserted rows.

    A job is not inserted if it or its id exists. `written` are the ids of tags in the meta.json of these jobs, if those
    are written already: if a tag has another id now, an edit is recorded, so that meta.json follows. Jobs that are not
    to be `booked` in it are left to `jobs.ledger.backlog`.
    """
    # Always in the same order, so that two imports of the same jobs wait for each other and do not deadlock.
    ordered = sorted(jobs.items(), key=lambda item: item[1].key)
    rows = {row_id: job.row._replace(id=row_id) for row_id, job in ordered}
    for tries in range(1, _TRIES + 1):
        try:
            with transaction.atomic():
                ids = ids_of_tags(jobs.values())
                new = insert_jobs(rows.values(), booked=booked)
                inserted = [(row_id, job) for row_id, job in ordered if row_id in new]
                links = [(row_id, ids[pair]) for row_id, job in inserted for pair in job.tags]
                insert_links(links, are_new=True)
                if written is not None and not ids.items() <= written.items():
                    queue.record_edit(sorted(new))
                if inserted and booked:
                    book_rows(rows[row_id] for row_id, _ in inserted)
                elif inserted:
                    take_back([job.key for _, job in inserted])
        except IntegrityError:  # a tag was deleted between look-up and insert
            if tries == _TRIES:
                raise
        else:
            break
    return new


def restore(jobs: Iterable[ArchivedJob]) -> int:
    """Insert the jobs that have no row, with their own ids if these are free; return the number of new rows.

    They are not booked yet: without that a row takes half of the time, and meanwhile they are counted one by one.
    """
    restored = 0
    waiting = {job.key: job for job in jobs}
    while waiting:
        for key in Job.objects.ids_of(waiting):
            del waiting[key]
        own = {job.own_id for job in waiting.values() if job.own_id is not None}
        free = own.difference(Job.objects.among("id", own).values_list("pk", flat=True).order_by())
        rows = {}
        others = []
        for job in waiting.values():
            if job.own_id in free:
                free.remove(job.own_id)
                rows[job.own_id] = job
            else:
                others.append(job)
        if others:
            rows |= dict(zip(reserve_ids(len(others)), others, strict=True))
        # Jobs that a start or another rebuild inserted meanwhile are looked up again.
        inserted = insert(rows, booked=False) if rows else set()
        for row_id in inserted:
            del waiting[rows[row_id].key]
        restored += len(inserted)
    return restored
