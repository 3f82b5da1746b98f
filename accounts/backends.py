"""Django permissions, derived from roles."""

from typing import Any

from django.conf import settings
from django.contrib.auth.backends import ModelBackend
from django.http import HttpRequest

from accounts.models import User


class RoleBackend(ModelBackend):
    """Log in by password; derive permissions from roles instead of Django's permissions and groups."""

    def get_all_permissions(self, user_obj: Any, obj: Any = None) -> set[str]:
        """Return the permissions of the user's roles; none if the user is inactive or `obj` is given."""
        if not isinstance(user_obj, User) or not user_obj.is_active or obj is not None:
            return set()
        return {permission for role in user_obj.roles for permission in settings.ROLE_PERMISSIONS.get(role, ())}

    def has_perm(self, user_obj: Any, perm: str, obj: Any = None) -> bool:
        """Return whether one of the user's roles grants the permission."""
        return perm in self.get_all_permissions(user_obj, obj)


class SessionBackend(ModelBackend):
    """Stands in the sessions of those who have logged in elsewhere; it checks no password and gives no permission."""

    def authenticate(self, request: Any, **credentials: Any) -> Any:  # type: ignore[override]
        """Return None."""
        return None

    def get_user(self, user_id: int) -> User | None:
        """Return the user of a session, unless it is inactive; whatever a library's backend does."""
        return User.objects.filter(pk=user_id, is_active=True).first()

    def get_all_permissions(self, user_obj: Any, obj: Any = None) -> set[str]:
        """Return none."""
        return set()


def has_no_username(request: HttpRequest, credentials: dict[str, Any] | None = None) -> bool:
    """Return whether a log-in is one without name and password, which django-axes cannot count by name."""
    return not (credentials and credentials.get("username"))
