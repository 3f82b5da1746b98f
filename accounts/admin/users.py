"""Admin pages for users and their tokens; for administrators only."""

from collections.abc import Iterable
from typing import TYPE_CHECKING, Any

from django.contrib import admin, messages
from django.contrib.admin import SimpleListFilter
from django.contrib.admin.models import ADDITION, LogEntry
from django.contrib.admin.options import ShowFacets
from django.contrib.auth.admin import UserAdmin as DjangoUserAdmin
from django.core.exceptions import PermissionDenied
from django.db.models import QuerySet
from django.http import Http404, HttpRequest, HttpResponseBase, HttpResponseRedirect
from django.shortcuts import redirect
from django.template.response import TemplateResponse
from django.urls import URLPattern, path, reverse
from django.utils.safestring import SafeString
from django.views.decorators.http import require_POST

from accounts import services
from accounts.admin import display, importing
from accounts.admin.forms import NewPasswordForm, NewTokenForm, UserAddForm, UserEditForm
from accounts.admin.racing import RacingAdmin
from accounts.exceptions import AccountError
from accounts.formatting import quantity
from accounts.models import Role, User

if TYPE_CHECKING:
    UserModelAdmin = DjangoUserAdmin[User]
else:
    UserModelAdmin = DjangoUserAdmin

_MOST_PROJECTS = 5  # per user in the list
_MOST_TOKENS = 20  # on the page of a user


class RoleFilter(SimpleListFilter):
    """Filter users by role."""

    title = "role"
    parameter_name = "role"

    def lookups(self, request: HttpRequest, model_admin: Any) -> list[tuple[str, str]]:
        """Return the roles."""
        return [(role, role) for role in Role.values]

    def queryset(self, request: HttpRequest, queryset: QuerySet[User]) -> QuerySet[User]:
        """Keep the users with the chosen role."""
        role = self.value()
        return queryset if role is None else queryset.filter(role_set__role=role)


@admin.register(User)
class UserAdmin(RacingAdmin, UserModelAdmin):
    """Users; all changes go through accounts.services, which keeps at least one active admin."""

    form = UserEditForm
    add_form = UserAddForm
    change_password_form = NewPasswordForm
    list_display = ("username", "name", "role_names", "project_names", "is_active", "last_seen")
    list_filter = (RoleFilter, "is_active")
    show_facets = ShowFacets.NEVER
    search_fields = ("username", "name", "email")
    ordering = ("username",)
    filter_horizontal = ()
    actions = ("activate", "deactivate")
    refusals = (AccountError,)
    fieldsets = (
        (None, {"fields": ("username", "name", "email", "password")}),
        ("Rights", {"fields": ("roles", "projects", "is_active")}),
        ("Dates", {"fields": ("last_login", "date_joined")}),
    )
    add_fieldsets = (
        (None, {"fields": ("username", "name", "email", "usable_password", "password1", "password2")}),
        ("Rights", {"fields": ("roles", "projects")}),
    )

    def get_queryset(self, request: HttpRequest) -> QuerySet[User]:
        """Load roles and projects with the users."""
        return super().get_queryset(request).prefetch_related("role_set", "project_set")

    def lookup_allowed(self, lookup: str, value: str, request: HttpRequest) -> bool:
        """Allow only the filters."""
        return lookup in (RoleFilter.parameter_name, "is_active__exact")

    def get_readonly_fields(self, request: HttpRequest, obj: User | None = None) -> tuple[str, ...]:
        """Make the username of an existing user read-only: jobs refer to their user by it."""
        return () if obj is None else ("username", "last_login", "date_joined")

    def get_actions(self, request: HttpRequest) -> dict[str, Any]:
        """Leave out bulk deletion: users are deactivated, or deleted one by one."""
        return {name: action for name, action in super().get_actions(request).items() if name != "delete_selected"}

    def changelist_view(self, request: HttpRequest, extra_context: dict[str, Any] | None = None) -> Any:
        """Set the title of the page."""
        return super().changelist_view(request, {"title": "Users", **(extra_context or {})})

    @admin.display(description="Roles")
    def role_names(self, user: User) -> str:
        """Show the roles."""
        return ", ".join(user.roles) or "none"

    @admin.display(description="Managed projects")
    def project_names(self, user: User) -> str:
        """Show the first projects."""
        more = len(user.projects) - _MOST_PROJECTS
        return ", ".join(user.projects[:_MOST_PROJECTS]) + (f" and {more} more" if more > 0 else "") or "none"

    @admin.display(description="Last log-in", ordering="last_login")
    def last_seen(self, user: User) -> SafeString | str:
        """Show when the user last logged in to this site."""
        return display.time_or_never(user.last_login)

    def get_urls(self) -> list[URLPattern]:
        """Add the views behind the buttons of the user page."""
        view = self.admin_site.admin_view
        return [
            path("import/", view(self.import_view), name="accounts_user_import"),
            path("<int:user_id>/active/", view(require_POST(self.active_view)), name="accounts_user_active"),
            path("<int:user_id>/token/", view(require_POST(self.token_view)), name="accounts_user_token"),
            *super().get_urls(),
        ]

    def render_change_form(self, request: HttpRequest, context: Any, *args: Any, **kwargs: Any) -> Any:
        """Add the user's tokens and the values for the buttons."""
        user: User | None = context.get("original")
        if user is not None:
            tokens, more = display.tokens_of(user, _MOST_TOKENS)
            context |= {
                "subtitle": None,
                "title": f"User {user.username}",
                "jobs_url": reverse("admin:jobs_job_changelist", query={"user": user.username}),
                "tokens": tokens,
                "all_tokens_url": reverse("admin:accounts_apitoken_changelist", query={"user__id__exact": user.pk})
                if more
                else "",
                "revoke_url": "admin:accounts_apitoken_revoke",
                "token_form": NewTokenForm(user, auto_id="token_%s"),
                "lacks_api": display.lacks_api(user),
                "may_delete": self.has_delete_permission(request, user),
                "show_delete": False,  # the page has its own link, which explains the consequences
                "show_save_and_add_another": False,
            }
        return super().render_change_form(request, context, *args, **kwargs)

    def import_view(self, request: HttpRequest) -> HttpResponseBase:
        """Import users from a file."""
        if not self.has_add_permission(request) or not self.has_change_permission(request):
            raise PermissionDenied
        return importing.import_view(request)

    def active_view(self, request: HttpRequest, user_id: int) -> HttpResponseBase:
        """Activate or deactivate a user."""
        user = self._user(request, user_id)
        self._set_active(request, [user], active=request.POST.get("active") == "1")
        return redirect("admin:accounts_user_change", user_id)

    def token_view(self, request: HttpRequest, user_id: int) -> HttpResponseBase:
        """Create a token for the user and show it once, or show the form with its errors."""
        user = self._user(request, user_id)
        back = (reverse("admin:accounts_user_change", args=[user_id]), f"User {user.username}")
        if not user.is_active:
            self.message_user(request, f"User {user.username} is inactive: activate the user first.", messages.ERROR)
            return redirect(back[0])
        form = NewTokenForm(user, request.POST, auto_id="token_%s")
        trail = [(reverse("admin:accounts_user_changelist"), "Users"), back]
        if form.is_valid():
            token, secret = form.issue()
            self.log_change(request, user, f"Created API token {token}.")
            LogEntry.objects.log_actions(request.user.pk, [token], ADDITION, "Created.")  # type: ignore[arg-type]
            return display.new_token_page(request, token, secret, {"trail": trail})
        context = {
            **self.admin_site.each_context(request),
            "title": f"Create an API token for {user.username}",
            "form": form,
            "create_url": request.get_full_path(),
            "lacks_api": display.lacks_api(user),
            "trail": trail,
        }
        return TemplateResponse(request, "admin/accounts/apitoken/create.html", context)

    def _user(self, request: HttpRequest, user_id: int) -> User:
        user = User.objects.filter(pk=user_id).first()
        if not self.has_change_permission(request, user):
            raise PermissionDenied
        if user is None:
            raise Http404
        return user

    @admin.action(description="Activate selected users", permissions=["change"])
    def activate(self, request: HttpRequest, queryset: QuerySet[User]) -> None:
        """Activate the selected users."""
        self._set_active(request, queryset, active=True)

    @admin.action(description="Deactivate selected users", permissions=["change"])
    def deactivate(self, request: HttpRequest, queryset: QuerySet[User]) -> None:
        """Deactivate the selected users."""
        self._set_active(request, queryset, active=False)

    def _set_active(self, request: HttpRequest, users: Iterable[User], *, active: bool) -> None:
        changed = 0
        for user in users:
            if user.is_active == active:
                continue
            try:
                services.set_active(user=user, active=active)
            except AccountError as error:
                self.message_user(request, str(error), messages.ERROR)
                continue
            self.log_change(request, user, "Activated." if active else "Deactivated.")
            changed += 1
        text = f"{quantity(changed, 'user')} {'activated' if active else 'deactivated'}."
        self.message_user(request, text, messages.SUCCESS if changed else messages.INFO)

    def changeform_view(
        self,
        request: HttpRequest,
        object_id: str | None = None,
        form_url: str = "",
        extra_context: dict[str, Any] | None = None,
    ) -> Any:
        """Show the form; a change that passes the form's checks and is refused all the same becomes a message."""
        try:
            return super().changeform_view(request, object_id, form_url, extra_context)
        except AccountError as error:
            self.message_user(request, str(error), messages.ERROR)
            return HttpResponseRedirect(request.get_full_path())

    def save_model(self, request: HttpRequest, obj: User, form: Any, change: bool) -> None:  # noqa: FBT001
        """Store the user through the services."""
        if isinstance(form, UserAddForm):
            obj.pk = form.create().pk
        elif isinstance(form, UserEditForm):
            form.apply()
        else:
            super().save_model(request, obj, form, change)

    def save_related(self, request: HttpRequest, form: Any, formsets: Any, change: bool) -> None:  # noqa: FBT001
        """Do nothing: roles and projects were stored with the user."""

    def get_deleted_objects(
        self, objs: Any, request: HttpRequest
    ) -> tuple[list[Any], dict[Any, int], set[str], list[Any]]:
        """Describe what is deleted with each user."""
        counts = [(user.username, user.tokens.count()) for user in objs]
        lines: list[Any] = [f"user {username} with {quantity(count, 'API token')}" for username, count in counts]
        return lines, {"users": len(objs)}, set(), []

    def delete_view(self, request: HttpRequest, object_id: str, extra_context: Any = None) -> Any:
        """Delete one user; if the service refuses, return to the user with the reason."""
        try:
            return super().delete_view(request, object_id, extra_context)
        except AccountError as error:
            self.message_user(request, str(error), messages.ERROR)
            return redirect("admin:accounts_user_change", object_id)

    def delete_model(self, request: HttpRequest, obj: User) -> None:
        """Delete the user through the service."""
        assert isinstance(request.user, User)
        services.delete_user(username=obj.username, actor=request.user)
