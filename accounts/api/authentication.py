"""How the API finds out who calls: a token in one of two headers, or an admin session."""

from typing import Any

from django.contrib.auth.models import AnonymousUser
from django.http import QueryDict
from django.utils.datastructures import MultiValueDict
from rest_framework import authentication, exceptions
from rest_framework.request import Request

from accounts.addresses import client_address
from accounts.credentials import user_of
from accounts.exceptions import InvalidTokenError
from accounts.models import User

CHALLENGE = 'Bearer realm="api"'


def caller(request: Request) -> User:
    """Return who calls; a view runs only for an authenticated user."""
    assert isinstance(request.user, User)
    return request.user


class TokenAuthentication(authentication.BaseAuthentication):
    """Accept `X-Auth-Token: <token>` or `Authorization: Bearer <token>`; each that is sent must be valid."""

    def authenticate(self, request: Request) -> tuple[User, str] | None:
        """Return the token's user and what names the token, or None when no token was sent."""
        meta = request.META
        x_auth_token = meta.get("HTTP_X_AUTH_TOKEN")
        authorization = meta.get("HTTP_AUTHORIZATION")
        if x_auth_token is None and authorization is None:
            return None
        address = client_address(request._request)
        found = None
        if authorization is not None:
            scheme, _, bearer = authorization.strip().partition(" ")
            if scheme.lower() == "bearer":
                found = user_of(bearer.strip(), address)
            else:
                raise InvalidTokenError(f"unsupported credentials {scheme!r}: expected 'Bearer <token>'")
        if x_auth_token is not None:
            found = user_of(x_auth_token.strip(), address)
        assert found is not None
        return found

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
