"""The page of usage: who used how much in a month or some days, as a page, CSV or JSON."""

import csv
from dataclasses import asdict, fields
from datetime import UTC, date, datetime, timedelta
from typing import Any

from django.contrib import admin
from django.http import HttpRequest, HttpResponse, JsonResponse
from django.template.response import TemplateResponse
from django.views.decorators.http import require_safe

from accounts.formatting import spreadsheet_text
from accounts.models import User
from jobs.overview.health_page import may_see
from jobs.overview.usage import GROUPS, Days, Line, usage_by, usage_per_day

MOST_ROWS = 500  # of the table; CSV and JSON have all
_EPOCH = date(1970, 1, 1)
_LONGEST = 3700  # days


@require_safe
def usage(request: HttpRequest) -> HttpResponse:
    """Show the usage of the jobs that the user may see."""
    assert isinstance(request.user, User)
    by = request.GET.get("by", "")
    by = by if by in GROUPS else "user" if may_see(request.user) or request.user.projects else "project"
    days, problem = _days(request)
    chosen = {name: text for name in GROUPS if (text := request.GET.get(name, "").strip())}
    lines = usage_by(request.user, by, days, chosen)
    first, last = _EPOCH + timedelta(days.first), _EPOCH + timedelta(days.end - 1)
    kind = request.GET.get("format", "")
    if kind in ("csv", "json") and not problem:
        return _download(kind, by, lines, first, last)
    total = sum(line.node_hours for line in lines)
    query = request.GET.copy()
    query.pop("format", None)
    context = {
        "title": "Usage",
        "by": by,
        "groups": GROUPS,
        "label": GROUPS[by].lower(),
        "chosen": chosen,
        "problem": problem,
        "first": first,
        "last": last,
        "month": request.GET.get("month", "") or (f"{first:%Y-%m}" if not request.GET.get("from") else ""),
        "earlier": f"{first - timedelta(1):%Y-%m}",
        "later": f"{last + timedelta(1):%Y-%m}" if last < datetime.now(UTC).date() else "",
        "rows": [(line, line.node_hours / total if total else 0.0, _change(line)) for line in lines[:MOST_ROWS]],
        "hidden": max(0, len(lines) - MOST_ROWS),
        "total": total,
        "jobs": sum(line.jobs for line in lines),
        "bars": _bars(usage_per_day(request.user, days, chosen), first),
        "query": query.urlencode(),
        "sees_all": may_see(request.user),
    }
    return TemplateResponse(request, "admin/usage.html", {**admin.site.each_context(request), **context})


def _days(request: HttpRequest) -> tuple[Days, str]:
    """Return the days of the address, this month without any, and what is wrong with them."""
    today = datetime.now(UTC).date()
    month, begin, end = (request.GET.get(name, "").strip() for name in ("month", "from", "to"))
    try:
        if begin or end:
            first = date.fromisoformat(begin) if begin else today
            last = date.fromisoformat(end) if end else today
        else:
            first = date.fromisoformat(f"{month}-01") if month else today.replace(day=1)
            last = (first + timedelta(31)).replace(day=1) - timedelta(1)
        days = Days((first - _EPOCH).days, (last - _EPOCH).days + 1)
    except (ValueError, OverflowError):
        given = begin or end or month
        return _this_month(today), f"Expected a month such as 2026-10, or days such as 2026-10-05, got {given[:20]!r}."
    if not 0 < days.end - days.first <= _LONGEST:
        return _this_month(today), f"Expected 1 to {_LONGEST:,} days, got {days.end - days.first:,}."
    return days, ""


def _this_month(today: date) -> Days:
    return Days((today.replace(day=1) - _EPOCH).days, (today - _EPOCH).days + 1)


def _change(line: Line) -> float | None:
    """Return by which share the node hours grew; None if there were none before."""
    return line.node_hours / line.before - 1 if line.before else None


def _bars(hours: list[float], first: date) -> list[tuple[str, str, str, str]]:
    """Return place, width, height and text of the bar of each day, in parts of 1000 and 100."""
    most = max(hours, default=0.0) or 1.0
    width = 1000 / len(hours)
    return [
        (
            f"{place * width:.2f}",
            f"{width * 0.85:.2f}",
            f"{100 * value / most:.2f}",
            f"{first + timedelta(place)}: {value:,.0f} node hours",
        )
        for place, value in enumerate(hours)
    ]


def _download(kind: str, by: str, lines: list[Line], first: date, last: date) -> HttpResponse:
    name = f"usage-by-{by.replace('_', '')}-{first}-{last}.{kind}"
    headers = {"Content-Disposition": f'attachment; filename="{name}"', "Cache-Control": "no-store"}
    if kind == "json":
        document: dict[str, Any] = {"from": str(first), "to": str(last), "by": by, "usage": [asdict(x) for x in lines]}
        return JsonResponse(document, headers=headers)
    response = HttpResponse(content_type="text/csv; charset=utf-8", headers=headers)
    writer = csv.writer(response)
    writer.writerow([by, *(field.name for field in fields(Line)[1:-1]), "node_hours_before"])
    for line in lines:
        numbers = [f"{value:.3f}" if isinstance(value, float) else value for value in list(asdict(line).values())[1:]]
        writer.writerow([spreadsheet_text(line.name), *numbers])
    return response
