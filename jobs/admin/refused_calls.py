"""The page "Refused calls": grouped by reason and token; correct and replay one, replay or dismiss all alike."""

import json
import time
from typing import TYPE_CHECKING, Any
from urllib.parse import urlencode

from django.contrib import admin, messages
from django.core.exceptions import PermissionDenied
from django.core.paginator import Paginator
from django.db.models import Count, Max, Min
from django.http import HttpRequest, HttpResponse, HttpResponseBase
from django.shortcuts import redirect
from django.template.response import TemplateResponse
from django.urls import URLPattern, path
from django.views.decorators.http import require_POST

from accounts.formatting import quantity
from jobs.admin.selection import actor_of
from jobs.api.refusals import Counts, replay, replay_all
from jobs.models import RefusedCall
from jobs.states import RefusalState
from jobs.text import clean_text, is_whole

if TYPE_CHECKING:
    RefusedModelAdmin = admin.ModelAdmin[RefusedCall]
else:
    RefusedModelAdmin = admin.ModelAdmin

_ALIKE = ("operation", "kind", "token", "user")
_ROUND = 1.0  # seconds that a request replays, before its page sends the next request
_MOST_GROUPS, _PER_PAGE = 200, 100


@admin.register(RefusedCall)
class RefusedCallAdmin(RefusedModelAdmin):
    """Show refused calls, replay and dismiss them."""

    # --- permissions ---

    def has_add_permission(self, request: HttpRequest) -> bool:
        """Refuse: the API keeps them."""
        return False

    def has_change_permission(self, request: HttpRequest, obj: RefusedCall | None = None) -> bool:
        """Refuse Django's form."""
        return False

    def has_delete_permission(self, request: HttpRequest, obj: RefusedCall | None = None) -> bool:
        """Refuse: they go by themselves when they are old."""
        return False

    def has_replay_permission(self, request: HttpRequest) -> bool:
        """Return whether the user may replay and dismiss refused calls."""
        return request.user.has_perm("jobs.change_refusedcall")

    def get_urls(self) -> list[URLPattern]:
        """Add the addresses of the forms."""
        view = self.admin_site.admin_view
        return [
            path("replay/", view(require_POST(self.replay_all_view)), name="jobs_refusedcall_replay_all"),
            path("dismiss/", view(require_POST(self.dismiss_view)), name="jobs_refusedcall_dismiss"),
            path("<int:call_id>/replay/", view(require_POST(self.replay_view)), name="jobs_refusedcall_replay"),
            *super().get_urls(),
        ]

    # --- lists ---

    def lookup_allowed(self, lookup: str, value: str, request: HttpRequest | None = None) -> bool:
        """Refuse Django's own lookups: the list has parameters of its own."""
        return False

    def changelist_view(self, request: HttpRequest, extra_context: dict[str, Any] | None = None) -> HttpResponse:
        """Show the groups of open calls; or the calls of a group, or those that were handled."""
        if not self.has_view_permission(request):
            raise PermissionDenied
        alike = _alike(request.GET)
        if alike or "handled" in request.GET:
            found = RefusedCall.objects.open().filter(**alike) if alike else RefusedCall.objects.handled()
            calls = found.order_by("-received_at", "-pk").defer("body", "corrected")
            page = Paginator(calls, _PER_PAGE).get_page(request.GET.get("p", 1))
            title = "Refused calls of one kind" if alike else "Refused calls that were replayed or dismissed"
            return self._page(
                request, "calls", {"title": title, "alike": alike, "page": page, "query": _without_page(request)}
            )
        context = {
            "title": "Refused calls",
            "groups": _groups(),
            "most": _MOST_GROUPS,
            "total": RefusedCall.objects.open().count(),
            "has_handled": RefusedCall.objects.handled().exists(),
        }
        return self._page(request, "change_list", context)

    # --- one call ---

    def change_view(
        self, request: HttpRequest, object_id: str, form_url: str = "", extra_context: dict[str, Any] | None = None
    ) -> HttpResponse:
        """Show a call with its body."""
        if not self.has_view_permission(request):
            raise PermissionDenied
        call = RefusedCall.objects.filter(pk=int(object_id)).first() if is_whole(object_id) else None
        if call is None:
            self.message_user(request, "This call is not kept any more.", messages.WARNING)
            return redirect("admin:jobs_refusedcall_changelist")
        return self._show(request, call, _readable(call.body))

    def replay_view(self, request: HttpRequest, call_id: int) -> HttpResponseBase:
        """Replay a call, with the body of the form if that was edited."""
        self._require_replay(request)
        call = RefusedCall.objects.open().filter(pk=call_id).first()
        if call is None:
            self.message_user(request, "This call was handled meanwhile.", messages.WARNING)
            return redirect("admin:jobs_refusedcall_changelist")
        text = clean_text(request.POST.get("body", "")).replace("\r\n", "\n")
        body = None if text == _readable(call.body).replace("\r\n", "\n") else text
        replay(call, actor=actor_of(request), by=request.user.get_username(), body=body)
        if call.is_open:
            return self._show(request, call, text, is_refused=True)
        known = call.state == RefusalState.KNOWN
        self.message_user(request, _KNOWN if known else "The call was carried out.", messages.SUCCESS)
        return redirect("admin:jobs_refusedcall_change", call_id)

    def _show(
        self, request: HttpRequest, call: RefusedCall, text: str, *, is_refused: bool = False
    ) -> TemplateResponse:
        context = {
            "title": f"Refused call {call.pk}",
            "call": call,
            "alike": {name: getattr(call, name) for name in _ALIKE},
            "text": text,
            "corrected": _readable(call.corrected),
            "is_refused": is_refused,
            "may_replay": self.has_replay_permission(request),
        }
        return self._page(request, "change_form", context)

    # --- many calls: each request works for a second, and its page sends the next ---

    def replay_all_view(self, request: HttpRequest) -> HttpResponseBase:
        """Start or continue to replay all open calls, or those of one kind; those that come meanwhile are left."""
        self._require_replay(request)
        alike = _alike(request.POST)
        newest = RefusedCall.objects.order_by("-pk").values_list("pk", flat=True).first() or 0
        up_to, after = _number(request, "up_to") or newest, _number(request, "after")
        counts, last = replay_all(
            RefusedCall.objects.filter(pk__lte=up_to, **alike),
            actor=actor_of(request),
            by=request.user.get_username(),
            after=after,
            until=time.monotonic() + _ROUND,
        )
        counts = Counts(*(getattr(counts, name) + _number(request, name) for name in ("done", "known", "refused")))
        if last is not None:
            context = {"title": "Replaying refused calls", "alike": alike, "counts": counts}
            return self._page(request, "progress", context | {"up_to": up_to, "after": last})
        level = messages.WARNING if counts.refused else messages.SUCCESS
        self.message_user(request, f"Replayed: {_words(counts)}.", level)
        return redirect("admin:jobs_refusedcall_changelist")

    def dismiss_view(self, request: HttpRequest) -> HttpResponseBase:
        """Mark the calls of one kind as dismissed; they stay until they are old."""
        self._require_replay(request)
        alike, up_to = _alike(request.POST), _number(request, "up_to")
        if not alike:
            raise PermissionDenied
        handled = {"handled_by": request.user.get_username(), "handled_at": int(time.time())}
        calls = RefusedCall.objects.open().filter(pk__lte=up_to, **alike)
        count = calls.update(state=RefusalState.DISMISSED, **handled)
        self.message_user(request, f"{quantity(count, 'call')} dismissed.", messages.SUCCESS)
        return redirect("admin:jobs_refusedcall_changelist")

    def _require_replay(self, request: HttpRequest) -> None:
        if not self.has_replay_permission(request):
            raise PermissionDenied

    def _page(self, request: HttpRequest, template: str, context: dict[str, Any]) -> TemplateResponse:
        shared = {**self.admin_site.each_context(request), "opts": self.opts}
        shared |= {"may_replay": self.has_replay_permission(request)}
        return TemplateResponse(request, f"admin/jobs/refusedcall/{template}.html", shared | context)


_KNOWN = "Nothing to do: what the call says was carried out meanwhile."


def _alike(parameters: Any) -> dict[str, str]:
    """Return what the calls of a group have in common, as a form or an address names it; empty without a group."""
    if "operation" not in parameters:
        return {}
    return {name: clean_text(parameters.get(name, "")) for name in _ALIKE}


def _groups() -> list[Any]:
    """Return the groups of open calls, the latest first, each with its newest call."""
    found = (
        RefusedCall.objects.open()
        .values(*_ALIKE)
        .annotate(count=Count("pk"), first=Min("received_at"), last=Max("received_at"), newest=Max("pk"))
    )
    groups = list(found.order_by("-last")[:_MOST_GROUPS])
    newest = RefusedCall.objects.defer("body", "corrected").in_bulk([group["newest"] for group in groups])
    for group in groups:
        group["alike"] = {name: group[name] for name in _ALIKE}
        group["query"] = urlencode(group["alike"])
        group["call"] = newest.get(group["newest"])
    return groups


def _readable(body: str) -> str:
    """Return a JSON text with its parts on lines of their own; any other text as it is."""
    try:
        return json.dumps(json.loads(body), indent=2, ensure_ascii=False)
    except (ValueError, RecursionError):
        return body


def _words(counts: Counts) -> str:
    return f"{counts.done:,} carried out, {counts.known:,} known already, {counts.refused:,} refused again"


def _number(request: HttpRequest, name: str) -> int:
    text = request.POST.get(name, "0")
    return int(text) if is_whole(text) else 0


def _without_page(request: HttpRequest) -> str:
    query = request.GET.copy()
    query.pop("p", None)
    return query.urlencode()
