"""deploy/slurm: prolog and epilog with a real server that is well, down, slow or refuses; the job never notices."""

import http.server
import json
import os
import shutil
import socket
import subprocess
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.support.paths import PROJECT
from tests.support.server import Server, free_port, running_server
from tests.support.waiting import patience

pytestmark = [
    pytest.mark.server,
    pytest.mark.skipif(not (shutil.which("curl") and shutil.which("flock")), reason="no curl or no flock here"),
]

START = 1_795_000_000
LONGEST = 2.0  # seconds that a hook may take on an idle machine


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """Return a server for all tests of this file."""
    with running_server(tmp_path_factory.mktemp("server") / "server", workers=1) as started:
        yield started


class Hooks:
    """The hooks of a Slurm controller, whose `scontrol` prints the names in SLURM_JOB_NODELIST."""

    def __init__(self, folder: Path, token: str) -> None:
        self.spool, self.token, self.settings = folder / "spool", token, folder / "hook.conf"
        (folder / "bin").mkdir()
        scontrol = folder / "bin" / "scontrol"
        scontrol.write_text('#!/bin/sh\necho "$3" | tr , "\\n"\n')
        scontrol.chmod(0o755)
        self.path = f"{folder / 'bin'}:{os.environ['PATH']}"

    def answer(self, program: str, *answers: str) -> None:
        """Let a program of Slurm answer these, the last one for good."""
        folder = Path(self.path.partition(":")[0])
        for number, text in enumerate(answers):
            (folder / f"{program}.{number}").write_text(text)
        script = f'cd {folder}; set -- {program}.[0-9]*; cat "$1"; [ $# -eq 1 ] || rm "$1"'
        (folder / program).write_text(f"#!/bin/sh\n{script}\n")
        (folder / program).chmod(0o755)

    def use(self, url: str, token: str = "") -> None:
        """Write the settings."""
        self.settings.write_text(f"URL={url}\nTOKEN={token or self.token}\nSPOOL={self.spool}\nCLUSTER=fritz\n")

    def run(self, name: str, job_id: int, **values: str) -> float:
        """Run a hook, which must end well, and return how long it took (seconds)."""
        facts = {
            "SLURM_JOB_ID": str(job_id),
            "SLURM_JOB_USER": "alice",
            "SLURM_JOB_ACCOUNT": "bio",
            "SLURM_JOB_PARTITION": "work",
            "SLURM_JOB_NODELIST": "n01,n02",
            "SLURM_JOB_NAME": 'a "job" \\ ä\n',
            "SLURM_JOB_START_TIME": str(START),
            "SLURM_JOB_END_TIME": str(START + 3600),
        }
        begin = time.monotonic()
        command = [str(PROJECT / "deploy" / "slurm" / f"{name}.sh")]
        environment = {"PATH": self.path, "CCBACKEND_HOOK": str(self.settings), **facts, **values}
        assert subprocess.run(command, env=environment, check=False).returncode == 0
        return time.monotonic() - begin

    def kept(self, where: str = ".") -> list[dict[str, Any]]:
        """Return the calls in the spool, the oldest first."""
        return [json.loads(path.read_text()) for path in sorted((self.spool / where).glob("*.json"))]


@pytest.fixture
def hooks(tmp_path: Path, server: Server) -> Hooks:
    """Return hooks with a spool of their own."""
    return Hooks(tmp_path, server.tokens["bench"])


def url_of(server: Server) -> str:
    """Return the address of a server."""
    return f"http://127.0.0.1:{server.port}"


def job(server: Server, job_id: int) -> dict[str, Any]:
    """Return a job as the API lists it."""
    found = server.client().get(f"/api/jobs/?job-id={job_id}&with-metadata=true").json["jobs"]
    assert len(found) == 1
    return dict(found[0])


def test_start_and_end_arrive_with_all_that_slurm_says(hooks: Hooks, server: Server) -> None:
    hooks.use(url_of(server))
    hooks.run("prolog", 1)
    started = job(server, 1)
    assert (started["user"], started["project"], started["partition"]) == ("alice", "bio", "work")
    assert (started["startTime"], started["walltime"], started["numNodes"]) == (START, 3600, 2)
    assert started["metaData"]["jobName"] == 'a "job" \\ ä '  # the line break is a blank
    hooks.run("epilog", 1, SLURM_JOB_EXIT_CODE2="1:0")
    assert job(server, 1)["jobState"] == "failed"
    assert hooks.kept() == []


@pytest.mark.parametrize(
    ("job_id", "answers", "state", "word"),
    [
        (61, ["6|COMPLETED\n61|CANCELLED by 1022\n"], "cancelled", None),
        (62, ["62|RUNNING\n", "62|NODE_FAIL\n"], "failed", "node_fail"),
        (63, ["63|PENDING\n", "63|REQUEUED\n"], "failed", "requeued"),
        (64, ["64|RUNNING\n"], "completed", None),
        (65, ["6|TIMEOUT\n"], "completed", None),
        (66, ["no accounting\n"], "completed", None),
    ],
)
def test_the_state_is_that_of_sacct_which_may_be_late(
    hooks: Hooks, server: Server, job_id: int, answers: list[str], state: str, word: str | None
) -> None:
    hooks.use(url_of(server))
    hooks.answer("sacct", *answers)
    hooks.run("prolog", job_id)
    assert hooks.run("epilog", job_id, SLURM_JOB_EXIT_CODE2="0:0") < patience(LONGEST)
    ended = job(server, job_id)
    assert (ended["jobState"], ended["metaData"].get("schedulerState")) == (state, word)


def test_start_and_limit_are_asked_for_if_slurm_does_not_tell_them(hooks: Hooks, server: Server) -> None:
    hooks.use(url_of(server))
    hooks.answer("squeue", "18 2026-11-18T00:00:00 2026-11-18T01:00:00\n8 2026-11-18T10:00:00 2026-11-18T10:05:00\n")
    hooks.run("prolog", 8, SLURM_JOB_START_TIME="", SLURM_JOB_END_TIME="", TZ="UTC")
    assert (job(server, 8)["startTime"], job(server, 8)["walltime"]) == (1_794_996_000, 300)


@pytest.mark.parametrize(("job_id", "answer"), [(71, "71 N/A N/A\n"), (72, ""), (73, "slurm is away\n")])
def test_a_job_starts_now_if_slurm_says_nothing(hooks: Hooks, server: Server, job_id: int, answer: str) -> None:
    hooks.use(url_of(server))
    hooks.answer("squeue", answer)
    begin = int(time.time())
    hooks.run("prolog", job_id, SLURM_JOB_START_TIME="", SLURM_JOB_END_TIME="")
    assert job(server, job_id)["startTime"] >= begin
    assert "walltime" not in job(server, job_id)


def test_what_a_server_that_is_down_misses_goes_along_with_the_next_call(hooks: Hooks, server: Server) -> None:
    hooks.use(f"http://127.0.0.1:{free_port()}")
    for job_id in (11, 12):
        assert hooks.run("prolog", job_id) < patience(LONGEST)
    hooks.run("epilog", 11)
    assert [call["operation"] for call in hooks.kept()] == ["start_job", "start_job", "stop_job"]
    hooks.use(url_of(server))
    hooks.run("prolog", 13)
    assert hooks.kept() == []
    assert [job(server, number)["jobState"] for number in (11, 12, 13)] == ["completed", "running", "running"]


def test_a_server_that_does_not_answer_holds_up_no_job(hooks: Hooks) -> None:
    with socket.create_server(("127.0.0.1", 0)) as silent:
        hooks.use(f"http://127.0.0.1:{silent.getsockname()[1]}")
        assert hooks.run("prolog", 21) < patience(LONGEST)
    assert len(hooks.kept()) == 1


class _Refusing(http.server.BaseHTTPRequestHandler):
    """A server that refuses every call, as one does whose database is away."""

    def do_POST(self) -> None:
        self.rfile.read(int(self.headers["Content-Length"]))
        self.send_response(503)
        self.end_headers()

    def log_message(self, format: str, *args: object) -> None:
        """Write nothing."""


def test_a_server_that_refuses_all_calls_loses_none(hooks: Hooks, server: Server) -> None:
    with http.server.HTTPServer(("127.0.0.1", 0), _Refusing) as refusing:
        threading.Thread(target=refusing.serve_forever, kwargs={"poll_interval": 0.01}).start()
        hooks.use(f"http://127.0.0.1:{refusing.server_port}")
        hooks.run("prolog", 31)
        refusing.shutdown()
    hooks.use(url_of(server), token="ccb_wrong")
    hooks.run("epilog", 31)
    assert len(hooks.kept()) == 2


def test_a_call_that_is_refused_for_itself_is_put_aside_and_the_others_go_on(hooks: Hooks, server: Server) -> None:
    hooks.use(url_of(server))
    hooks.run("prolog", 41, SLURM_JOB_NODELIST="")
    hooks.run("prolog", 42)
    assert hooks.kept() == []
    assert [call["body"]["jobId"] for call in hooks.kept("refused")] == [41]
    assert job(server, 42)["jobState"] == "running"


def test_without_settings_nothing_happens_and_nothing_fails(hooks: Hooks) -> None:
    assert hooks.run("prolog", 51) < patience(LONGEST)
    assert not hooks.spool.exists()
