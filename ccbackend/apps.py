"""The project's own app, which has no models, and its admin site."""

from django.apps import AppConfig
from django.contrib.admin.apps import AdminConfig

from ccbackend.postgresql.migrating import watch_migrations


class ProjectConfig(AppConfig):
    """The project itself: its commands, and how migrations wait."""

    name = "ccbackend"

    def ready(self) -> None:
        """Bound the waits of migrations."""
        watch_migrations()


class SiteConfig(AdminConfig):
    """Django's admin, as the site of the jobs app."""

    default_site = "jobs.overview.site.JobControlSite"

    def ready(self) -> None:
        """Register the system check of the database."""
        super().ready()
        from ccbackend import checks  # noqa: F401  Django's way to register checks
