"""Permissions for the operations of the API."""

from typing import Any

from django.conf import settings
from django.contrib.auth.models import AnonymousUser
from rest_framework import permissions
from rest_framework.request import Request

from accounts.addresses import client_address, is_listed
from accounts.api.authentication import caller
from accounts.exceptions import AddressRefusedError
from accounts.models import Role


class Denied(permissions.BasePermission):
    """Refuse everybody: the default for a view without permission classes."""

    def has_permission(self, request: Request, view: Any) -> bool:
        """Return False."""
        return False


class HasApiRole(permissions.BasePermission):
    """Require the literal role api."""

    message = "missing role: api"

    def has_permission(self, request: Request, view: Any) -> bool:
        """Return whether the caller has the role."""
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
        address = client_address(request._request)
        if not is_listed(address, settings.API_ALLOWED_IPS):
            raise AddressRefusedError(f"address {address} is not allowed here, see API_ALLOWED_IPS")
        return True
