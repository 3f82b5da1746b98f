"""The pages of all API tokens; for administrators only."""

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

from accounts import services
from accounts.admin import display
from accounts.admin.own_tokens import own_tokens, revoke_own_token
from accounts.models import ApiToken

if TYPE_CHECKING:
    TokenModelAdmin = admin.ModelAdmin[ApiToken]
else:
    TokenModelAdmin = admin.ModelAdmin


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


@admin.register(ApiToken)
class ApiTokenAdmin(TokenModelAdmin):
    """Tokens are listed and revoked here, never edited; a revoked one stays listed."""

    list_display = ("prefix", "user", "name", "coloured_status", "created", "expiry", "last_used", "network_list")
    list_display_links = ("prefix",)
    list_filter = (StatusFilter,)
    show_facets = ShowFacets.NEVER
    list_select_related = ("user",)
    list_per_page = 100
    search_fields = ("prefix", "name", "user__username")
    ordering = ("-created_at", "-id")
    fields = ("user", "name", "prefix", "coloured_status", "created", "expiry", "last_used", "network_list")
    actions = ("revoke",)
    change_form_template = "admin/accounts/apitoken/change_form.html"

    def changelist_view(self, request: HttpRequest, extra_context: dict[str, Any] | None = None) -> Any:
        """Show the list under its own title."""
        return super().changelist_view(request, {"title": "API tokens", **(extra_context or {})})

    def has_add_permission(self, request: HttpRequest) -> bool:
        """Tokens are created on the page of their user."""
        return False

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
        return display.status(token)

    @admin.display(description="Created", ordering="created_at")
    def created(self, token: ApiToken) -> SafeString | str:
        """Show when it was created."""
        return display.moment(token.created_at)

    @admin.display(description="Expires", ordering="expires_at")
    def expiry(self, token: ApiToken) -> SafeString | str:
        """Show when it expires."""
        return display.moment(token.expires_at)

    @admin.display(description="Last used", ordering="last_used_at")
    def last_used(self, token: ApiToken) -> SafeString | str:
        """Show when it was last used, to the minute."""
        return display.moment(token.last_used_at)

    @admin.display(description="Networks")
    def network_list(self, token: ApiToken) -> str:
        """Show where it may be used."""
        return display.networks(token)

    def get_urls(self) -> list[URLPattern]:
        """Add the revoke button's address, and the page of everybody's own tokens."""
        view = self.admin_site.admin_view
        return [
            path("own/", view(own_tokens), name="accounts_apitoken_own"),
            path("own/<int:token_id>/revoke/", view(revoke_own_token), name="accounts_apitoken_revoke_own"),
            path("<int:token_id>/revoke/", view(require_POST(self.revoke_view)), name="accounts_apitoken_revoke"),
            *super().get_urls(),
        ]

    def render_change_form(self, request: HttpRequest, context: Any, *args: Any, **kwargs: Any) -> Any:
        """Tell the page whether to offer revoking."""
        token = context.get("original")
        context["may_revoke"] = bool(token) and token.revoked_at is None and self.has_revoke_permission(request)
        context["title"] = "API token"
        return super().render_change_form(request, context, *args, **kwargs)

    @admin.action(description="Revoke selected tokens", permissions=["revoke"])
    def revoke(self, request: HttpRequest, queryset: QuerySet[ApiToken]) -> None:
        """Take the tokens out of use."""
        revoked = [token for token in queryset if services.revoke_token(token=token)]
        for token in revoked:
            self.log_change(request, token, "Revoked.")
        text = f"{len(revoked)} token{'' if len(revoked) == 1 else 's'} revoked; every worker refuses within 30 s."
        self.message_user(request, text, messages.SUCCESS if revoked else messages.INFO)

    def revoke_view(self, request: HttpRequest, token_id: int) -> HttpResponseBase:
        """Take one token out of use."""
        if not self.has_revoke_permission(request):
            raise PermissionDenied
        token = get_object_or_404(ApiToken, pk=token_id)
        self.revoke(request, ApiToken.objects.filter(pk=token_id).select_related("user"))
        if request.POST.get("back") == "user":
            return redirect("admin:accounts_user_change", token.user_id)
        return redirect("admin:accounts_apitoken_change", token_id)
