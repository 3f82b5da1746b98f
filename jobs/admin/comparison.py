"""Two to eight jobs side by side: facts, statistics, plots over the time since the start, differences of texts."""

import difflib
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from django.contrib import admin, messages
from django.db.models import QuerySet
from django.http import HttpRequest, HttpResponse, HttpResponseRedirect
from django.template.response import TemplateResponse
from django.urls import URLPattern, path, reverse
from django.views.decorators.http import require_GET

from accounts.formatting import NOTHING, duration
from jobs.admin import display, job_page
from jobs.admin.selection import JobSelection
from jobs.models import Job
from jobs.text import is_whole

LEAST, MOST = 2, 8
_MOST_LINES = 500  # of a difference of two texts
_MOST_COMPARED = 2_000  # lines of each of two texts, from shortly before their first difference
_LONGEST_LINE = 2_000  # characters
_CONTEXT = 2  # equal lines around each difference

_FACTS: dict[str, Callable[[Job], Any]] = {
    "State": display.state,
    "User": lambda job: job.user,
    "Project": lambda job: job.project or NOTHING,
    "Cluster": lambda job: job.cluster,
    "Subcluster": lambda job: job.sub_cluster or NOTHING,
    "Partition": lambda job: job.partition or NOTHING,
    "Nodes": lambda job: f"{job.num_nodes:,}",
    "Hardware threads": lambda job: f"{job.num_hwthreads:,}" if job.num_hwthreads else NOTHING,
    "Accelerators": lambda job: f"{job.num_acc:,}" if job.num_acc else NOTHING,
    "Node use": lambda job: job.get_exclusive_display(),
    "SMT": lambda job: job.smt or NOTHING,
    "Hosts": lambda job: ", ".join(node.hostname for node in job_page.nodes(job)[:16]),
    "Started": lambda job: display.moment(job.start_time),
    "Duration": lambda job: duration(job.elapsed),
    "Requested": lambda job: duration(job.walltime) if job.walltime else NOTHING,
}
_OF_EACH_RUN = frozenset({"Started", "Hosts"})  # no news if it differs


@dataclass(frozen=True)
class Line:
    """A fact or a metric of all jobs; `differs`: they are not all the same."""

    label: str
    values: list[Any]
    differs: bool


@dataclass(frozen=True)
class Difference:
    """A text of the metadata: how a job's differs from the first job's, as (kind, line); `cut`: there is more."""

    label: str
    job: Job
    lines: list[tuple[str, str]]
    cut: bool


class JobComparison(JobSelection):
    """The part of JobAdmin that compares jobs."""

    def get_urls(self) -> list[URLPattern]:
        """Add the page."""
        view = self.admin_site.admin_view(require_GET(self.comparison_view))
        return [path("compare/", view, name="jobs_job_compare"), *super().get_urls()]

    @admin.action(description="Compare selected jobs", permissions=["view"])
    def compare(self, request: HttpRequest, queryset: QuerySet[Job]) -> HttpResponse | None:
        """Lead to the page of the selected jobs."""
        row_ids = list(queryset.order_by("start_time", "pk").values_list("pk", flat=True)[: MOST + 1])
        if not LEAST <= len(row_ids) <= MOST:
            self.message_user(request, f"Select {LEAST} to {MOST} jobs to compare them.", messages.WARNING)
            return None
        query = {"jobs": ",".join(map(str, row_ids))}
        return HttpResponseRedirect(reverse("admin:jobs_job_compare", query=query))

    def comparison_view(self, request: HttpRequest) -> HttpResponse:
        """Show the jobs of the address that the user may see, in its order."""
        words = request.GET.get("jobs", "").split(",")
        row_ids = list(dict.fromkeys(int(word) for word in words if is_whole(word)))[: MOST + 1]
        allowed = self.get_queryset(request) if self.has_view_permission(request) else Job.objects.none()
        by_id = allowed.prefetch_related("tags").in_bulk(row_ids)
        jobs = [by_id[row_id] for row_id in row_ids if row_id in by_id]
        if not LEAST <= len(jobs) <= MOST:
            text = f"Comparing needs {LEAST} to {MOST} jobs that you may see; select them in the list."
            self.message_user(request, text, messages.WARNING)
            return HttpResponseRedirect(reverse("admin:jobs_job_changelist"))
        context = {
            **self.admin_site.each_context(request),
            "opts": self.opts,
            "title": f"{len(jobs)} jobs compared",
            "jobs": jobs,
            "facts": facts(jobs),
            "statistics": statistics(jobs),
            "differences": differences(jobs),
        }
        return TemplateResponse(request, "admin/jobs/job/compare.html", context)


def facts(jobs: list[Job]) -> list[Line]:
    """Return the facts that at least one job has."""
    lines = []
    for label, of in _FACTS.items():
        values = [of(job) for job in jobs]
        if any(value != NOTHING for value in values):
            lines.append(Line(label, values, label not in _OF_EACH_RUN and len(set(map(str, values))) > 1))
    tags = [display.chips(job.tags.all()) for job in jobs]
    lines.append(Line("Tags", tags, len(set(tags)) > 1))
    return lines


def statistics(jobs: list[Job]) -> list[Line]:
    """Return the averages of each metric; a metric differs if the greatest is more than a tenth above the least."""
    tables = [{row.metric: row for row in job_page.statistics(job)} for job in jobs]
    lines = []
    for metric in dict.fromkeys(metric for table in tables for metric in table):
        rows = [table.get(metric) for table in tables]
        numbers = [row.average for row in rows if row is not None and row.average is not None]
        differs = len(numbers) > 1 and max(numbers) - min(numbers) > abs(min(numbers)) / 10
        lines.append(Line(metric, rows, differs))
    return lines


def differences(jobs: list[Job]) -> list[Difference]:
    """Return how the texts of the metadata differ from those of the first job, where they do."""
    texts = [{entry.label: entry.whole for entry in job_page.texts(job)} for job in jobs]
    found = []
    for label in dict.fromkeys(label for each in texts for label in each):
        first = texts[0].get(label, "")
        for job, each in zip(jobs[1:], texts[1:], strict=True):
            if each.get(label, "") != first:
                lines, is_cut = _unified(first, each.get(label, ""))
                found.append(Difference(label, job, lines, is_cut))
    return found


def _unified(old: str, new: str) -> tuple[list[tuple[str, str]], bool]:
    """Return the lines of a difference as (kind, line): removed, added, same, or gap; and whether there is more.

    What is the same at the beginning is left out, and after it _MOST_COMPARED lines are compared: the time grows faster
    than their number.
    """
    texts = old.splitlines(), new.splitlines()
    if texts[0] == texts[1]:
        return [("gap", "Only the ends of lines differ.")], False
    pairs = enumerate(zip(*texts, strict=False))
    begin = max(0, next((place for place, (a, b) in pairs if a != b), min(map(len, texts))) - _CONTEXT)
    first, second = (text[begin : begin + _MOST_COMPARED] for text in texts)
    lines = list(difflib.unified_diff(first, second, n=_CONTEXT, lineterm=""))[2:]  # without the two names of files
    kinds = {"-": "removed", "+": "added", "@": "gap"}
    found = [(kind := kinds.get(line[:1], "same"), "…" if kind == "gap" else _shown(line)) for line in lines]
    if not begin:  # nothing is left out before the first difference
        del found[0]
    is_cut = len(found) > _MOST_LINES or any(begin + _MOST_COMPARED < len(text) for text in texts)
    return found[:_MOST_LINES], is_cut


def _shown(line: str) -> str:
    return line if len(line) <= _LONGEST_LINE else f"{line[:_LONGEST_LINE]}…"
