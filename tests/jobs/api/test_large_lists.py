"""A list of jobs with large scripts comes in parts, so that its memory is bounded in bytes, and is the same list."""

import json
import tracemalloc
from typing import Any

import pytest
from django.db import connection
from django.test import RequestFactory

from accounts.models import User
from ccbackend.fastpath.handler import FastHandler
from ccbackend.waiting import WouldWait
from jobs.api.pages import select_json
from jobs.api.parameters import Listing
from jobs.models import Job
from jobs.rows.select import PART_BYTES
from tests.support.clients import AppClient
from tests.support.factories import JobFactory, token_for

MB = 1 << 20
JOBS = 12


@pytest.fixture
def large(db: None) -> None:
    """Store jobs with scripts of 1 to 5 MB, and small ones among them."""
    for number in range(JOBS):
        script = ("x" if number % 2 else "ü\\n") * (MB if number % 3 else 10)
        JobFactory.create(meta_data=json.dumps({"jobScript": script}, ensure_ascii=False))


@pytest.mark.usefixtures("large")
def test_a_list_of_large_jobs_has_memory_for_a_part() -> None:
    for limit in (JOBS, 1000, 5000, -1):
        tracemalloc.start()
        count, largest = 0, 0
        for number, text in select_json(Listing(items_per_page=limit, with_metadata=True)):
            count, largest = count + number, max(largest, len(text))
        del text
        peak = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()

        assert count == JOBS, limit
        assert largest < PART_BYTES + 6 * MB, limit
        if connection.vendor == "sqlite":  # on PostgreSQL tracemalloc sees less
            assert peak < 45 * MB, limit


@pytest.mark.usefixtures("large")
def test_the_list_is_the_same_in_parts(api: AppClient) -> None:
    jobs = [(job.pk, json.loads(job.meta_data or "")) for job in Job.objects.order_by("-start_time", "-pk")]
    for query, wanted in (
        ("items-per-page=5", jobs[:5]),
        ("items-per-page=1000", jobs),
        ("items-per-page=5&page=2", jobs[5:10]),
    ):
        answer = api.get(f"/api/jobs/?with-metadata=true&{query}").json
        assert [(job["id"], job["metaData"]) for job in answer["jobs"]] == wanted, query
        assert answer["items"] == len(answer["jobs"])


@pytest.mark.skipif(connection.vendor != "sqlite", reason="only SQLite's short calls are answered in the main loop")
def test_a_large_page_is_not_for_the_main_loop(archive_root: Any, bench: User) -> None:
    JobFactory.create_batch(3, resources=json.dumps([{"hostname": "n" * 3 * MB}]))
    request = RequestFactory().get("/api/jobs/?items-per-page=3").environ | {"HTTP_X_AUTH_TOKEN": token_for(bench)}
    started: list[Any] = []
    vars(connection)["must_not_wait"] = True
    try:
        with pytest.raises(WouldWait):
            FastHandler()(request, lambda *head: started.append(head))
    finally:
        del vars(connection)["must_not_wait"]
    assert started == []
