"""Compare the archive with the job table, and repair the archive from the table."""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import msgspec
import orjson
from django.db import transaction

from archive import root
from archive.check.findings import Code, Finding
from archive.check.job import allowed_difference
from archive.exceptions import READ_ERRORS, ArchiveError, SourceError
from archive.format.data_json import job_statistics
from archive.format.layout import META_FILE, JobKey, job_folder
from jobs.archiving import queue, writing
from jobs.exceptions import InvalidJobError
from jobs.maintenance.restore import read_job
from jobs.models import ArchiveTask, Job
from jobs.querysets import JobQuerySet
from jobs.rows.columns import Row
from jobs.rows.select import fetch_rows
from jobs.states import MonitoringStatus

_BATCH = 200  # rows per query

_LOST = (Code.FOLDER_MISSING, Code.DATA_MISSING, Code.BAD_DATA)


@dataclass(frozen=True)
class DatabaseCheck:
    """Compare the jobs of one cluster, or of all."""

    cluster: str | None = None

    def rows(self) -> JobQuerySet:
        """Return the jobs that are archived according to their rows."""
        rows = Job.objects.archived()
        return rows if self.cluster is None else rows.filter(cluster=self.cluster)

    def compare(self, keys: Sequence[JobKey]) -> Iterator[Finding]:
        """Yield findings about complete job folders: jobs without a row, or with one that differs."""
        for begin in range(0, len(keys), _BATCH):
            part = keys[begin : begin + _BATCH]
            known = Job.objects.ids_of(part)
            rows = fetch_rows(known.values()) if known else {}
            for key in part:
                path = job_folder(root.store().root, key)
                if key not in known:
                    yield Finding(Code.ROW_MISSING, path, "the database has no such job", key)
                # The job may have been edited between the two reads, so the difference must persist in a second read.
                elif known[key] in rows and _differences(rows[known[key]], key) and not _is_edited(known[key]):
                    differences = [text for row in _fetch([known[key]]) for text in _differences(row, key).values()]
                    if differences:
                        yield Finding(Code.ROW_DIFFERS, path / META_FILE, "; ".join(differences), key)

    def rows_without_folder(self) -> Iterator[Finding | None]:
        """Look for the folder of each row; yield a finding if it is missing, else None."""
        last = 0
        while rows := list(self.rows().filter(pk__gt=last).order_by("pk").only(*_KEY)[:_BATCH]):
            for row in rows:
                yield None if _has_files(row.key) or not self.rows().filter(pk=row.pk).exists() else _missing(row.key)
            last = rows[-1].pk


_KEY = ("cluster", "job_id", "start_time")


def _has_files(key: JobKey) -> bool:
    """Return whether a job has a folder with files; damage to the files has its own findings."""
    store = root.store()
    return store.has_job(key) or bool(store.data_files(key))


def _missing(key: JobKey) -> Finding:
    path = job_folder(root.store().root, key)
    return Finding(Code.FOLDER_MISSING, path, "the database has it as archived, but there is no such folder", key)


def _fetch(row_ids: Iterable[int]) -> Iterable[Row]:
    return fetch_rows(list(row_ids)).values()


def _is_edited(row_id: int) -> bool:
    """Return whether the job's meta.json has yet to follow an edit."""
    return ArchiveTask.objects.filter(pk=row_id).exclude(edits=0, worker="").exists()


def _differences(row: Row, key: JobKey) -> dict[str, str]:
    """Return a description of each difference between an archived job's row and its meta.json, by key."""
    if row.monitoring_status != MonitoringStatus.ARCHIVED:
        return {}  # the worker is about to write it
    try:
        job, _ = read_job(job_folder(root.store().root, key) / META_FILE)
    except InvalidJobError as error:
        return {"": str(error)}
    except READ_ERRORS:
        return {}  # has its own finding
    here = _compared(job.row, sorted(job.tags))
    there = _compared(row, sorted((tag["type"], tag["name"]) for tag in _json(row.tags)))
    return {
        key: f"{key} {_shown(here[key])}; expected {_shown(there[key])}, as in the database"
        for key in here
        if here[key] != there[key]
    }


def _compared(row: Row, tags: list[tuple[str, str]]) -> dict[str, Any]:
    """Return the parts of a job that an edit or the archiving changes, by their keys in meta.json."""
    return {
        "jobState": row.job_state,
        "tags": tags,
        "statistics": _json(row.statistics),
        "metaData": _json(row.meta_data),
    }


def _json(text: str | None) -> Any:
    return orjson.loads(text or "{}")


def _shown(value: Any) -> str:
    text = msgspec.json.encode(value).decode()  # orjson refuses foreign statistics that are nested 255 deep
    return text if len(text) <= 80 else f"{text[:80]}…"


def knows(key: JobKey | None) -> bool:
    """Return whether the database has this job, so that a folder with its name must not be moved away."""
    return key is not None and bool(Job.objects.ids_of([key]))


def repair(finding: Finding) -> str:
    """Repair one finding from the database; return a description of the repair, empty if there was none."""
    if finding.job is None:
        return ""
    row_id = Job.objects.ids_of([finding.job]).get(finding.job)
    for row in [] if row_id is None else _fetch([row_id]):
        if row.monitoring_status != MonitoringStatus.ARCHIVED:
            return ""
        if finding.code in (Code.META_MISSING, Code.BAD_META):
            return _write_meta(row.id)
        if finding.code == Code.ROW_DIFFERS:
            # Statistics come from the samples, which the database does not have, so either side may be right.
            return "" if {"statistics", ""} & _differences(row, finding.job).keys() else _write_meta(row.id)
        if finding.code in _LOST and _is_read(finding) and (root.store().root / finding.job.cluster).is_dir():
            return _archive_again(row, finding)
    return ""


def _is_read(finding: Finding) -> bool:
    """Return whether the finding concerns the data file that is read; a damaged file may lie beside it."""
    return finding.code != Code.BAD_DATA or (
        finding.job is not None and root.store().data_files(finding.job)[:1] == [finding.path]
    )


def _write_meta(row_id: int) -> str:
    """Write meta.json from the row, as after an edit, which is safe beside other work on the job."""
    with transaction.atomic():
        list(Job.objects.archived().select_for_update().filter(pk=row_id).values_list("pk"))
        queue.record_edit([row_id])
    writing.write_edit(row_id)
    if _is_edited(row_id):
        return "the archive worker will write meta.json from the database"
    return "meta.json written from the database"


def _archive_again(row: Row, finding: Finding) -> str:
    """Let an archived job wait for the archive again, if that loses nothing.

    That requires that its metric source returns, right now, samples with the statistics of the row: otherwise the
    worker would replace those with statistics of the samples that are left. If the job never had samples, write its
    meta.json, its only file.
    """
    job, stored = row.info(), _json(row.statistics)
    try:
        source = root.source_of(job.cluster)
        if not source.archives_data:
            return _write_meta(row.id) if finding.code == Code.FOLDER_MISSING and not stored else ""
        cluster = root.registry().get(job.cluster)
        found = job_statistics(source.load(job, cluster), cluster)
    except (SourceError, ArchiveError):
        return ""
    if not found or not all(_agree(numbers, found.get(metric)) for metric, numbers in stored.items()):
        return ""
    with transaction.atomic():
        held = Job.objects.archived().select_for_update().filter(pk=row.id)
        if not list(held.values_list("pk")) or _is_edited(row.id):
            return ""
        Job.objects.archived().filter(pk=row.id).update(monitoring_status=MonitoringStatus.ARCHIVING)
    return "waits for the archive again: the metric source still has its samples"


def _agree(stored: dict[str, Any], found: dict[str, Any] | None) -> bool:
    """Return whether the statistics `found` from the source's samples of a metric match the stored ones."""
    if found is None:
        return False
    return all(
        isinstance(stored.get(name), int | float) and abs(stored[name] - found[name]) <= allowed_difference(found[name])
        for name in ("min", "avg", "max")
    )
