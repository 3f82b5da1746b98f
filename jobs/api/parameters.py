"""The filters of GET jobs/: convert query parameters to conditions; an invalid one is refused by name."""

import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import lru_cache

from django.http import QueryDict

from archive.format.cluster_json import SCOPES
from jobs.api import conditions
from jobs.api.conditions import Filter, choose, equal, in_states, with_tags
from jobs.deletion.steps import OmitTagged
from jobs.exceptions import InvalidJobError, invalid_parameter
from jobs.overview import usage_question
from jobs.overview.usage import Question
from jobs.rows.select import SqlCondition
from jobs.states import WORDS, searched_state
from jobs.tags.ids import known_tags
from jobs.text import LATEST_TIME, MAX_BIGINT, TOO_LATE, is_whole, pairs_of

OMIT_TAGGED: dict[str, OmitTagged] = {"none": False, "all": True, "user": "user", "false": False, "true": True}
"""The words of delete_job_before's parameter."""

_RANGE = re.compile(r"([0-9]{1,19})-([0-9]{1,19})")


@dataclass
class Listing:
    """The parameters of a list request; `limit` None means all jobs."""

    conditions: list[SqlCondition] = field(default_factory=list)
    items_per_page: int = 25
    page: int = 1
    with_metadata: bool = False

    @property
    def limit(self) -> int | None:
        """Return how many jobs the page may hold, None for all; a very large page is all."""
        return None if self.items_per_page < 0 or self.items_per_page * self.page > MAX_BIGINT else self.items_per_page

    @property
    def offset(self) -> int:
        """Return the number of jobs before the page."""
        return 0 if self.limit is None else self.limit * (self.page - 1)

    @property
    def is_empty(self) -> bool:
        """Return whether there can be no job on the page."""
        return self.items_per_page == 0 or (self.limit is None and self.page > 1)


@lru_cache(maxsize=128)
def read_query(query: str) -> dict[str, list[str]]:
    """Return the parameters of a query string of WSGI.

    Pollers send the same again, and reading it takes Django a tenth of a call.
    """
    return dict(QueryDict(query.encode("iso-8859-1")).lists())


def parse(parameters: Mapping[str, Sequence[str]], limits: Sequence[Filter] = ()) -> Listing:
    """Read query parameters; raise InvalidJobError that names the parameter, the value and the expectation.

    `limits` hold besides.
    """
    listing = Listing()
    filters: list[Filter] = [*limits]
    for name, values in parameters.items():
        if name == "state":
            filters.append(_states(values))
        elif name in _FILTERS:
            filters.append(_FILTERS[name](_last(values)))
        elif name == "items-per-page":
            listing.items_per_page = _whole(name, _last(values), minimum=-1)
        elif name == "page":
            listing.page = _whole(name, _last(values), minimum=1)
        elif name == "with-metadata":
            listing.with_metadata = _flag(name, _last(values))
        else:
            known = ", ".join(["state", *_FILTERS, "items-per-page", "page", "with-metadata"])
            raise InvalidJobError(f"invalid query parameter: {name!r}, expected one of {known}")
    listing.conditions = choose(filters)
    return listing


def parse_omit_tagged(parameters: Mapping[str, str]) -> OmitTagged:
    """Read the only query parameter of delete_job_before; raise InvalidJobError for anything else."""
    _check_names(parameters, "omit-tagged")
    text = parameters.get("omit-tagged", "none")
    if text not in OMIT_TAGGED:
        raise invalid_parameter("omit-tagged", text, f"one of {', '.join(OMIT_TAGGED)}")
    return OMIT_TAGGED[text]


def parse_all_metrics(parameters: Mapping[str, str]) -> bool | None:
    """Read the only query parameter of GET jobs/{id}; return None if it is missing, and raise InvalidJobError."""
    _check_names(parameters, "all-metrics")
    return _flag("all-metrics", parameters["all-metrics"]) if "all-metrics" in parameters else None


def parse_metrics(parameters: Mapping[str, Sequence[str]]) -> tuple[list[str] | None, list[str]]:
    """Read the query parameters of GET jobs/metrics/{id}: metrics (None: all), and scopes (all, if none is given)."""
    _check_names(parameters, "metric", "scope")
    for scope in parameters.get("scope", []):
        if scope not in SCOPES:
            raise invalid_parameter("scope", scope, f"one of {', '.join(SCOPES)}")
    metrics = parameters.get("metric")
    return None if metrics is None else list(metrics), list(parameters.get("scope", SCOPES))


def parse_cluster(parameters: Mapping[str, str]) -> str | None:
    """Read the only query parameter of GET clusters/; return None if it is missing, and raise InvalidJobError."""
    _check_names(parameters, "cluster")
    return parameters.get("cluster")


def parse_usage(parameters: Mapping[str, str]) -> Question:
    """Read the query parameters of GET usage/; raise InvalidJobError."""
    _check_names(parameters, *usage_question.PARAMETERS)
    return usage_question.read_question(parameters)


def _check_names(parameters: Iterable[str], *known: str) -> None:
    for name in parameters:
        if name not in known:
            raise InvalidJobError(f"invalid query parameter: {name!r}, expected {' or '.join(known)}")


def parse_ts(parameters: Mapping[str, str]) -> int:
    """Read the only query parameter of used_nodes, epoch seconds; raise InvalidJobError for anything else."""
    _check_names(parameters, "ts")
    return _whole("ts", parameters.get("ts", ""), minimum=0)


def _last(values: Sequence[str]) -> str:
    return values[-1].replace("\0", "")


def _whole(name: str, text: str, minimum: int) -> int:
    if not is_whole(text) or int(text) < minimum:
        raise invalid_parameter(name, text, f"a whole number, {minimum} or more")
    return int(text)


def _flag(name: str, text: str) -> bool:
    if text not in ("true", "false"):
        raise invalid_parameter(name, text, "true or false")
    return text == "true"


def _states(values: Sequence[str]) -> Filter:
    states: set[str] = set()
    own_words: list[str] = []
    for value in values:
        found = searched_state(value)
        if found is None:
            raise invalid_parameter("state", value, f"one of {', '.join(WORDS)}")
        state, words = found
        own_words += words
        if not words:
            states.add(state)
    return in_states(states, own_words)


def _start_time(text: str) -> Filter:
    found = _RANGE.fullmatch(text)
    if not found:
        raise invalid_parameter("start-time", text, "FROM-TO in epoch seconds")
    if max(int(found[1]), int(found[2])) > LATEST_TIME:
        raise invalid_parameter("start-time", text, TOO_LATE.removeprefix("expected "))
    return Filter(('"start_time" BETWEEN %s AND %s', [int(found[1]), int(found[2])]))


def _tag(text: str) -> Filter:
    pairs = pairs_of(text)
    if not pairs:
        raise invalid_parameter("tag", text, "type:name")
    return with_tags(list(known_tags(pairs).values()))


def _text(column: str, rank: int) -> Callable[[str], Filter]:
    return lambda value: equal(column, value, rank)


_FILTERS: dict[str, Callable[[str], Filter]] = {
    "cluster": _text("cluster", conditions.CLUSTER),
    "start-time": _start_time,
    "project": _text("project", conditions.PROJECT),
    "user": _text("user", conditions.USER),
    "job-id": lambda text: equal("job_id", _whole("job-id", text, minimum=0), conditions.JOB_ID),
    "sub-cluster": _text("sub_cluster", conditions.SUB_CLUSTER),
    "partition": _text("partition", conditions.PARTITION),
    "tag": _tag,
}
