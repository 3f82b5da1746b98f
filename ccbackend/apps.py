"""The project's own app, which has no models, and its admin site."""

from django.apps import AppConfig
from django.contrib.admin.apps import AdminConfig


class ProjectConfig(AppConfig):
    """The project itself, for the sake of its commands."""

    name = "ccbackend"


class SiteConfig(AdminConfig):
    """Django's admin, as the site of the jobs app."""

    default_site = "jobs.overview.site.JobControlSite"

    def ready(self) -> None:
        """Register the system check of the database."""
        super().ready()
        from ccbackend import checks  # noqa: F401  Django's way to register checks
