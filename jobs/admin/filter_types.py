"""The two kinds of filters of the job list: one of some choices, and boxes to fill in."""

from abc import ABC, abstractmethod
from collections.abc import Iterator
from typing import Any, NamedTuple

from django.contrib.admin import ListFilter, SimpleListFilter
from django.contrib.admin.options import IncorrectLookupParameters
from django.http import HttpRequest

from jobs.search.criteria import Condition, Criteria

Choices = list[tuple[str, str]]


class JobFilter(ABC):
    """What all filters of the list have: they add to what is looked for; `find` makes one query of it."""

    @abstractmethod
    def narrow(self, criteria: Criteria) -> None:
        """Add what is chosen, if anything is."""

    @classmethod
    @abstractmethod
    def parameters(cls) -> tuple[str, ...]:
        """Return the names in the URL."""

    def queryset(self, request: HttpRequest, queryset: Any) -> Any:
        """Leave Django's own query as it is."""
        return queryset


class ChoiceFilter(JobFilter, SimpleListFilter):
    """Base: choices that do not look at all jobs, and a condition for the chosen one."""

    template = "admin/jobs/job/filter.html"
    is_open = False  # until something is chosen

    def __init__(self, request: HttpRequest, params: dict[str, Any], model: Any, model_admin: Any) -> None:
        """Refuse a value that is no choice: showing all jobs instead would invite actions on all of them."""
        super().__init__(request, params, model, model_admin)
        value = self.value()
        if value is not None and value not in {str(key) for key, _ in self.lookup_choices}:
            raise IncorrectLookupParameters(f"{self.parameter_name}={value!r}")

    @classmethod
    def parameters(cls) -> tuple[str, ...]:
        """Return the one name."""
        return (str(cls.parameter_name),)

    @abstractmethod
    def lookups(self, request: HttpRequest, model_admin: Any) -> Choices:
        """Return the choices as (value in the URL, label)."""

    @abstractmethod
    def chosen(self, value: str) -> Condition:
        """Return the condition of a choice."""

    def narrow(self, criteria: Criteria) -> None:
        """Ask for the chosen jobs."""
        value = self.value()
        if value is not None:
            criteria.add(self.chosen(value))


class Box(NamedTuple):
    """A field of a form in the sidebar."""

    name: str
    label: str
    kind: str
    value: str


class FormFilter(JobFilter, ListFilter):
    """Base: one or two boxes to fill in, and links with usual values."""

    template = "admin/jobs/job/form_filter.html"
    boxes: tuple[tuple[str, str], ...]
    """Names in the URL, and labels."""
    kind = "text"
    usual: tuple[tuple[str, tuple[str, ...]], ...] = ()
    """Labels, and values for the boxes."""
    is_open = False

    def __init__(self, request: HttpRequest, params: dict[str, Any], model: Any, model_admin: Any) -> None:
        """Take the values out of the parameters; refuse what cannot be read."""
        super().__init__(request, params, model, model_admin)
        given = {name: params.pop(name)[-1].strip() for name, _ in self.boxes if name in params}
        self._filled = {name: value for name, value in given.items() if value}
        self.used_parameters = {**self._filled}  # Django's name for it
        self._criteria = Criteria()
        try:
            self.read(self._criteria, *(self._filled.get(name, "") for name, _ in self.boxes))
        except (KeyError, ValueError, OverflowError, OSError):
            raise IncorrectLookupParameters(f"{self.title}: {self._filled}") from None

    @classmethod
    def parameters(cls) -> tuple[str, ...]:
        """Return the names in the URL."""
        return tuple(name for name, _ in cls.boxes)

    @abstractmethod
    def read(self, criteria: Criteria, *values: str) -> None:
        """Add what the boxes say; raise KeyError or ValueError where they cannot be read."""

    def has_output(self) -> bool:
        """Show it always."""
        return True

    def expected_parameters(self) -> list[str | None]:
        """Return the names in the URL."""
        return list(self.parameters())

    def narrow(self, criteria: Criteria) -> None:
        """Ask for what was read."""
        criteria.add(*self._criteria.conditions)
        criteria.between(self._criteria.since, self._criteria.until)

    def value(self) -> dict[str, str] | None:
        """Return what is filled in, None where nothing is."""
        return self._filled or None

    def choices(self, changelist: Any) -> Iterator[dict[str, Any]]:
        """Return the links, then the form with the hidden parameters of the list as it is."""
        names = self.parameters()
        if self.usual or self._filled:
            everything = changelist.get_query_string(remove=list(names))
            yield {"selected": not self._filled, "display": "All", "query": everything}
        for label, values in self.usual:
            chosen = {name: value for name, value in zip(names, values, strict=True) if value}
            query = changelist.get_query_string(dict(zip(names, (value or None for value in values), strict=True)))
            yield {"selected": chosen == self._filled, "display": label, "query": query}
        boxes = [Box(name, label, self.kind, self._filled.get(name, "")) for name, label in self.boxes]
        kept = [(name, value) for name, value in changelist.params.items() if name not in names]
        yield {"boxes": boxes, "kept": kept}
