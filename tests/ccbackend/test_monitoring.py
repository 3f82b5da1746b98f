"""The addresses of monitoring: who may ask, what they answer, and that they are cheap."""

import contextlib
import json
import os
import re
from pathlib import Path
from typing import Any

import pytest
from django.db import connection
from django.test.utils import CaptureQueriesContext

from accounts.models import User
from ccbackend.fastpath import counts
from ccbackend.fastpath.shared import SharedCounts
from jobs.archiving.heartbeat import Heartbeat
from jobs.health.metrics import Family, exposition
from tests.support.clients import Answer, AppClient, start_body
from tests.support.factories import START, JobFactory, token_for
from tests.support.server import Server, running_server

pytestmark = pytest.mark.django_db


def call(server: Server, user: str, path: str) -> Answer:
    """Return the answer to a GET over a connection of its own."""
    with contextlib.closing(server.client(user)) as client:
        return client.get(path)


RESTRICTED = ["/readyz", "/metrics"]


def test_healthz_touches_nothing(anonymous: AppClient, settings: Any) -> None:
    settings.MONITORING_ALLOWED_IPS = []
    with CaptureQueriesContext(connection) as queries:
        answer = anonymous.get("/healthz")
    assert (answer.status, answer.body) == (200, b"ok\n")
    assert len(queries) == 0
    assert anonymous.request("POST", "/healthz").status in (403, 405)


@pytest.mark.parametrize("path", RESTRICTED)
def test_others_than_the_listed_clients_need_a_token_of_role_admin(
    anonymous: AppClient, admin: User, bench: User, settings: Any, path: str
) -> None:
    assert anonymous.get(path).status == 200
    anonymous.environ["REMOTE_ADDR"] = "198.51.100.7"
    answer = anonymous.get(path)
    assert answer.status == 403
    assert "198.51.100.7 is not in MONITORING_ALLOWED_IPS" in answer.json["error"]
    assert anonymous.get(path, token="wrong").status == 401
    assert anonymous.get(path, token=token_for(bench)).status == 403
    assert anonymous.get(path, token=token_for(admin)).status == 200
    assert anonymous.get(path, token=token_for(admin, networks=["10.0.0.0/8"])).status == 403
    settings.MONITORING_ALLOWED_IPS = ["198.51.100.0/24"]
    assert anonymous.get(path).status == 200
    assert anonymous.get(path, headers={"X-Forwarded-For": "192.0.2.1"}).status == 403


def test_metrics_have_the_figures(api: AppClient, cluster: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    JobFactory.create_batch(2, start_time=START)
    JobFactory.create(finished=True, start_time=START + 5)
    JobFactory.create(cluster='a "new"\n\\one', archived=True, start_time=START + 7)
    Heartbeat("here:1:a").beat(archived=5, failed=0, seconds=1.5, clusters={})
    monkeypatch.setattr(counts, "shared", SharedCounts())
    assert api.post("/api/jobs/start_job/", start_body(jobId=0)).status == 400
    text = api.get("/metrics").body.decode()

    lines = dict(line.rsplit(" ", 1) for line in text.splitlines() if not line.startswith("#"))
    found = {name.removeprefix("ccbackend_"): float(value) for name, value in lines.items()}
    assert found['jobs{state="running"}'] == 2
    assert found['jobs{state="waiting"}'] == 1
    assert found['jobs{state="archiving_failed"}'] == 0
    assert found["oldest_waiting_seconds"] > 86_400
    assert found['cluster_last_start_seconds{cluster="testcluster"}'] == START + 5
    assert found['cluster_last_stop_seconds{cluster="testcluster"}'] == START + 605
    assert found[r'cluster_last_stop_seconds{cluster="a \"new\"\n\\one"}'] == START + 607
    assert [value for name, value in found.items() if name.startswith("worker_archived_total{worker=")] == [5]
    assert found["archive_free_bytes"] > 0
    assert found['health{check="clusters"}'] == 0
    assert [value for name, value in found.items() if name.startswith("worker_archived_seconds_total")] == [1.5]
    calls = f'process="{os.getpid()}",operation="start_job"'
    assert found[f'requests_total{{{calls},status="400"}}'] == 1
    assert found[f"request_seconds_count{{{calls}}}"] == 1
    assert found[f'request_seconds_bucket{{{calls},le="+Inf"}}'] == 1
    assert found[f'request_seconds_bucket{{{calls},le="20"}}'] == 1
    assert found[f'request_seconds_bucket{{{calls},le="0.0005"}}'] in (0, 1)
    assert 0 < found[f"request_seconds_sum{{{calls}}}"] < 20
    assert any(re.fullmatch(r'info\{version="[0-9.]+"\}', name) for name in found)


def test_the_format_is_that_of_prometheus() -> None:
    family = Family("x_total", "counter", "Some.", (({}, 3), ({"a": "b", "c": 'd"e'}, 0.5)))
    histogram = Family("y", "histogram", "Others.", (), (("_bucket", {"le": "+Inf"}, 2), ("_count", {}, 2)))
    assert exposition([histogram]).endswith('ccbackend_y_bucket{le="+Inf"} 2\nccbackend_y_count 2\n')
    assert exposition([family]) == (
        "# HELP ccbackend_x_total Some.\n# TYPE ccbackend_x_total counter\n"
        'ccbackend_x_total 3\nccbackend_x_total{a="b",c="d\\"e"} 0.5\n'
    )


def test_a_scrape_reads_no_large_column_and_few_rows(anonymous: AppClient) -> None:
    """Each query names an index or a small table: docs/performance-pages.md has the time among a million jobs."""
    JobFactory.create_batch(3)
    anonymous.get("/metrics")  # once a minute the nodes of running jobs are read
    with CaptureQueriesContext(connection) as queries:
        anonymous.get("/metrics")
    assert len(queries) <= 63
    for query in queries:
        assert not any(column in query["sql"] for column in ("meta_data", '"statistics",', "resources"))


def test_the_counts_of_all_processes_are_summed_and_outlive_them(tmp_path: Path) -> None:
    """Of a real server, all of whose processes are replaced: those that count then never saw the first calls."""
    with running_server(tmp_path / "server", settings={"LOG_FORMAT": "json"}) as server:
        for _ in range(3):
            assert call(server, "bench", "/api/jobs/4711").status == 422
        before = {worker.pid for worker in server.web_workers()}
        server.reload_web()
        server.wait_until(lambda: not before & {worker.pid for worker in server.web_workers()})
        for _ in range(3):
            assert call(server, "bench", "/api/jobs/4711").status == 422
        total = b'requests_total{operation="get_job",status="422"} 6'  # each process counts once a second
        server.wait_until(lambda: total in call(server, "admin", "/metrics").body)
        log = [json.loads(line) for line in (tmp_path / "server" / "web.log").read_text().splitlines()]
    assert {"gunicorn.error", "ccbackend.api"} <= {line["logger"] for line in log}
