"""Paths of the users operations, each with and without its trailing slash."""

from django.urls import re_path

from accounts.api.views import UsersViewSet

urlpatterns = [
    re_path(
        r"^users/?$",
        UsersViewSet.as_view(
            {"get": "list_users", "post": "create_user", "put": "create_user", "delete": "delete_user"}
        ),
    ),
    re_path(r"^user/(?P<id>[^/]+)/?$", UsersViewSet.as_view({"post": "update_user"})),
]
