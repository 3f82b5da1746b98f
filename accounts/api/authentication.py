"""How the API finds out who calls: a token in one of two headers, or an admin session."""

from collections.abc import Mapping
from typing import Any

from django.contrib.auth.models import AnonymousUser
from django.http import QueryDict
from django.utils.datastructures import MultiValueDict
from rest_framework import authentication, exceptions
from rest_framework.request import Request

from accounts.addresses import client_address
from accounts.credentials import user_of
from accounts.models import User

CHALLENGE = 'Bearer realm="api"'


def caller(request: Request) -> User:
    """Return who calls; a view runs only for an authenticated user."""
    assert isinstance(request.user, User)
    return request.user


def sent_token(meta: Mapping[str, Any]) -> str | None:
    """Return the token that a request carries, None if it carries none.

    `meta` is a WSGI environment. X-Auth-Token decides alone; without it, `Authorization: Bearer` counts. Any other
    Authorization is not meant for this server: a proxy in front of it may ask for a log-in of its own.
    """
    token: str | None = meta.get("HTTP_X_AUTH_TOKEN")
    if token is None:
        scheme, _, bearer = meta.get("HTTP_AUTHORIZATION", "").strip().partition(" ")
        token = bearer if scheme.lower() == "bearer" else None
    return None if token is None else token.strip()


class TokenAuthentication(authentication.BaseAuthentication):
    """Accept `X-Auth-Token: <token>` or `Authorization: Bearer <token>`; a token that is sent must be valid."""

    def authenticate(self, request: Request) -> tuple[User, str] | None:
        """Return the token's user and what names the token, or None when no token was sent."""
        token = sent_token(request.META)
        return None if token is None else user_of(token, client_address(request._request))

    def authenticate_header(self, request: Request) -> str:
        """Return the challenge of a 401."""
        return CHALLENGE


class SessionAuthentication(authentication.SessionAuthentication):
    """Accept an admin-site session, with CSRF, so that the interactive API page works for who is logged in."""

    def authenticate(self, request: Request) -> tuple[Any, None] | None:
        """Return the session's user; refuse without credentials at all, naming what was expected."""
        found: tuple[User | AnonymousUser, None] | None = super().authenticate(request)
        if found is None:
            raise exceptions.NotAuthenticated("no credentials: send X-Auth-Token or Authorization: Bearer <token>")
        return found

    def enforce_csrf(self, request: Request) -> None:
        """Check the token in the header X-CSRFToken; the body is the operation's own, whatever its type."""
        http = request._request
        http._post, http._files = QueryDict(), MultiValueDict()  # type: ignore[attr-defined]  # where Django looks first
        super().enforce_csrf(http)  # type: ignore[arg-type]  # any request will do
        del http._post, http._files  # type: ignore[attr-defined]
