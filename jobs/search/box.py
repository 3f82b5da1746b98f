"""The syntax of the search box: `1234567 user:alice host:f01* -state:completed nodes:>64 name:"my job"`.

Nothing here knows of requests, so that commands can search as pages do. Inside quotes, a doubled quote stands for one.
"""

import difflib
import re
from dataclasses import dataclass
from typing import NamedTuple

from django.db.models import Q

from jobs.search.criteria import Criteria, Criterion, by_project, by_user
from jobs.search.fields import (
    FIELDS,
    JobId,
    NotUnderstoodError,
    Seen,
    Span,
    any_value,
    by_job_ids,
    field_named,
    field_names,
    job_id,
    like,
    values_of,
)
from jobs.search.hosts import by_hosts, nodes_of, on_hosts
from jobs.search.values import MOST_VALUES, names

HELP = (
    "Try 1234567, alice, user:alice state:failed,timeout, host:f01*, nodes:>64, limit:<5%, -tag:perf, start:last-month."
)

_WORD = re.compile(
    r'(?P<minus>-)?(?:(?P<key>[A-Za-z][A-Za-z0-9_.]*)(?::|(?=[<>])))?(?:"(?P<quoted>(?:[^"]|"")*)"|(?P<plain>[^\s"]*))(?=\s|$)'
)
_MOST_WORDS = 40
_BARE = "a job id, a user, a project, a host or a part of a job's name, or a beginning of one as ali*"


class Term(NamedTuple):
    """A word of a search as it was understood, and its place in the text."""

    label: str
    begin: int
    end: int


@dataclass
class Parsed:
    """The words of a search; `only_ids` if there are only job ids, which name a job rather than describe jobs."""

    terms: list[Term]
    only_ids: bool


def narrow(criteria: Criteria, text: str, seen: Seen) -> Parsed:
    """Parse the text of a search and add its criteria; record words that cannot be understood as problems.

    `seen` is what the person may see (`jobs.querysets.seen_by`), None for all jobs.
    """
    text = text.replace("\0", "")
    position, parsed = len(text) - len(text.lstrip()), Parsed([], only_ids=True)
    ids: list[JobId] = []
    while position < len(text.rstrip()):
        word = _WORD.match(text, position)
        if word is None or len(parsed.terms) >= _MOST_WORDS:
            expected = f'up to {_MOST_WORDS} words, and texts with blanks in quotes as name:"my job"'
            criteria.problems.append(f"{text[position:][:40]!r}: expected {expected}")
            return parsed
        label = _add(criteria, word, ids, seen)
        parsed.terms.append(Term(label, *word.span()))
        position = word.end()
        while text[position : position + 1].isspace():
            position += 1
    parsed.only_ids = bool(ids) and len(ids) == len(parsed.terms)
    if ids:  # several ask for each of these jobs
        criteria.add(by_job_ids(ids))
    return parsed


def without(text: str, term: Term) -> str:
    """Return the text of a search without one of its words."""
    text = text.replace("\0", "")
    return " ".join(part for part in (text[: term.begin].strip(), text[term.end :].strip()) if part)


def _add(criteria: Criteria, word: re.Match[str], ids: list[JobId], seen: Seen) -> str:
    """Add the criterion of a word, or its job id, or its problem; return how it was understood."""
    key, quoted = word["key"], word["quoted"] is not None
    value = word["plain"] or (word["quoted"] or "").replace('""', '"')
    minus = "not " if word["minus"] else ""
    if key is None:
        number = None if quoted else job_id(value)
        if number and not minus:
            ids.append(number)
            return f"job {value.lstrip('#')}"
        try:
            label, found = _bare_word(value, quoted=quoted, seen=seen)
        except ValueError:
            criteria.problems.append(f"{value[:40]!r}: expected {_BARE}")
            return word[0]
    else:
        field = field_named(key)
        if field is None:
            criteria.problems.append(_unknown(key))
            return word[0]
        try:
            if not value:
                raise NotUnderstoodError(field.expected)
            label, found = f"{field.name} {value}", field.parse(value, quoted=quoted, seen=seen)
        except NotUnderstoodError as error:
            is_long = not quoted and value.count(",") >= MOST_VALUES
            expected = f"at most {MOST_VALUES} values" if is_long else error
            criteria.problems.append(f"{field.name}:{value[:40]!r}: expected {expected}")
            return word[0]
    if isinstance(found, Span) and not minus:
        criteria.between(*found)
    else:
        found = found.criterion if isinstance(found, Span) else found
        criteria.add(found.inverted() if minus else found)
    return f"{minus}{label}"


def _unknown(key: str) -> str:
    names = field_names()
    near = difflib.get_close_matches(key.lower(), names, 1)
    hint = f"did you mean {near[0]}:? The fields are" if near else "the fields are"
    return f"{key[:40]!r} is no field: {hint} {', '.join(names)}"


def _bare_word(value: str, *, quoted: bool, seen: Seen) -> tuple[str, Criterion | Span]:
    """Interpret a word as a job id, user, project, host or part of a job's name, whatever there is first.

    For somebody who does not see all jobs it is all of these at once: which there are would tell of hidden jobs.
    """
    number = None if quoted else job_id(value)
    if number:
        return f"job {value.lstrip('#')}", by_job_ids([number])
    found = names(value, quoted=quoted)
    if seen is not None:
        named = FIELDS["name"].parse(value, quoted=quoted, seen=seen)
        assert isinstance(named, Criterion)
        return f'"{value}"', Criterion(like("user", found) | like("project", found) | on_hosts(found) | Q(named.test))
    for column, one in (("user", by_user), ("project", by_project)):
        values = values_of(column, found)
        if values:
            return f"{column} {value}", any_value(column, one, values)
    nodes = nodes_of(found)
    if nodes:
        return f"host {value}", by_hosts(found, node_ids=nodes)
    return f"name {value}", FIELDS["name"].parse(value, quoted=quoted, seen=seen)
