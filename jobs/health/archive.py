"""The health of the archive: its root is there and writable, has space, and its clusters can be read."""

import itertools
import os
import tempfile
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from django.conf import settings
from django.db import DatabaseError

from accounts.formatting import quantity
from archive import root
from archive.exceptions import ArchiveError, reason
from archive.format.cluster_json import Cluster
from archive.format.layout import CLUSTER_FILE, VERSION_FILE
from jobs.health.look import Look
from jobs.health.report import Finding, NoAnswerError, State, queries_within_limit, size, within_limit

NAME = "archive"
CLUSTERS = "clusters"

LITTLE_SPACE = (0.05, 50_000_000_000)
ALMOST_NO_SPACE = (0.01, 5_000_000_000)
"""Free space below both the share of the file system and the bytes is a warning, and an error."""

FULL_SOON = 7
"""Days: if the file system is full earlier, at the rate of the last day, that is a warning."""

LEAST_KNOWN = 6 * 3600
"""Seconds for which the free space must have been seen, so that there is a rate."""

_FAR = 1000  # days
_MAKE_ROOM = "Make room, or delete or move old jobs with `manage.py retain_archive`."

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
    now = space()
    yield _of_space(path, now, _days_left(now, look))


def _days_left(found: Space | None, look: Look) -> float | None:
    """Return in how many days the file system is full at the rate of the last day; None if it is not filling up.

    It is not known either if the database does not answer, or has not seen the space for long enough.
    """
    if look.is_away:
        return None
    try:
        with queries_within_limit():
            before = look.space_before
    except DatabaseError:
        return None
    if found is None or before is None or before[1] < LEAST_KNOWN or before[0] <= found.free:
        return None
    return found.free / (before[0] - found.free) * before[1] / 86_400


def _of_space(path: Path, found: Space | None, days: float | None) -> Finding:
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
        return Finding(NAME, state, sentence, f"{_MAKE_ROOM} Finished jobs wait meanwhile.")
    is_near = days is not None and days <= _FAR
    full = f"; it is full in about {quantity(round(days or 0), 'day')} at today's rate" if is_near else ""
    if days is not None and days < FULL_SOON:
        sentence = f"The archive's file system fills up: {free} are free{full}."
        return Finding(NAME, State.WARNING, sentence, f"{_MAKE_ROOM} See too what else fills it today.")
    return Finding(NAME, State.OK, f"The archive {path} can be written; {free} are free{full}.")


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
