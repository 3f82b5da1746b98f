"""The health of tag rules."""

import pytest

from jobs.health import rules
from jobs.health.look import Look
from jobs.health.report import State
from jobs.models import Tag
from jobs.records import TagRule
from tests.support.factories import TagFactory

pytestmark = pytest.mark.django_db


def test_without_rules_there_is_nothing_to_say() -> None:
    assert list(rules.check(Look(0))) == []


def test_rules_that_tag_no_jobs_are_named_with_the_reason() -> None:
    TagRule.objects.create(words="user:alice", tag=TagFactory.create())
    assert [finding.state for finding in rules.check(Look(0))] == [State.OK]
    TagRule.objects.create(words="colour:blue", tag=TagFactory.create(), error="'colour' is no field")
    TagRule.objects.create(words="colour:red", tag=TagFactory.create(), error="off", is_enabled=False)
    gone = TagRule.objects.create(words="user:bob", tag=TagFactory.create())
    Tag.objects.filter(pk=gone.tag_id).delete()

    found = list(rules.check(Look(0)))

    assert [finding.state for finding in found] == [State.WARNING] * 2
    assert found[0].sentence == "The rule colour:blue tags no jobs: 'colour' is no field."
    assert found[1].sentence == "The rule user:bob tags no jobs: its tag was deleted."
