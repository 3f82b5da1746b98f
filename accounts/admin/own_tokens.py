"""The page "My API tokens": users list, create and revoke the tokens of their own account."""

from django.contrib import admin, messages
from django.contrib.admin.models import ADDITION, CHANGE, LogEntry
from django.http import HttpRequest, HttpResponse, HttpResponseBase
from django.shortcuts import get_object_or_404, redirect
from django.template.response import TemplateResponse
from django.urls import reverse
from django.views.decorators.http import require_POST

from accounts import credentials, services
from accounts.admin import display
from accounts.admin.forms import NewTokenForm
from accounts.models import ApiToken, User

MOST_LISTED = 100


def own_tokens(request: HttpRequest) -> HttpResponse:
    """List the user's tokens; a POST creates one, always for that user."""
    user = request.user
    assert isinstance(user, User)
    form = NewTokenForm(user, request.POST if request.method == "POST" else None)
    if form.is_valid():
        token, secret = form.issue()
        _log(token, ADDITION, "Created.")
        return display.new_token_page(request, token, secret, {"trail": [(_here(), "My API tokens")], "is_own": True})
    tokens, more = display.tokens_of(user, MOST_LISTED)
    context = {
        **admin.site.each_context(request),
        "title": "My API tokens",
        "tokens": tokens,
        "more": more,
        "revoke_url": "admin:accounts_apitoken_revoke_own",
        "form": form,
        "create_url": _here(),
        "lacks_api": display.lacks_api(user),
    }
    return TemplateResponse(request, "admin/accounts/apitoken/own.html", context)


@require_POST
def revoke_own_token(request: HttpRequest, token_id: int) -> HttpResponseBase:
    """Revoke one of the user's own tokens; any other token is a 404."""
    token = get_object_or_404(ApiToken.objects.select_related("user"), pk=token_id, user_id=request.user.pk)
    if services.revoke_token(token=token):
        _log(token, CHANGE, "Revoked.")
        messages.success(
            request, f"Token {token} revoked; all server processes refuse it within {credentials.CACHED} s."
        )
    else:
        messages.info(request, f"Token {token} was already revoked.")
    return redirect(_here())


def _here() -> str:
    return reverse("admin:accounts_apitoken_own")


def _log(token: ApiToken, flag: int, message: str) -> None:
    LogEntry.objects.log_actions(token.user_id, [token], flag, change_message=message)
