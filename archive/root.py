"""The archive, clusters and metric sources that the settings configure."""

from django.conf import settings

from archive.clusters import ClusterRegistry, registry_for
from archive.sources import get_source
from archive.sources.base import MetricSource
from archive.storage.store import ArchiveStore, store_for


def store() -> ArchiveStore:
    """Return the archive at ARCHIVE_ROOT."""
    return store_for(settings.ARCHIVE_ROOT)


def source_of(cluster: str) -> MetricSource:
    """Return the metric source of a cluster; raise SourceError if METRIC_SOURCES is invalid for it."""
    return get_source(cluster, settings.METRIC_SOURCES)


def registry() -> ClusterRegistry:
    """Return the clusters that have a cluster.json in the archive."""
    return registry_for(settings.ARCHIVE_ROOT)
