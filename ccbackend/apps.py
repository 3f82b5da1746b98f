"""The configuration of the project's admin site."""

from django.contrib.admin.apps import AdminConfig


class SiteConfig(AdminConfig):
    """Django's admin, as the site of the jobs app."""

    default_site = "jobs.overview.site.JobControlSite"

    def ready(self) -> None:
        """Register the system check of the database."""
        super().ready()
        from ccbackend import checks  # noqa: F401  Django's way to register checks
