"""The log-in of a proxy in front of the server: the header REMOTE_USER_HEADER, from TRUSTED_PROXIES alone."""

import logging
import re
from collections.abc import Callable

from django.conf import settings
from django.contrib.auth import login, logout
from django.http import HttpRequest, HttpResponse

from accounts.addresses import UNIX_PEER, client_address, is_listed
from accounts.exceptions import AccountError
from accounts.log_in.directory import arrive

logger = logging.getLogger(__name__)

BACKEND = "accounts.backends.SessionBackend"
_GROUPS = "proxy_groups"  # in the session: as the proxy sent them


class ProxyLogIn:
    """Middleware that logs in whom a trusted proxy names.

    Roles and projects follow the groups at each log-in, and when the proxy sends other groups. A request without the
    header leaves the session as it is, for proxies that ask for a log-in at some paths only.
    """

    def __init__(self, get_response: Callable[[HttpRequest], HttpResponse]) -> None:
        """Keep the next handler."""
        self.get_response = get_response

    def __call__(self, request: HttpRequest) -> HttpResponse:
        """Answer the request, as the person whom the proxy names."""
        username = _header(request, settings.REMOTE_USER_HEADER)
        if username and is_listed(request.META.get("REMOTE_ADDR") or UNIX_PEER, settings.TRUSTED_PROXIES):
            _log_in(request, username, _header(request, settings.REMOTE_GROUPS_HEADER))
        return self.get_response(request)


def _header(request: HttpRequest, name: str) -> str:
    return request.headers.get(name, "").strip() if name else ""


def _log_in(request: HttpRequest, username: str, groups: str) -> None:
    if request.user.is_authenticated:
        is_same = request.user.get_username() == username
        if is_same and request.session.get(_GROUPS, groups) == groups:
            return
        if not is_same:
            logout(request)
    try:
        user = arrive(username=username, groups=[group for group in re.split(r"\s*[,;]\s*", groups) if group])
    except AccountError as error:
        logger.warning("log-in by the proxy refused from %s: %s", client_address(request), error)
        return
    if user is None:
        logout(request)
        return
    login(request, user, backend=BACKEND)
    request.session[_GROUPS] = groups
