"""Cases of the tests of plans: a piece of work, and the indexes that its statements must and may use."""

from collections.abc import Callable
from typing import Any, NamedTuple
from urllib.parse import parse_qs

from jobs.api import limits, parameters
from jobs.api.pages import select_json
from tests.support import plans
from tests.support.plans import JOBS, START

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
        for _ in select_json(found):
            pass

    return case(f"list {query}", act, *uses, **options)


def limited(name: str, pairs: list[tuple[str, str]], *uses: str, **options: Any) -> Case:
    """Return the case of a list for a token that reaches jobs alone for which one of some columns has its value."""

    def act() -> None:
        found = parameters.parse({}, [limits.one_of(pairs)])
        for _ in select_json(found):
            pass

    return case(f"list of {name}", act, *uses, **options)


def lists() -> list[Case]:
    """Return the cases of GET jobs/."""
    span = f"start-time={START}-{START + JOBS}"
    return [
        listed("", "walk:jobs_by_start"),
        listed("page=3", "walk:jobs_by_start"),
        listed("items-per-page=100", "walk:jobs_by_start"),
        listed(span, "jobs_by_start"),
        listed(
            f"cluster=testcluster&state=completed&state=failed&{span}&page=3",
            "jobs_ended|jobs_by_start",
            may="jobs_by_cluster",
        ),
        listed("cluster=testcluster", "jobs_by_cluster|walk:jobs_by_start"),
        listed("cluster=nowhere", "jobs_by_cluster"),
        listed("state=completed", "walk:jobs_ended|walk:jobs_by_start", guessed="scan:jobs_job"),
        listed("state=completed&state=running", "walk:jobs_by_start", guessed="scan:jobs_job"),
        listed("state=completed&user=nobody", "jobs_by_user", guessed="walk:jobs_ended"),
        listed("state=completed&cluster=nowhere", "jobs_by_cluster|jobs_ended"),
        listed("state=running", "jobs_running"),
        listed("state=running&items-per-page=-1", "jobs_running"),
        listed("state=preempted", "jobs_by_rare_state"),
        listed("state=failed&page=3", "jobs_by_rare_state"),
        listed("state=preempted&state=stopped", "jobs_by_rare_state", sorts=True),
        listed(f"state=preempted&{span}", "jobs_by_rare_state", guessed="jobs_ended"),
        listed("state=node_fail", "jobs_by_rare_state"),
        listed("user=nobody", "jobs_by_user"),
        listed("user=alice", "jobs_by_user|walk:jobs_by_start"),
        listed("project=bio", "jobs_by_project|walk:jobs_by_start"),
        listed("project=nothing", "jobs_by_project"),
        listed("partition=nowhere", "jobs_by_partition"),
        listed("sub-cluster=nowhere", "jobs_by_sub_cluster"),
        listed("user=nobody&cluster=testcluster", "jobs_by_user", may="jobs_by_cluster"),
        listed("user=user7&cluster=testcluster", "jobs_by_user", may="jobs_by_cluster"),
        listed("partition=nowhere&cluster=testcluster", "jobs_by_partition", may="jobs_by_cluster"),
        listed("partition=main&cluster=nowhere", "jobs_by_cluster", may="jobs_by_partition"),
        listed("state=preempted&user=alice", "jobs_by_rare_state", may="jobs_by_user"),
        listed("state=preempted&cluster=testcluster", "jobs_by_rare_state", may="jobs_by_cluster"),
        listed("tag=ticket:7", "links_by_tag"),
        listed("tag=ticket:7&user=alice", "links_by_tag", may="jobs_by_user"),
        listed("tag=ticket:1", "walk:jobs_by_start", may="links_by_tag scan:jobs_jobtag"),
        listed(f"job-id={100_000 + 7}&cluster=testcluster", "jobs_run_once", guessed="jobs_by_cluster"),
        limited("a user", [("user", "nobody")], "jobs_by_user"),
        limited(
            "a manager", [("user", "nobody"), ("project", "nothing")], "jobs_by_user", "jobs_by_project", sorts=True
        ),
        limited(
            "a busy manager",
            [("user", "alice"), ("project", "bio")],
            "jobs_by_user|walk:jobs_by_start",
            may="jobs_by_project scan:jobs_job",
            sorts=True,
        ),
        limited(
            "two clusters",
            [("cluster", "nowhere"), ("cluster", "nor here")],
            "jobs_by_cluster",
            may="walk:jobs_by_start",
            sorts=True,
        ),
    ]


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
