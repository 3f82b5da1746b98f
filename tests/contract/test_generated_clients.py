"""Clients that generators make of the API's description: a Python client that is used, TypeScript types, a linter.

The packages for TypeScript are in tests/typescript; `make test` installs them where npm is.
"""

import importlib
import json
import re
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest
from django.db import connection

from jobs.api import examples
from jobs.models import Job
from tests.support.api_schema import description
from tests.support.clients import AppClient
from tests.support.paths import PROJECT

NODE_MODULES = PROJECT / ".venv" / "node" / "node_modules"
SOURCES = PROJECT / "tests" / "typescript"

# It knows no lines of JSON.
CONFIG = "post_hooks: []\ncontent_type_overrides:\n  application/x-ndjson: application/octet-stream\n"

Module = Callable[[str], Any]


@pytest.fixture
def once(db: None) -> None:
    """Skip but with SQLite: generators take seconds, and the description does not depend on the database."""
    if connection.vendor != "sqlite":
        pytest.skip("checked with SQLite")


@pytest.fixture
def document(tmp_path: Path) -> Path:
    """Return the API's description as a file."""
    path = tmp_path / "schema.json"
    path.write_text(json.dumps(description()))
    return path


# Python


@pytest.fixture
def generated(once: None, document: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Module]:
    """Return a function that imports a module of the generated client, of which nothing may be left out."""
    (tmp_path / "config.yaml").write_text(CONFIG)
    command = [str(Path(sys.executable).parent / "openapi-python-client"), "generate", "--meta", "none"]
    command += ["--path", str(document), "--output-path", "generated_client", "--config", "config.yaml"]
    done = subprocess.run([*command, "--fail-on-warning"], cwd=tmp_path, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    monkeypatch.syspath_prepend(str(tmp_path))
    yield lambda name: importlib.import_module(f"generated_client.{name}")
    for name in [name for name in sys.modules if name.startswith("generated_client")]:
        del sys.modules[name]


def test_a_generated_python_client_starts_lists_queries_tags_stops_and_deletes(
    generated: Module, api: AppClient, cluster: Path, synthetic: None
) -> None:
    def send(request: httpx.Request) -> httpx.Response:
        path = request.url.raw_path.decode()
        answer = api.request(request.method, path, request.read() or None, token=None, headers=request.headers)
        return httpx.Response(answer.status, headers=dict(answer.headers), content=answer.body)

    options = {"transport": httpx.MockTransport(send)}
    client = generated("client").AuthenticatedClient("http://localhost", api.token, httpx_args=options)
    models = generated("models")

    def call(operation: str, *arguments: Any, **options: Any) -> Any:
        return generated(f"api.jobs.{operation}").sync(*arguments, client=client, **options)

    metadata = models.StartJobMetaData.from_dict({"jobName": "turbulence"})
    resources = [models.Resource(hostname="n01"), models.Resource(hostname="n02")]
    start = models.StartJob(
        job_id=2**40, user="ada", cluster="testcluster", start_time=1795000000, resources=resources, meta_data=metadata
    )
    row_id = call("start_job", body=start).id
    assert row_id == Job.objects.get().pk

    state = generated("models.list_jobs_state_item").ListJobsStateItem.RUNNING
    page = call("list_jobs", state=[state], with_metadata=True)
    assert [(job.job_id, job.job_state.value, job.num_nodes) for job in page.jobs] == [(2**40, "running", 2)]
    assert page.jobs[0].meta_data["jobName"] == "turbulence"

    found = call("query_job", row_id, body=["cpu_load"])
    assert [(item.name, len(item.metric.series)) for item in found.data] == [("cpu_load", 2)]
    assert found.meta.start_time.isoformat() == "2026-11-18T11:06:40+00:00"

    tagged = call("tag_job", row_id, body=[models.TagName(type_="perf", name="bad")])
    assert [(tag.type_, tag.name) for tag in tagged.tags] == [("perf", "bad")]

    word = generated("models.stop_job_job_state").StopJobJobState.NODE_FAIL
    stop = models.StopJob(job_id=2**40, stop_time=1795003600, job_state=word)
    stopped = call("stop_job", body=stop)
    assert (stopped.job_state.value, stopped.duration, stopped.statistics) == ("failed", 3600, None)
    assert call("stop_job", body=stop).status == "Unprocessable Entity"

    assert call("delete_job_by_id", row_id).msg == f"Successfully deleted job {row_id}"
    assert not Job.objects.exists()


# TypeScript, and Redocly's linter


def readme_bodies() -> dict[str, str]:
    """Return the JSON bodies of README's calls by operation."""
    text = (PROJECT / "README.md").read_text()
    calls = re.findall(r"curl [^`]*?/api/jobs/(\w+)/[^`]*? -d '\s*([\[{].*?[\]}])'", text, re.DOTALL)
    return dict(calls)


def test_the_readme_s_bodies_are_found() -> None:
    assert readme_bodies().keys() == {"start_job", "tag_job", "stop_job"}
    assert all(json.loads(body) for body in readme_bodies().values())


def test_typescript_takes_the_calls_of_the_readme_and_a_linter_finds_nothing(
    once: None, document: Path, tmp_path: Path
) -> None:
    if not shutil.which("node") or not NODE_MODULES.is_dir():
        pytest.skip("no node, or no packages for TypeScript: `make test` installs them where npm is")
    script = (SOURCES / "check.mjs").read_text()
    command = ["node", "--input-type=module", "-", str(document), str(tmp_path / "api.ts")]
    done = subprocess.run(command, cwd=NODE_MODULES.parent, input=script, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    problems = [line for line in done.stdout.splitlines() if " no-path-trailing-slash " not in line]
    assert problems == []

    source = (SOURCES / "calls.ts").read_text()
    for name, body in readme_bodies().items():
        source = source.replace(f"{{{name}}}", body)
    (tmp_path / "calls.ts").write_text(source)
    compiler = [
        str(NODE_MODULES / ".bin" / "tsc"),
        "--strict",
        "--noUncheckedIndexedAccess",
        "--noEmit",
        "--skipLibCheck",
    ]
    compiled = subprocess.run([*compiler, "calls.ts"], cwd=tmp_path, capture_output=True, text=True, check=False)
    assert compiled.stdout == ""


# Examples


def test_the_examples_are_what_the_server_answers(api: AppClient) -> None:
    """Only the ids of rows, which the database assigns, may differ."""
    row_id = api.post("/api/jobs/start_job/", examples.START).json["id"]
    api.request("PATCH", "/api/jobs/edit_meta/", examples.EDIT_OF_JOB)
    tag_id = api.post(f"/api/jobs/tag_job/{row_id}", examples.TAGS).json["tags"][0]["id"]
    stopped = examples.STOPPED | {"id": row_id, "tags": [examples.STOPPED["tags"][0] | {"id": tag_id}]}
    assert api.post("/api/jobs/stop_job/", examples.STOP).json == stopped
    assert api.get("/api/jobs/").json == examples.LISTED | {"jobs": [stopped]}
    repeated = api.post("/api/jobs/events/", examples.EVENT).json
    assert repeated.keys() == examples.EVENT_OUTCOME.keys()
    assert repeated["status"] == 422
    edited = api.request("PATCH", f"/api/jobs/edit_meta/{row_id}", examples.EDIT).json
    assert edited == examples.EDITED | {"id": row_id, "tags": stopped["tags"]}
    assert api.post(f"/api/jobs/stop_job/{row_id}", examples.STOP_BY_ID).status == 422
    assert api.post(f"/api/jobs/{row_id}", examples.METRICS).status == 200
    assert api.post("/api/nodestate/", examples.NODE_STATES).json == examples.NODE_STATES_STORED
    assert api.delete(f"/api/jobs/tag_job/{row_id}", examples.TAGS).status == 200
    assert api.delete("/api/tags/", examples.TAGS).status == 200
    deleted = api.delete("/api/jobs/delete_job/", examples.DELETE).json
    assert deleted == {"msg": examples.DELETED["msg"].replace("1", str(row_id))}
