"""The job list: a bounded number of queries and a bounded time per page, for any search and any number of jobs."""

import time
from collections.abc import Iterator
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any, NamedTuple

from django.contrib import messages
from django.contrib.admin.helpers import ACTION_CHECKBOX_NAME
from django.contrib.admin.options import IncorrectLookupParameters
from django.contrib.admin.views.main import PAGE_VAR, SEARCH_VAR, ChangeList
from django.core.paginator import InvalidPage, Page, Paginator
from django.db.models import F, Prefetch
from django.http import HttpRequest
from django.urls import reverse
from django.utils.functional import cached_property
from django.utils.html import format_html, format_html_join
from django.utils.safestring import SafeString
from django.utils.timezone import localtime

from accounts.models import User
from archive import root
from jobs.admin.columns import METRIC, Column, all_columns, chosen_by
from jobs.admin.display import node_address
from jobs.admin.filter_types import Chip, JobFilter
from jobs.models import Job, Tag
from jobs.querysets import JobQuerySet, seen_by
from jobs.search.box import Parsed, narrow, without
from jobs.search.criteria import Criteria
from jobs.search.expressions import JobName
from jobs.search.fields import FIELDS, OF_METRIC
from jobs.search.find import BUDGET, Found, Search, Searched
from jobs.text import is_whole

if TYPE_CHECKING:
    JobPaginator = Paginator[Job]
else:
    JobPaginator = Paginator

MOST_COUNTED = 10_000
"""The limit of counts in the list, of jobs that it sorts, and of jobs in a selection."""

BIG = ("resources", "statistics", "meta_data")
"""Columns that may be large and are not loaded for lists."""

SORT, TESTED, FOUND, LONGER = "sort", "tested", "found", "longer"

_CHECKBOX = format_html(
    '<td class="action-checkbox"><input type="checkbox" name="{}" value="{{}}" class="action-select"'
    ' aria-label="Select this object for an action - {{}}"></td>',
    ACTION_CHECKBOX_NAME,
)
_MOST_CARRIED = 200  # row ids in an address
_LATEST = 3600  # seconds for which an address that carries found jobs holds


class JobPages(JobPaginator):
    """Pages of at most MOST_COUNTED jobs; filters and the search reach the others."""

    limit = MOST_COUNTED
    found: list[int] | None = None
    """The row ids, if they are known already."""
    columns: tuple[Column, ...] = ()

    @cached_property
    def _ids(self) -> list[int]:
        if self.found is not None:
            return self.found
        jobs: Any = self.object_list
        return list(jobs.values_list("pk", flat=True)[: self.limit + 1])

    @property
    def is_capped(self) -> bool:
        """Return whether there are more jobs than `limit`."""
        return len(self._ids) > self.limit

    @cached_property
    def count(self) -> int:
        """Return the number of jobs, up to `limit`."""
        return min(len(self._ids), self.limit)

    def rows(self, begin: int, end: int) -> list[Job]:
        """Return a slice of the jobs with name, tags and what the columns need, without the other large columns."""
        ids = self._ids[begin:end]
        needed = {column.needs for column in self.columns}
        jobs = Job.objects.filter(pk__in=ids).order_by().defer(*(name for name in BIG if name not in needed))
        if "footprint" in needed:
            jobs = jobs.select_related("footprint")
        tags = Prefetch("tags", Tag.objects.order_by("type", "name"))
        by_id = {job.pk: job for job in jobs.annotate(name=JobName(F("meta_data"))).prefetch_related(tags)}
        return [by_id[row_id] for row_id in ids if row_id in by_id]

    def page(self, number: Any) -> Any:
        """Return a page of rows."""
        number = self.validate_number(number)
        begin = (number - 1) * self.per_page
        return Page(self.rows(begin, min(begin + self.per_page, self.count)), number, self)


class Heading(NamedTuple):
    """The heading of a column: its text, and the address that sorts by it, if that is possible."""

    text: str
    css_class: str
    address: str
    direction: str  # for aria-sort; empty unless the list is sorted by it


class JobChangeList(ChangeList):
    """Django's list, with a search of our own for filters and search box."""

    search: Search
    """All matching jobs."""
    found: Found
    """Those that are shown."""
    parsed: Parsed
    columns: list[Column]
    paginator: JobPages

    def __init__(self, request: HttpRequest, *arguments: Any) -> None:
        """Take the state of the page out of the parameters, then do as Django does."""
        self._now = int(time.time())
        assert isinstance(request.user, User)
        self.all_columns = all_columns()
        self.columns = chosen_by(request.user, self.all_columns)
        self._carried = {name: request.GET[name] for name in (TESTED, FOUND) if name in request.GET}
        super().__init__(request, *arguments)
        boxes = [name for name in self.list_display if name == "action_checkbox"]
        self.list_display = [*boxes, *self.columns]

    def get_filters_params(self, params: Any = None) -> dict[str, Any]:
        """Leave out what is not a filter."""
        for name in (TESTED, FOUND, LONGER):
            self.params.pop(name, None)
            self.filter_params.pop(name, None)
        found: dict[str, Any] = super().get_filters_params(params)
        found.pop(SORT, None)
        return found

    def get_query_string(self, new_params: Any = None, remove: Any = None) -> str:
        """Return the address of the list with other parameters; another page or order is one of the same jobs."""
        if new_params and set(new_params) <= {PAGE_VAR, SORT}:
            new_params = self._carried | new_params
        return super().get_query_string(new_params, remove)

    def get_queryset(self, request: HttpRequest, exclude_parameters: Any = None) -> JobQuerySet:
        """Search for the jobs that match the filters and the search box.

        Django asks once more for an action on all jobs of the list.
        """
        if hasattr(self, "found") and self.can_sort:
            return self.search.among(self.found.ids)
        super().get_queryset(request, exclude_parameters)  # sets filter_specs
        criteria, seen = Criteria(), seen_by(request.user)
        self._filters = [each for each in self.filter_specs if isinstance(each, JobFilter)]
        for each in self._filters:
            each.narrow(criteria)
        self.parsed = narrow(criteria, self.query, seen)
        self.problems = criteria.problems
        if self.problems and request.method == "GET":
            text = f"The search was not understood: {'; '.join(self.problems)}."
            messages.warning(request, text)
        self.search = Search(seen=seen, criteria=criteria)
        return self.search.jobs

    def get_results(self, request: HttpRequest) -> None:
        """Find the jobs as far as the time allows, sort them, and load the rows of the page."""
        limit = JobPages.limit
        self.found = self.search.newest(limit + 1, seconds=BUDGET, tested=self._tested())
        is_all = self.found.since is None and len(self.found.ids) <= limit
        self.can_sort = is_all
        sorted_by = self._sorted_by()
        if sorted_by is not None and is_all:
            column, descending = sorted_by
            assert column.order is not None
            self.found = Found(self.search.sorted(self.found.ids, column.order(self._now), descending=descending), None)
        self.paginator = JobPages(self.queryset, self.list_per_page)
        self.paginator.found, self.paginator.columns = self.found.ids, tuple(self.columns)
        self.result_count = self.paginator.count
        self.full_result_count = None
        self.show_full_result_count = False
        self.show_admin_actions = bool(self.result_count)
        self.can_show_all = self.result_count <= self.list_max_show_all
        self.multi_page = self.result_count > self.list_per_page
        if self.multi_page and not (self.show_all and self.can_show_all):
            try:
                self.result_list = self.paginator.page(self.page_num).object_list
            except InvalidPage:
                raise IncorrectLookupParameters(f"{PAGE_VAR}={self.page_num}") from None
        else:
            self.result_list = self.paginator.rows(0, self.result_count)

    @property
    def only_job(self) -> int | None:
        """Return the row id if the search named a job, by its id alone, and found one; None otherwise."""
        is_named = self.parsed.only_ids and not any(self._chips_of_filters())
        return self.found.ids[0] if is_named and len(self.found.ids) == 1 else None

    # --- going on ---

    def _tested(self) -> Searched | None:
        """Return what the address says that an earlier page tested; None if that is too long ago, or nonsense."""
        since, _, until = self._carried.get(TESTED, "").partition("-")
        ids = [word for word in self._carried.get(FOUND, "").split(",") if word]
        if not all(map(is_whole, (since, until, *ids))) or len(ids) > _MOST_CARRIED:
            return None
        if not self._now - _LATEST <= int(until) <= self._now:
            self._carried = {}
            return None
        return Searched(int(since), int(until), [int(word) for word in ids])

    @cached_property
    def further(self) -> str | None:
        """Return the address that goes on with older jobs; None if all were tested, or there are too many to count."""
        if self.found.since is None:
            return None
        if len(self.found.ids) > _MOST_CARRIED:
            before = localtime(datetime.fromtimestamp(self.found.since, UTC)).isoformat()
            return self.get_query_string({"to": before})
        until = self._carried.get(TESTED, "").partition("-")[2] or self._now
        return super().get_query_string(
            {TESTED: f"{self.found.since}-{until}", FOUND: ",".join(map(str, self.found.ids))}
        )

    @property
    def goes_on(self) -> bool:
        """Return whether the page goes on by itself: it is not full yet."""
        return self.further is not None and self.result_count < self.list_per_page

    # --- rows, order and conditions ---

    @property
    def has_checkboxes(self) -> bool:
        """Return whether rows can be selected for an action."""
        return "action_checkbox" in self.list_display

    def rows(self) -> Iterator[SafeString]:
        """Yield the cells of each job, as Django makes them, which takes three times as long for the same HTML."""
        pages, filters = reverse("admin:jobs_job_changelist"), self.preserved_filters and f"?{self.preserved_filters}"
        first, *others = self.columns
        for job in self.result_list:
            yield format_html(
                '{}<th class="field-{}"><a href="{}{}/change/{}">{}</a></th>{}',
                format_html(_CHECKBOX, job.pk, job) if self.has_checkboxes else "",
                first.name,
                *(pages, job.pk, filters, first(job)),
                format_html_join("", '<td class="field-{}">{}</td>', ((each.name, each(job)) for each in others)),
            )

    def _sorted_by(self) -> tuple[Column, bool] | None:
        given = self.params.get(SORT, "")
        if not given:
            return None
        name, descending = given.removeprefix("-"), given.startswith("-")
        column = next((column for column in self.columns if column.name == name and column.order), None)
        return (column, descending) if column else None

    def headings(self) -> Iterator[Heading]:
        """Yield the headings of the columns."""
        current = self._sorted_by() if self.can_sort else None
        for column in self.columns:
            address, direction = "", ""
            if current and current[0] is column:
                direction = "descending" if current[1] else "ascending"
            elif current is None and column.name == "started":
                direction = "descending"
            if column.order and self.can_sort:
                turned = direction == "descending" or (not direction and not column.is_number)
                address = self.get_query_string({SORT: column.name if turned else f"-{column.name}"})
            yield Heading(column.short_description, column.css_class, address, direction)

    @property
    def fields(self) -> Iterator[tuple[str, str]]:
        """Yield the fields that the search box takes, with what each expects."""
        yield from ((field.name, field.expected) for field in FIELDS.values())
        metrics = [name.removeprefix(METRIC) for name in self.all_columns if name.startswith(METRIC)]
        yield from ((name, OF_METRIC) for name in metrics)

    @cached_property
    def chips(self) -> list[Chip]:
        """Return the active conditions, each with the address of the list without it."""
        found = list(self._chips_of_filters())
        for term in self.parsed.terms:
            address = self.get_query_string({SEARCH_VAR: without(self.query, term) or None})
            found.append(Chip(term.label, address))
        return found

    def _chips_of_filters(self) -> Iterator[Chip]:
        return (chip for each in self._filters for chip in each.chips(self))

    @cached_property
    def nodes(self) -> list[tuple[str, str]]:
        """Return host and address of the page of each node that a word of the search names, by itself or as host:."""
        words = {self.query[term.begin : term.end].removeprefix("host:").strip('"') for term in self.parsed.terms}
        registry = root.registry()
        clusters = [cluster for name in registry.names() if (cluster := registry.get(name)) is not None]
        return [
            (host, node_address(cluster.name, host))
            for host in sorted(words)
            for cluster in clusters
            if any(part.nodes.names(host) for part in cluster.subclusters)
        ]

    @property
    def conditions(self) -> str:
        """Return the active conditions as text, for titles."""
        return ", ".join(chip.label for chip in self.chips)


class JobConditions(JobChangeList):
    """The filters, search and addresses of a list, without its rows."""

    def get_results(self, request: HttpRequest) -> None:
        """Find nothing."""
