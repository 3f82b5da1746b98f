"""System checks of the settings of addresses and log-ins."""

from collections.abc import Iterator, Sequence
from typing import Any

from django.apps import AppConfig
from django.conf import settings
from django.core.checks import CheckMessage, Error, register
from django.core.exceptions import ImproperlyConfigured

from accounts import reference_tokens
from accounts.addresses import ANY, check_networks
from accounts.console import SETTINGS
from accounts.log_in import ldap, oidc
from accounts.log_in.directory import check_patterns
from accounts.models import Role


@register(SETTINGS)
def check_log_in_settings(app_configs: Sequence[AppConfig] | None, **kwargs: Any) -> list[CheckMessage]:
    """Report invalid entries of each setting that is a list of networks or keys."""
    messages: list[CheckMessage] = []
    names = ("API_ALLOWED_IPS", "TRUSTED_PROXIES", "METRIC_STORE_IPS", "MONITORING_ALLOWED_IPS")
    for number, name in enumerate(names, start=1):
        try:
            check_networks(name, getattr(settings, name))
        except ImproperlyConfigured as error:
            hint = "Use addresses, CIDR networks, `*`, or `unix` for connections over a Unix socket."
            messages.append(Error(str(error), hint=hint, id=f"accounts.E00{number}"))
    for text in settings.JWT_PUBLIC_KEYS:
        try:
            reference_tokens.check_key(text)
        except ValueError as error:
            messages.append(Error(f"JWT_PUBLIC_KEYS: {error}", id="accounts.E005"))
    return [*messages, *_of_proxy(), *_of_packages(), *_of_groups()]


def _of_proxy() -> Iterator[CheckMessage]:
    if settings.REMOTE_USER_HEADER and (not settings.TRUSTED_PROXIES or ANY in settings.TRUSTED_PROXIES):
        hint = "Name the addresses of the proxies in TRUSTED_PROXIES: whoever is among them may log in as anybody."
        yield Error("REMOTE_USER_HEADER needs TRUSTED_PROXIES, without *", hint=hint, id="accounts.E007")


def _of_packages() -> Iterator[CheckMessage]:
    needed = (("JWT_PUBLIC_KEYS", reference_tokens), ("LDAP", ldap), ("OIDC", oidc))
    for number, (name, module) in enumerate(needed, start=1):
        if getattr(settings, name) and not module.IS_INSTALLED:
            hint = "pip install -r requirements-log-in.txt"
            yield Error(f"{name} needs packages that are not installed: {hint}", id=f"accounts.E01{number}")


def _of_groups() -> Iterator[CheckMessage]:
    for group, roles in settings.GROUP_ROLES.items():
        for role in roles:
            if role not in Role.values:
                expected = ", ".join(Role.values)
                yield Error(f"GROUP_ROLES: {group}: {role!r}: expected one of {expected}", id="accounts.E008")
    try:
        check_patterns(settings.GROUP_PROJECTS)
    except ValueError as error:
        yield Error(f"GROUP_PROJECTS: {error}", id="accounts.E009")
