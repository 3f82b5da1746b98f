"""The archive, its clusters and their metric sources, as the settings name them."""

from pathlib import Path

from django.conf import settings

from archive.clusters import ClusterRegistry, registry_for
from archive.sources import get_source
from archive.sources.base import MetricSource
from archive.storage.store import ArchiveStore, store_for


def store() -> ArchiveStore:
    """Return the archive of ARCHIVE_ROOT."""
    return store_for(Path(settings.ARCHIVE_ROOT))


def source_of(cluster: str) -> MetricSource:
    """Return the metric source of a cluster; raise SourceError where METRIC_SOURCES is wrong about it."""
    return get_source(cluster, settings.METRIC_SOURCES)


def registry() -> ClusterRegistry:
    """Return the clusters that the archive has a cluster.json of."""
    return registry_for(Path(settings.ARCHIVE_ROOT))
