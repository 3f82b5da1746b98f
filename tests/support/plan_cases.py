"""Cases of the tests of plans: a piece of work, and the indexes that its statements must and may use."""

from collections.abc import Callable
from typing import Any, NamedTuple
from urllib.parse import parse_qs

from jobs.api import limits, parameters
from jobs.api.pages import select_json
from tests.support import plans

# Of the row ids themselves, of a node's jobs, and of the tags of each job in a list.
EVERYWHERE = {"pk", "jobs_of_node", "jobs_tag_on_job_once"}


class Case(NamedTuple):
    """A piece of work, the indexes that it must use, of which some are A|B, and those that it may use besides.

    `guessed`: what PostgreSQL may do if it knows nothing of the table yet.
    """

    name: str
    act: Callable[[], object]
    uses: frozenset[str]
    may_use: frozenset[str]
    guessed: frozenset[str]
    sorts: bool  # few rows, which SQLite's plan does not tell
    prepared: bool  # else PostgreSQL goes on planning it, since one plan for all values would cost more


def case(
    name: str,
    act: Callable[[], object],
    *uses: str,
    may: str = "",
    guessed: str = "",
    sorts: bool = False,
    prepared: bool = False,
) -> Case:
    """Return a case; the names in `may` and `guessed` are separated by blanks."""
    return Case(name, act, frozenset(uses), frozenset(may.split()), frozenset(guessed.split()), sorts, prepared)


def listed(query: str, *uses: str, **options: Any) -> Case:
    """Return the case of a list."""

    def act() -> None:
        found = parameters.parse(parse_qs(query))
        for _ in select_json(found.conditions, with_metadata=False, limit=found.limit, offset=found.offset, part=1000):
            pass

    return case(f"list {query}", act, *uses, **options)


def limited(name: str, pairs: list[tuple[str, str]], *uses: str, **options: Any) -> Case:
    """Return the case of a list for a token that reaches jobs alone for which one of some columns has its value."""

    def act() -> None:
        found = parameters.parse({}, [limits.one_of(pairs)])
        for _ in select_json(found.conditions, with_metadata=False, limit=found.limit, offset=0, part=1000):
            pass

    return case(f"list of {name}", act, *uses, **options)


def problems_of(each: Case, *, guesses: bool) -> list[str]:
    """Return what is wrong with the plans of a case; `guesses`: the database knows nothing of the tables yet."""
    found = plans.plans(each.act, generic=each.prepared)
    used = set[str]().union(*(plan.indexes for plan in found))
    problems = [f"{each.name}: {text} in {plan.sql}" for plan in found for text in plan.sorts if not each.sorts]
    allowed = {name for names in each.uses for name in names.split("|")} | each.may_use | EVERYWHERE
    guessed = each.guessed if guesses else frozenset()
    missing = not used & guessed and not all(used & set(names.split("|")) for names in each.uses)
    if missing or used - allowed - guessed:
        sql = "\n".join(plan.sql for plan in found if plan.indexes - allowed)
        problems.append(f"{each.name}: uses {sorted(used)}, expected {sorted(each.uses)}: {sql}")
    return problems
