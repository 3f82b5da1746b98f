"""System checks: the archive root can be used, the metric sources are known, the cluster files can be read."""

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
from archive.sources import validate_config
from archive.storage.store import ArchiveStore


def check_archive_root(app_configs: Sequence[AppConfig] | None, **kwargs: Any) -> list[CheckMessage]:
    """Report a root of another version (E001), and one that cannot be written (E003)."""
    root: Path = settings.ARCHIVE_ROOT
    if not _writable(root):
        return [
            Error(
                f"The job archive {root} cannot be written.",
                hint="Make the folder ARCHIVE_ROOT writable for the account of the server, or mount its file system.",
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
                hint="Point ARCHIVE_ROOT at a job archive of version 1, or at a folder that does not exist yet.",
                id="archive.E001",
            )
        ]
    return []


def check_metric_sources(app_configs: Sequence[AppConfig] | None, **kwargs: Any) -> list[CheckMessage]:
    """Report each entry of METRIC_SOURCES that names an unknown kind or key (E002)."""
    return [
        Error(
            f"METRIC_SOURCES, {message}.",
            hint='METRIC_SOURCES maps a cluster name or "*" to an object such as {"kind": "none"}.',
            id="archive.E002",
        )
        for message in validate_config(settings.METRIC_SOURCES)
    ]


def check_clusters(app_configs: Sequence[AppConfig] | None, **kwargs: Any) -> list[CheckMessage]:
    """Report each cluster.json that cannot be read (W001)."""
    return [
        CheckWarning(
            f"Cluster {name}: {reason}.",
            hint="Correct the file; it is read again by itself. Until then the last good one stays in force.",
            id="archive.W001",
        )
        for name, reason in sorted(ClusterRegistry(settings.ARCHIVE_ROOT).errors.items())
    ]


def _writable(root: Path) -> bool:
    """Say whether files can be made in the root, or the root itself where it is missing."""
    folder = root.absolute()
    while not folder.exists() and folder != folder.parent:
        folder = folder.parent
    if not folder.is_dir():
        # A file in place of the root: the check of the version says so.
        return folder == root.absolute()
    return os.access(folder, os.W_OK | os.X_OK)
