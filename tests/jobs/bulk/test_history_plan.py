"""The look-up of a job's bulk changes among many parts of others, on both databases."""

import pytest
from django.db import connection

from accounts.models import User
from jobs.bulk.selecting import begin_selection
from jobs.history import Actor
from jobs.records import BulkPart, bulk_entries_of
from jobs.states import BulkKind, PartState
from tests.support import plans

pytestmark = pytest.mark.django_db

PARTS = 5_000


def test_the_changes_of_a_job_are_found_by_an_index(admin: User, monkeypatch: pytest.MonkeyPatch) -> None:
    change = begin_selection(kind=BulkKind.CORRECT, actor=Actor(admin.pk), query="", conditions="")
    change.entry = 1
    change.save()
    parts = [BulkPart.of(change, {number * 10: ("a", "b"), number * 10 + 9: ("a", "b")}) for number in range(PARTS)]
    for part in parts:
        part.state = PartState.DONE
    BulkPart.objects.bulk_create(parts)
    with connection.cursor() as cursor:
        cursor.execute("ANALYZE")
    monkeypatch.setattr(plans, "LARGE", ("jobs_bulkpart",))

    (plan,) = plans.plans(lambda: bulk_entries_of((PARTS - 10) * 10))

    assert plan.indexes == {"jobs_bulk_of_job"}
    assert bulk_entries_of((PARTS - 10) * 10) == [1]
    assert bulk_entries_of((PARTS - 10) * 10 + 1) == []
