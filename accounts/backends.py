"""Django permissions that follow from roles."""

from typing import Any

from django.contrib.auth.backends import ModelBackend

from accounts.models import Role, User

# What each role may do in the admin site beyond its own rows; admin (superuser) may do everything. Which jobs somebody
# sees is decided by JobQuerySet.visible_to alone.
_PERMISSIONS: dict[str, frozenset[str]] = {
    Role.USER: frozenset({"jobs.view_job"}),
    Role.MANAGER: frozenset({"jobs.view_job", "jobs.tag_job", "jobs.view_tag"}),
    Role.SUPPORT: frozenset({"jobs.view_job", "jobs.tag_job", "jobs.annotate_job", "jobs.view_tag", "jobs.add_tag"}),
}


class RoleBackend(ModelBackend):
    """Log in by password; derive permissions from the roles, not from rows of permissions and groups."""

    def get_all_permissions(self, user_obj: Any, obj: Any = None) -> set[str]:
        """Return what the user's roles allow; nothing for an inactive user or for one row."""
        if not isinstance(user_obj, User) or not user_obj.is_active or obj is not None:
            return set()
        return {permission for role in user_obj.roles for permission in _PERMISSIONS.get(role, ())}

    def has_perm(self, user_obj: Any, perm: str, obj: Any = None) -> bool:
        """Tell whether one of the roles allows it."""
        return perm in self.get_all_permissions(user_obj, obj)
