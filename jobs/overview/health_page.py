"""The admin page about the health of the server, for admin and support."""

from django.contrib import admin
from django.core.exceptions import PermissionDenied
from django.http import HttpRequest, HttpResponse
from django.template.response import TemplateResponse
from django.views.decorators.http import require_safe

from accounts.models import Role, User
from jobs.health.checks import report, worst


def may_see(user: User) -> bool:
    """Return whether a user may see how the server is."""
    return user.has_role(Role.ADMIN, Role.SUPPORT)


@require_safe
def health(request: HttpRequest) -> HttpResponse:
    """Show what the checks find, the worst first."""
    assert isinstance(request.user, User)
    if not may_see(request.user):
        raise PermissionDenied
    findings = sorted(report(), key=lambda finding: -finding.state)
    state, bad = worst(findings)
    context = {"title": "Health", "findings": findings, "state": state, "bad": bad}
    return TemplateResponse(request, "admin/health.html", {**admin.site.each_context(request), **context})
