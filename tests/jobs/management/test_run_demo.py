"""run_demo: what `make run` starts answers, and what it prints can be pasted."""

import json
import os
import re
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support.paths import PROJECT

SOURCES = {"demo": {"kind": "synthetic"}, "*": {"kind": "none"}}


@pytest.fixture
def output(tmp_path: Path) -> Iterator[str]:
    """Start the demo on a database and archive of its own; yield what it printed once it answered."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    environment = os.environ | {
        "SECRET_KEY": "demo",
        "DATABASE_URL": f"sqlite:///{tmp_path}/demo.sqlite3",
        "ARCHIVE_ROOT": str(tmp_path / "archive"),
        "METRIC_SOURCES": json.dumps(SOURCES),
    }
    printed = tmp_path / "printed"
    with printed.open("w") as file:
        process = subprocess.Popen(
            [
                sys.executable,
                "manage.py",
                "run_demo",
                "--port",
                str(port),
                "--login-file",
                str(tmp_path / "login.json"),
            ],
            cwd=PROJECT,
            env=environment,
            stdout=file,
            stderr=subprocess.STDOUT,
        )
        deadline = time.monotonic() + 90
        while "Ctrl-C" not in printed.read_text() and time.monotonic() < deadline and process.poll() is None:
            time.sleep(0.2)
        try:
            yield printed.read_text()
        finally:
            process.send_signal(signal.SIGINT)
            process.wait(timeout=60)


@pytest.mark.server
def test_the_printed_curl_lines_work_when_pasted_and_work_again(output: str) -> None:
    lines = [line for line in output.splitlines() if line.startswith("curl")]
    assert len(lines) == 3, output
    for _ in range(2):
        started, listed, read = (
            json.loads(subprocess.run(["bash", "-c", line], check=True, capture_output=True, text=True).stdout)
            for line in lines
        )
        assert list(started) == ["id"]
        assert listed["jobs"][0]["id"] == started["id"]
        assert [metric["name"] for metric in read["data"]] == ["cpu_load"]
        time.sleep(1.1)  # a fresh jobId comes with the next second


@pytest.mark.server
def test_the_log_in_is_printed(output: str) -> None:
    assert re.search(r"/admin/ +log in as demo with password \S+", output)
