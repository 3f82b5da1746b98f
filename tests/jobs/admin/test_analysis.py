"""The queries of docs/analysis.md, run by DuckDB over an archive and an export that are made here."""

import re
from pathlib import Path
from typing import Any

import duckdb
import pytest

from accounts.models import User
from tests.support.admin_site import Login
from tests.support.archived_jobs import archived
from tests.support.factories import on_hosts
from tests.support.paths import PROJECT

pytestmark = pytest.mark.django_db

BLOCKS = re.findall(r"```sql\n(.*?)```", (PROJECT / "docs" / "analysis.md").read_text(), re.DOTALL)


@pytest.fixture
def duck(
    admin: User, login: Login, cluster: Path, archive_root: Path, synthetic: None, tmp_path: Path
) -> duckdb.DuckDBPyConnection:
    """Return a database beside two exports, and an archive with four jobs."""
    for state in ("completed", "failed"):
        archived(job_state=state, resources=on_hosts("n01", "n02"), num_nodes=2)
        archived(job_state=state, user="bob")
    client = login(admin)
    for kind in ("csv", "parquet"):
        response: Any = client.get(f"/admin/jobs/job/export/{kind}/")
        (tmp_path / f"jobs_testcluster_2026-11-01_2026-11-30.{kind}").write_bytes(b"".join(response.streaming_content))
    return duckdb.connect()


def test_every_query_of_the_page_answers(
    duck: duckdb.DuckDBPyConnection, archive_root: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    answers = []
    for block in BLOCKS:
        found = duck.execute(block.replace("/srv/job-archive", str(archive_root)))
        if block.startswith("SELECT"):
            answers.append(found.fetchall())

    assert len(answers) == 8
    assert all(answers), "a query that found nothing"
    assert sum(row[2] for row in answers[0]) == 4  # jobs of all projects and months
    assert {(row[1], row[2]) for row in answers[1]} == {("n01", 4), ("n02", 2)}
