"""The admin site's pages of users and API tokens; importing this registers them."""

from django.contrib import admin
from django.contrib.auth.models import Group

from accounts.admin.tokens import ApiTokenAdmin
from accounts.admin.users import UserAdmin

__all__ = ["ApiTokenAdmin", "UserAdmin"]

admin.site.unregister(Group)  # permissions follow from roles, see accounts.backends
