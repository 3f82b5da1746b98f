"""Templates of PromQL queries, with variables for hosts and units."""

import re
import string
from collections.abc import Sequence

HOST_LABEL = "_host"
ID_LABEL = "_id"
"""Labels that a query adds to its series: the host and the unit of each."""

_GROUPS = {"hosts": HOST_LABEL, "ids": ID_LABEL}
_EXAMPLES = {"hosts": 'instance=~"$hosts:9100"', "ids": 'gpu=~"$ids"'}
_KNOWN = ("hosts", "ids", "cluster", "job_id")

_MATCHER = re.compile(r"""([A-Za-z_][A-Za-z0-9_]*)\s*=~\s*("(?:[^"\\\n]|\\.)*"|'(?:[^'\\\n]|\\.)*')""")
_PLAIN = re.compile(r"[^A-Za-z0-9_-]")


class PromqlTemplate:
    """A PromQL query with `$hosts` and `$ids` in regex matchers, and `$cluster` and `$job_id` anywhere."""

    def __init__(self, text: str) -> None:
        """Parse a text that has no `template_errors`."""
        self._template = string.Template(text)
        self._labels = [(name, *_matchers(text, name)[0]) for name in _GROUPS if _matchers(text, name)]

    def query(self, hosts: Sequence[str], ids: Sequence[str], cluster: str, job_id: int) -> str:
        """Return the query for some hosts and units, whose series have HOST_LABEL and ID_LABEL.

        Prometheus itself extracts these labels, by label_replace with the regular expression of the matcher.
        """
        values = {"hosts": _one_of("hosts", hosts), "ids": _one_of("ids", ids), "cluster": cluster, "job_id": job_id}
        query = self._template.substitute(values)
        for name, label, pattern in self._labels:
            regex = string.Template(pattern).substitute(values)
            query = f'label_replace(\n{query}\n, "{_GROUPS[name]}", "${{{name}}}", "{label}", {regex})'
        return query

    def label(self, name: str) -> str:
        """Return the label whose matcher contains a variable."""
        return next(label for known, label, _ in self._labels if known == name)


def template_errors(text: object, *, ids: bool) -> list[str]:
    """Return a message for each error in a template with one series per unit (`ids`) or per host."""
    if not isinstance(text, str):
        return [f"{text!r}: expected a PromQL query"]
    messages = []
    used = []
    for match in string.Template.pattern.finditer(text):
        name = match["named"] or match["braced"]
        if name is None and match["escaped"] is None:
            messages.append(f"{text[match.start() : match.start() + 10]!r}: expected a name after the $, or $$")
        elif name in _KNOWN:
            used.append(name)
        elif name is not None:
            known = ", ".join(f"${each}" for each in _KNOWN)
            messages.append(f"${name} is unknown: expected {known}, or $$ for a dollar sign")
    for name in ("hosts", "ids") if ids else ("hosts",):
        in_matchers = sum(_count(pattern, name) for _, pattern in _matchers(text, name))
        if not used.count(name) == in_matchers > 0:
            messages.append(f"${name}: expected in a matcher of regular expressions such as {_EXAMPLES[name]}")
    if not ids and "ids" in used:
        messages.append("$ids: expected in scopes below node only")
    return messages


def _matchers(text: str, name: str) -> list[tuple[str, str]]:
    """Return the label and the quoted pattern of each regex matcher that contains a variable."""
    return [(label, pattern) for label, pattern in _MATCHER.findall(text) if _count(pattern, name)]


def _count(text: str, name: str) -> int:
    """Return the number of occurrences of a variable."""
    return sum(name in (match["named"], match["braced"]) for match in string.Template.pattern.finditer(text))


def _one_of(name: str, values: Sequence[str]) -> str:
    """Return a named group, for use in a quoted string, that matches exactly these values."""
    return f"(?P<{name}>{'|'.join(_PLAIN.sub(_escaped, value) for value in values)})"


def _escaped(character: re.Match[str]) -> str:
    return rf"\\x{{{ord(character[0]):x}}}"
