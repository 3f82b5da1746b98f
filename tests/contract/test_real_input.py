"""A real cluster's 241 jobs over HTTP on a server as in production, from their start to their deletion."""

import json
import shutil
import time
from pathlib import Path
from typing import Any

import pytest

from tests.support.clients import WireClient, at_once
from tests.support.paths import SHARED
from tests.support.server import Server, running_server

JOBS = SHARED / "samples/jobs-fritz.jsonl"
CLUSTER = SHARED / "samples/import/cluster-fritz.json"

pytestmark = [
    pytest.mark.server,
    pytest.mark.skipif(not (JOBS.exists() and CLUSTER.exists()), reason=f"no real jobs in {SHARED}/samples"),
]


def pages(client: WireClient, query: str, size: int = 50) -> list[Any]:
    """Return all jobs of a list, read page by page until one is short."""
    jobs: list[Any] = []
    for page in range(1, 100):
        answer = client.get(f"/api/jobs/?{query}&items-per-page={size}&page={page}").json
        assert answer["items"] == len(answer["jobs"])
        jobs += answer["jobs"]
        if len(answer["jobs"]) < size:
            break
    return jobs


def send_all(server: Server, path: str, bodies: list[dict[str, Any]], threads: int = 4) -> list[int]:
    """Send bodies from several clients at once and return the statuses."""

    def send(part: list[dict[str, Any]]) -> list[int]:
        client = server.client()
        statuses = [client.post(path, body).status for body in part]
        client.close()
        return statuses

    parts = at_once([lambda part=bodies[number::threads]: send(part) for number in range(threads)])  # type: ignore[misc]
    return [status for part in parts for status in part]


def test_241_real_jobs_are_started_stopped_listed_tagged_archived_and_deleted(tmp_path: Path) -> None:
    records = [json.loads(line) for line in JOBS.read_text().splitlines()]
    total = len(records)
    assert total == 241
    server = Server(tmp_path / "server", sources={"*": {"kind": "synthetic"}})
    config = server.archive_root / "fritz" / "cluster.json"
    config.parent.mkdir(parents=True)
    shutil.copyfile(CLUSTER, config)
    with running_server(tmp_path / "server", sources={"*": {"kind": "synthetic"}}) as server:
        client = server.client()

        starts = [{key: value for key, value in record.items() if key != "stopTime"} for record in records]
        assert send_all(server, "/api/jobs/start_job/", starts) == [201] * total
        running = pages(client, "state=running")
        assert len({job["id"] for job in running}) == len(running) == total
        assert [job["startTime"] for job in running] == sorted((r["startTime"] for r in records), reverse=True)
        assert send_all(server, "/api/jobs/start_job/", starts[:20]) == [422] * 20

        stops = [
            {"jobId": r["jobId"], "cluster": r["cluster"], "stopTime": r["stopTime"], "jobState": r["jobState"]}
            for r in records
        ]
        assert send_all(server, "/api/jobs/stop_job/", stops) == [200] * total
        assert pages(client, "state=running") == []
        finished = pages(client, "cluster=fritz&with-metadata=true")
        assert len(finished) == total
        _keep_what_was_sent(finished, records)

        for job in finished[:10]:
            assert client.post(f"/api/jobs/tag_job/{job['id']}", [{"type": "early", "name": "tag"}]).status == 200

        server.start_worker()
        server.wait_until(lambda: _statuses(client) == {3}, seconds=90)
        for job in finished[-10:]:
            assert client.post(f"/api/jobs/tag_job/{job['id']}", [{"type": "late", "name": "tag"}]).status == 200
        assert len(pages(client, "tag=early:tag")) == len(pages(client, "tag=late:tag")) == 10
        server.wait_until(lambda: len(_metas(server.archive_root)) == total)
        time.sleep(0.1)
        metas = _metas(server.archive_root)
        assert sum("tags" in meta for meta in metas) == 20
        assert all(meta["monitoringStatus"] == 3 and meta["statistics"] for meta in metas)
        assert not list(server.archive_root.rglob(".*.tmp"))
        listed = {job["id"]: job for job in pages(client, "with-metadata=true")}
        assert all(listed[meta["id"]] == meta for meta in metas), "the archive says what the list says"
        (sample,) = client.post(f"/api/jobs/{metas[0]['id']}", ["cpu_load"]).json["data"]
        assert sample["name"] == "cpu_load"

        middle = sorted(record["startTime"] for record in records)[total // 2]
        before = sum(record["startTime"] < middle for record in records)
        tagged_before = sum("tags" in job and job["startTime"] < middle for job in listed.values())
        answer = client.delete(f"/api/jobs/delete_job_before/{middle}?omit-tagged=true")
        assert answer.json == {"msg": f"Successfully deleted {before - tagged_before} jobs"}
        answer = client.delete(f"/api/jobs/delete_job_before/{middle}")
        assert answer.json == {"msg": f"Successfully deleted {tagged_before} jobs"}
        assert len(pages(client, "cluster=fritz")) == total - before
        assert len(_metas(server.archive_root)) == total, "the archive keeps its files"


def _keep_what_was_sent(jobs: list[Any], records: list[Any]) -> None:
    by_run = {(job["jobId"], job["startTime"]): job for job in jobs}
    for record in records:
        job = by_run[record["jobId"], record["startTime"]]
        assert job["duration"] == record["stopTime"] - record["startTime"]
        for key, value in record.items():
            if key != "stopTime" and value:
                assert job[key] == value, key


def _statuses(client: WireClient) -> set[int]:
    jobs = client.get("/api/jobs/?items-per-page=-1").json["jobs"]
    return {job["monitoringStatus"] for job in jobs}


def _metas(root: Path) -> list[Any]:
    return [json.loads(path.read_bytes()) for path in root.rglob("meta.json")]
