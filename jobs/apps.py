"""The jobs app: batch jobs, their tags, and the way of a finished job into the archive."""

from django.apps import AppConfig


class JobsConfig(AppConfig):
    """Jobs, tags, services, API, admin, commands."""

    name = "jobs"

    def ready(self) -> None:
        """Register the system checks."""
        from jobs import checks  # noqa: F401  Django's way to register checks
