"""The shell functions of docs/clients.md: what a hook cannot send is kept, sent later, and carried out once."""

import json
import re
import subprocess
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from wsgiref.simple_server import WSGIRequestHandler, make_server

import pytest
from django.db import connections

from jobs.models import Job
from tests.support.clients import AppClient, start_body
from tests.support.factories import START
from tests.support.paths import PROJECT

CLOSED = "http://127.0.0.1:9"
SCRIPT = "x" * 200_000  # more than a command line may have


class Quiet(WSGIRequestHandler):
    """A handler without log lines."""

    def log_message(self, format: str, *args: object) -> None:
        """Write nothing."""


@pytest.fixture
def url(transactional_db: None, api: AppClient, cluster: Path) -> Iterator[str]:
    """Serve the application to real clients, and return its address."""
    with make_server("127.0.0.1", 0, api.application, handler_class=Quiet) as server:

        def serve() -> None:
            server.serve_forever(poll_interval=0.01)
            connections.close_all()

        thread = threading.Thread(target=serve)
        thread.start()
        yield f"http://127.0.0.1:{server.server_port}"
        server.shutdown()
        thread.join()


@pytest.fixture
def hook(api: AppClient, tmp_path: Path) -> Callable[..., int]:
    """Return a function that calls one of the functions in a shell and returns its exit status."""
    (tmp_path / "refused").mkdir()
    found = re.search(r"```sh\n(.*?)```", (PROJECT / "docs" / "clients.md").read_text(), re.DOTALL)
    assert found

    def call(command: str, body: str, url: str) -> int:
        names = {"URL": url, "TOKEN": str(api.token), "SPOOL": str(tmp_path), "PATH": "/usr/bin:/bin"}
        script = f"set -u\nbody=$(cat)\n{found[1]}\n{command}"
        return subprocess.run(["sh", "-c", script], input=body, text=True, env=names, check=False).returncode

    return call


def test_what_a_hook_could_not_send_is_sent_later_and_what_is_refused_is_set_aside(
    url: str, hook: Callable[..., int], tmp_path: Path
) -> None:
    start = json.dumps(start_body(jobId=1, metaData={"jobScript": SCRIPT}), indent=1)
    stop = json.dumps({"jobId": 1, "stopTime": START + 60, "jobState": "completed"})
    wrong = json.dumps(start_body(jobId=2, subCluster="", resources=[{"hostname": "x99"}]))
    for operation, body in (("start_job", start), ("stop_job", stop), ("start_job", wrong)):
        assert hook(f'report {operation} "$body"', body, CLOSED) == 0
    assert len(list(tmp_path.glob("*.json"))) == 3
    assert hook("send_spool", "", CLOSED) != 0
    assert len(list(tmp_path.glob("*.json"))) == 3

    assert hook("send_spool", "", url) == 0

    job = Job.objects.get()
    assert (job.job_id, job.job_state, job.duration) == (1, "completed", 60)
    assert job.metadata == {"jobScript": SCRIPT}
    assert list(tmp_path.glob("*.json")) == []
    (kept,) = (tmp_path / "refused").glob("*.json")
    assert json.loads(kept.read_text()) == {"operation": "start_job", "body": json.loads(wrong)}


def test_a_call_that_gets_through_is_not_kept(url: str, hook: Callable[..., int], tmp_path: Path) -> None:
    for _ in range(2):
        assert hook('report start_job "$body"', json.dumps(start_body(jobId=1)), url) == 0
    assert Job.objects.count() == 1
    assert list(tmp_path.glob("*.json")) == []
