"""How the pages of users and tokens write times and a token's state, and the page that shows a new token once."""

import shlex
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from django.contrib import admin
from django.db.models import F
from django.http import HttpRequest
from django.template.response import TemplateResponse
from django.urls import get_script_prefix
from django.utils import timezone
from django.utils.html import format_html
from django.utils.safestring import SafeString

from accounts.models import ApiToken, Role, User

# A first call that any token with the role api may make.
_TRY = "api/jobs/?items-per-page=5"


def moment(when: datetime | None) -> SafeString | str:
    """Return a time in the viewer's zone with UTC on hover; 'never' for None."""
    if when is None:
        return "never"
    return format_html(
        '<time datetime="{}" title="{} UTC">{}</time>',
        when.isoformat(),
        f"{when.astimezone(UTC):%Y-%m-%d %H:%M:%S}",
        f"{timezone.localtime(when):%Y-%m-%d %H:%M}",
    )


def status(token: ApiToken) -> SafeString:
    """Return what became of a token as a coloured word."""
    return format_html('<span class="pill pill-{}">{}</span>', token.status.replace(" ", "-"), token.status)


def networks(token: ApiToken) -> str:
    """Return where a token may be used."""
    return ", ".join(token.networks) or "any"


@dataclass(frozen=True, slots=True)
class TokenLine:
    """A token as tables show it."""

    token: ApiToken
    status: SafeString
    created: SafeString | str
    last_used: SafeString | str
    expires: SafeString | str
    networks: str


def token_lines(tokens: Iterable[ApiToken]) -> list[TokenLine]:
    """Return tokens as tables show them."""
    return [
        TokenLine(
            token, status(token), moment(token.created_at), moment(token.last_used_at), expiry(token), networks(token)
        )
        for token in tokens
    ]


def tokens_of(user: User, most: int) -> tuple[list[TokenLine], bool]:
    """Return up to `most` of a user's tokens, revoked ones last, newest first; and whether there are more."""
    ordered = user.tokens.order_by(F("revoked_at").desc(nulls_first=True), "-created_at", "-id")
    tokens = list(ordered[: most + 1])
    return token_lines(tokens[:most]), len(tokens) > most


def expiry(token: ApiToken) -> SafeString | str:
    """Return when a token expires, or expired."""
    return moment(token.expires_at)


def new_token_page(request: HttpRequest, token: ApiToken, secret: str, context: dict[str, Any]) -> TemplateResponse:
    """Show a new token, this once: it goes into this answer and nowhere else.

    `context` says where the page stands: `trail` is (address, label) pairs, the last one of them the way back.
    """
    shown = {
        **admin.site.each_context(request),
        "title": "The new API token",
        "token": token,
        "secret": secret,
        "curl": f"curl -H {shlex.quote(f'X-Auth-Token: {secret}')} {shlex.quote(_address(request))}",
        "lacks_api": not token.user.has_role(Role.API),
        "expires": expiry(token),
        "networks": networks(token),
    }
    headers = {"Cache-Control": "no-store"}
    return TemplateResponse(request, "admin/accounts/apitoken/created.html", shown | context, headers=headers)


def _address(request: HttpRequest) -> str:
    """Return where the API is for whoever sent a form.

    The browser's own word, Origin, is right behind proxies too that tell nothing of the scheme or the host outside; the
    protection against CSRF has compared it with what the settings allow.
    """
    path = get_script_prefix() + _TRY
    origin = request.headers.get("Origin", "")
    return origin + path if origin.startswith(("http://", "https://")) else request.build_absolute_uri(path)
