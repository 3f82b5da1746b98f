"""The job list as a file."""

import csv
import io
import json
from typing import Any

import pytest
from django.db import connection
from django.test import Client
from django.test.utils import CaptureQueriesContext

from accounts.models import User
from jobs.admin import export
from tests.support.admin_site import Login
from tests.support.factories import JobFactory, TagFactory

pytestmark = pytest.mark.django_db

EXPORT = "/admin/jobs/job/export/"


def content(client: Client, path: str) -> str:
    """Return a download as a text."""
    response = client.get(EXPORT + path)
    assert response.status_code == 200
    assert "attachment" in response["Content-Disposition"]
    return b"".join(response.streaming_content).decode()  # type: ignore[attr-defined]


def test_csv_has_a_row_per_job_and_a_closing_count(admin: User, login: Login) -> None:
    tag = TagFactory.create(type="perf", name="bad")
    JobFactory.create(
        job_id=1, tags=[tag], archived=True, start_time=1_700_000_000, meta_data='{"jobName":"a, \\"b\\""}'
    )
    JobFactory.create(job_id=2, start_time=1_700_000_001)

    *lines, last = content(login(admin), "csv/").splitlines()
    rows = list(csv.DictReader(io.StringIO("\n".join(lines))))

    assert last == "# 2 jobs"
    assert [row["jobId"] for row in rows] == ["2", "1"]
    assert rows[1]["name"] == 'a, "b"'
    assert rows[1]["start"] == "2023-11-14T22:13:20Z"
    assert (rows[1]["duration"], rows[1]["archiving"], rows[1]["tags"]) == ("600", "archived", "perf:bad")


def test_ndjson_has_an_object_per_job_and_a_closing_count(admin: User, login: Login) -> None:
    JobFactory.create(job_id=1, meta_data=None)

    job, last = (json.loads(line) for line in content(login(admin), "ndjson/").splitlines())

    assert (job["jobId"], job["name"], job["tags"], job["jobState"]) == (1, "", [], "running")
    assert last == {"count": 1}


def test_an_empty_list_is_a_count_of_none(admin: User, login: Login) -> None:
    assert content(login(admin), "csv/") == "# 0 jobs\r\n"
    assert content(login(admin), "ndjson/") == '{"count":0}\n'


def test_filters_and_search_limit_the_file_as_the_list(admin: User, login: Login) -> None:
    JobFactory.create(job_id=1, user="alice")
    JobFactory.create(job_id=2, user="bob")
    JobFactory.create(job_id=3, user="bob", finished=True)

    lines = content(login(admin), "ndjson/?q=user:bob&state=running&p=7").splitlines()

    assert [json.loads(line).get("jobId") for line in lines] == [2, None]
    assert login(admin).get(f"{EXPORT}csv/?state=nonsense").status_code == 302


def test_parts_join_without_gap_and_repetition(admin: User, login: Login, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(export, "_PART", 3)
    same_start = [JobFactory.create(start_time=1_700_000_000).pk for _ in range(7)]
    earlier = [JobFactory.create(start_time=1_600_000_000 + number).pk for number in range(2)]

    *jobs, last = (json.loads(line) for line in content(login(admin), "ndjson/").splitlines())

    assert [job["id"] for job in jobs] == sorted(same_start, reverse=True) + sorted(earlier, reverse=True)
    assert last == {"count": 9}


def test_each_part_is_two_queries_and_reads_no_large_column(
    admin: User, login: Login, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(export, "_PART", 3)
    JobFactory.create_batch(3, tags=[TagFactory.create()])
    client = login(admin)

    with CaptureQueriesContext(connection) as few:
        content(client, "csv/")
    JobFactory.create_batch(3, tags=[TagFactory.create()])
    with CaptureQueriesContext(connection) as more:
        content(client, "csv/")

    assert len(more) == len(few) + 2
    assert not any('"jobs_job"."resources"' in query["sql"] for query in more)


@pytest.mark.parametrize(("person", "seen"), [("admin", 3), ("carol", 3), ("bob", 2), ("alice", 1)])
@pytest.mark.parametrize("kind", export.KINDS)
def test_nobody_downloads_jobs_of_others(
    person: str, seen: int, kind: str, login: Login, request: pytest.FixtureRequest
) -> None:
    JobFactory.create(user="alice", project="bio")
    JobFactory.create(user="charlie", project="bio")
    JobFactory.create(user="charlie", project="secret")

    text = content(login(request.getfixturevalue(person)), f"{kind}/")

    assert f"{seen} jobs" in text or f'"count":{seen}' in text
    assert ("secret" in text) == (seen == 3)


def test_the_api_role_and_strangers_download_nothing(bench: User, login: Login) -> None:
    for client in (login(bench), Client()):
        assert client.get(f"{EXPORT}csv/").status_code == 302


def test_another_kind_is_not_found_and_a_post_refused(admin: User, login: Login) -> None:
    assert login(admin).get(f"{EXPORT}xlsx/").status_code == 404
    assert login(admin).post(f"{EXPORT}csv/").status_code == 405


@pytest.mark.parametrize("name", ["=cmd|' /C calc'!A0", "+1", "-1", "@SUM(A1)"])
def test_no_name_becomes_a_formula_of_a_spreadsheet(name: str, admin: User, login: Login) -> None:
    JobFactory.create(meta_data=json.dumps({"jobName": name}))
    client = login(admin)

    assert next(csv.DictReader(io.StringIO(content(client, "csv/"))))["name"] == f"'{name}"
    assert json.loads(content(client, "ndjson/").splitlines()[0])["name"] == name


def test_a_start_of_no_calendar_is_left_empty(admin: User, login: Login) -> None:
    JobFactory.create(start_time=2**62, finished=True)

    row: dict[str, Any] = json.loads(content(login(admin), "ndjson/").splitlines()[0])

    assert (row["start"], row["startTime"]) == ("", 2**62)


@pytest.mark.parametrize(
    "text", ["=1+1", "\n=1+1", "\r\n  @x", " +1", "\t-1", "\u200b=1", "\uff1d1", "\uff0b1", "\uff0d1", "\uff20x", "\n"]
)
def test_no_spreadsheet_takes_a_text_for_a_formula(text: str) -> None:
    assert export._cell(text) == f"'{text}"
    assert export._cell(f"a{text}") == f"a{text}"
