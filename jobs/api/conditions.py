"""Choose the index that answers a list: among several filters, the one that matches the fewest jobs."""

from collections.abc import Collection, Iterable, Sequence
from typing import Any, NamedTuple

from django.db import connection

from jobs.querysets import ENDED_STATES, USUAL_STATES
from jobs.rows.select import JOBS, LINKS, SqlCondition, run, with_values
from jobs.search.expressions import FIRST_WORD_OF_STATE
from jobs.states import JobState

# Filters are counted up to this many jobs: those whose index is in order, and those whose jobs must be sorted.
_FEW, _FEW_TO_SORT = 500, 5000

# Ranks of the indexes if all filters match many jobs, the most selective first.
JOB_ID, RUNNING, USER, PROJECT, STATE, PARTITION, SUB_CLUSTER, ENDED, CLUSTER, NOTHING = range(10)

# Keeps SQLite, which has no statistics, from using the index of a column. PostgreSQL has statistics.
_UNINDEXED = {"sqlite": "+", "postgresql": ""}


def _one_of(states: Iterable[str]) -> str:
    return f""""job_state" IN ({", ".join(f"'{state}'" for state in states)})"""


# The conditions of the indexes jobs_ended and jobs_by_rare_state.
_HAS_ENDED = _one_of(ENDED_STATES)
_IS_RARE = f"NOT ({_one_of(USUAL_STATES)})"


class Filter(NamedTuple):
    """A condition to test job by job, and the same in the form that an index answers.

    Not every index is `in_order` of the start times. `counted` is the table and condition to count the matching jobs
    by, if it is not `indexed`.
    """

    tested: SqlCondition
    indexed: SqlCondition | None = None
    rank: int = NOTHING
    in_order: bool = True
    counted: SqlCondition | None = None


def equal(column: str, value: Any, rank: int) -> Filter:
    """Match a value of a column that has an index, ordered by start times."""
    tested = f'{_UNINDEXED[connection.vendor]}"{column}" = %s'
    return Filter((tested, [value]), (f'"{column}" = %s', [value]), rank)


def in_states(states: Collection[str], own_words: Sequence[str] = ()) -> Filter:
    """Match jobs in one of some known states, and failed jobs for which the scheduler has one of some words of its own.

    The states stand in the condition itself, so that partial indexes serve it.
    """
    if JobState.FAILED in states or not own_words:
        return _in_states(states)
    any_state = _in_states({*states, JobState.FAILED.value})
    first_word = FIRST_WORD_OF_STATE[connection.vendor] % {"expressions": '"meta_data"'}
    words = f"{first_word} IN ({', '.join(['%s'] * len(own_words))})"
    one_of = f"{_in_states(states).tested[0]} OR {words}" if states else words
    tested = (f"{any_state.tested[0]} AND ({one_of})", own_words)
    indexed = any_state.indexed and (f"{any_state.indexed[0]} AND ({one_of})", own_words)
    return any_state._replace(tested=tested, indexed=indexed)


def _in_states(states: Collection[str]) -> Filter:
    one_of = _one_of(sorted(states))
    tested = f"{_UNINDEXED[connection.vendor]}{one_of}", ()
    if set(states) == {JobState.RUNNING}:
        return Filter(tested, ("\"job_state\" = 'running'", ()), RUNNING)
    if not set(states) & set(USUAL_STATES):
        return Filter(tested, (f"{one_of} AND {_IS_RARE}", ()), STATE, in_order=len(states) == 1)
    if JobState.RUNNING in states:
        return Filter(tested)
    return Filter(tested, (f"{one_of} AND {_HAS_ENDED}", ()), ENDED)


def with_tags(tag_ids: Sequence[int]) -> Filter:
    """Match jobs with one of these tags."""
    if not tag_ids:
        return Filter(("FALSE", ()))
    linked = f'{LINKS} WHERE "tag_id" IN ({", ".join(["%s"] * len(tag_ids))})'
    links = f'SELECT "job_id" FROM {linked}'  # noqa: S608  names of ours
    one_of = f"= ANY(ARRAY({links}))" if connection.vendor == "postgresql" else f"IN ({links})"
    return Filter(
        # OFFSET keeps PostgreSQL from a join for which it would sort all jobs with the tags.
        tested=(f'EXISTS ({links} AND "job_id" = {JOBS}."id" LIMIT 1 OFFSET 0)', tag_ids),
        indexed=(f'"id" {one_of}', tag_ids),
        in_order=False,
        counted=(linked, tag_ids),
    )


def choose(filters: Sequence[Filter]) -> list[SqlCondition]:
    """Return the conditions of all filters, with one of them in the form for its index.

    If it is not clear which, that takes one more query: on SQLite for several filters with an index, on both databases
    for those that few jobs must match.
    """
    best = _best([each for each in filters if each.indexed])
    return [each.indexed if each is best and each.indexed else each.tested for each in filters]


def _best(filters: Sequence[Filter]) -> Filter | None:
    best = min((each for each in filters if each.in_order), key=lambda each: each.rank, default=None)
    if best is not None and (best.rank == JOB_ID or len(filters) == 1):
        return best
    uncertain = [
        each for each in filters if each.rank != ENDED and (connection.vendor == "sqlite" or not each.in_order)
    ]
    counted = zip(_counts(uncertain), uncertain, strict=True)
    few = min((pair for pair in counted if pair[0] < _limit(pair[1])), key=lambda pair: pair[0], default=None)
    return best if few is None else few[1]


def _limit(each: Filter) -> int:
    return _FEW if each.in_order else _FEW_TO_SORT


def _counts(filters: Sequence[Filter]) -> Sequence[int]:
    """Return how many jobs match each filter, up to its limit."""
    if not filters:
        return ()
    parts: list[str] = []
    parameters: list[Any] = []
    for each in filters:
        condition, values = each.indexed or each.tested
        source, values = each.counted or (f"{JOBS} WHERE {condition}", values)
        part = f"SELECT 1 FROM {source} LIMIT {_limit(each)}"  # noqa: S608  names of ours
        parts.append(f"(SELECT count(*) FROM ({part}) part)")  # noqa: S608
        parameters += values
    sql, given = with_values(f"SELECT {', '.join(parts)}", parameters)
    return run((sql.replace("%", "%%"), ()) if given is None else (sql, given), briefly=True)[0]
