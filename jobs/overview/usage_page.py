"""The page of usage: who used how much in a month or some days, as a page, CSV or JSON."""

import csv
import time
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

import msgspec
from django.contrib import admin
from django.http import HttpRequest, HttpResponse
from django.template.response import TemplateResponse
from django.utils.html import format_html_join
from django.views.decorators.http import require_safe

from accounts.formatting import NOTHING, number, quantity, share, spreadsheet_text
from accounts.models import User
from jobs.exceptions import InvalidJobError
from jobs.overview.health_page import may_see
from jobs.overview.recent import recent
from jobs.overview.usage import GROUPS, GetUsageApiResponse, Question, UsageLine, usage_of, with_shares
from jobs.overview.usage_question import read_question, this_month
from jobs.states import JobState

MOST_ROWS = 500  # of the table; CSV and JSON have all
_COLUMNS = tuple(field.name for field in msgspec.structs.fields(UsageLine))
_ROW = (
    '<tr><th scope="row">{}</th><td class="number">{}</td>'
    '<td><meter value="{}" aria-label="Share of {}"></meter> {}</td><td class="number">{}</td>'
    '<td class="number">{}</td><td class="number">{}</td><td class="number">{}</td><td class="number">{}</td>'
    '<td class="number">{}</td></tr>'
)


@dataclass(frozen=True)
class Shown:
    """What the page shows: the first MOST_ROWS lines with their shares, and sums of those and the `hidden` ones."""

    lines: list[tuple[UsageLine, float]]
    hidden: int
    node_hours: float
    jobs: int
    node_hours_per_day: list[float]


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
    kind = request.GET.get("format", "")
    if kind in ("csv", "json") and not problem:
        return _download(kind, usage_of(request.user, question))
    first, last = question.days.dates
    query = request.GET.copy()
    query.pop("format", None)
    user = request.user
    found, counted_at = recent(f"usage {question}", user, lambda: _shown(user, question), now=int(time.time()))
    rows = [(_label(line, question.by), line, part, _change(line)) for line, part in found.lines]
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
        "rows": rows,
        "table": format_html_join("\n", _ROW, (_cells(*row) for row in rows)),
        "hidden": found.hidden,
        "total": found.node_hours,
        "jobs": found.jobs,
        "bars": _bars(found.node_hours_per_day, question),
        "most": max(found.node_hours_per_day),
        "counted_at": counted_at,
        "query": query.urlencode(),
        "sees_all": may_see(request.user),
        "goes_on": first <= datetime.now(UTC).date() < last,
    }
    return TemplateResponse(request, "admin/usage.html", {**admin.site.each_context(request), **context})


def _shown(user: User, question: Question) -> Shown:
    found = usage_of(user, question)
    return Shown(
        with_shares(found.usage)[:MOST_ROWS],
        max(0, len(found.usage) - MOST_ROWS),
        sum(line.node_hours for line in found.usage),
        sum(line.jobs for line in found.usage),
        found.node_hours_per_day,
    )


def _cells(name: str, line: UsageLine, part: float, change: float | None) -> Iterator[str]:
    """Yield what _ROW takes: a template would take five times as long for MOST_ROWS."""
    yield from (name or NOTHING, number(line.node_hours), f"{part:.4f}", name, share(part))
    yield "new" if change is None else f"{'+' if change > 0 else ''}{round(100 * change)} %"
    for value in (line.core_hours, line.accelerator_hours, line.energy, line.jobs, line.mean_wait):
        yield number(value)


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
