"""The admin page about the health of the server, for admin and support."""

from django.contrib import admin
from django.core.exceptions import PermissionDenied
from django.http import HttpRequest, HttpResponse
from django.template.response import TemplateResponse
from django.urls import reverse
from django.views.decorators.http import require_safe

from accounts.models import Role, User
from jobs.health import calls
from jobs.health.checks import report, worst
from jobs.health.ghosts import WALLTIME
from jobs.health.hooks import REFUSED

_PAGES = {
    WALLTIME: ("admin:jobs_job_ghosts", "Ghost jobs"),
    **dict.fromkeys((REFUSED, calls.NAME), ("admin:jobs_refusedcall_changelist", "Refused calls")),
}
"""The pages on which to mend what a check finds."""


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
    pages = {name: (reverse(view), title) for name, (view, title) in _PAGES.items()}
    rows = [(finding, pages.get(finding.name)) for finding in findings]
    context = {"title": "Health", "rows": rows, "state": state, "bad": bad}
    return TemplateResponse(request, "admin/health.html", {**admin.site.each_context(request), **context})
