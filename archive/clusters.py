"""The configured clusters: each cluster.json under the root, read again soon after a change."""

import functools
import logging
import threading
import time
from pathlib import Path
from typing import NamedTuple

from archive.exceptions import READ_ERRORS, DocumentError, reason
from archive.format.cluster_json import Cluster, decode_cluster
from archive.format.layout import CLUSTER_FILE, is_valid_cluster_name
from archive.storage.files import read_file

logger = logging.getLogger("archive.clusters")

Stamp = tuple[int, int, int, int]
"""Modification and change time (ns), size (bytes) and inode number, which tell versions of a file apart."""


class _Failure(NamedTuple):
    """The reason why a file could not be read, and its stamp at that time, if there was one."""

    stamp: Stamp | None
    reason: str


class ClusterRegistry:
    """All clusters under one root; safe to use from several threads.

    If a cluster.json cannot be read, its last valid version stays in use. If it is gone, so is the cluster, unless all
    are gone at once or the root cannot be listed: then the file system is probably not mounted, and all stay in use.
    """

    def __init__(self, root: Path, check_interval: float = 5.0) -> None:
        """Read files on first use, then check for changes at most every `check_interval` seconds."""
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
        """Return the cluster of this name, or None if none could be read."""
        self._check()
        return self._clusters.get(name)

    def names(self) -> list[str]:
        """Return the names of the clusters, sorted."""
        self._check()
        return sorted(self._clusters)

    @property
    def configured(self) -> bool:
        """Return whether there is any cluster.json, valid or not."""
        self._check()
        return self._configured

    @property
    def errors(self) -> dict[str, str]:
        """Return the reason for each cluster whose file cannot be read, by name."""
        self._check()
        return {
            name: f"{self.root / name / CLUSTER_FILE}: {failure.reason}" for name, failure in self._failures.items()
        }

    def failure(self, name: str) -> str | None:
        """Return the reason, without the path, why the cluster.json of this cluster cannot be read; None if it can."""
        self._check()
        failure = self._failures.get(name)
        return None if failure is None else failure.reason

    def _check(self) -> None:
        """Check the files for changes if it is time to."""
        if time.monotonic() >= self._next_check:
            self._refresh()

    def _refresh(self) -> None:
        """Read the changed files; other threads use the previous clusters meanwhile."""
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
        """Return the clusters that have a file, or None if the file system seems not to be mounted."""
        try:
            folders = [path.name for path in self.root.iterdir() if is_valid_cluster_name(path.name)]
            names = [name for name in folders if _may_be_there(self.root / name / CLUSTER_FILE)]
        except FileNotFoundError:
            names = []
        except OSError as error:
            self._keep(f"{self.root}: {error}")
            return None
        if self._configured and not names:
            self._keep(f"{self.root}: no cluster.json any more (a file system that is not mounted?)")
            return None
        self._away = False
        return names

    def _keep(self, reason: str) -> None:
        """Log, once, that the previous clusters stay in use."""
        if not self._away:
            logger.error("%s; the previous clusters stay in use", reason)
        self._away = True

    def _drop_all_but(self, names: list[str]) -> None:
        """Remove the clusters whose files are gone."""
        for name in (self._stamps.keys() | self._failures.keys()) - set(names):
            logger.warning("cluster %s: its %s is gone", name, CLUSTER_FILE)
            self._stamps.pop(name, None)
            self._failures.pop(name, None)
            self._clusters = {key: cluster for key, cluster in self._clusters.items() if key != name}

    def _read_if_changed(self, name: str) -> None:
        """Read a file unless its stamp is that of the last read."""
        path = self.root / name / CLUSTER_FILE
        stamp: Stamp | None = None
        try:
            stamp = _stamp(path)
            if self._stamps.get(name) == stamp:
                return
            cluster = read_cluster(path, name)
        except READ_ERRORS as error:
            self._fail(name, _Failure(stamp, reason(error)))
            if stamp is not None and isinstance(error, DocumentError):
                self._stamps[name] = stamp
            else:  # another attempt may succeed
                self._stamps.pop(name, None)
            return
        for fault in cluster.faults:
            logger.error("%s: %s; the metric is left out", path, fault)
        self._clusters = {**self._clusters, name: cluster}
        self._stamps[name] = stamp
        if self._failures.pop(name, None) is not None:
            logger.info("cluster %s: %s can be read again", name, path)

    def _fail(self, name: str, failure: _Failure) -> None:
        """Record the failure, and log it unless it is the same as before."""
        if self._failures.get(name) != failure:
            state = "its last valid version stays in use" if name in self._clusters else "the cluster is unknown"
            logger.error("%s: %s; %s", self.root / name / CLUSTER_FILE, failure.reason, state)
        self._failures[name] = failure


@functools.lru_cache(maxsize=64)
def registry_for(root: Path) -> ClusterRegistry:
    """Return the registry of a root, shared within this process."""
    return ClusterRegistry(root)


def _may_be_there(path: Path) -> bool:
    """Return whether there is a file, or a reason why that cannot be seen, which reading it reports."""
    try:
        path.lstat()
    except (FileNotFoundError, NotADirectoryError):
        return False
    except OSError:
        return True
    return True


def _stamp(path: Path) -> Stamp:
    """Return the stamp of a file."""
    status = path.stat()
    return status.st_mtime_ns, status.st_ctime_ns, status.st_size, status.st_ino


def read_cluster(path: Path, name: str) -> Cluster:
    """Read a cluster.json; raise DocumentError if it is invalid or belongs to another cluster."""
    cluster = decode_cluster(read_file(path))
    if cluster.name != name:
        raise DocumentError(f"name {cluster.name!r}, expected {name!r}, the name of its folder - at `$.name`")
    return cluster
