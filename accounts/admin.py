"""The admin site's pages of users and API tokens; admins only."""

import shlex
from collections.abc import Iterable
from typing import TYPE_CHECKING, Any

from django.contrib import admin, messages
from django.contrib.admin import SimpleListFilter
from django.contrib.admin.options import ShowFacets
from django.contrib.auth.admin import UserAdmin as DjangoUserAdmin
from django.contrib.auth.models import Group
from django.core.exceptions import PermissionDenied
from django.db.models import Q, QuerySet
from django.http import HttpRequest, HttpResponse, HttpResponseBase, HttpResponseRedirect
from django.shortcuts import redirect
from django.template.response import TemplateResponse
from django.urls import URLPattern, path, reverse
from django.utils import timezone
from django.utils.html import format_html
from django.utils.safestring import SafeString
from django.views.decorators.http import require_POST

from accounts import services
from accounts.exceptions import AccountError
from accounts.forms import TokenForm, UserAddForm, UserEditForm
from accounts.models import ApiToken, Role, User

if TYPE_CHECKING:
    UserModelAdmin = DjangoUserAdmin[User]
    TokenModelAdmin = admin.ModelAdmin[ApiToken]
else:
    UserModelAdmin = DjangoUserAdmin
    TokenModelAdmin = admin.ModelAdmin

admin.site.unregister(Group)  # permissions follow from roles, see accounts.backends

_MOST_NAMED = 5


class RoleFilter(SimpleListFilter):
    """Users that have a role."""

    title = "role"
    parameter_name = "role"

    def lookups(self, request: HttpRequest, model_admin: Any) -> list[tuple[str, str]]:
        """Return the roles."""
        return [(role, role) for role in Role.values]

    def queryset(self, request: HttpRequest, queryset: QuerySet[User]) -> QuerySet[User]:
        """Limit to users with the role."""
        role = self.value()
        return queryset if role is None else queryset.filter(role_set__role=role)


class StatusFilter(SimpleListFilter):
    """Tokens by what became of them."""

    title = "status"
    parameter_name = "status"

    def lookups(self, request: HttpRequest, model_admin: Any) -> list[tuple[str, str]]:
        """Return the choices."""
        return [("valid", "not revoked, not expired"), ("expired", "expired"), ("revoked", "revoked")]

    def queryset(self, request: HttpRequest, queryset: QuerySet[ApiToken]) -> QuerySet[ApiToken]:
        """Limit to the chosen tokens; a revoked one is revoked whatever its expiry says."""
        expired = Q(expires_at__lte=timezone.now())
        conditions = {
            "valid": Q(revoked_at=None) & ~expired,
            "expired": Q(revoked_at=None) & expired,
            "revoked": Q(revoked_at__isnull=False),
        }
        return queryset.filter(conditions.get(self.value() or "", Q()))


@admin.register(User)
class UserAdmin(UserModelAdmin):
    """Users; each change goes through accounts.services, which keeps an active admin."""

    form = UserEditForm
    add_form = UserAddForm
    list_display = ("username", "name", "role_names", "project_names", "is_active", "last_login")
    list_filter = (RoleFilter, "is_active")
    show_facets = ShowFacets.NEVER
    search_fields = ("username", "name", "email")
    ordering = ("username",)
    filter_horizontal = ()
    actions = ("activate", "deactivate")
    fieldsets = (
        (None, {"fields": ("username", "name", "email", "password")}),
        ("Rights", {"fields": ("roles", "projects", "is_active")}),
        ("API tokens", {"fields": ("token_links",)}),
        ("Dates", {"fields": ("last_login", "date_joined")}),
    )
    add_fieldsets = (
        (None, {"fields": ("username", "name", "email", "usable_password", "password1", "password2")}),
        ("Rights", {"fields": ("roles", "projects")}),
    )

    def get_queryset(self, request: HttpRequest) -> QuerySet[User]:
        """Load roles and projects with the users."""
        return super().get_queryset(request).prefetch_related("role_set", "project_set")

    def get_readonly_fields(self, request: HttpRequest, obj: User | None = None) -> tuple[str, ...]:
        """Keep the username once it is given: jobs name their user by it."""
        return () if obj is None else ("username", "token_links", "last_login", "date_joined")

    def get_actions(self, request: HttpRequest) -> dict[str, Any]:
        """Leave out deleting many: users are deactivated, and deleted one by one."""
        return {name: action for name, action in super().get_actions(request).items() if name != "delete_selected"}

    def changelist_view(self, request: HttpRequest, extra_context: dict[str, Any] | None = None) -> Any:
        """Show the list under its own title."""
        return super().changelist_view(request, {"title": "Users", **(extra_context or {})})

    @admin.display(description="Roles")
    def role_names(self, user: User) -> str:
        """Show the roles."""
        return ", ".join(user.roles) or "none"

    @admin.display(description="Managed projects")
    def project_names(self, user: User) -> str:
        """Show the first projects."""
        more = len(user.projects) - _MOST_NAMED
        return ", ".join(user.projects[:_MOST_NAMED]) + (f" and {more} more" if more > 0 else "") or "none"

    @admin.display(description="Tokens")
    def token_links(self, user: User) -> SafeString:
        """Link to the user's tokens and to the form of a new one."""
        listed = reverse("admin:accounts_apitoken_changelist", query={"user__id__exact": user.pk})
        new = reverse("admin:accounts_apitoken_add", query={"user": user.pk})
        count = user.tokens.count()
        text = f"{count} token{'' if count == 1 else 's'}"
        return format_html('<a href="{}">{}</a> · <a href="{}">Create a token</a>', listed, text, new)

    @admin.action(description="Activate selected users", permissions=["change"])
    def activate(self, request: HttpRequest, queryset: QuerySet[User]) -> None:
        """Let the users log in again."""
        self._set_active(request, queryset, active=True)

    @admin.action(description="Deactivate selected users", permissions=["change"])
    def deactivate(self, request: HttpRequest, queryset: QuerySet[User]) -> None:
        """Stop log-ins and tokens of the users."""
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
        words = f"{changed} user{'' if changed == 1 else 's'} {'activated' if active else 'deactivated'}."
        self.message_user(request, words, messages.SUCCESS if changed else messages.INFO)

    def changeform_view(
        self,
        request: HttpRequest,
        object_id: str | None = None,
        form_url: str = "",
        extra_context: dict[str, Any] | None = None,
    ) -> Any:
        """Show the form; what the rules refuse only now, because others changed users meanwhile, is a message."""
        try:
            return super().changeform_view(request, object_id, form_url, extra_context)
        except AccountError as error:
            self.message_user(request, str(error), messages.ERROR)
            return HttpResponseRedirect(request.get_full_path())

    def save_model(self, request: HttpRequest, obj: User, form: Any, change: bool) -> None:  # noqa: FBT001
        """Store by the services."""
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
        """Say what goes with a user."""
        lines: list[Any] = [f"user {user.username} and {user.tokens.count()} API tokens" for user in objs]
        lines.append("The jobs stay. Consider deactivating the user instead: nothing is lost then.")
        return lines, {"users": len(objs)}, set(), []

    def delete_view(self, request: HttpRequest, object_id: str, extra_context: Any = None) -> Any:
        """Delete one user; a refusal leads back to the user with its reason."""
        try:
            return super().delete_view(request, object_id, extra_context)
        except AccountError as error:
            self.message_user(request, str(error), messages.ERROR)
            return redirect("admin:accounts_user_change", object_id)

    def delete_model(self, request: HttpRequest, obj: User) -> None:
        """Delete by the service."""
        assert isinstance(request.user, User)
        services.delete_user(username=obj.username, actor=request.user)


@admin.register(ApiToken)
class ApiTokenAdmin(TokenModelAdmin):
    """Tokens are made and revoked here, never edited; a revoked one stays listed."""

    form = TokenForm
    list_display = ("prefix", "user", "name", "coloured_status", "created_at", "expiry", "last_used", "network_list")
    list_display_links = ("prefix",)
    list_filter = (StatusFilter,)
    show_facets = ShowFacets.NEVER
    list_select_related = ("user",)
    list_per_page = 100
    search_fields = ("prefix", "name", "user__username")
    ordering = ("-created_at", "-id")
    autocomplete_fields = ("user",)
    actions = ("revoke",)
    change_form_template = "admin/accounts/apitoken/change_form.html"

    def changelist_view(self, request: HttpRequest, extra_context: dict[str, Any] | None = None) -> Any:
        """Show the list under its own title."""
        return super().changelist_view(request, {"title": "API tokens", **(extra_context or {})})

    def get_form(
        self,
        request: HttpRequest,
        obj: ApiToken | None = None,
        change: bool = False,  # noqa: FBT001, FBT002  Django's signature
        **kwargs: Any,
    ) -> Any:
        """Leave advice on what to enter out where nothing is entered."""
        if obj is not None:
            kwargs["help_texts"] = {"name": ""}
        return super().get_form(request, obj, change, **kwargs)

    def get_fields(self, request: HttpRequest, obj: ApiToken | None = None) -> tuple[str, ...]:
        """Return what the form asks for, or what the page of a token shows."""
        if obj is None:
            return ("user", "name", "days", "networks")
        return ("user", "name", "prefix", "coloured_status", "created_at", "expiry", "last_used", "network_list")

    def has_change_permission(self, request: HttpRequest, obj: ApiToken | None = None) -> bool:
        """Tokens are not edited."""
        return False

    def has_delete_permission(self, request: HttpRequest, obj: ApiToken | None = None) -> bool:
        """Tokens stay listed; revoking takes them out of use."""
        return False

    def has_revoke_permission(self, request: HttpRequest) -> bool:
        """Tell who may revoke."""
        return request.user.has_perm("accounts.change_apitoken")

    def lookup_allowed(self, lookup: str, value: str, request: HttpRequest) -> bool:
        """Let links choose a user; digests are not to be searched for."""
        return not lookup.startswith("digest") and super().lookup_allowed(lookup, value, request)

    @admin.display(description="Status")
    def coloured_status(self, token: ApiToken) -> SafeString:
        """Show the status as a coloured word."""
        return format_html('<span class="pill pill-{}">{}</span>', token.status.replace(" ", "-"), token.status)

    @admin.display(description="Expires", ordering="expires_at")
    def expiry(self, token: ApiToken) -> Any:
        """Show when it expires."""
        return token.expires_at or "never"

    @admin.display(description="Last used", ordering="last_used_at")
    def last_used(self, token: ApiToken) -> Any:
        """Show when it was last used, to the minute."""
        return token.last_used_at or "never"

    @admin.display(description="Networks")
    def network_list(self, token: ApiToken) -> str:
        """Show where it may be used."""
        return ", ".join(token.networks) or "any"

    def get_urls(self) -> list[URLPattern]:
        """Add the revoke button's address."""
        revoke = self.admin_site.admin_view(require_POST(self.revoke_view))
        return [path("<int:token_id>/revoke/", revoke, name="accounts_apitoken_revoke"), *super().get_urls()]

    def save_form(self, request: HttpRequest, form: Any, change: bool) -> ApiToken:  # noqa: FBT001
        """Create the token; its secret lives on the returned object until the answer is written."""
        token, secret = form.issue()
        token.secret = secret
        return token  # type: ignore[no-any-return]

    def save_model(self, request: HttpRequest, obj: ApiToken, form: Any, change: bool) -> None:  # noqa: FBT001
        """Do nothing: `save_form` has stored the token."""

    def save_related(self, request: HttpRequest, form: Any, formsets: Any, change: bool) -> None:  # noqa: FBT001
        """Do nothing: a token has no related rows."""

    def response_add(self, request: HttpRequest, obj: ApiToken, post_url_continue: str | None = None) -> HttpResponse:
        """Show the new token, this once: it goes into this answer and nowhere else."""
        secret: str = obj.secret  # type: ignore[attr-defined]  # set by save_form
        address = request.build_absolute_uri("/api/jobs/?items-per-page=5")
        context = {
            **self.admin_site.each_context(request),
            "opts": self.opts,
            "title": "The new API token",
            "token": obj,
            "secret": secret,
            "curl": f"curl -H {shlex.quote(f'X-Auth-Token: {secret}')} {shlex.quote(address)}",
            "lacks_api": not obj.user.has_role(Role.API),
        }
        headers = {"Cache-Control": "no-store"}
        return TemplateResponse(request, "admin/accounts/apitoken/created.html", context, headers=headers)

    def render_change_form(self, request: HttpRequest, context: Any, *args: Any, **kwargs: Any) -> Any:
        """Tell the page whether to offer revoking."""
        token = context.get("original")
        context["may_revoke"] = bool(token) and token.revoked_at is None and self.has_revoke_permission(request)
        context["title"] = "API token" if token else "Create an API token"
        context |= {"show_save_and_add_another": False, "show_save_and_continue": False}
        return super().render_change_form(request, context, *args, **kwargs)

    @admin.action(description="Revoke selected tokens", permissions=["revoke"])
    def revoke(self, request: HttpRequest, queryset: QuerySet[ApiToken]) -> None:
        """Take the tokens out of use."""
        revoked = [token for token in queryset if token.revoke()]
        for token in revoked:
            self.log_change(request, token, "Revoked.")
        text = f"{len(revoked)} token{'' if len(revoked) == 1 else 's'} revoked; every worker refuses within 30 s."
        self.message_user(request, text, messages.SUCCESS if revoked else messages.INFO)

    def revoke_view(self, request: HttpRequest, token_id: int) -> HttpResponseBase:
        """Take one token out of use."""
        if not self.has_revoke_permission(request):
            raise PermissionDenied
        self.revoke(request, ApiToken.objects.filter(pk=token_id).select_related("user"))
        return redirect("admin:accounts_apitoken_change", token_id)
