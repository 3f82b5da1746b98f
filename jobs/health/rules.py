"""The health of tag rules: each that is enabled can be applied, and its tag is there."""

from collections.abc import Iterator

from jobs.health.look import Look
from jobs.health.report import Finding, State
from jobs.models import Tag
from jobs.records import TagRule

NAME = "tag rules"

_MOST_NAMED = 20


def check(look: Look) -> Iterator[Finding]:
    """Yield the rules that tag no jobs; without any rule there is nothing to say."""
    rules = list(TagRule.objects.filter(is_enabled=True).order_by("pk"))
    if not rules:
        return
    there = set(Tag.objects.filter(pk__in={rule.tag_id for rule in rules}).values_list("pk", flat=True))
    problems = [(rule, rule.error or "its tag was deleted") for rule in rules if rule.error or rule.tag_id not in there]
    for rule, reason in problems[:_MOST_NAMED]:
        sentence = f"The rule {rule.words[:80]} tags no jobs: {reason[:200]}."
        cure = 'Correct it, turn it off, or delete it, on the page "Rules" of the tags.'
        yield Finding(NAME, State.WARNING, sentence, cure)
    if not problems:
        yield Finding(NAME, State.OK, "All rules can be applied.")
