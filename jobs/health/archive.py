"""The health of the archive: its root is there and writable, has space, and its clusters can be read."""

import itertools
import os
import tempfile
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from django.conf import settings

from archive import root
from archive.exceptions import ArchiveError, reason
from archive.format.cluster_json import Cluster
from archive.format.layout import CLUSTER_FILE, VERSION_FILE
from jobs.health.look import Look
from jobs.health.report import Finding, NoAnswerError, State, size, within_limit

NAME = "archive"
CLUSTERS = "clusters"

LITTLE_SPACE = (0.05, 50_000_000_000)
ALMOST_NO_SPACE = (0.01, 5_000_000_000)
"""Free space below both the share of the file system and the bytes is a warning, and an error."""

_MOST_HOSTS = 20_000  # of a cluster
_MOST_NAMED = 3

_UNWRITABLE = (
    "Mount its file system, or let the account of the server and the worker write to the directory ARCHIVE_ROOT. "
    "No job is lost meanwhile: finished ones wait."
)
_CORRECT = "Correct the file; the server reads it again by itself within 10 seconds."


@dataclass(frozen=True, slots=True)
class Space:
    """The free and all bytes of a file system, and the share of free entries (inodes), 1.0 where they have no limit."""

    free: int
    total: int
    entries: float = 1.0


def trouble() -> Finding | None:
    """Return what keeps the archive from being written; None if nothing does."""
    path = Path(settings.ARCHIVE_ROOT)
    try:
        within_limit("the archive", lambda: _write(path))
    except (ArchiveError, OSError, NoAnswerError) as error:
        return Finding(NAME, State.ERROR, f"The archive {path} cannot be written: {reason(error)}.", _UNWRITABLE)
    return None


def space() -> Space | None:
    """Return the space of the archive's file system; None if that cannot be seen."""
    try:
        status = within_limit("the archive's space", lambda: os.statvfs(settings.ARCHIVE_ROOT))
    except (OSError, NoAnswerError):
        return None
    entries = status.f_favail / status.f_files if status.f_files else 1.0
    return Space(status.f_bavail * status.f_frsize, status.f_blocks * status.f_frsize, entries)


def check(look: Look) -> Iterator[Finding]:
    """Yield how the archive is."""
    if found := trouble():
        yield found
        return
    path = Path(settings.ARCHIVE_ROOT)
    if not within_limit("the archive", (path / VERSION_FILE).exists):
        yield Finding(
            NAME,
            State.WARNING,
            f"The archive {path} has no {VERSION_FILE}: is its file system mounted?",
            f"Mount it; if the directory is the right one, `echo 1 > {path}/{VERSION_FILE}`, without which cc-backend "
            "refuses it.",
        )
    yield _of_space(path, space())


def _of_space(path: Path, found: Space | None) -> Finding:
    if found is None:
        return Finding(NAME, State.WARNING, f"The free space of {path} cannot be seen.", "Look at its file system.")
    free = f"{size(found.free)} of {size(found.total)}"
    for state, (share, least) in ((State.ERROR, ALMOST_NO_SPACE), (State.WARNING, LITTLE_SPACE)):
        if found.free < min(share * found.total, least):
            sentence = f"The archive's file system is nearly full: {free} are free."
        elif found.entries < share:
            sentence = f"The archive's file system has nearly no inodes left ({found.entries:.1%})."
        else:
            continue
        cure = "Make room, or delete or move old jobs with `manage.py retain_archive`. Finished jobs wait meanwhile."
        return Finding(NAME, state, sentence, cure)
    return Finding(NAME, State.OK, f"The archive {path} can be written; {free} are free.")


def check_clusters(look: Look) -> Iterator[Finding]:
    """Yield what is wrong with each cluster.json."""
    findings = within_limit("the clusters", lambda: list(_of_clusters()))
    yield from findings
    if not findings:
        names = root.registry().names()
        sentence = f"Clusters: {', '.join(names)}." if names else "No cluster is configured, so every name is accepted."
        yield Finding(CLUSTERS, State.OK, sentence)


def _of_clusters() -> Iterator[Finding]:
    registry = root.registry()
    for name, why in sorted(registry.errors.items()):
        known = "its last valid version is in use" if registry.get(name) else "starts of its jobs are refused"
        yield Finding(CLUSTERS, State.ERROR, f"Cluster {name}: {why}; {known}.", _CORRECT)
    for name in registry.names():
        cluster = registry.get(name)
        yield from _of_cluster(cluster, registry.root / name / CLUSTER_FILE) if cluster else ()


def _of_cluster(cluster: Cluster, path: Path) -> Iterator[Finding]:
    about = f"Cluster {cluster.name}:"
    for fault in cluster.faults:
        yield Finding(CLUSTERS, State.WARNING, f"{about} {path}: {fault}; the metric is left out.", _CORRECT)
    empty = [part.name for part in cluster.subclusters if not str(part.nodes)]
    if len(empty) == len(cluster.subclusters):
        sentence = f"{about} no subcluster in {path} has nodes, so starts of its jobs are refused."
        yield Finding(CLUSTERS, State.ERROR, sentence, f"Name its nodes. {_CORRECT}")
    elif empty:
        sentence = f"{about} {_some(empty)} in {path} has no nodes, so that no job belongs to it."
        yield Finding(CLUSTERS, State.WARNING, sentence, f"Name its nodes or remove it. {_CORRECT}")
    if twice := _listed_twice(cluster):
        sentence = f"{about} {path} lists {_some(twice)} more than once; the first subcluster counts."
        yield Finding(CLUSTERS, State.WARNING, sentence, _CORRECT)


def _listed_twice(cluster: Cluster) -> list[str]:
    """Return the hosts that are listed more than once, in one subcluster or in several."""
    counts: Counter[str] = Counter()
    twice: list[str] = []
    for part in cluster.subclusters:
        twice += part.nodes.repeated(_MOST_HOSTS)
        if not part.nodes.matches_all:
            counts.update(itertools.islice(part.nodes.hosts(), _MOST_HOSTS))
    return list(dict.fromkeys([*twice, *(host for host, count in counts.items() if count > 1)]))


def _some(names: list[str]) -> str:
    """Return the first few names, and how many others there are."""
    others = len(names) - _MOST_NAMED
    return ", ".join(names[:_MOST_NAMED]) + (f" and {others} others" if others > 0 else "")


def _write(path: Path) -> None:
    """Write a file without a name into the root."""
    root.store().check_version()
    with tempfile.TemporaryFile(dir=path) as file:
        file.write(b"\0" * 4096)
