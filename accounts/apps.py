"""The accounts app."""

from django.apps import AppConfig


class AccountsConfig(AppConfig):
    """Users with roles and projects, API tokens, address rules."""

    name = "accounts"

    def ready(self) -> None:
        """Register the system checks."""
        from accounts import checks  # noqa: F401  Django's way to register checks
