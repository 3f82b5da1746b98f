"""The job list as a file: CSV, NDJSON and Parquet, each as DuckDB reads it too."""

import csv
import io
import json
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import duckdb
import pytest
from django.db import connection
from django.test import Client
from django.test.utils import CaptureQueriesContext

from accounts.models import User
from jobs.admin import export, export_parquet, export_rows
from tests.support.admin_site import Login
from tests.support.booked_jobs import booked_job, give_slots
from tests.support.factories import JobFactory, TagFactory, on_hosts

pytestmark = pytest.mark.django_db

AddCluster = Callable[[str], Path]

EXPORT = "/admin/jobs/job/export/"


def download(client: Client, path: str) -> tuple[Any, bytes]:
    """Return the answer to a download, and its bytes."""
    response: Any = client.get(EXPORT + path)
    assert response.status_code == 200
    assert "attachment" in response["Content-Disposition"]
    return response, b"".join(response.streaming_content)


def content(client: Client, path: str) -> str:
    """Return a download as a text."""
    return download(client, path)[1].decode()


def test_csv_has_a_row_per_job(admin: User, login: Login) -> None:
    tag = TagFactory.create(type="perf", name="bad")
    JobFactory.create(
        job_id=1, tags=[tag], archived=True, start_time=1_700_000_000, meta_data='{"jobName":"a, \\"b\\""}'
    )
    JobFactory.create(job_id=2, start_time=1_700_000_001)

    response, body = download(login(admin), "csv/")
    rows = list(csv.DictReader(io.StringIO(body.decode())))

    assert response["X-Total-Count"] == "2"
    assert [row["jobId"] for row in rows] == ["2", "1"]
    assert rows[1]["name"] == 'a, "b"'
    assert rows[1]["start"] == "2023-11-14T22:13:20Z"
    assert (rows[1]["duration"], rows[1]["archiving"], rows[1]["tags"]) == ("600", "archived", "perf:bad")


def test_ndjson_has_an_object_per_job(admin: User, login: Login) -> None:
    JobFactory.create(job_id=1, meta_data=None, resources=on_hosts("n01", "n02"))

    (job,) = (json.loads(line) for line in content(login(admin), "ndjson/").splitlines())

    assert (job["jobId"], job["name"], job["tags"], job["jobState"]) == (1, "", [], "running")
    assert (job["hosts"], job["end"], job["coreHours"]) == (["n01", "n02"], None, None)


def test_a_closing_line_has_the_count_if_it_is_asked_for(admin: User, login: Login) -> None:
    client = login(admin)
    assert content(client, "ndjson/?closing=1") == '{"count":0}\n'
    JobFactory.create(user="bob")
    JobFactory.create(user="alice")
    assert content(client, "csv/?closing=1&user=bob").splitlines()[2:] == ["# 1 jobs"]
    assert json.loads(content(client, "ndjson/?closing=1").splitlines()[2]) == {"count": 2}
    assert len(content(client, "csv/?closing=0").splitlines()) == 3
    refused = client.get(f"{EXPORT}csv/?closing=yes")
    assert refused.status_code == 400
    assert "closing: expected 0 or 1, got &#x27;yes&#x27;" in refused.content.decode()


def test_an_empty_list_is_a_heading_alone(admin: User, login: Login) -> None:
    response, body = download(login(admin), "csv/")
    assert response["X-Total-Count"] == "0"
    (heading,) = body.decode().splitlines()
    assert heading.startswith("id,jobId,name,user")
    assert content(login(admin), "ndjson/") == ""


def test_long_lists_are_counted_too_unless_that_takes_too_long(
    admin: User, login: Login, monkeypatch: pytest.MonkeyPatch
) -> None:
    JobFactory.create_batch(4)
    monkeypatch.setattr("jobs.admin.changelist.JobPages.limit", 2)
    client = login(admin)
    assert download(client, "ndjson/?q=name:job")[0]["X-Total-Count"] == "4"
    monkeypatch.setattr(export, "_COUNTING", -1.0)
    response, body = download(client, "ndjson/?q=name:job")
    assert not response.has_header("X-Total-Count")
    assert len(body.splitlines()) == 4


def test_hours_hosts_energy_and_averages_with_their_units(admin: User, login: Login, add_cluster: AddCluster) -> None:
    for name in ("testcluster", "alex"):
        add_cluster(name)
    give_slots("flops_any", "cpu_load", "mem_used")
    figures = {"avg_1": 12.5, "avg_2": 3.0, "avg_3": 7.0, "energy": 1.5}
    nodes = {"num_nodes": 2, "resources": on_hosts("n01", "n02"), "duration": 1800}
    booked_job(figures, **nodes)
    booked_job(figures, **nodes, cluster="alex")
    client = login(admin)

    of_alex, job = (json.loads(line) for line in content(client, "ndjson/").splitlines())
    (alone,) = (json.loads(line) for line in content(client, "ndjson/?cluster=testcluster").splitlines())

    assert (job["nodeHours"], job["coreHours"], job["energy (kWh)"]) == (1.0, 2.0, 1.5)
    assert (job["hosts"], job["end"]) == (["n01", "n02"], "2023-11-14T22:43:20Z")
    # alex calls the unit of flops by another name, and testcluster has no mem_used.
    averages = ["cpu_load", "flops_any (GF/s)", "flops_any (GFlops/s)", "mem_used (GB)"]
    assert [job[name] for name in averages] == [3.0, 12.5, None, 7.0]
    assert [of_alex[name] for name in averages] == [3.0, None, 12.5, 7.0]
    assert [name in alone for name in averages] == [True, True, False, False]


def test_filters_and_search_limit_the_file_as_the_list(admin: User, login: Login) -> None:
    JobFactory.create(job_id=1, user="alice")
    JobFactory.create(job_id=2, user="bob")
    JobFactory.create(job_id=3, user="bob", finished=True)

    lines = content(login(admin), "ndjson/?q=user:bob&state=running&p=7").splitlines()

    assert [json.loads(line)["jobId"] for line in lines] == [2]
    assert login(admin).get(f"{EXPORT}csv/?state=nonsense").status_code == 302


def test_parts_join_without_gap_and_repetition(admin: User, login: Login, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(export_rows, "_PART", 3)
    same_start = [JobFactory.create(start_time=1_700_000_000).pk for _ in range(7)]
    earlier = [JobFactory.create(start_time=1_600_000_000 + number).pk for number in range(2)]

    jobs = [json.loads(line) for line in content(login(admin), "ndjson/").splitlines()]

    assert [job["id"] for job in jobs] == sorted(same_start, reverse=True) + sorted(earlier, reverse=True)


def test_each_part_is_two_queries_and_reads_no_large_column(
    admin: User, login: Login, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(export_rows, "_PART", 3)
    JobFactory.create_batch(3, tags=[TagFactory.create()])
    client = login(admin)

    with CaptureQueriesContext(connection) as few:
        content(client, "csv/")
    JobFactory.create_batch(3, tags=[TagFactory.create()])
    with CaptureQueriesContext(connection) as more:
        content(client, "csv/")

    assert len(more) == len(few) + 2
    assert not any('"jobs_job"."statistics"' in query["sql"] for query in more)
    assert not any('"jobs_job"."resources",' in query["sql"] for query in more)


@pytest.mark.parametrize(("person", "seen"), [("admin", 3), ("carol", 3), ("bob", 2), ("alice", 1)])
@pytest.mark.parametrize("kind", export.kinds())
def test_nobody_downloads_jobs_of_others(
    person: str, seen: int, kind: str, login: Login, request: pytest.FixtureRequest
) -> None:
    JobFactory.create(user="alice", project="bio")
    JobFactory.create(user="charlie", project="bio")
    JobFactory.create(user="charlie", project="secret")

    response, body = download(login(request.getfixturevalue(person)), f"{kind}/")

    assert response["X-Total-Count"] == str(seen)
    assert (b"secret" in body) == (seen == 3)


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

    assert (row["start"], row["startTime"]) == (None, 2**62)


@pytest.mark.parametrize(
    "text", ["=1+1", "\n=1+1", "\r\n  @x", " +1", "\t-1", "\u200b=1", "\uff1d1", "\uff0b1", "\uff0d1", "\uff20x", "\n"]
)
def test_no_spreadsheet_takes_a_text_for_a_formula(text: str) -> None:
    assert export._cell(text) == f"'{text}"
    assert export._cell(f"a{text}") == f"a{text}"


# --- as other programs read it ---


def read(client: Client, kind: str, folder: Path, query: str) -> list[Any]:
    """Return what DuckDB answers about a download, which the query calls `jobs`."""
    file = folder / f"jobs.{kind}"
    file.write_bytes(download(client, f"{kind}/")[1])
    rows: list[Any] = duckdb.execute(query.replace("jobs", f"'{file}'")).fetchall()
    return rows


@pytest.mark.parametrize("kind", export.kinds())
def test_duckdb_reads_numbers_times_and_texts_as_such(kind: str, admin: User, login: Login, tmp_path: Path) -> None:
    give_slots("mem_bw")
    tag = TagFactory.create(type="perf", name="bad")
    booked_job(
        {"avg_1": 12.5}, job_id=1, meta_data='{"jobName":"a, \\"b\\"\\nc"}', tags=[tag], start_time=1_700_000_000
    )
    JobFactory.create(job_id=2, start_time=1_700_000_001)
    client = login(admin)

    rows = read(client, kind, tmp_path, 'SELECT "jobId", name, epoch("start"), epoch("end"), "coreHours" FROM jobs')
    sums = read(client, kind, tmp_path, "SELECT SUM(\"numNodes\"), AVG(COLUMNS('mem_bw.*')) FROM jobs")

    assert rows == [
        (2, "a job", 1_700_000_001, None, None),
        (1, 'a, "b"\nc', 1_700_000_000, 1_700_000_600, pytest.approx(4 / 6, abs=1e-4)),
    ]
    assert sums == [(2, 12.5)]


def test_a_parquet_file_is_written_in_groups(
    admin: User, login: Login, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(export_rows, "_PART", 3)
    monkeypatch.setattr(export_parquet, "_GROUP", 5)
    JobFactory.create_batch(13, resources=on_hosts("n01", "n02"))
    response: Any = login(admin).get(f"{EXPORT}parquet/")
    parts = list(response.streaming_content)
    assert len(parts) == 3
    file = tmp_path / "jobs.parquet"
    file.write_bytes(b"".join(parts))
    assert duckdb.execute(f"SELECT COUNT(*), ANY_VALUE(hosts) FROM '{file}'").fetchall() == [(13, ["n01", "n02"])]
    groups = duckdb.execute(
        f"SELECT DISTINCT row_group_id, row_group_num_rows FROM parquet_metadata('{file}')"
    ).fetchall()
    assert sorted(groups) == [(0, 6), (1, 6), (2, 1)]


def test_parquet_is_offered_only_where_it_can_be_written(
    admin: User, login: Login, monkeypatch: pytest.MonkeyPatch
) -> None:
    JobFactory.create()
    client = login(admin)
    assert "export/parquet/" in client.get("/admin/jobs/job/").content.decode()
    monkeypatch.setattr(export_parquet, "is_available", lambda: False)
    assert "export/parquet/" not in client.get("/admin/jobs/job/").content.decode()
    assert client.get(f"{EXPORT}parquet/").status_code == 404


# --- file names ---


@pytest.mark.parametrize(
    ("query", "name"),
    [
        ("", "jobs_TODAY"),
        ("?from=2026-11-01&to=2026-11-30&cluster=testcluster", "jobs_testcluster_2026-11-01_2026-11-30"),
        ("?q=start:2026-10+user:bob&state=failed", "jobs_failed_bob_2026-10-01_2026-10-31"),
        ("?q=-state:failed+name:%22../a+b%22", "jobs_not-state-failed_name-..-a-b_TODAY"),
        ("?from=2026-11-01", "jobs_2026-11-01_TODAY"),
    ],
)
def test_the_file_name_says_what_is_in_the_file(query: str, name: str, admin: User, login: Login) -> None:
    response, _ = download(login(admin), f"csv/{query}")
    today = time.strftime("%Y-%m-%d", time.gmtime())
    assert response["Content-Disposition"] == f'attachment; filename="{name.replace("TODAY", today)}.csv"'
