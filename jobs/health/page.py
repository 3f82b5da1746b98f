"""Findings as text, for a terminal and for mails."""

import textwrap
from collections.abc import Iterable

from accounts.console import printable
from jobs.console import shown_time
from jobs.health.report import Finding, State

_WIDTH = 100
_INDENT = " " * 8


def page(findings: Iterable[Finding]) -> str:
    """Return the findings, one below the other, each with what to do."""
    return "\n".join(line for finding in findings for line in _lines(finding))


def _lines(finding: Finding) -> list[str]:
    word = "ok" if finding.state == State.OK else finding.state.name
    first = f"{word:7} {finding.name}: {printable(finding.sentence)}"
    since = "" if finding.since is None else f"since {shown_time(finding.since)}"
    rest = [text for text in (since, printable(finding.cure)) if text]
    wrapped = textwrap.wrap(first, _WIDTH, subsequent_indent=_INDENT, break_long_words=False)
    for text in rest:
        wrapped += textwrap.wrap(text, _WIDTH, initial_indent=_INDENT, subsequent_indent=_INDENT)
    return wrapped
