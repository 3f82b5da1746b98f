"""The page of usage: who used how much in a month or some days, as a page, CSV or JSON."""

import csv
from datetime import UTC, datetime, timedelta

import msgspec
from django.contrib import admin
from django.http import HttpRequest, HttpResponse
from django.template.response import TemplateResponse
from django.views.decorators.http import require_safe

from accounts.formatting import quantity, spreadsheet_text
from accounts.models import User
from jobs.exceptions import InvalidJobError
from jobs.overview.health_page import may_see
from jobs.overview.usage import GROUPS, GetUsageApiResponse, Question, UsageLine, usage_of, with_shares
from jobs.overview.usage_question import read_question, this_month
from jobs.states import JobState

MOST_ROWS = 500  # of the table; CSV and JSON have all
_COLUMNS = tuple(field.name for field in msgspec.structs.fields(UsageLine))


@require_safe
def usage(request: HttpRequest) -> HttpResponse:
    """Show the usage of the jobs that the user may see."""
    assert isinstance(request.user, User)
    by = "user" if may_see(request.user) or request.user.projects else "project"
    problem = ""
    try:
        question = read_question(request.GET, by=by)
    except InvalidJobError as error:
        question, problem = Question(this_month(), by), str(error)
    found = usage_of(request.user, question)
    kind = request.GET.get("format", "")
    if kind in ("csv", "json") and not problem:
        return _download(kind, found)
    first, last = question.days.dates
    query = request.GET.copy()
    query.pop("format", None)
    shown = with_shares(found.usage)[:MOST_ROWS]
    context = {
        "title": "Usage",
        "by": question.by,
        "groups": GROUPS,
        "label": GROUPS[question.by].label.lower(),
        "chosen": question.chosen,
        "problem": problem,
        "first": first,
        "last": last,
        "month": f"{first:%Y-%m}" if problem or not request.GET.get("from") else "",
        "earlier": f"{first - timedelta(1):%Y-%m}" if first > first.min else "",
        "later": f"{last + timedelta(1):%Y-%m}" if last < datetime.now(UTC).date() else "",
        "rows": [(_label(line, found.by), line, share, _change(line)) for line, share in shown],
        "hidden": max(0, len(found.usage) - MOST_ROWS),
        "total": sum(line.node_hours for line in found.usage),
        "jobs": sum(line.jobs for line in found.usage),
        "bars": _bars(found.node_hours_per_day, question),
        "most": max(found.node_hours_per_day),
        "query": query.urlencode(),
        "sees_all": may_see(request.user),
        "goes_on": first <= datetime.now(UTC).date() < last,
    }
    return TemplateResponse(request, "admin/usage.html", {**admin.site.each_context(request), **context})


def _label(line: UsageLine, by: str) -> str:
    is_state = by == "state" and line.name in JobState.values
    return str(JobState(line.name).label).lower() if is_state else line.name


def _change(line: UsageLine) -> float | None:
    """Return by which share the node hours grew; None if there were none before."""
    return line.node_hours / line.node_hours_before - 1 if line.node_hours_before else None


def _bars(hours: list[float], question: Question) -> list[tuple[str, str, str, str]]:
    """Return place, width, height and text of the bar of each day, in parts of 1000 and 100."""
    first, _ = question.days.dates
    most = max(hours, default=0.0) or 1.0
    width = 1000 / len(hours)
    return [
        (
            f"{place * width:.2f}",
            f"{width * 0.85:.2f}",
            f"{100 * value / most:.2f}",
            f"{first + timedelta(place)}: {quantity(value, 'node hour')}",
        )
        for place, value in enumerate(hours)
    ]


def _download(kind: str, found: GetUsageApiResponse) -> HttpResponse:
    name = f"usage-by-{found.by.replace('-', '')}-{found.first}-{found.last}.{kind}"
    headers = {"Content-Disposition": f'attachment; filename="{name}"', "Cache-Control": "no-store"}
    if kind == "json":
        return HttpResponse(msgspec.json.encode(found), content_type="application/json", headers=headers)
    response = HttpResponse(content_type="text/csv; charset=utf-8", headers=headers)
    writer = csv.writer(response)
    writer.writerow([found.by, *_COLUMNS[1:]])
    for line in found.usage:
        _, *numbers = msgspec.structs.astuple(line)
        cells = [f"{value:.3f}" if isinstance(value, float) else value for value in numbers]  # None is left empty
        writer.writerow([spreadsheet_text(line.name), *cells])
    return response
