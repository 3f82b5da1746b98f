"""Admin pages for the API tokens of all users; for administrators only."""

from typing import TYPE_CHECKING, Any

from django.contrib import admin, messages
from django.contrib.admin import SimpleListFilter
from django.contrib.admin.options import ShowFacets
from django.core.exceptions import PermissionDenied
from django.db.models import Q, QuerySet
from django.http import HttpRequest, HttpResponseBase
from django.shortcuts import get_object_or_404, redirect
from django.urls import URLPattern, path
from django.utils import timezone
from django.utils.safestring import SafeString
from django.views.decorators.http import require_POST

from accounts import credentials, services
from accounts.admin import display
from accounts.admin.own_tokens import own_tokens, revoke_own_token
from accounts.formatting import quantity
from accounts.models import ApiToken

if TYPE_CHECKING:
    TokenModelAdmin = admin.ModelAdmin[ApiToken]
else:
    TokenModelAdmin = admin.ModelAdmin


class StatusFilter(SimpleListFilter):
    """Filter tokens by status."""

    title = "status"
    parameter_name = "status"

    def lookups(self, request: HttpRequest, model_admin: Any) -> list[tuple[str, str]]:
        """Return the choices."""
        return [("valid", "not revoked, not expired"), ("expired", "expired"), ("revoked", "revoked")]

    def queryset(self, request: HttpRequest, queryset: QuerySet[ApiToken]) -> QuerySet[ApiToken]:
        """Apply the choice; a revoked token counts as revoked even if it has expired."""
        expired = Q(expires_at__lte=timezone.now())
        conditions = {
            "valid": Q(revoked_at=None) & ~expired,
            "expired": Q(revoked_at=None) & expired,
            "revoked": Q(revoked_at__isnull=False),
        }
        return queryset.filter(conditions.get(self.value() or "", Q()))


@admin.register(ApiToken)
class ApiTokenAdmin(TokenModelAdmin):
    """List and revoke tokens; they cannot be edited, and revoked ones stay in the list."""

    list_display = (
        "prefix",
        "user",
        "name",
        "coloured_status",
        "reach",
        "created",
        "expiry",
        "last_used",
        "network_list",
    )
    list_display_links = ("prefix",)
    list_filter = (StatusFilter,)
    show_facets = ShowFacets.NEVER
    list_select_related = ("user",)
    list_per_page = 100
    search_fields = ("prefix", "name", "user__username")
    ordering = ("-created_at", "-id")
    fields = ("user", "name", "prefix", "coloured_status", "reach", "created", "expiry", "last_used", "network_list")
    actions = ("revoke",)
    change_form_template = "admin/accounts/apitoken/change_form.html"

    def changelist_view(self, request: HttpRequest, extra_context: dict[str, Any] | None = None) -> Any:
        """Set the title of the page."""
        return super().changelist_view(request, {"title": "API tokens", **(extra_context or {})})

    def has_add_permission(self, request: HttpRequest) -> bool:
        """Refuse: tokens are created on the page of their user."""
        return False

    def has_change_permission(self, request: HttpRequest, obj: ApiToken | None = None) -> bool:
        """Refuse: tokens are not edited."""
        return False

    def has_delete_permission(self, request: HttpRequest, obj: ApiToken | None = None) -> bool:
        """Refuse: tokens are revoked and stay listed."""
        return False

    def has_revoke_permission(self, request: HttpRequest) -> bool:
        """Return whether the user may revoke tokens."""
        return request.user.has_perm("accounts.change_apitoken")

    def lookup_allowed(self, lookup: str, value: str, request: HttpRequest) -> bool:
        """Allow only the filter, and the links that select a user."""
        return lookup in (StatusFilter.parameter_name, "user__id__exact")

    @admin.display(description="Status")
    def coloured_status(self, token: ApiToken) -> SafeString:
        """Show the status as a coloured word."""
        return display.status(token)

    @admin.display(description="Scope", ordering="scope")
    def reach(self, token: ApiToken) -> str:
        """Show the scope and the clusters."""
        return token.reach

    @admin.display(description="Created", ordering="created_at")
    def created(self, token: ApiToken) -> SafeString | str:
        """Show when the token was created."""
        return display.time_or_never(token.created_at)

    @admin.display(description="Expires", ordering="expires_at")
    def expiry(self, token: ApiToken) -> SafeString | str:
        """Show when the token expires."""
        return display.time_or_never(token.expires_at)

    @admin.display(description="Last used", ordering="last_used_at")
    def last_used(self, token: ApiToken) -> SafeString | str:
        """Show when the token was last used, to the minute."""
        return display.time_or_never(token.last_used_at)

    @admin.display(description="Networks")
    def network_list(self, token: ApiToken) -> str:
        """Show the networks from which the token may be used."""
        return display.networks(token)

    def get_urls(self) -> list[URLPattern]:
        """Add the revoke view and the pages of the user's own tokens."""
        view = self.admin_site.admin_view
        return [
            path("own/", view(own_tokens), name="accounts_apitoken_own"),
            path("own/<int:token_id>/revoke/", view(revoke_own_token), name="accounts_apitoken_revoke_own"),
            path("<int:token_id>/revoke/", view(require_POST(self.revoke_view)), name="accounts_apitoken_revoke"),
            *super().get_urls(),
        ]

    def render_change_form(self, request: HttpRequest, context: Any, *args: Any, **kwargs: Any) -> Any:
        """Add the title and whether to offer revoking."""
        token = context.get("original")
        context["may_revoke"] = bool(token) and token.revoked_at is None and self.has_revoke_permission(request)
        context["title"] = "API token"
        return super().render_change_form(request, context, *args, **kwargs)

    @admin.action(description="Revoke selected tokens", permissions=["revoke"])
    def revoke(self, request: HttpRequest, queryset: QuerySet[ApiToken]) -> None:
        """Revoke the selected tokens."""
        revoked = [token for token in queryset if services.revoke_token(token=token)]
        for token in revoked:
            self.log_change(request, token, "Revoked.")
        number, seconds = quantity(len(revoked), "token"), credentials.CACHED
        text = f"{number} revoked; all server processes refuse them within {seconds} s."
        self.message_user(request, text, messages.SUCCESS if revoked else messages.INFO)

    def revoke_view(self, request: HttpRequest, token_id: int) -> HttpResponseBase:
        """Revoke one token."""
        if not self.has_revoke_permission(request):
            raise PermissionDenied
        token = get_object_or_404(ApiToken, pk=token_id)
        self.revoke(request, ApiToken.objects.filter(pk=token_id).select_related("user"))
        if request.POST.get("back") == "user":
            return redirect("admin:accounts_user_change", token.user_id)
        return redirect("admin:accounts_apitoken_change", token_id)
