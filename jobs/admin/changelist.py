"""The job list: two queries for a page of jobs, whatever it shows and however many there are."""

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
from jobs.search.criteria import FURTHER, REACH, Criteria, Found, JobName, find

if TYPE_CHECKING:
    JobPaginator = Paginator[Job]
else:
    JobPaginator = Paginator

MOST_COUNTED = 10_000
"""The list counts no further; a selection of all pages is not offered beyond, and refused."""

BIG = ("resources", "statistics", "meta_data")
"""Columns that may be large; no list reads them."""

REACH_PARAMETER = "reach"


class JobPages(JobPaginator):
    """Pages of a list of row ids, at most MOST_COUNTED: the rest of millions is reached by filters, not by counting."""

    limit = MOST_COUNTED

    @cached_property
    def _ids(self) -> list[int]:
        jobs: Any = self.object_list
        return list(jobs.values_list("pk", flat=True)[: self.limit + 1])

    @property
    def is_capped(self) -> bool:
        """Tell whether there are more jobs than were counted."""
        return len(self._ids) > self.limit

    @cached_property
    def count(self) -> int:
        """Return the number of jobs, `limit` where there are more."""
        return min(len(self._ids), self.limit)

    def rows(self, begin: int, end: int) -> JobQuerySet:
        """Return some of the jobs as they are shown: without the large columns, with name and tags."""
        jobs = Job.objects.filter(pk__in=self._ids[begin:end]).order_by("-start_time", "-pk").defer(*BIG)
        tags = Prefetch("tags", Tag.objects.order_by("type", "name"))
        return jobs.annotate(name=JobName(F("meta_data"))).prefetch_related(tags)

    def page(self, number: Any) -> Any:
        """Return a page of rows."""
        number = self.validate_number(number)
        begin = (number - 1) * self.per_page
        return Page(self.rows(begin, min(begin + self.per_page, self.count)), number, self)


class JobChangeList(ChangeList):
    """Django's list, with one query made of all that is looked for."""

    found: Found
    """All that fits."""

    def get_filters_params(self, params: Any = None) -> dict[str, Any]:
        """Leave out how far back is looked, which is no filter."""
        found: dict[str, Any] = super().get_filters_params(params)
        found.pop(REACH_PARAMETER, None)
        return found

    @property
    def reach(self) -> int:
        """Return how many jobs may be looked at."""
        given = self.params.get(REACH_PARAMETER, str(REACH))
        if given not in {str(number) for number in (REACH, *FURTHER)}:
            raise IncorrectLookupParameters(f"{REACH_PARAMETER}={given!r}")
        return int(given)

    @property
    def further(self) -> tuple[int, str] | None:
        """Return the next number of jobs that could be looked at, and the address that does it."""
        following = next((number for number in FURTHER if number > self.reach), None)
        if following is None:
            return None
        return following, self.get_query_string({REACH_PARAMETER: str(following)})

    def get_queryset(self, request: HttpRequest, exclude_parameters: Any = None) -> JobQuerySet:
        """Return the jobs that fit the filters and the search."""
        super().get_queryset(request, exclude_parameters)  # which reads the filters
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
        """Take the page's rows by their ids also where there is one page alone."""
        super().get_results(request)
        if self.multi_page and not (self.show_all and self.can_show_all):
            self.result_list = self.paginator.page(self.page_num).object_list
        else:
            self.result_list = self.paginator.rows(0, self.result_count)
