"""How the admin pages show tokens, and the page that shows a new token once."""

import shlex
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from django.contrib import admin
from django.db.models import F
from django.http import HttpRequest
from django.template.response import TemplateResponse
from django.urls import get_script_prefix
from django.utils.html import format_html
from django.utils.safestring import SafeString

from accounts.formatting import time_element
from accounts.models import ApiToken, Role, TokenScope, User

# A first call for the page of a new token, which each scope allows.
_FIRST_CALL = "api/jobs/?state=running&items-per-page=5"


def time_or_never(when: datetime | None) -> SafeString | str:
    """Return a time in the viewer's zone with UTC on hover; 'never' for None."""
    return "never" if when is None else time_element(when)


def status(token: ApiToken) -> SafeString:
    """Return the status of a token as a coloured word."""
    return format_html('<span class="pill pill-{}">{}</span>', token.status.replace(" ", "-"), token.status)


def networks(token: ApiToken) -> str:
    """Return the networks from which a token may be used."""
    return ", ".join(token.networks) or "any"


@dataclass(frozen=True, slots=True)
class TokenLine:
    """A token as a row of a table."""

    token: ApiToken
    status: SafeString
    created: SafeString | str
    last_used: SafeString | str
    expires: SafeString | str
    reach: str
    networks: str


def token_lines(tokens: Iterable[ApiToken]) -> list[TokenLine]:
    """Return tokens as rows of a table."""
    return [
        TokenLine(
            token=token,
            status=status(token),
            created=time_or_never(token.created_at),
            last_used=time_or_never(token.last_used_at),
            expires=time_or_never(token.expires_at),
            reach=token.reach,
            networks=networks(token),
        )
        for token in tokens
    ]


def tokens_of(user: User, most: int) -> tuple[list[TokenLine], bool]:
    """Return up to `most` tokens of a user, newest first, revoked ones last, and whether there are more."""
    ordered = user.tokens.order_by(F("revoked_at").desc(nulls_first=True), "-created_at", "-id")
    tokens = list(ordered[: most + 1])
    return token_lines(tokens[:most]), len(tokens) > most


def lacks_api(user: User) -> bool:
    """Return whether operations on jobs refuse the user's tokens, but for reading with the scope read."""
    return not user.has_role(Role.API)


def new_token_page(request: HttpRequest, token: ApiToken, secret: str, context: dict[str, Any]) -> TemplateResponse:
    """Return the page that shows a new token: the only place where the secret ever appears.

    `context["trail"]` holds the breadcrumbs as (address, label) pairs; the last one is the way back.
    """
    shown = {
        **admin.site.each_context(request),
        "title": "New API token",
        "token": token,
        "secret": secret,
        "curl": f"curl -H {shlex.quote(f'X-Auth-Token: {secret}')} {shlex.quote(_api_address(request))}",
        "lacks_api": lacks_api(token.user) and token.scope != TokenScope.READ,
        "expires": time_or_never(token.expires_at),
        "networks": networks(token),
    }
    headers = {"Cache-Control": "no-store"}
    return TemplateResponse(request, "admin/accounts/apitoken/created.html", shown | context, headers=headers)


def _api_address(request: HttpRequest) -> str:
    """Return the address of the API as the browser that sent a form reaches it.

    The Origin header is right even behind a proxy that does not pass on the outer scheme and host; the CSRF check has
    compared it with the settings.
    """
    path = get_script_prefix() + _FIRST_CALL
    origin = request.headers.get("Origin", "")
    return origin + path if origin.startswith(("http://", "https://")) else request.build_absolute_uri(path)
