"""Permissions for the operations of the API."""

from collections.abc import Mapping, Sequence
from typing import Any, cast

from django.conf import settings
from django.contrib.auth.models import AnonymousUser
from rest_framework import permissions
from rest_framework.exceptions import PermissionDenied
from rest_framework.request import Request

from accounts.addresses import client_address, is_listed
from accounts.api.authentication import caller
from accounts.credentials import Credential
from accounts.exceptions import AddressRefusedError
from accounts.models import Role, TokenScope


class Denied(permissions.BasePermission):
    """Refuse everybody: the default for a view without permission classes."""

    def has_permission(self, request: Request, view: Any) -> bool:
        """Return False."""
        return False


def is_in_scope(token: Credential, scopes: Mapping[str, Sequence[str]], action: str) -> bool:
    """Return whether the token's scope allows an action of a view with these `scopes`."""
    return token.scope == TokenScope.ALL or token.scope in scopes.get(action, ())


def check_limits(token: Credential, view: Any) -> None:
    """Raise PermissionDenied if the token's scope or clusters do not allow the call."""
    if not is_in_scope(token, view.scopes, view.action):
        raise PermissionDenied(f"this token has the scope {token.scope}, which does not allow {view.action}")
    if token.clusters:
        view.limit_to(token.clusters)


class HasApiRole(permissions.BasePermission):
    """Require the literal role api; with a token of scope read a person may do without it in some operations."""

    message = "missing role: api"

    def has_permission(self, request: Request, view: Any) -> bool:
        """Return whether the caller has the role; raise PermissionDenied if the token does not allow the call."""
        token: Credential | None = request.auth  # type: ignore[assignment]  # of our own class
        if token is not None and token.is_limited:
            check_limits(token, view)
            if token.scope == TokenScope.READ and view.action in view.for_persons:
                return True
        return caller(request).has_role(Role.API)


class IsMetricStoreOrHasApiRole(HasApiRole):
    """Require the literal role api of callers that MetricStoreAuthentication does not accept."""

    def has_permission(self, request: Request, view: Any) -> bool:
        """Return whether the caller may ask a metric store's question."""
        return isinstance(request.user, AnonymousUser) or super().has_permission(request, view)


class HasAdminRole(permissions.BasePermission):
    """Require the role admin and an address in API_ALLOWED_IPS."""

    message = "missing role: admin"

    def has_permission(self, request: Request, view: Any) -> bool:
        """Return whether the caller has the role; raise AddressRefusedError if its address is not allowed."""
        if not caller(request).has_role(Role.ADMIN):
            return False
        if request.auth is not None:
            check_limits(cast("Credential", request.auth), view)
        address = client_address(request._request)
        if not is_listed(address, settings.API_ALLOWED_IPS):
            raise AddressRefusedError(f"address {address} is not allowed here, see API_ALLOWED_IPS")
        return True
