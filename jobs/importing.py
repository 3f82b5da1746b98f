"""Jobs of other archives into database and archive: find their folders, check each job, copy its files, add its row.

The order of the steps, for a kill at any instant: the data files are copied, then meta.json is written, each durable
and whole, then a batch of rows is inserted in one transaction, which also notes that each meta.json has to follow the
rows' new ids; then that is done. Before the transaction there is a complete folder without a row: the next run finds
the same files in place and goes on from there. After it there are row and folder, alike in every value but ids, and the
note, which the next run or any archive worker carries out. At no time does a row claim files that are not there. Rows
before files, or files inside the transaction, would do that or keep starts and stops waiting for the disk.
"""

import filecmp
import os
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from itertools import islice
from pathlib import Path
from typing import Any

import msgspec
from django.db import IntegrityError, transaction
from isal import igzip, isal_zlib

from archive.clusters import decode_cluster
from archive.documents import JobMeta, decode_meta, select_data
from archive.exceptions import ArchiveError, DocumentError, reason
from archive.layout import (
    CLUSTER_FILE,
    COMPRESSED_DATA_FILE,
    DATA_FILE,
    META_FILE,
    VERSION_FILE,
    JobKey,
    job_folder,
    parse_job_folder,
)
from archive.store import ARCHIVE_VERSION
from jobs import archiving, encoding, tasks
from jobs.exceptions import InvalidJobError
from jobs.messages import Resource, encode_metadata, encode_resources
from jobs.models import ArchiveTask, Job, JobTag, Tag
from jobs.services import SCHEDULER_STATE
from jobs.states import JobState, MonitoringStatus, expected_final, final_state
from jobs.worker import ArchiveWorker

_BATCH = 200  # rows per transaction
_DEPTH = 4  # folders between an archive's root and a job's files
_TRIES = 5  # of a batch that meets a start of one of its jobs
_DATA_FILES = (COMPRESSED_DATA_FILE, DATA_FILE)

_INT32 = 2**31 - 1
_INT64 = 2**63 - 1
_LONGEST_TEXT = 255

Told = Callable[[str], None]


@dataclass(frozen=True, slots=True)
class FoundJob:
    """Where one job's files lie; `meta` may be missing."""

    meta: Path
    data: tuple[Path, ...] = ()


@dataclass(frozen=True, slots=True)
class Source:
    """What one PATH means: a folder to search, or a meta.json with or without its data file."""

    path: Path
    data: Path | None = None

    @classmethod
    def parse(cls, text: str) -> "Source":
        """Read a PATH; raise ValueError for one that is neither there nor a pair of files that are."""
        if Path(text).exists():
            return cls(Path(text))
        for position, character in enumerate(text):
            meta, data = Path(text[:position]), Path(text[position + 1 :])
            if character == ":" and meta.is_file() and data.is_file():
                return cls(meta, data)
        raise ValueError(f"{text!r}: expected a folder, a meta.json, or meta.json:data.json; there is no such file")

    def jobs(self, trouble: Told) -> Iterator[FoundJob]:
        """Yield the jobs, by cluster, id and start; `trouble` is told of folders that cannot be read."""
        if self.path.is_dir():
            yield from _search(self.path, _DEPTH, trouble)
        else:
            yield FoundJob(self.path, () if self.data is None else (self.data,))

    def cluster_files(self) -> list[Path]:
        """Return the cluster.json of a cluster folder, or those of an archive root."""
        if not self.path.is_dir():
            return []
        here = self.path / CLUSTER_FILE
        return [here] if here.is_file() else sorted(self.path.glob(f"*/{CLUSTER_FILE}"))

    def is_empty(self) -> bool:
        """Tell whether there is nothing to import; stops at the first job."""
        return next(self.jobs(lambda text: None), None) is None and not self.cluster_files()

    def remark(self) -> str | None:
        """Return what to say before reading, or None."""
        if self.path.is_file() and self.data is None and _data_beside(self.path):
            return f"{self.path}: taken alone; to take the data files beside it along give the folder"
        try:
            version = (self.path / VERSION_FILE).read_text(encoding="utf-8", errors="replace").strip()
        except OSError:
            return None
        if version == ARCHIVE_VERSION:
            return None
        return f"{self.path}: archive version {version[:40]!r}, read as if it were {ARCHIVE_VERSION!r}"


def _data_beside(meta: Path) -> tuple[Path, ...]:
    return tuple(path for name in _DATA_FILES if (path := meta.with_name(name)).is_file())


def _search(folder: Path, depth: int, trouble: Told) -> Iterator[FoundJob]:
    try:
        with os.scandir(folder) as entries:
            seen = {entry.name: entry.is_dir() for entry in entries if not entry.name.startswith(".")}
    except OSError as error:
        trouble(f"{folder}: {error.strerror or error}")
        return
    if META_FILE in seen or not seen.keys().isdisjoint(_DATA_FILES):
        yield FoundJob(folder / META_FILE, _data_beside(folder / META_FILE))
    elif depth:
        below = [name for name, is_folder in seen.items() if is_folder]
        for name in sorted(below, key=lambda name: (len(name), name) if name.isdecimal() else (0, name)):
            yield from _search(folder / name, depth - 1, trouble)


def job_of(meta: JobMeta) -> Job:
    """Return the row, not yet saved, of an archived job; raise InvalidJobError for a value that has no place in it."""
    state = final_state(meta.job_state) if meta.job_state else None
    if state is None:
        raise InvalidJobError(f"jobState is {meta.job_state[:40]!r}, expected one of {expected_final()}")
    word, own_word = state
    kept = {} if own_word is None else {SCHEDULER_STATE: own_word}
    return Job(
        job_id=meta.job_id,
        cluster=meta.cluster,
        sub_cluster=_text("subCluster", meta.sub_cluster),
        partition=_text("partition", meta.partition),
        user=_text("user", meta.user),
        project=_text("project", meta.project),
        array_job_id=meta.array_job_id,
        num_nodes=_number("numNodes", meta.num_nodes, 1, _INT32),
        num_hwthreads=_number("numHwthreads", meta.num_hwthreads, 0, _INT32),
        num_acc=_number("numAcc", meta.num_acc, 0, _INT32),
        exclusive=_number("exclusive", meta.exclusive, 0, 3) % 3,  # 3 is another word for 0
        monitoring_status=MonitoringStatus.ARCHIVED,
        smt=_number("smt", meta.smt, 0, _INT32),
        job_state=JobState(word),
        start_time=meta.start_time,
        duration=_number("duration", meta.duration, 0, _INT64 - meta.start_time),
        walltime=max(0, meta.walltime),  # an unlimited job's is negative
        resources=encode_resources([_resource(resource) for resource in meta.resources]),
        statistics=_compact(meta.statistics or b"{}"),
        meta_data=encode_metadata(_clean_mapping(meta.meta_data or {}) | kept),
    )


def tags_of(meta: JobMeta) -> list[tuple[str, str]]:
    """Return a job's tags as pairs of type and name, each once; raise InvalidJobError for one that cannot be."""
    pairs = [(_text("tag type", tag.type), _text("tag name", tag.name)) for tag in meta.tags]
    if not all(type_ and name for type_, name in pairs):
        raise InvalidJobError("tags: expected a type and a name for each tag, got an empty text")
    return list(dict.fromkeys(pairs))


def _text(key: str, text: str) -> str:
    text = text.replace("\0", "")  # which PostgreSQL refuses
    if len(text) > _LONGEST_TEXT:
        raise InvalidJobError(f"{key} is {text[:40]!r}…, expected at most {_LONGEST_TEXT} characters, got {len(text)}")
    return text


def _number(key: str, number: int, least: int, most: int) -> int:
    if not least <= number <= most:
        raise InvalidJobError(f"{key} is {number}, expected {least} to {most}")
    return number


def _clean_mapping(texts: dict[str, str | None]) -> dict[str, str | None]:
    return {key.replace("\0", ""): text and text.replace("\0", "") for key, text in texts.items()}


def _resource(resource: Any) -> Resource:
    return Resource(
        hostname=_text("hostname", resource.hostname),
        hwthreads=resource.hwthreads,
        accelerators=resource.accelerators,
        configuration=resource.configuration,
    )


def _compact(text: bytes) -> str:
    """Return JSON text without the white space between its parts; numbers keep each digit."""
    return msgspec.json.format(text, indent=-1).decode()


def check_data(path: Path, num_nodes: int) -> None:
    """Raise DocumentError unless a data.json or data.json.gz is whole and holds metric -> scope -> samples."""
    raw = path.read_bytes()
    try:
        if path.suffix == ".gz":
            raw = igzip.decompress(raw)  # type: ignore[no-untyped-call]  # isal leaves it untyped
        select_data(raw, None, num_nodes)
    except (OSError, EOFError, isal_zlib.IsalError) as error:  # type: ignore[misc]  # its stub has no class
        raise DocumentError(f"{path.name}: {error}; expected a whole gzip file") from error
    except DocumentError as error:
        raise DocumentError(str(error).replace(DATA_FILE, path.name, 1)) from error


@dataclass
class Counts:
    """What an import did: jobs, and the names of clusters whose cluster.json it copied."""

    imported: int = 0
    skipped: int = 0
    refused: int = 0
    in_place: int = 0
    clusters: list[str] = field(default_factory=list)


@dataclass(slots=True)
class _Entry:
    """A job on its way: where it was found, its unsaved row, its tags, and whether its files are ours already."""

    found: FoundJob
    job: Job
    tags: list[tuple[str, str]]
    in_place: bool


@dataclass
class JobImport:
    """Import jobs from sources; `counts` is right at any time, also when `run` was interrupted.

    `trouble` is told each refused job with its reason, `progress` the number of jobs looked at.
    """

    sources: Sequence[Source]
    trouble: Told
    progress: Callable[[int], Any] = lambda number: None
    dry_run: bool = False
    counts: Counts = field(default_factory=Counts)

    def run(self) -> Counts:
        """Import all that is not there yet; with `dry_run` only check it."""
        for source in self.sources:
            for path in source.cluster_files():
                self._import_cluster(path)
        found = (job for source in self.sources for job in source.jobs(self._refuse))
        while batch := list(islice(found, _BATCH)):
            self._import(batch)
            self.progress(len(batch))
        return self.counts

    def _refuse(self, text: str) -> None:
        self.counts.refused += 1
        self.trouble(text)

    def _import_cluster(self, path: Path) -> None:
        """Copy a cluster.json unless its cluster is configured here."""
        store = archiving.store()
        try:
            raw = path.read_bytes()
            name = decode_cluster(raw).name
            if name in store.clusters() or name in self.counts.clusters:
                return
            if not self.dry_run:
                store.write_cluster(name, raw)
        except (ArchiveError, OSError) as error:
            self._refuse(f"{path}: {reason(error)}")
        else:
            self.counts.clusters.append(name)

    def _import(self, batch: Sequence[FoundJob]) -> None:
        entries: dict[JobKey, _Entry] = {}
        for found in batch:
            entry = self._read(found)
            if entry is None:
                continue
            if entry.job.key in entries:
                self.counts.skipped += 1
            else:
                entries[entry.job.key] = entry
        known = Job.objects.ids_of(entries)
        self.counts.skipped += len(known)
        # In one order everywhere, so that two imports of the same jobs wait for each other and do not deadlock.
        wanted = sorted(key for key in entries if key not in known)
        ready = [entries[key] for key in wanted if self._prepare(entries[key])]
        if not self.dry_run:
            ready = self._insert(ready)
        self.counts.imported += len(ready)
        self.counts.in_place += sum(entry.in_place for entry in ready)
        if not self.dry_run:
            self._follow([*known.values(), *(entry.job.pk for entry in ready if not entry.in_place)])

    def _read(self, found: FoundJob) -> _Entry | None:
        """Read and check a meta.json; None for a job that is refused."""
        try:
            meta = decode_meta(found.meta.read_bytes())
            folder = found.meta.parent.absolute()
            if len(folder.parents) > _DEPTH:
                named = parse_job_folder(folder.parents[_DEPTH - 1], folder)
                if found.meta.name == META_FILE and named and named[1:] != (meta.job_id, meta.start_time):
                    raise InvalidJobError(
                        f"it holds job {meta.job_id} with startTime {meta.start_time}: the wrong folder"
                    )
            job = job_of(meta)
            ours = job_folder(archiving.store().root, job.key) / META_FILE
            in_place = ours.exists() and ours.samefile(found.meta)
            return _Entry(found, job, tags_of(meta), in_place)
        except FileNotFoundError:
            self._refuse(f"{found.meta.parent}: {found.meta.name} is missing")
        except (InvalidJobError, ArchiveError, OSError) as error:
            self._refuse(f"{found.meta}: {reason(error)}")
        return None

    def _prepare(self, entry: _Entry) -> bool:
        """Check the data files and copy what is not in place; False for a job that is refused."""
        store, key = archiving.store(), entry.job.key
        try:
            for path in entry.found.data:
                check_data(path, entry.job.num_nodes)
            if entry.in_place:
                return True
            here = {path.name: path for path in store.data_files(key)}
            theirs = {DATA_FILE if path.suffix != ".gz" else COMPRESSED_DATA_FILE: path for path in entry.found.data}
            same = {name for name in here.keys() & theirs if filecmp.cmp(here[name], theirs[name], shallow=False)}
            if here.keys() - theirs or (store.has_job(key) and here.keys() - same):
                raise InvalidJobError(
                    f"the archive holds other data of this job, in {job_folder(store.root, key)}; "
                    "remove that folder, or import it to have its row back"
                )
            if not self.dry_run:
                for name in theirs.keys() - same:
                    store.copy_data(key, theirs[name])
                store.write_meta(key, archiving.meta_document(_row(entry), entry.job.statistics))
        except (InvalidJobError, ArchiveError, OSError) as error:
            self._refuse(f"{entry.found.meta}: {reason(error)}")
            return False
        return True

    def _insert(self, entries: list[_Entry]) -> list[_Entry]:
        """Insert the rows with their tags; return those that nobody else had inserted meanwhile."""
        for tries in range(1, _TRIES + 1):
            tags = _tag_ids(pair for entry in entries for pair in entry.tags)
            try:
                with transaction.atomic():
                    known = Job.objects.ids_of(entry.job.key for entry in entries)
                    new = [entry for entry in entries if entry.job.key not in known]
                    for entry in new:
                        entry.job.pk = None
                    Job.objects.bulk_create([entry.job for entry in new])
                    JobTag.objects.bulk_create(
                        [JobTag(job=entry.job, tag_id=tags[pair]) for entry in new for pair in entry.tags]
                    )
                    tasks.record_edit([entry.job.pk for entry in new if not entry.in_place])
            except IntegrityError:  # the same job started, or a tag was deleted, between look and insert
                if tries == _TRIES:
                    raise
            else:
                break
        self.counts.skipped += len(known)
        return new

    def _follow(self, row_ids: Sequence[int]) -> None:
        """Bring the meta.json of imported jobs up to date: those of this batch, and what a killed import left.

        What fails here is kept by jobs.tasks with its reason, and tried again by the worker.
        """
        due = list(
            ArchiveTask.objects.filter(pk__in=row_ids, job__in=Job.objects.archived()).values_list("pk", flat=True)
        )
        if due:
            ArchiveWorker(only=due, at_once=True).drain()


def _tag_ids(pairs: Iterable[tuple[str, str]]) -> dict[tuple[str, str], int]:
    """Return the ids of tags, created where they are new; a tag without a job does no harm."""
    wanted = sorted(set(pairs))
    if not wanted:
        return {}
    of_types = Tag.objects.filter(type__in={type_ for type_, _ in wanted})
    known = {(tag.type, tag.name): tag.pk for tag in of_types.all()}
    missing = [pair for pair in wanted if pair not in known]
    if missing:
        Tag.objects.bulk_create([Tag(type=type_, name=name) for type_, name in missing], ignore_conflicts=True)
        known = {(tag.type, tag.name): tag.pk for tag in of_types.all()}
    return known


def _row(entry: _Entry) -> encoding.Row:
    """Return the row that a meta.json is made from, before the database has given ids."""
    columns = [getattr(entry.job, column) for column in encoding.COLUMNS]
    tags = encoding.encode([{"type": type_, "name": name} for type_, name in entry.tags]).decode()
    return (*columns, tags, entry.job.meta_data)
