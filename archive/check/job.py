"""Check the files of one job: present, whole, of the right job, their statistics in agreement with the samples."""

import os
import time
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NamedTuple

import msgspec
import numpy as np
import numpy.typing as npt

from archive.check import measure
from archive.check.findings import Code, Finding
from archive.check.measure import MeasuredData
from archive.check.samples import check_lengths, check_values
from archive.clusters import read_cluster
from archive.exceptions import DECODE_ERRORS, READ_ERRORS, DocumentError, reason
from archive.format.cluster_json import SCOPES, Cluster, MetricConfig
from archive.format.layout import (
    CLUSTER_FILE,
    COMPRESSED_DATA_FILE,
    DATA_FILE,
    META_FILE,
    JobKey,
    file_system_kind,
    job_folder,
    parse_job_folder,
)
from archive.format.meta_json import JobMeta, JobStatistics, decode_meta
from archive.format.statistics import Samples
from archive.storage.files import is_temp_name, open_folder, read_file
from archive.storage.store import read_data_file

# Other writers round to two decimals.
_TOLERANCE = 0.01
_RELATIVE_TOLERANCE = 1e-6

_SETTLED = 2.0  # seconds without a change after which a job is assumed not to be being written
_LOOKS = 10
_NAMES_SHOWN = 3

_DATA_FILES = (COMPRESSED_DATA_FILE, DATA_FILE)


class _Extras(msgspec.Struct, rename="camel"):
    """The keys of meta.json that `decode_meta` does not decode."""

    statistics: dict[str, JobStatistics] | None = None
    stop_time: Any = None


_EXTRAS = msgspec.json.Decoder(_Extras)


class Look(NamedTuple):
    """The findings in a job folder, and the job that it is named after; None if there is no meta.json."""

    findings: list[Finding]
    job: JobKey | None


@dataclass
class JobChecker:
    """Check job folders of one archive; read each cluster.json once."""

    root: Path
    _clusters: dict[str, "_Names | None"] = field(default_factory=dict)

    def check(self, folder: Path) -> list[Finding]:
        """Return the findings in one job folder; none if it is removed meanwhile."""
        return self.look(folder).findings

    def look(self, folder: Path) -> "Look":
        """Check one job folder; return the findings and the job."""
        key = parse_job_folder(self.root, folder)
        for _ in range(_LOOKS):
            try:
                names, findings = _settled(folder)
                if names:
                    findings += self._check(folder, key, names)
            except FileNotFoundError:
                continue  # just rewritten or removed
            except OSError as error:
                return Look([unreadable(folder, error, key)], key if (folder / META_FILE).is_file() else None)
            for finding in findings:
                finding.job = key
            return Look(findings, key if META_FILE in names else None)
        return Look([], None)

    def _check(self, folder: Path, key: JobKey | None, names: set[str]) -> Iterator[Finding]:
        meta: JobMeta | None = None
        extras = _Extras()
        path = folder / META_FILE
        if META_FILE not in names:
            yield Finding(Code.META_MISSING, path, "the job has data, but no meta.json; expected both")
        else:
            try:
                raw = read_file(path)
                meta, extras = decode_meta(raw), _extras(raw)
            except DocumentError as error:
                yield Finding(Code.BAD_META, path, str(error).removeprefix(f"{META_FILE}: "))
        measured = None
        for name in _DATA_FILES:
            if name in names:
                try:
                    data = measure.measure(read_data_file(folder / name))
                except DocumentError as error:
                    yield Finding(Code.BAD_DATA, folder / name, str(error).removeprefix(f"{folder / name}: "))
                else:
                    measured = measured or (folder / name, data)
        if names.issuperset(_DATA_FILES):
            yield Finding(
                Code.TWO_DATA_FILES, folder / DATA_FILE, f"lies beside {COMPRESSED_DATA_FILE}, which is read instead"
            )
        if meta is not None:
            yield from self._check_meta(folder, key, meta, extras, has_data=not names.isdisjoint(_DATA_FILES))
        if measured is not None:
            names_of_cluster = self._names(folder.relative_to(self.root).parts[0])
            stored = None if meta is None else extras.statistics or {}
            yield from _check_data(*measured, stored, names_of_cluster)
            yield from _check_samples(*measured, meta, names_of_cluster)

    def _check_meta(
        self, folder: Path, key: JobKey | None, meta: JobMeta, extras: _Extras, *, has_data: bool
    ) -> Iterator[Finding]:
        path = folder / META_FILE
        named = JobKey(meta.cluster, meta.job_id, meta.start_time)
        if named != key:
            text = f"it is {described(named)}; expected " + (
                described(key) if key else "a folder in which a job can lie"
            )
            place = job_folder(self.root, named)
            if place.exists():
                yield Finding(Code.DUPLICATE, path, f"{text}, and {place.relative_to(self.root)} is there already")
            else:
                yield Finding(Code.WRONG_PLACE, path, f"{text}, or the folder {place.relative_to(self.root)}")
        if extras.statistics and not has_data:
            yield Finding(
                Code.DATA_MISSING, path, "it has statistics of samples, but there is no data.json.gz or data.json"
            )
        if extras.stop_time is not None:
            yield Finding(Code.STOP_TIME, path, "stopTime: unknown key of another writer, not used")
        for name, statistics in (extras.statistics or {}).items():
            if _is_outside(statistics):
                yield Finding(
                    Code.AVERAGE_OUTSIDE,
                    path,
                    f"statistics.{name}: avg is {statistics.avg}; expected {statistics.min} to {statistics.max}",
                )
        names = self._names(named.cluster)
        if names is not None:
            yield from names.check(
                path, {resource.hostname for resource in meta.resources}, set(extras.statistics or ())
            )

    def _names(self, cluster: str) -> "_Names | None":
        """Return the hosts and metrics in a cluster's cluster.json; None if it cannot be read."""
        if cluster not in self._clusters:
            try:
                self._clusters[cluster] = _Names(read_cluster(self.root / cluster / CLUSTER_FILE, cluster))
            except READ_ERRORS:
                self._clusters[cluster] = None
        return self._clusters[cluster]


def described(key: JobKey) -> str:
    """Return a description of a job for messages."""
    return f"job {key.job_id} of {key.cluster} with startTime {key.start_time}"


def unreadable(path: Path, error: OSError, job: JobKey | None = None) -> Finding:
    """Return the finding that the system refused to read a file or folder."""
    return Finding(Code.UNREADABLE, Path(error.filename or path), error.strerror or str(error), job)


def check_strays(folder: Path, entries: Iterable[os.DirEntry[str]]) -> list[Finding]:
    """Return the findings about entries that do not belong in a folder, except files of a live writer."""
    findings: list[Finding] = []
    for entry in entries:
        path = folder / entry.name
        if kind := file_system_kind(entry.name):
            text = f"{kind}: of the file system, not of the archive; others are not named"
            findings.append(Finding(Code.FILE_SYSTEM, path, text))
        elif is_temp_name(entry.name) and entry.is_file(follow_symlinks=False):
            with open_folder(folder) as opened:
                if opened.is_dead_temp(entry.name):
                    findings.append(Finding(Code.LEFTOVER, path, "a temporary file whose writer is gone"))
        elif is_temp_name(entry.name) and entry.name.split(".")[1].isdecimal() and entry.is_dir(follow_symlinks=False):
            findings.append(Finding(Code.LEFTOVER, path, "the rest of a job that retain_archive took out"))
        else:
            kind = "folder" if entry.is_dir() else "file"
            findings.append(Finding(Code.STRAY, path, f"a {kind} that does not belong there"))
    return findings


def check_empty(folder: Path) -> list[Finding]:
    """Return the finding that a folder is empty, unless it is just being filled."""
    age = time.time() - folder.stat().st_mtime
    if 0 <= age < _SETTLED:
        time.sleep(_SETTLED - age)
    with os.scandir(folder) as entries:
        if next(entries, None) is not None:
            return []
    return [Finding(Code.EMPTY_FOLDER, folder, "the folder is empty")]


def _settled(folder: Path) -> tuple[set[str], list[Finding]]:
    """List a job folder: return the names of its files, and findings about other entries.

    A writer leaves the folder incomplete for a moment between data and meta.json, and a killed one for good: so an
    incomplete folder is reported only if nothing has changed in it for a while.
    """
    for _ in range(_LOOKS):
        with os.scandir(folder) as listing:
            entries = list(listing)
        names = {entry.name for entry in entries if entry.name in (META_FILE, *_DATA_FILES) and entry.is_file()}
        age = time.time() - folder.stat().st_mtime
        if META_FILE in names or not 0 <= age < _SETTLED:
            break
        time.sleep(_SETTLED - age)
    if not entries:
        return names, check_empty(folder)
    findings = check_strays(folder, (entry for entry in entries if entry.name not in names))
    return names, findings


def _extras(raw: bytes) -> _Extras:
    try:
        return _EXTRAS.decode(raw)
    except DECODE_ERRORS as error:
        raise DocumentError(f"{reason(error)}; expected metric -> avg, min and max") from error


def _is_outside(statistics: JobStatistics) -> bool:
    lowest, average, highest = statistics.min, statistics.avg, statistics.max
    if average is None:
        return False
    return (lowest is not None and average < lowest - allowed_difference(lowest)) or (
        highest is not None and average > highest + allowed_difference(highest)
    )


def allowed_difference(value: float) -> float:
    """Return the allowed difference between a statistic and that of the samples."""
    return _TOLERANCE + _RELATIVE_TOLERANCE * abs(value)


class _Names:
    """The names of a cluster's hosts and metrics; hosts are cached, since looking them up is slow."""

    def __init__(self, cluster: Cluster) -> None:
        self._cluster = cluster
        self._metrics = {metric.name for metric in cluster.metrics}
        self._hosts: set[str] = set()

    def metric(self, name: str, sub_cluster: str) -> MetricConfig | None:
        """Return a metric with the thresholds of a subcluster; None if the subcluster does not have it."""
        config = self._cluster.metric(name)
        return None if config is None else config.for_subcluster(sub_cluster)

    def check(self, path: Path, hosts: set[str], metrics: set[str]) -> Iterator[Finding]:
        """Yield a finding for each kind of name that is in a file but not in the cluster."""
        unknown = {host for host in hosts - self._hosts if self._cluster.subcluster_of(host) is None}
        self._hosts |= hosts - unknown
        if unknown:
            yield Finding(Code.UNKNOWN_HOST, path, f"{_some(sorted(unknown))}: in no node list of {CLUSTER_FILE}")
        unknown = metrics - self._metrics
        if unknown:
            yield Finding(Code.UNKNOWN_METRIC, path, f"{_some(sorted(unknown))}: not in metricConfig of {CLUSTER_FILE}")


def _some(names: list[str]) -> str:
    """Return the first names and the number of the others."""
    shown = ", ".join(name[:80] for name in names[:_NAMES_SHOWN])
    return shown if len(names) <= _NAMES_SHOWN else f"{shown} and {len(names) - _NAMES_SHOWN} more"


def _check_data(
    path: Path, data: MeasuredData, stored: Mapping[str, JobStatistics] | None, names: _Names | None
) -> Iterator[Finding]:
    scopes = sorted({metric.scope for metric in data.metrics} - set(SCOPES))
    if scopes:
        yield Finding(Code.UNKNOWN_SCOPE, path, f"{_some(scopes)}: expected {', '.join(SCOPES)}")
    if names is not None:
        yield from names.check(path, {each.hostname for each in data.series}, {metric.name for metric in data.metrics})
    yield from _check_series_statistics(path, data)
    for metric in data.metrics:
        if not metric.statistics_lengths:
            continue
        longest = int(data.length[metric.begin : metric.end].max(initial=0))
        if any(length != longest for length in metric.statistics_lengths):
            found = ", ".join(map(str, metric.statistics_lengths))
            text = f"{metric.name}.{metric.scope}.statisticsSeries: lengths {found}; expected {longest}"
            yield Finding(Code.WRONG_STATISTICS, path, text)
    if stored is not None:
        yield from _check_job_statistics(path, data, stored)


def _check_samples(path: Path, data: MeasuredData, meta: JobMeta | None, names: _Names | None) -> Iterator[Finding]:
    """Yield the findings about lengths of series and about samples that cannot be; one of each kind per file."""
    for code, chosen, text in check_lengths(data, 0 if meta is None else meta.duration):
        yield Finding(code, path, f"{_places(data, chosen)}: {text}")
    configs = [
        None if names is None else names.metric(metric.name, "" if meta is None else meta.sub_cluster)
        for metric in data.metrics
    ]
    for chosen, text in check_values(data, configs):
        yield Finding(Code.IMPOSSIBLE, path, f"{_places(data, chosen)}: {text}")


def _check_series_statistics(path: Path, data: MeasuredData) -> Iterator[Finding]:
    """Compare the stored statistics of each series with its samples; yield one finding of each kind per file."""
    stored, measured = data.stored, data.measured
    missing = np.isnan(stored.avg) & ~np.isnan(measured.avg)
    if missing.any():
        yield Finding(Code.NO_STATISTICS, path, f"{_places(data, missing)}: without statistics")
    outside = (stored.avg > stored.max + _allowed_of(stored.max)) | (stored.avg < stored.min - _allowed_of(stored.min))
    if outside.any():
        yield Finding(Code.AVERAGE_OUTSIDE, path, f"{_places(data, outside)}: avg is not within min and max")
    for name, values, right in zip(stored._fields, stored, measured, strict=True):
        # A comparison with NaN is false: missing statistics are reported above.
        wrong = np.abs(values - right) > _allowed_of(right)
        if wrong.any():
            first = int(np.argmax(wrong))
            text = f"{_places(data, wrong)}: {name} is {values[first]:.6g}; expected {right[first]:.6g} for the first"
            yield Finding(Code.WRONG_STATISTICS, path, text)


def _allowed_of(values: Samples) -> Samples:
    allowed: Samples = _TOLERANCE + _RELATIVE_TOLERANCE * np.abs(values)
    return allowed


def _places(data: MeasuredData, chosen: npt.NDArray[np.bool_]) -> str:
    """Return the name of the first chosen series, and the number of the others."""
    first = int(np.argmax(chosen))
    metric = next(metric for metric in data.metrics if first < metric.end)
    series = data.series[first]
    unit = "" if series.id is None else f" {series.id}"
    more = int(chosen.sum()) - 1
    return f"{metric.name}.{metric.scope} {series.hostname}{unit}" + (f" and {more} more series" if more else "")


def _check_job_statistics(path: Path, data: MeasuredData, stored: Mapping[str, JobStatistics]) -> Iterator[Finding]:
    """Compare the job's statistics with its series of scope node."""
    wrong: list[str] = []
    for metric in data.metrics:
        if metric.scope != "node" or metric.overall is None:
            continue
        given = stored.get(metric.name)
        if given is None:
            wrong.append(f"{metric.name} is missing")
            continue
        for name, value in zip(metric.overall._fields, metric.overall, strict=True):
            number = getattr(given, name)
            if number is None or abs(number - value) > allowed_difference(value):
                wrong.append(f"{metric.name}.{name} is {number}, expected {value:.6g}")
    known = {metric.name for metric in data.metrics}
    wrong += (f"{name} has no samples" for name in stored if name not in known)
    if wrong:
        yield Finding(Code.WRONG_STATISTICS, path.with_name(META_FILE), f"statistics: {_some(wrong)}")
