"""Check a whole archive: walk its folders, have several processes check the jobs, report findings as they come.

Memory does not depend on the archive's size: a process gets a few folders at a time, and its findings are passed on at
once. Duplicates are found without a list of jobs, since a folder is named after the job that belongs there: a second
copy is in the wrong place.
"""

import os
from collections.abc import Callable, Generator, Iterator
from concurrent.futures.process import BrokenProcessPool
from dataclasses import dataclass, field
from functools import cache, partial
from itertools import islice
from pathlib import Path

from archive.check.findings import Code, Finding
from archive.check.job import JobChecker, check_empty, check_strays, unreadable
from archive.clusters import read_cluster
from archive.exceptions import READ_ERRORS, ArchiveError, ArchiveVersionError, reason
from archive.format.layout import CLUSTER_FILE, VERSION_FILE, JobKey, file_system_kind, may_be_folder
from archive.processes import Workers, cores
from archive.storage.store import ArchiveStore

_BATCH = 4  # folders that a process gets at once: few, so that all processes finish together
_DEPTH_OF_IDS = 2  # a cluster's folder may be empty, those of job ids below it may not


@dataclass(slots=True)
class Report:
    """The result of checking a part: the number of folders of job ids, the jobs in them, and the findings."""

    folders: int = 0
    jobs: list[JobKey] = field(default_factory=list)
    findings: list[Finding] = field(default_factory=list)


FolderCheck = Callable[[JobChecker, Path], Report]
"""A function that the processes of a check call for each folder of a job id."""


class CheckerDiedError(ArchiveError):
    """A process that checks was killed, e.g. by the system because memory is short."""


@dataclass(frozen=True)
class ArchiveCheck:
    """Check an archive, or one cluster of it, with `processes` processes (default: one per core)."""

    root: Path
    cluster: str | None = None
    processes: int = field(default_factory=cores)

    def count_folders(self) -> int:
        """Return the number of folders of job ids, for a progress bar."""
        return sum(isinstance(item, Path) for item in self._walk())

    def run(self, check: "FolderCheck | None" = None) -> Generator[Report, None, None]:
        """Yield reports; raise CheckerDiedError.

        `check` replaces the check of each folder of a job id, for benchmarks.
        """
        walk = self._walk()
        batches = iter(lambda: list(islice(walk, _BATCH)), [])
        kinds: set[str | None] = set()
        with Workers(__name__, self.processes) as workers:
            try:
                for report in workers.map(partial(_check, check or check_job_id, self.root), batches):
                    report.findings = [each for each in report.findings if not _is_known_kind(each, kinds)]
                    yield report
            except BrokenProcessPool:
                raise CheckerDiedError("a process that checks was killed (is memory short?)") from None

    def _walk(self) -> Iterator[Finding | Path]:
        """Yield the folders of job ids, and findings about the folders above them."""
        yield from _check_version(self.root)
        for item in _check_listing(self.root, 1, (VERSION_FILE,)):
            if isinstance(item, Finding):
                if self.cluster is None or item.path.name == self.cluster:
                    yield item
            elif self.cluster in (None, item.name):
                yield from _walk_cluster(item)


def _is_known_kind(finding: Finding, kinds: set[str | None]) -> bool:
    """Return whether a finding is about a kind of names of file systems that was named before; add it to `kinds`."""
    if finding.code != Code.FILE_SYSTEM:
        return False
    kind = file_system_kind(finding.path.name)
    is_known = kind in kinds
    kinds.add(kind)
    return is_known


def _walk_cluster(folder: Path) -> Iterator[Finding | Path]:
    path = folder / CLUSTER_FILE
    try:
        for fault in read_cluster(path, folder.name).faults:
            yield Finding(Code.BAD_CLUSTER, path, f"{fault}: this metric is left out")
    except FileNotFoundError:
        yield Finding(Code.NO_CLUSTER, path, "there is none: the names of hosts and metrics are not checked")
    except OSError as error:
        yield unreadable(path, error)
    except READ_ERRORS as error:
        yield Finding(Code.BAD_CLUSTER, path, reason(error))
    for item in _check_listing(folder, 2, (CLUSTER_FILE,)):
        if isinstance(item, Finding):
            yield item
        else:
            yield from _check_listing(item, 3)


def _check_version(root: Path) -> Iterator[Finding]:
    try:
        ArchiveStore(root).check_version()
    except ArchiveVersionError as error:
        yield Finding(Code.BAD_VERSION, root / VERSION_FILE, str(error).removeprefix(f"{root / VERSION_FILE}: "))
    except OSError as error:
        yield unreadable(root / VERSION_FILE, error)


def _check_listing(folder: Path, depth: int, expected: tuple[str, ...] = ()) -> Iterator[Finding | Path]:
    """Yield the folders in a folder that may lie `depth` below the root, and a finding for each other entry."""
    try:
        with os.scandir(folder) as listing:
            entries = sorted(listing, key=lambda entry: (len(entry.name), entry.name))
        below = [entry for entry in entries if entry.is_dir() and may_be_folder(depth, entry.name)]
        if len(below) < len(entries):
            yield from check_strays(folder, (each for each in entries if not _is_expected(each, depth, expected)))
        elif not entries and depth > _DEPTH_OF_IDS:
            yield from check_empty(folder)
    except FileNotFoundError:  # just removed
        return
    except OSError as error:
        yield unreadable(folder, error)
        return
    for entry in below:
        yield folder / entry.name


def _is_expected(entry: os.DirEntry[str], depth: int, expected: tuple[str, ...]) -> bool:
    if entry.is_dir():
        return may_be_folder(depth, entry.name)
    return entry.name in expected


def check_job_id(checker: JobChecker, folder: Path) -> Report:
    """Check the folder of a job id: all runs in it."""
    report = Report(folders=1)
    for item in _check_listing(folder, 4):
        if isinstance(item, Finding):
            report.findings.append(item)
            continue
        look = checker.look(item)
        report.findings += look.findings
        if look.job is not None:
            report.jobs.append(look.job)
    return report


@cache
def _checker(root: Path) -> JobChecker:
    """Return the checker of this process, kept so that it reads each cluster.json only once."""
    return JobChecker(root)


def _check(check: FolderCheck, root: Path, items: list[Finding | Path]) -> tuple[Report, None]:
    """Check the folders among these items of the walk, in a process of the pool."""
    whole = Report()
    for item in items:
        if isinstance(item, Finding):
            whole.findings.append(item)
            continue
        part = check(_checker(root), item)
        whole.folders += part.folders
        whole.jobs += part.jobs
        whole.findings += part.findings
    return whole, None
