"""The syntax of the search box: `1234567 user:alice host:f0123 name:"my job" tag:perf:bad`.

Inside quotes, a doubled quote stands for one.
"""

import re
from collections.abc import Callable
from typing import Any

from jobs.models import Job, Tag
from jobs.querysets import seen_by
from jobs.search.criteria import (
    NOTHING,
    Criteria,
    by_cluster,
    by_job_id,
    by_project,
    by_state,
    by_tag,
    by_user,
    name_contains,
    on_hosts,
    with_value,
)
from jobs.states import WORDS, searched_state
from jobs.text import is_whole, pairs_of

HELP = "Try 1234567, user:alice, project:bio, host:f0123, name:gromacs, tag:perf:bad, or several at once."

_WORD = re.compile(r'(?:(?P<key>[A-Za-z]+):)?(?:"(?P<quoted>(?:[^"]|"")*)"|(?P<plain>[^\s"]+))(?=\s|$)')


def narrow(criteria: Criteria, text: str, user: Any) -> None:
    """Parse the text of a search and add its criteria; record words that cannot be understood as problems."""
    text, position = text.replace("\0", "").strip(), 0
    while position < len(text):
        word = _WORD.match(text, position)
        if word is None:
            rest = text[position:]
            criteria.problems.append(f'{rest[:40]!r}: expected words, and texts with spaces as name:"my job"')
            return
        key, value = word["key"], word["plain"] or (word["quoted"] or "").replace('""', '"')
        if key is None:
            _narrow_by_bare_word(criteria, value, user)
        elif key.lower() not in _KEYS:
            criteria.problems.append(f"{word[0]!r}: expected one of {', '.join(f'{name}:' for name in _KEYS)}")
        elif not value:
            criteria.problems.append(f"{word[0]!r}: expected a text after the colon")
        else:
            _KEYS[key.lower()](criteria, value)
        position = word.end()
        while text[position : position + 1].isspace():
            position += 1


def _narrow_by_bare_word(criteria: Criteria, value: str, user: Any) -> None:
    """Interpret a number as a job id, anything else as a user or, if there is no such user, as a project.

    Only for users who see all jobs, look up whether a name exists: the answer would reveal hidden jobs to others.
    """
    seen = seen_by(user)
    if value.isascii() and value.isdecimal():
        _narrow_by_job_id(criteria, value)
    elif ("project", value) in (seen or ()):
        criteria.add(by_project(value))
    elif seen is not None or Job.objects.filter(user=value).exists():
        criteria.add(by_user(value))
    elif Job.objects.filter(project=value).exists():
        criteria.add(by_project(value))
    else:
        criteria.problems.append(
            f"{value[:80]!r}: there is no job with this user or project; use host:, name: or tag: to search for others"
        )


def _narrow_by_job_id(criteria: Criteria, value: str) -> None:
    if value.isascii() and value.isdecimal() and is_whole(value):
        criteria.add(by_job_id(int(value)))
    else:
        criteria.problems.append(f"{value[:40]!r}: expected a job id, a whole number of up to 19 digits")


def _narrow_by_state(criteria: Criteria, value: str) -> None:
    found = searched_state(value)
    if found:
        criteria.add(by_state(*found))
    else:
        criteria.problems.append(f"state:{value[:40]!r}: expected one of {', '.join(WORDS)}")


def _narrow_by_tag(criteria: Criteria, value: str) -> None:
    pairs = pairs_of(value)
    if not pairs:
        criteria.problems.append(f"tag:{value[:80]!r}: expected type and name, as tag:perf:bad")
        return
    near = Tag.objects.filter(type__in={type_ for type_, _ in pairs}, name__in={name for _, name in pairs})
    tags = [tag for tag in near if str(tag) == value]
    criteria.add(by_tag(*tags) if tags else NOTHING)


_KEYS: dict[str, Callable[[Criteria, str], None]] = {
    "job": _narrow_by_job_id,
    "user": lambda criteria, value: criteria.add(by_user(value)),
    "project": lambda criteria, value: criteria.add(by_project(value)),
    "host": lambda criteria, value: criteria.add(on_hosts([value])),
    "name": lambda criteria, value: criteria.add(name_contains(value)),
    "tag": _narrow_by_tag,
    "cluster": lambda criteria, value: criteria.add(by_cluster(value)),
    "partition": lambda criteria, value: criteria.add(with_value(partition=value)),
    "state": _narrow_by_state,
}
