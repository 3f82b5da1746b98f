"""The clusters in force: every cluster.json under the root, read again soon after a change."""

import functools
import logging
import threading
import time
from pathlib import Path
from typing import NamedTuple

from archive.exceptions import DocumentError
from archive.format.cluster_json import SCOPES, Accelerator, Cluster, MetricConfig, SubCluster, Topology, decode_cluster
from archive.format.layout import CLUSTER_FILE, is_valid_cluster_name
from archive.format.nodelist import NodeList

__all__ = [
    "SCOPES",
    "Accelerator",
    "Cluster",
    "ClusterRegistry",
    "MetricConfig",
    "NodeList",
    "SubCluster",
    "Topology",
    "decode_cluster",
    "read_cluster",
    "registry_for",
]

logger = logging.getLogger("archive.clusters")

Stamp = tuple[int, int, int, int]
"""Times (ns) of content and inode, size in bytes, inode number: another stamp, another content."""


class _Failure(NamedTuple):
    """A file that could not be read: its stamp then (None where there was none) and the reason."""

    stamp: Stamp | None
    reason: str


class ClusterRegistry:
    """All clusters under one root; safe to use from several threads.

    A cluster.json that cannot be read leaves the last good one in force. One that is gone ends its cluster;
    where all of them are gone at once, or the root cannot be listed, the file system is taken to be away, and
    all last good ones stay.
    """

    def __init__(self, root: Path, check_interval: float = 5.0) -> None:
        """Remember the root; files are looked at on first use, then every `check_interval` seconds at most."""
        self.root = root
        self.check_interval = check_interval
        self._lock = threading.Lock()
        self._next_check = float("-inf")
        self._loaded = False
        self._clusters: dict[str, Cluster] = {}
        self._stamps: dict[str, Stamp] = {}
        self._failures: dict[str, _Failure] = {}
        self._configured = False
        self._away = False

    def get(self, name: str) -> Cluster | None:
        """Return the cluster of this name, None where there is none that could be read."""
        if time.monotonic() >= self._next_check:
            self._refresh()
        return self._clusters.get(name)

    def names(self) -> list[str]:
        """Return the names of the clusters in force, sorted."""
        self._check()
        return sorted(self._clusters)

    @property
    def configured(self) -> bool:
        """Whether there is any cluster.json at all, readable or not."""
        self._check()
        return self._configured

    @property
    def errors(self) -> dict[str, str]:
        """The reason of the last failure for each cluster whose file cannot be read now."""
        self._check()
        return {name: failure.reason for name, failure in self._failures.items()}

    def _check(self) -> None:
        """Look at the files if that is due."""
        if time.monotonic() >= self._next_check:
            self._refresh()

    def _refresh(self) -> None:
        """Read what changed; while one thread does so the others go on with what is in force."""
        if not self._lock.acquire(blocking=not self._loaded):
            return
        try:
            if time.monotonic() < self._next_check:
                return
            names = self._names_on_disk()
            if names is not None:
                self._drop_all_but(names)
                for name in names:
                    self._read_if_changed(name)
                self._configured = bool(names)
            self._loaded = True
            self._next_check = time.monotonic() + self.check_interval
        finally:
            self._lock.release()

    def _names_on_disk(self) -> list[str] | None:
        """List the clusters that have a file; None where the file system seems to be away."""
        try:
            folders = [path.name for path in self.root.iterdir() if is_valid_cluster_name(path.name)]
            names = [name for name in folders if (self.root / name / CLUSTER_FILE).exists()]
        except FileNotFoundError:
            names = []
        except OSError as error:
            self._stay(f"{self.root}: {error}")
            return None
        if self._configured and not names:
            self._stay(f"{self.root}: no cluster.json any more (a file system that is not mounted?)")
            return None
        self._away = False
        return names

    def _stay(self, reason: str) -> None:
        """Say once that the last good clusters stay in force."""
        if not self._away:
            logger.error("%s; the clusters read before stay in force", reason)
        self._away = True

    def _drop_all_but(self, names: list[str]) -> None:
        """Forget the clusters whose files are gone."""
        for name in (self._stamps.keys() | self._failures.keys()) - set(names):
            logger.warning("cluster %s: its %s is gone", name, CLUSTER_FILE)
            self._stamps.pop(name, None)
            self._failures.pop(name, None)
            self._clusters = {key: cluster for key, cluster in self._clusters.items() if key != name}

    def _read_if_changed(self, name: str) -> None:
        """Read one file where its stamp differs from that of the last reading."""
        path = self.root / name / CLUSTER_FILE
        stamp: Stamp | None = None
        try:
            stamp = _stamp(path)
            if self._stamps.get(name) == stamp:
                return
            cluster = read_cluster(path, name)
        except DocumentError as error:
            self._fail(name, _Failure(stamp, f"{path}: {error}"))
            if stamp is not None:
                self._stamps[name] = stamp
            return
        except OSError as error:
            self._fail(name, _Failure(stamp, f"{path}: {error.strerror or error}"))
            self._stamps.pop(name, None)
            return
        self._clusters = {**self._clusters, name: cluster}
        self._stamps[name] = stamp
        if self._failures.pop(name, None) is not None:
            logger.info("cluster %s: %s can be read again", name, path)

    def _fail(self, name: str, failure: _Failure) -> None:
        """Keep the failure, and log it unless it is the one of the last time."""
        if self._failures.get(name) != failure:
            state = "the last good one stays in force" if name in self._clusters else "the cluster is unknown"
            logger.error("%s; %s", failure.reason, state)
        self._failures[name] = failure


@functools.lru_cache(maxsize=64)
def registry_for(root: Path) -> ClusterRegistry:
    """Return the registry of a root that this process shares."""
    return ClusterRegistry(root)


def _stamp(path: Path) -> Stamp:
    """Take the stamp of a file."""
    status = path.stat()
    return status.st_mtime_ns, status.st_ctime_ns, status.st_size, status.st_ino


def read_cluster(path: Path, name: str) -> Cluster:
    """Read one cluster.json; raise DocumentError where it is wrong or of another cluster."""
    cluster = decode_cluster(path.read_bytes())
    if cluster.name != name:
        raise DocumentError(f"name {cluster.name!r}, expected {name!r}, the name of its folder - at `$.name`")
    return cluster
