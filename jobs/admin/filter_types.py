"""The two kinds of filters of the job list: choices, and fields to fill in."""

from abc import ABC, abstractmethod
from collections.abc import Iterator
from typing import Any, NamedTuple

from django.contrib.admin import ListFilter, SimpleListFilter
from django.contrib.admin.options import IncorrectLookupParameters
from django.http import HttpRequest

from jobs.search.criteria import Criteria, Criterion

Choices = list[tuple[str, str]]


class Chip(NamedTuple):
    """An active condition, and the address of the list without it."""

    label: str
    address: str


class JobFilter(ABC):
    """Base of all filters; each adds to the criteria of the search."""

    @abstractmethod
    def narrow(self, criteria: Criteria) -> None:
        """Add the chosen criteria, if any."""

    @classmethod
    @abstractmethod
    def parameters(cls) -> tuple[str, ...]:
        """Return the names of the URL parameters."""

    @abstractmethod
    def chips(self, changelist: Any) -> Iterator[Chip]:
        """Yield the active conditions."""

    def queryset(self, request: HttpRequest, queryset: Any) -> Any:
        """Return Django's own query unchanged."""
        return queryset


class ChoiceFilter(JobFilter, SimpleListFilter):
    """Base of filters with choices, which must not scan all jobs, and a criterion for the chosen one."""

    template = "admin/jobs/job/filter.html"
    is_open = False  # unless a choice is active

    def __init__(self, request: HttpRequest, params: dict[str, Any], model: Any, model_admin: Any) -> None:
        """Refuse an invalid value: showing all jobs instead would invite actions on all of them."""
        super().__init__(request, params, model, model_admin)
        value = self.value()
        if value is not None and value not in {str(key) for key, _ in self.lookup_choices}:
            raise IncorrectLookupParameters(f"{self.parameter_name}={value!r}")

    @classmethod
    def parameters(cls) -> tuple[str, ...]:
        """Return the name of the URL parameter."""
        return (str(cls.parameter_name),)

    @abstractmethod
    def lookups(self, request: HttpRequest, model_admin: Any) -> Choices:
        """Return the choices as (URL value, label)."""

    @abstractmethod
    def chosen(self, value: str) -> Criterion:
        """Return the criterion of a choice."""

    def narrow(self, criteria: Criteria) -> None:
        """Add the criterion of the choice."""
        value = self.value()
        if value is not None:
            criteria.add(self.chosen(value))

    def chips(self, changelist: Any) -> Iterator[Chip]:
        """Yield the choice."""
        value = self.value()
        if value is not None:
            shown = {str(key): label for key, label in self.lookup_choices}[value]
            yield Chip(f"{self.title} {shown}", changelist.get_query_string(remove=[self.parameter_name]))


class Input(NamedTuple):
    """An input of a form in the sidebar."""

    name: str
    label: str
    kind: str
    value: str


class FormFilter(JobFilter, ListFilter):
    """Base of filters with inputs to fill in, and links with common values."""

    template = "admin/jobs/job/form_filter.html"
    inputs: tuple[tuple[str, str], ...]
    """URL parameters and labels."""
    kind = "text"
    chip_prefix = ""
    presets: tuple[tuple[str, tuple[str, ...]], ...] = ()
    """Labels, and values for the inputs."""
    is_open = False

    def __init__(self, request: HttpRequest, params: dict[str, Any], model: Any, model_admin: Any) -> None:
        """Take the values from the parameters; refuse invalid ones."""
        super().__init__(request, params, model, model_admin)
        given = {name: params.pop(name)[-1].strip() for name, _ in self.inputs if name in params}
        self._filled = {name: value for name, value in given.items() if value}
        self.used_parameters = {**self._filled}  # Django's name for it
        self._criteria = Criteria()
        try:
            self.read(self._criteria, *(self._filled.get(name, "") for name, _ in self.inputs))
        except (KeyError, ValueError, OverflowError, OSError):
            raise IncorrectLookupParameters(f"{self.title}: {self._filled}") from None

    @classmethod
    def parameters(cls) -> tuple[str, ...]:
        """Return the names of the URL parameters."""
        return tuple(name for name, _ in cls.inputs)

    @abstractmethod
    def read(self, criteria: Criteria, *values: str) -> None:
        """Add the criteria for the values of the inputs; raise KeyError or ValueError if they are invalid."""

    def kind_of(self, text: str) -> str:
        """Return the kind of the input that shows a value."""
        return self.kind

    def has_output(self) -> bool:
        """Return True: the filter is always shown."""
        return True

    def expected_parameters(self) -> list[str | None]:
        """Return the names of the URL parameters."""
        return list(self.parameters())

    def narrow(self, criteria: Criteria) -> None:
        """Add the criteria of the inputs."""
        criteria.add(*self._criteria.required)
        criteria.between(self._criteria.since, self._criteria.until)

    def chips(self, changelist: Any) -> Iterator[Chip]:
        """Yield each value that is filled in, or the preset that has all of them."""
        names = self.parameters()
        for label, values in self.presets:
            if {name: value for name, value in zip(names, values, strict=True) if value} == self._filled:
                yield Chip(f"{self.title} {label}", changelist.get_query_string(remove=list(names)))
                return
        for name, label in self.inputs:
            if name in self._filled:
                text = f"{self.chip_prefix} {label.lower()} {self._filled[name]}".strip()
                yield Chip(text, changelist.get_query_string({name: None}))

    def value(self) -> dict[str, str] | None:
        """Return the values that are filled in, or None."""
        return self._filled or None

    def choices(self, changelist: Any) -> Iterator[dict[str, Any]]:
        """Yield the links, then the form with the other parameters of the list as hidden inputs."""
        names = self.parameters()
        if self.presets or self._filled:
            everything = changelist.get_query_string(remove=list(names))
            yield {"selected": not self._filled, "display": "All", "query": everything}
        for label, values in self.presets:
            chosen = {name: value for name, value in zip(names, values, strict=True) if value}
            query = changelist.get_query_string(dict(zip(names, (value or None for value in values), strict=True)))
            yield {"selected": chosen == self._filled, "display": label, "query": query}
        inputs = [
            Input(name, label, self.kind_of(text), text)
            for name, label in self.inputs
            for text in [self._filled.get(name, "")]
        ]
        kept = [(name, value) for name, value in changelist.params.items() if name not in names]
        yield {"inputs": inputs, "kept": kept}
