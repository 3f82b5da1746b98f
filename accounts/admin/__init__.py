"""Admin pages for users and API tokens."""

from django.contrib import admin
from django.contrib.auth.models import Group

from accounts.admin import tokens, users  # noqa: F401  importing them registers the pages

admin.site.unregister(Group)  # permissions follow from roles, see accounts.backends
