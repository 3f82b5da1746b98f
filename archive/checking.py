"""Check a whole archive: walk its folders, let several processes check the jobs, tell what is found as it comes.

Memory is bounded whatever the archive's size: a process has a few folders before it, and what it found goes on at once.
That no job lies twice needs no list of jobs, since a folder's name says which job belongs there: a second one is in
the wrong place. The processes import neither Django nor models.
"""

import contextlib
import multiprocessing
import multiprocessing.connection
import os
import signal
from collections.abc import Callable, Generator, Iterator
from dataclasses import dataclass, field
from itertools import islice
from multiprocessing.connection import Connection
from multiprocessing.context import SpawnProcess
from pathlib import Path

from archive.clusters import read_cluster
from archive.exceptions import ArchiveError, ArchiveVersionError
from archive.findings import Code, Finding
from archive.jobcheck import JobChecker, check_empty, check_strays, unreadable
from archive.layout import (
    CLUSTER_FILE,
    META_FILE,
    VERSION_FILE,
    JobKey,
    may_be_folder,
    parse_job_folder,
)
from archive.store import ArchiveStore

_BATCH = 4  # folders that a process gets at once: few, so that all processes end together
_AHEAD = 2  # batches that each process has before it, so that it never waits for this one
_DEPTH_OF_IDS = 2  # a cluster's folder may be empty, those of job ids below it may not
_SYSTEM_FOLDERS = ("lost+found",)  # in the root, where a file system is mounted there


@dataclass(slots=True)
class Report:
    """What came of a part: how many folders of job ids were looked at, the jobs in them, and what was found."""

    folders: int = 0
    jobs: list[JobKey] = field(default_factory=list)
    findings: list[Finding] = field(default_factory=list)


class CheckerDiedError(ArchiveError):
    """A process that checks was killed, as by the system when memory is short."""


@dataclass(frozen=True)
class ArchiveCheck:
    """Check an archive, or one cluster of it, with `processes` processes (default: one per CPU that may be used)."""

    root: Path
    cluster: str | None = None
    processes: int = field(default_factory=lambda: len(os.sched_getaffinity(0)))

    def count_folders(self) -> int:
        """Return how many folders of job ids there are, for a progress bar."""
        return sum(isinstance(item, Path) for item in self._walk())

    def run(self, check: "Callable[[JobChecker, Path], Report] | None" = None) -> Generator[Report, None, None]:
        """Yield what is found, in no particular order; raise CheckerDiedError.

        `check` does something else with each folder of a job id, for benchmarks.
        """
        with contextlib.closing(_Pool(self.root, self.processes, check or check_job_id)) as pool:
            walk = self._walk()
            while batch := list(islice(walk, _BATCH)):
                findings = [item for item in batch if isinstance(item, Finding)]
                if findings:
                    yield Report(findings=findings)
                yield from pool.submit([item for item in batch if isinstance(item, Path)])
            yield from pool.finish()

    def _walk(self) -> Iterator[Finding | Path]:
        """Yield the folders of job ids, and what is found above them."""
        yield from _check_version(self.root)
        for item in _walk_folder(self.root, 1, (VERSION_FILE,)):
            if isinstance(item, Finding):
                if self.cluster is None or item.path.name == self.cluster:
                    yield item
            elif self.cluster in (None, item.name):
                yield from _walk_cluster(item)


def _walk_cluster(folder: Path) -> Iterator[Finding | Path]:
    path = folder / CLUSTER_FILE
    try:
        read_cluster(path, folder.name)
    except FileNotFoundError:
        yield Finding(Code.NO_CLUSTER, path, "there is none: the names of hosts and metrics are not checked")
    except ArchiveError as error:
        yield Finding(Code.BAD_CLUSTER, path, str(error))
    except OSError as error:
        yield unreadable(path, error)
    for item in _walk_folder(folder, 2, (CLUSTER_FILE,)):
        if isinstance(item, Finding):
            yield item
        else:
            yield from _walk_folder(item, 3)


def _check_version(root: Path) -> Iterator[Finding]:
    try:
        ArchiveStore(root).check_version()
    except ArchiveVersionError as error:
        yield Finding(Code.BAD_VERSION, root / VERSION_FILE, str(error).removeprefix(f"{root / VERSION_FILE}: "))
    except OSError as error:
        yield unreadable(root / VERSION_FILE, error)


def _walk_folder(folder: Path, depth: int, expected: tuple[str, ...] = ()) -> Iterator[Finding | Path]:
    """Yield the folders that may lie `depth` below the root, by name, and what does not belong beside them."""
    try:
        with os.scandir(folder) as listing:
            entries = sorted(listing, key=lambda entry: (len(entry.name), entry.name))
        below = [entry for entry in entries if entry.is_dir() and may_be_folder(depth, entry.name)]
        if len(below) < len(entries):
            yield from check_strays(folder, (each for each in entries if not _is_expected(each, depth, expected)))
        elif not entries and depth > _DEPTH_OF_IDS:
            yield from check_empty(folder)
    except FileNotFoundError:  # removed this moment
        return
    except OSError as error:
        yield unreadable(folder, error)
        return
    for entry in below:
        yield folder / entry.name


def _is_expected(entry: os.DirEntry[str], depth: int, expected: tuple[str, ...]) -> bool:
    if entry.is_dir():
        return may_be_folder(depth, entry.name) or (depth == 1 and entry.name in _SYSTEM_FOLDERS)
    return entry.name in expected


def check_job_id(checker: JobChecker, folder: Path) -> Report:
    """Check the folder of a job id: all runs in it."""
    report = Report(folders=1)
    for item in _walk_folder(folder, 4):
        if isinstance(item, Finding):
            report.findings.append(item)
            continue
        report.findings += checker.check(item)
        key = parse_job_folder(checker.root, item)
        if key is not None and (item / META_FILE).is_file():
            report.jobs.append(key)
    return report


class _Pool:
    """Processes that check folders; each has its own pipe, so that one that is killed is noticed at once."""

    def __init__(self, root: Path, processes: int, check: Callable[[JobChecker, Path], Report]) -> None:
        # Not forked: a fork would take along connections to the database, and threads' locks as they are this moment.
        context = multiprocessing.get_context("spawn")
        self._busy: dict[Connection, int] = {}
        self._processes: list[SpawnProcess] = []
        for _ in range(max(1, processes)):
            ours, theirs = context.Pipe()
            process = context.Process(target=_serve, args=(theirs, root, check), daemon=True)
            process.start()
            theirs.close()
            self._processes.append(process)
            self._busy[ours] = 0

    def submit(self, folders: list[Path]) -> Iterator[Report]:
        """Give folders to a process, and yield what has to be collected before."""
        while min(self._busy.values()) >= _AHEAD:
            yield from self._collect()
        free = min(self._busy, key=lambda connection: self._busy[connection])
        try:
            free.send(folders)
        except OSError:
            raise CheckerDiedError("a process that checks was killed (is memory short?)") from None
        self._busy[free] += 1

    def finish(self) -> Iterator[Report]:
        """Yield what is still to come."""
        while any(self._busy.values()):
            yield from self._collect()

    def close(self) -> None:
        """End the processes at once, whatever they do."""
        for process in self._processes:
            process.kill()
        for process in self._processes:
            process.join()
        for connection in self._busy:
            connection.close()

    def _collect(self) -> Iterator[Report]:
        for connection in multiprocessing.connection.wait([each for each, batches in self._busy.items() if batches]):
            assert isinstance(connection, Connection)
            try:
                answer = connection.recv()
            except (EOFError, OSError):
                raise CheckerDiedError("a process that checks was killed (is memory short?)") from None
            self._busy[connection] -= 1
            yield answer


def _serve(connection: Connection, root: Path, check: Callable[[JobChecker, Path], Report]) -> None:
    """Check what comes through the pipe, until it is closed."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C reaches the whole group: the first process ends this one
    checker = JobChecker(root)
    with contextlib.suppress(EOFError, OSError):
        while True:
            folders = connection.recv()
            whole = Report()
            for folder in folders:
                part = check(checker, folder)
                whole.folders += part.folders
                whole.jobs += part.jobs
                whole.findings += part.findings
            connection.send(whole)
