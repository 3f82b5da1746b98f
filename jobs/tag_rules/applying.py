"""Give jobs that have just been archived the tags of the rules that they match, in the transaction that records them.

All rules are one statement for all jobs of a batch, which is put together once a minute. Nothing that is wrong with a
rule reaches the archiving: it is written into the rule's row, from where the page Health has it.
"""

import time
from collections.abc import Collection, Mapping, Sequence
from functools import lru_cache
from typing import Any, NamedTuple

from django.db import DatabaseError, connection, transaction
from django.db.models import Case, Q, Value, When

from jobs.ledger.sql import one_of
from jobs.models import Job, JobTag
from jobs.records import TagRule
from jobs.rows.insert import insert_links
from jobs.rows.locks import keep_tags
from jobs.tag_rules.words import RuleError, conditions

_COMPILED_FOR = 60  # seconds: "the last 7 days" moves on, and tags that a rule names may come
_LONGEST = 500  # characters of a reason

_FAILURES = (DatabaseError, OverflowError, ValueError)
"""What a statement may raise whose values no database has."""


class Rule(NamedTuple):
    """A rule as it is in its row."""

    row_id: int
    words: str
    tag_id: int
    error: str


class Statement(NamedTuple):
    """A SELECT of row ids of all jobs and, for each of some rules, whether the job matches."""

    rules: tuple[int, ...]
    sql: str
    parameters: tuple[Any, ...]

    @classmethod
    def of(cls, tests: Mapping[int, Q]) -> "Statement":
        """Put the conditions of rules together."""
        columns = {
            f"rule_{rule_id}": Case(When(test, then=Value(True)), default=Value(False))  # noqa: FBT003
            for rule_id, test in tests.items()
        }
        found = Job.objects.order_by().annotate(**columns).values_list("pk", *columns)
        return cls(tuple(tests), *found.query.sql_with_params())

    def matches(self, row_ids: Sequence[int], without: Collection[int] = ()) -> list[tuple[int, int]]:
        """Return those of these jobs that match, each with the rule; as they would be without some tags."""
        chosen, ids = one_of('"jobs_job"."id"', row_ids)
        before, others = _links_without(row_ids, without) if without else ("", [])
        with transaction.atomic(), connection.cursor() as cursor:
            cursor.execute(f"{before} {self.sql} WHERE {chosen}", [*others, *self.parameters, *ids])
            rows = cursor.fetchall()
        return [
            (row_id, rule) for row_id, *found in rows for rule, is_one in zip(self.rules, found, strict=True) if is_one
        ]


class Compiled(NamedTuple):
    """The statements of rules: one for all, and one for each; and why some have none."""

    whole: Statement | None
    each: dict[int, Statement]
    problems: dict[int, str]


def tag_archived(row_ids: Sequence[int]) -> list[int]:
    """Put the tags of the rules on jobs; return the row ids of those that have got one that they did not have.

    The caller opens the transaction, has locked the rows of the jobs, and has booked them.
    """
    rows = TagRule.objects.filter(is_enabled=True).order_by("pk").values_list("pk", "words", "tag_id", "error")
    rules = tuple(Rule(*row) for row in rows)
    if not rules or not row_ids:
        return []
    matches, problems = _matches(rules, row_ids)
    _note(rules, problems)
    tags = {rule.row_id: rule.tag_id for rule in rules}
    return _link({(row_id, tags[rule_id]) for row_id, rule_id in matches})


def rules_of(row_id: int) -> list[TagRule]:
    """Return the rules, also those that are off, whose tag a job has and whose search it matches as both are now.

    Or would match without the tags of such rules, which it had not when they were applied: a search may exclude them.
    """
    links = JobTag.objects.filter(job=row_id).values("tag")
    found = list(TagRule.objects.filter(tag__in=links).order_by("words", "pk").prefetch_related("tag"))
    if not found:
        return []
    rules = tuple(Rule(rule.pk, rule.words, rule.tag_id, rule.error) for rule in found)
    now, _ = _matches(rules, [row_id])
    before, _ = _matches(rules, [row_id], without={rule.tag_id for rule in rules})
    matched = {rule_id for _, rule_id in now + before}
    return [rule for rule in found if rule.pk in matched]


def _links_without(row_ids: Sequence[int], tag_ids: Collection[int]) -> tuple[str, list[Any]]:
    """Return a WITH that stands in for the tags of some jobs, without some of them, and its parameters."""
    jobs, job_parameters = one_of('"job_id"', row_ids)
    tags, tag_parameters = one_of('"tag_id"', sorted(tag_ids))
    table = f'"{JobTag._meta.db_table}"'
    real = f"main.{table}" if connection.vendor == "sqlite" else table
    sql = f"WITH {table} AS (SELECT * FROM {real} WHERE {jobs} AND NOT ({tags}))"  # noqa: S608
    return sql, [*job_parameters, *tag_parameters]


def _matches(
    rules: tuple[Rule, ...], row_ids: Sequence[int], without: Collection[int] = ()
) -> tuple[list[tuple[int, int]], dict[int, str]]:
    """Return the jobs that match, each with its rule, and why some rules could not be applied.

    The jobs are looked at as they would be without some tags.
    """
    compiled = _compiled(rules, int(time.time()) // _COMPILED_FOR)
    problems = dict(compiled.problems)
    matches: list[tuple[int, int]] = []
    try:
        if compiled.whole:
            matches = compiled.whole.matches(row_ids, without)
    except _FAILURES:
        for rule_id, statement in compiled.each.items():
            try:
                matches += statement.matches(row_ids, without)
            except _FAILURES as error:
                problems[rule_id] = _reason(error)
    return matches, problems


@lru_cache(maxsize=4)
def _compiled(rules: tuple[Rule, ...], minute: int) -> Compiled:
    """Return the statements of rules, at a minute since the epoch."""
    tests, each, problems = {}, {}, {}
    for rule in rules:
        try:
            with transaction.atomic():
                test = conditions(rule.words)
                each[rule.row_id] = Statement.of({rule.row_id: test})
                tests[rule.row_id] = test
        except RuleError as error:
            problems[rule.row_id] = str(error)
        except Exception as error:  # whatever it is, jobs are archived
            problems[rule.row_id] = _reason(error)
    return Compiled(Statement.of(tests) if tests else None, each, problems)


def _reason(error: Exception) -> str:
    return " ".join(f"{type(error).__name__}: {error}".split())


def _note(rules: Sequence[Rule], problems: dict[int, str]) -> None:
    """Write down which rules failed and why, and which do not any more; nothing in the usual case."""
    for rule in rules:
        problem = problems.get(rule.row_id, "")[:_LONGEST]
        if problem != rule.error:
            TagRule.objects.filter(pk=rule.row_id).update(error=problem)


def _link(links: Collection[tuple[int, int]]) -> list[int]:
    """Store links that are new, of tags that are there; return the jobs that have got one."""
    if not links:
        return []
    there = set(keep_tags({tag_id for _, tag_id in links}))
    known = JobTag.objects.filter(job_id__in={row_id for row_id, _ in links}, tag_id__in=there)
    new = {link for link in links if link[1] in there} - set(known.values_list("job_id", "tag_id"))
    insert_links(sorted(new))
    return sorted({row_id for row_id, _ in new})
