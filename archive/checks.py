"""System checks of the archive root, the metric sources and the cluster.json files."""

import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from django.apps import AppConfig
from django.conf import settings
from django.core.checks import CheckMessage, Error
from django.core.checks import Warning as CheckWarning

from archive.clusters import ClusterRegistry
from archive.exceptions import ArchiveVersionError
from archive.format.layout import CLUSTER_FILE
from archive.sources import validate_config
from archive.storage.store import ArchiveStore


def check_archive_root(app_configs: Sequence[AppConfig] | None, **kwargs: Any) -> list[CheckMessage]:
    """Report a root of another version (E001) and one that is not writable (E003)."""
    root: Path = settings.ARCHIVE_ROOT
    if not _writable(root):
        return [
            Error(
                f"The job archive {root} is not writable.",
                hint="Let the account of the server write to the directory ARCHIVE_ROOT, or mount its file system.",
                id="archive.E003",
            )
        ]
    try:
        if root.exists():
            ArchiveStore(root).check_version()
    except (ArchiveVersionError, OSError) as error:
        return [
            Error(
                f"The job archive cannot be used: {error}.",
                hint="Point ARCHIVE_ROOT to a job archive of version 1, or to a directory that does not exist yet.",
                id="archive.E001",
            )
        ]
    return []


def check_metric_sources(app_configs: Sequence[AppConfig] | None, **kwargs: Any) -> list[CheckMessage]:
    """Report each invalid entry of METRIC_SOURCES (E002)."""
    return [
        Error(
            f"METRIC_SOURCES, {message}.",
            hint='METRIC_SOURCES maps a cluster name or "*" to an object such as {"kind": "none"}.',
            id="archive.E002",
        )
        for message in validate_config(settings.METRIC_SOURCES)
    ]


def check_clusters(app_configs: Sequence[AppConfig] | None, **kwargs: Any) -> list[CheckMessage]:
    """Report each cluster.json that cannot be read, and each metric in one (W001)."""
    registry = ClusterRegistry(settings.ARCHIVE_ROOT)
    faults: list[CheckMessage] = [
        CheckWarning(
            f"Cluster {name}: {registry.root / name / CLUSTER_FILE}: {fault}.",
            hint="Correct the file; the server reads it again by itself, and leaves the metric out until then.",
            id="archive.W001",
        )
        for name in registry.names()
        if (cluster := registry.get(name))
        for fault in cluster.faults
    ]
    return faults + [
        CheckWarning(
            f"Cluster {name}: {reason}.",
            hint="Correct the file; the server reads it again by itself, and uses the last valid version until then.",
            id="archive.W001",
        )
        for name, reason in sorted(registry.errors.items())
    ]


def _writable(root: Path) -> bool:
    """Return whether the root is writable or, if it is missing, can be created."""
    folder = root.absolute()
    while not folder.exists() and folder != folder.parent:
        folder = folder.parent
    if not folder.is_dir():
        # If the root itself is a file, the check of the version reports it.
        return folder == root.absolute()
    return os.access(folder, os.W_OK | os.X_OK)
