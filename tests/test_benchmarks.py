"""What the benchmarks measure on: the database that benchmarks.many fills."""

from pathlib import Path
from typing import Any

import pytest
from django.db import connection

from archive import root
from benchmarks import many
from jobs import demo
from jobs.ledger import audit
from jobs.models import Job
from jobs.records import JobFootprint, JobNode, Usage
from tests.support.factories import JobFactory

_LOADED = (Job, JobFootprint, JobNode, Usage)


def _constraints() -> list[dict[str, Any]]:
    with connection.cursor() as cursor:
        return [connection.introspection.get_constraints(cursor, model._meta.db_table) for model in _LOADED]


@pytest.mark.django_db(transaction=True)
def test_copies_of_jobs_are_booked_like_those_that_they_are_copies_of(
    archive_root: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(many, "_PATTERN", 700)  # so that there are two copies and a part of one
    demo.write_cluster(root.store())
    before = _constraints()

    many.insert(2000)

    jobs = {job.pk: job for job in Job.objects.order_by("pk")}
    assert list(jobs) == list(range(1, 2001))
    starts = [job.start_time for job in jobs.values()]
    assert starts == sorted(set(starts))
    assert [row_id for row_id, job in jobs.items() if job.is_running] == list(range(1801, 2001))
    for row_id in range(1, 1301):
        copy, original = jobs[row_id], jobs[row_id + 700]
        assert (copy.user, copy.meta_data, copy.resources) == (original.user, original.meta_data, original.resources)
        assert original.is_running or (copy.job_state, copy.duration) == (original.job_state, original.duration)

    ended = {row_id: job for row_id, job in jobs.items() if not job.is_running}
    footprints = JobFootprint.objects.values_list("job", "start_time", "duration", "num_nodes")
    expected = {(row_id, job.start_time, job.duration, job.num_nodes) for row_id, job in ended.items()}
    assert set(footprints) == expected
    nodes = JobNode.objects.values_list("job", "start_time", "end_time")
    assert len(nodes) == sum(job.num_nodes for job in ended.values())
    assert set(nodes) == {(row_id, job.start_time, job.start_time + job.duration) for row_id, job in ended.items()}
    assert list(audit.differences()) == []
    assert audit.misplaced_marks() == 0
    assert sum(Usage.objects.values_list("jobs", flat=True)) == len(ended)
    assert _constraints() == before


@pytest.mark.django_db(transaction=True)
def test_the_database_is_as_careful_as_before_when_it_is_filled(archive_root: Path) -> None:
    demo.write_cluster(root.store())
    names = (
        ("journal_mode", "synchronous", "foreign_keys", "ignore_check_constraints")
        if connection.vendor == "sqlite"
        else ("work_mem",)
    )

    def settings() -> list[Any]:
        with connection.cursor() as cursor:
            return [
                cursor.execute(f"{'PRAGMA' if connection.vendor == 'sqlite' else 'SHOW'} {name}").fetchone()
                for name in names
            ]

    before = settings()
    many.insert(20)
    assert settings() == before


@pytest.mark.django_db(transaction=True)
def test_jobs_that_are_there_are_not_replaced(archive_root: Path) -> None:
    job = JobFactory.create()
    with pytest.raises(ValueError, match="without jobs"):
        many.insert(20)
    assert list(Job.objects.all()) == [job]
