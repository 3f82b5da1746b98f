"""Log-in by OpenID Connect at a centre's provider; roles and projects by the claim that has its groups.

mozilla-django-oidc does the protocol: unlike django-allauth it brings no tables, forms and pages of its own.
"""

import logging
from functools import lru_cache
from typing import Any

from django.conf import settings
from django.contrib import messages
from django.core.exceptions import SuspiciousOperation
from django.http import HttpRequest, HttpResponse
from django.shortcuts import redirect

from accounts.addresses import client_address
from accounts.backends import SessionBackend
from accounts.exceptions import AccountError
from accounts.log_in.directory import arrive
from accounts.models import User

try:
    import jwt
    import requests
    from mozilla_django_oidc.auth import OIDCAuthenticationBackend
    from mozilla_django_oidc.views import OIDCAuthenticationCallbackView, OIDCAuthenticationRequestView
except ImportError:  # checks refuse the setting OIDC then
    IS_INSTALLED = False
    OIDCAuthenticationBackend = OIDCAuthenticationCallbackView = OIDCAuthenticationRequestView = object
else:
    IS_INSTALLED = True

logger = logging.getLogger(__name__)

_TIMEOUT = 10  # seconds for each question
_PLACES = {
    "OIDC_OP_AUTHORIZATION_ENDPOINT": "authorization_endpoint",
    "OIDC_OP_TOKEN_ENDPOINT": "token_endpoint",
    "OIDC_OP_USER_ENDPOINT": "userinfo_endpoint",
    "OIDC_OP_JWKS_ENDPOINT": "jwks_uri",
}
_FIXED = {"OIDC_TIMEOUT": _TIMEOUT, "OIDC_USE_PKCE": True}
_OURS = {
    "OIDC_RP_CLIENT_ID": "client_id",
    "OIDC_RP_CLIENT_SECRET": "client_secret",
    "OIDC_RP_SIGN_ALGO": "algorithm",
    "OIDC_RP_SCOPES": "scopes",
}


@lru_cache(maxsize=4)
def _places(issuer: str) -> dict[str, str]:
    """Return what the provider says about its addresses; asked for once, at the first log-in."""
    answer = requests.get(f"{issuer.rstrip('/')}/.well-known/openid-configuration", timeout=_TIMEOUT)
    answer.raise_for_status()
    found: dict[str, str] = answer.json()
    if found["issuer"] != issuer:
        raise ValueError(f"the provider calls itself {found['issuer']!r}, the setting OIDC {issuer!r}")
    return found


def _setting(name: str, *default: Any) -> Any:
    """Return a setting of mozilla-django-oidc, from our setting OIDC or the provider's own description."""
    if name in _PLACES:
        return _places(settings.OIDC["issuer"])[_PLACES[name]]
    if name in _OURS:
        return settings.OIDC[_OURS[name]]
    return _FIXED[name] if name in _FIXED else getattr(settings, name, *default)


class OidcBackend(SessionBackend, OIDCAuthenticationBackend):  # type: ignore[misc]  # it has no annotations
    """Take a person whom the provider has logged in."""

    get_settings = staticmethod(_setting)

    def __init__(self) -> None:
        """Ask nobody: each request of a session makes a backend."""

    def __getattr__(self, name: str) -> Any:
        """Return what the base class reads in its constructor."""
        if name in _PLACES or name in _OURS or name == "OIDC_RP_IDP_SIGN_KEY":
            return None if name == "OIDC_RP_IDP_SIGN_KEY" else _setting(name)
        raise AttributeError(name)

    def authenticate(self, request: Any, nonce: str = "", code_verifier: str | None = None) -> User | None:  # type: ignore[override]
        """Return the user of an answer of the provider; raise what it or the network does wrong."""
        found: User | None = OIDCAuthenticationBackend.authenticate(
            self, request, nonce=nonce, code_verifier=code_verifier
        )
        return found

    def retrieve_matching_jwk(self, token: str) -> Any:
        """Return the provider's key for a token, whose header need not have the id of the key if there is only one."""
        header = jwt.get_unverified_header(token)
        answer = requests.get(_setting("OIDC_OP_JWKS_ENDPOINT"), timeout=_TIMEOUT)
        answer.raise_for_status()
        fitting = [
            key
            for key in answer.json()["keys"]
            if key.get("alg", header["alg"]) == header["alg"]
            and key.get("use", "sig") == "sig"
            and key.get("kid") == header.get("kid", key.get("kid"))
        ]
        if len(fitting) != 1:
            raise SuspiciousOperation(f"the provider has {len(fitting)} keys for its token: expected one")
        return jwt.PyJWK(fitting[0], algorithm=header["alg"])

    def get_or_create_user(self, access_token: str, id_token: str, payload: dict[str, Any]) -> User | None:
        """Return the user whom the claims name, created if need be; None for one who is inactive."""
        audience = payload.get("aud")
        if payload.get("iss") != settings.OIDC["issuer"]:
            raise SuspiciousOperation("the token is of another issuer")
        if settings.OIDC["client_id"] not in (audience if isinstance(audience, list) else [audience]):
            raise SuspiciousOperation("the token is for another client")
        told = self.get_userinfo(access_token, id_token, payload)
        if told.get("sub") != payload.get("sub"):
            raise SuspiciousOperation("the token and the user's claims are of different persons")
        claims = payload | told
        username, groups = (claims.get(settings.OIDC[key]) for key in ("username_claim", "groups_claim"))
        if not isinstance(username, str):
            raise SuspiciousOperation(f"there is no claim {settings.OIDC['username_claim']}")
        groups = groups if isinstance(groups, list) else [groups]
        return arrive(
            username=username,
            groups=[group for group in groups if isinstance(group, str)],
            name=str(claims.get("name") or ""),
            email=str(claims.get("email") or ""),
        )


class AuthenticationView(OIDCAuthenticationRequestView):  # type: ignore[misc]
    """Send a person to the provider."""

    get_settings = staticmethod(_setting)

    def __init__(self, **options: Any) -> None:
        """Ask nobody yet."""

    def get(self, request: HttpRequest) -> HttpResponse:
        """Redirect to the provider; to the log-in page if it cannot be asked."""
        try:
            self.OIDC_OP_AUTH_ENDPOINT = _setting("OIDC_OP_AUTHORIZATION_ENDPOINT")
            self.OIDC_RP_CLIENT_ID = _setting("OIDC_RP_CLIENT_ID")
            answer: HttpResponse = super().get(request)
        except (requests.RequestException, KeyError, ValueError) as error:
            return _failed(request, error)
        return answer


class CallbackView(OIDCAuthenticationCallbackView):  # type: ignore[misc]
    """Take a person who comes back from the provider."""

    get_settings = staticmethod(_setting)

    def get(self, request: HttpRequest) -> HttpResponse:
        """Log in, or lead to the log-in page with a message."""
        try:
            answer: HttpResponse = super().get(request)
        except (
            requests.RequestException,
            jwt.PyJWTError,
            SuspiciousOperation,
            AccountError,
            KeyError,
            TypeError,
            ValueError,
        ) as error:
            return _failed(request, error)
        return answer

    def login_failure(self) -> HttpResponse:
        """Lead to the log-in page."""
        return _failed(self.request, self.request.GET.get("error", "refused")[:80])


def _failed(request: HttpRequest, reason: object) -> HttpResponse:
    logger.warning("log-in by OpenID Connect failed from %s: %s", client_address(request), reason)
    messages.error(request, f"The log-in at {settings.OIDC['name']} failed. Try again, or ask an administrator.")
    return redirect(settings.LOGIN_URL)
