"""The job list: two queries per page, for any filters and any number of jobs."""

from typing import TYPE_CHECKING, Any

from django.contrib import messages
from django.contrib.admin.options import IncorrectLookupParameters
from django.contrib.admin.views.main import ChangeList
from django.core.paginator import Page, Paginator
from django.db.models import F, Prefetch
from django.http import HttpRequest
from django.utils.functional import cached_property

from jobs.admin.filter_types import JobFilter
from jobs.models import Job, Tag
from jobs.querysets import JobQuerySet
from jobs.search.box import HELP, narrow
from jobs.search.criteria import FURTHER, REACH, Criteria, JobName, SearchResult, find

if TYPE_CHECKING:
    JobPaginator = Paginator[Job]
else:
    JobPaginator = Paginator

MOST_COUNTED = 10_000
"""The limit of counts in the list, and of jobs in a selection."""

BIG = ("resources", "statistics", "meta_data")
"""Columns that may be large and are not loaded for lists."""

REACH_PARAMETER = "reach"


class JobPages(JobPaginator):
    """Pages of at most MOST_COUNTED jobs; filters and the search reach the others."""

    limit = MOST_COUNTED

    @cached_property
    def _ids(self) -> list[int]:
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

    def rows(self, begin: int, end: int) -> JobQuerySet:
        """Return a slice of the jobs with name and tags, without the large columns."""
        jobs = Job.objects.filter(pk__in=self._ids[begin:end]).order_by("-start_time", "-pk").defer(*BIG)
        tags = Prefetch("tags", Tag.objects.order_by("type", "name"))
        return jobs.annotate(name=JobName(F("meta_data"))).prefetch_related(tags)

    def page(self, number: Any) -> Any:
        """Return a page of rows."""
        number = self.validate_number(number)
        begin = (number - 1) * self.per_page
        return Page(self.rows(begin, min(begin + self.per_page, self.count)), number, self)


class JobChangeList(ChangeList):
    """Django's list, with a single query for filters and search."""

    found: SearchResult
    """All matching jobs."""

    def get_filters_params(self, params: Any = None) -> dict[str, Any]:
        """Leave out the reach of the search, which is not a filter."""
        found: dict[str, Any] = super().get_filters_params(params)
        found.pop(REACH_PARAMETER, None)
        return found

    @property
    def reach(self) -> int:
        """Return the number of jobs that a search without an index tests."""
        given = self.params.get(REACH_PARAMETER, str(REACH))
        if given not in {str(number) for number in (REACH, *FURTHER)}:
            raise IncorrectLookupParameters(f"{REACH_PARAMETER}={given!r}")
        return int(given)

    @property
    def further(self) -> tuple[int, str] | None:
        """Return the next larger reach and its address, if there is one."""
        following = next((number for number in FURTHER if number > self.reach), None)
        if following is None:
            return None
        return following, self.get_query_string({REACH_PARAMETER: str(following)})

    def get_queryset(self, request: HttpRequest, exclude_parameters: Any = None) -> JobQuerySet:
        """Return the jobs that match the filters and the search."""
        super().get_queryset(request, exclude_parameters)  # sets filter_specs
        criteria = Criteria()
        for each in self.filter_specs:
            assert isinstance(each, JobFilter)
            each.narrow(criteria)
        narrow(criteria, self.query, request.user)
        if criteria.problems and request.method == "GET":
            text = f"The search does not understand {'; '.join(criteria.problems)}. {HELP}"
            messages.warning(request, text)
        self.found = find(user=request.user, criteria=criteria, reach=self.reach)
        return self.found.jobs

    def get_results(self, request: HttpRequest) -> None:
        """Load the rows of the page by their ids, even if there is only one page."""
        super().get_results(request)
        if self.multi_page and not (self.show_all and self.can_show_all):
            self.result_list = self.paginator.page(self.page_num).object_list
        else:
            self.result_list = self.paginator.rows(0, self.result_count)
