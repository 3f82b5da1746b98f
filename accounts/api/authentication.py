"""Authentication of API calls: a token in one of two headers, or a session of the admin site."""

from collections.abc import Mapping
from typing import Any, cast

from django.conf import settings
from django.contrib.auth.models import AnonymousUser
from django.http import QueryDict
from django.utils.datastructures import MultiValueDict
from rest_framework import authentication, exceptions
from rest_framework.request import Request

from accounts.addresses import client_address, is_from
from accounts.credentials import Credential, user_of
from accounts.models import User

CHALLENGE = 'Bearer realm="api"'


def caller(request: Request) -> User:
    """Return the user of an authenticated request."""
    assert isinstance(request.user, User)
    return request.user


def credential(request: Request) -> Credential | None:
    """Return the token of an authenticated request; None for a session or an address."""
    return cast("Credential | None", request.auth)


def sent_token(meta: Mapping[str, Any]) -> str | None:
    """Return the token of a request, or None.

    `meta` is a WSGI environment. X-Auth-Token takes precedence over `Authorization: Bearer`. Other schemes of
    Authorization are ignored: they may be meant for a proxy in front of this server.
    """
    token: str | None = meta.get("HTTP_X_AUTH_TOKEN")
    if token is None:
        scheme, _, bearer = meta.get("HTTP_AUTHORIZATION", "").strip().partition(" ")
        token = bearer if scheme.lower() == "bearer" else None
    return None if token is None else token.strip()


class TokenAuthentication(authentication.BaseAuthentication):
    """Accept `X-Auth-Token: <token>` or `Authorization: Bearer <token>`; an invalid token is an error."""

    def authenticate(self, request: Request) -> tuple[User, Credential] | None:
        """Return the token's user and what the token is, or None if none was sent."""
        token = sent_token(request.META)
        return None if token is None else user_of(token, client_address(request._request))

    def authenticate_header(self, request: Request) -> str:
        """Return the challenge of a 401."""
        return CHALLENGE


class MetricStoreAuthentication(authentication.BaseAuthentication):
    """Accept clients with an address in METRIC_STORE_IPS without a token: cc-metric-store never sends one."""

    def authenticate(self, request: Request) -> tuple[AnonymousUser, None] | None:
        """Return the anonymous user, or None for other clients and for those behind a proxy that is not trusted."""
        return (AnonymousUser(), None) if is_from(request._request, settings.METRIC_STORE_IPS) else None


class SessionAuthentication(authentication.SessionAuthentication):
    """Accept a session of the admin site, with CSRF, so that users can try calls on the interactive API page."""

    def authenticate(self, request: Request) -> tuple[Any, None] | None:
        """Return the session's user; raise NotAuthenticated, naming the accepted headers, if there is none."""
        found: tuple[User | AnonymousUser, None] | None = super().authenticate(request)
        if found is None:
            raise exceptions.NotAuthenticated("no credentials: send X-Auth-Token or Authorization: Bearer <token>")
        return found

    def enforce_csrf(self, request: Request) -> None:
        """Check the header X-CSRFToken without reading the body, which belongs to the operation."""
        http = request._request
        http._post, http._files = QueryDict(), MultiValueDict()  # type: ignore[attr-defined]  # where Django looks first
        super().enforce_csrf(http)  # type: ignore[arg-type]  # any request will do
        del http._post, http._files  # type: ignore[attr-defined]
