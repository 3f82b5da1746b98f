"""kill -9 of the archive worker and of the whole server in the middle of stops: nothing is lost or doubled."""

import http.client
import json
import threading
import time
from pathlib import Path
from random import Random
from typing import Any

import pytest
from django.db import connection

from tests.support.clients import at_once
from tests.support.server import Server, running_server
from tests.support.waiting import patience

pytestmark = pytest.mark.server

JOBS = 300
FEWER = 150
MANY, KILLS = 400, 5
CLIENTS = 4
START = 1_700_000_000


def test_a_kill_in_the_middle_of_many_stops_loses_and_doubles_nothing(tmp_path: Path) -> None:
    with running_server(tmp_path / "server", sources={"*": {"kind": "synthetic"}}) as server:
        _start_all(server)
        server.start_worker()
        settled: dict[int, int] = {}
        killer = threading.Thread(target=_kill_twice, args=(server, settled))
        killer.start()
        at_once([lambda part=number: _stop(server, range(part, JOBS, CLIENTS), settled) for number in range(CLIENTS)])  # type: ignore[misc]
        killer.join()

        assert len(settled) == JOBS
        assert set(settled.values()) <= {200, 422}
        assert sum(status == 422 for status in settled.values()) <= 2 * CLIENTS, (
            "only a stop whose answer was lost in one of two kills"
        )
        client = server.client()
        server.wait_until(lambda: _archived(server) == JOBS, seconds=40)
        rows = client.get("/api/jobs/?items-per-page=-1").json["jobs"]
        assert {job["jobId"] for job in rows} == set(range(1, JOBS + 1))
        assert {job["jobState"] for job in rows} == {"completed"}
        metas = [json.loads(path.read_bytes()) for path in server.archive_root.rglob("meta.json")]
        assert sorted(meta["id"] for meta in metas) == sorted(job["id"] for job in rows), "each once"
        assert {meta["monitoringStatus"] for meta in metas} == {3}
        assert len(list(server.archive_root.rglob("data.json.gz"))) == JOBS
        assert [path for path in server.archive_root.rglob("*") if path.name.startswith(".")] == []
        # The last batch is recorded a moment after its files are written.
        server.wait_until(lambda: server.query("SELECT COUNT(*) FROM jobs_archivetask") == [(0,)], seconds=15)


def _start_all(server: Server, jobs: int = JOBS) -> None:
    def start(part: int) -> None:
        client = server.client()
        for number in range(part, jobs, CLIENTS):
            client.started(jobId=number + 1, startTime=START + number)
        client.close()

    at_once([lambda part=number: start(part) for number in range(CLIENTS)])  # type: ignore[misc]


def _stop(server: Server, numbers: range, settled: dict[int, int]) -> None:
    """Stop jobs as the production adapter does: again and again until an answer comes."""
    client = server.client()
    for number in numbers:
        while number not in settled:
            try:
                settled[number] = client.stop(jobId=number + 1, stopTime=START + number + 120).status
            except (OSError, http.client.HTTPException):
                client.close()
                time.sleep(0.05)
    client.close()


def _kill_twice(server: Server, settled: dict[int, Any]) -> None:
    """Kill worker and server after a third and after two thirds of the stops, and start them again."""
    for share in (1, 2):
        while len(settled) < JOBS * share // 3:
            time.sleep(0.001)
        server.kill_workers()
        server.kill_web()
        server.start_web()
        server.start_worker()


def _archived(server: Server) -> int:
    """Return the number of archived jobs; of the database, since it is asked again and again."""
    return int(server.query("SELECT COUNT(*) FROM jobs_job WHERE monitoring_status = 3")[0][0])


def test_a_killed_worker_s_jobs_are_taken_up_within_10_seconds(tmp_path: Path) -> None:
    with running_server(tmp_path / "server", sources={"*": {"kind": "synthetic"}}) as server:
        _start_all(server, FEWER)
        settled: dict[int, int] = {}
        _stop(server, range(FEWER), settled)
        server.start_worker()
        server.wait_until(lambda: _archived(server) > 0)
        server.kill_workers()
        assert _archived(server) < FEWER, "killed in the middle"
        server.start_worker()
        begin = time.monotonic()
        server.wait_until(lambda: _archived(server) == FEWER, seconds=patience(30))
        assert time.monotonic() - begin < 10 + patience(5), "10 s until it takes up the last, the rest is its work"
        assert [path for path in server.archive_root.rglob("*") if path.name.startswith(".")] == []


def test_workers_killed_again_and_again_archive_each_stop_exactly_once(tmp_path: Path) -> None:
    """Two workers on PostgreSQL, one on SQLite; each is killed at a random moment and another started at once."""
    random = Random(20)
    with running_server(tmp_path / "server", sources={"*": {"kind": "synthetic"}}) as server:
        workers = 1 if connection.vendor == "sqlite" else 2
        _start_all(server, MANY)
        for _ in range(workers):
            server.start_worker()
        settled: dict[int, int] = {}
        stops = [lambda part=number: _stop(server, range(part, MANY, CLIENTS), settled) for number in range(CLIENTS)]
        stopping = threading.Thread(target=at_once, args=(stops,))
        stopping.start()
        for _ in range(KILLS):
            time.sleep(random.uniform(0.2, 1.8))
            server.kill_one_worker()
            server.start_worker()
        stopping.join()
        assert set(settled.values()) == {200}
        server.wait_until(lambda: _archived(server) == MANY, seconds=90)
        server.wait_until(lambda: server.query("SELECT COUNT(*) FROM jobs_archivetask") == [(0,)], seconds=15)
        metas = [json.loads(path.read_bytes())["id"] for path in server.archive_root.rglob("meta.json")]
        assert len(metas) == len(set(metas)) == MANY
        checked = server.manage("check_archive", "--against-database")
        assert checked.returncode == 0, checked
        assert [path for path in server.archive_root.rglob("*") if path.name.startswith(".")] == []
