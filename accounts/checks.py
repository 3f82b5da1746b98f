"""System checks of the address settings."""

from collections.abc import Sequence
from typing import Any

from django.apps import AppConfig
from django.conf import settings
from django.core.checks import CheckMessage, Error, register
from django.core.exceptions import ImproperlyConfigured

from accounts.addresses import check_networks
from accounts.console import SETTINGS


@register(SETTINGS)
def check_address_settings(app_configs: Sequence[AppConfig] | None, **kwargs: Any) -> list[CheckMessage]:
    """Report invalid entries of each setting that is a list of networks."""
    messages: list[CheckMessage] = []
    names = ("API_ALLOWED_IPS", "TRUSTED_PROXIES", "METRIC_STORE_IPS", "MONITORING_ALLOWED_IPS")
    for number, name in enumerate(names, start=1):
        try:
            check_networks(name, getattr(settings, name))
        except ImproperlyConfigured as error:
            hint = "Use addresses, CIDR networks, `*`, or `unix` for connections over a Unix socket."
            messages.append(Error(str(error), hint=hint, id=f"accounts.E00{number}"))
    return messages
