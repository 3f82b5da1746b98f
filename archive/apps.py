"""The archive as a Django application, which has system checks but no models."""

from django.apps import AppConfig
from django.core.checks import register

from archive.checks import check_archive_root, check_clusters, check_metric_sources


class ArchiveConfig(AppConfig):
    """Register the checks of the job archive."""

    name = "archive"
    label = "archive"
    verbose_name = "Job archive"

    def ready(self) -> None:
        """Register the system checks."""
        register(check_archive_root)
        register(check_metric_sources, "settings")
        register(check_clusters)
