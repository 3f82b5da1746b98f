"""The words of a rule: a search as in the search box, made of fields alone, as conditions on one job."""

import re

from django.db.models import Q

from jobs.search.box import narrow
from jobs.search.criteria import Criteria, started

LONGEST = 1_000
"""Characters of the words of a rule."""

_WITH_FIELD = re.compile(r"-?[A-Za-z][A-Za-z0-9_.]*[:<>]")


class RuleError(ValueError):
    """Words that cannot be a rule; the message says why."""


def conditions(words: str) -> Q:
    """Return the condition that a job matches some words; raise RuleError.

    Names are compared in any case, without a look at those that there are: the jobs that a rule is for have yet to
    come.
    """
    criteria = Criteria()
    parsed = narrow(criteria, words, ())
    problems = list(criteria.problems)
    if not parsed.terms and not problems:
        problems.append("expected at least one condition, such as state:failed")
    for term in parsed.terms:
        if not _WITH_FIELD.match(words[term.begin : term.end]):
            problems.append(f"{words[term.begin : term.end][:40]!r}: expected a field before it, as in user:alice")
    if problems:
        raise RuleError("; ".join(dict.fromkeys(problems)))
    found = started(criteria.since, criteria.until)
    for each in criteria.required:
        found &= Q(each.test)
    return found
