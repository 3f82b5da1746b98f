"""serve: the process itself becomes gunicorn, which reads .env anew at a HUP."""

import os
import signal
import socket
import subprocess
import sys
from pathlib import Path

import httpx
import pytest

from tests.support.paths import PROJECT
from tests.support.server import free_port
from tests.support.waiting import patience, wait_for


def answer(url: str, host: str = "localhost") -> int:
    """Return the status of an answer, 0 if there is none."""
    try:
        return httpx.get(f"{url}/api/jobs/", headers={"Host": host}).status_code
    except httpx.TransportError:
        return 0


@pytest.mark.server
def test_serve_becomes_gunicorn_and_a_hup_reads_the_settings_anew(tmp_path: Path) -> None:
    settings = tmp_path / "settings"
    content = f"SECRET_KEY=for-a-test\nDATABASE_URL=sqlite:///{tmp_path}/db.sqlite3\nALLOWED_HOSTS=localhost"
    settings.write_text(content)
    address = f"127.0.0.1:{free_port()}"
    environment = {
        "PATH": os.environ["PATH"],
        "ENV_FILE": str(settings),
        "WEB_CONCURRENCY": "1",
        "NOTIFY_SOCKET": str(tmp_path / "notify"),
    }
    command = [sys.executable, "manage.py", "serve", "--bind", address]
    systemd = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
    systemd.bind(environment["NOTIFY_SOCKET"])
    systemd.settimeout(patience(30))
    process = subprocess.Popen(command, cwd=PROJECT, env=environment, stderr=subprocess.DEVNULL)
    try:
        wait_for(lambda: answer(f"http://{address}") == 401, 30)
        assert b"READY=1" in systemd.recv(1000)
        assert "gunicorn" in Path(f"/proc/{process.pid}/cmdline").read_text()
        assert answer(f"http://{address}", "jobs.example.org") == 400
        settings.write_text(f"{content},jobs.example.org")
        process.send_signal(signal.SIGHUP)
        wait_for(lambda: answer(f"http://{address}", "jobs.example.org") == 401, 30)
    finally:
        process.terminate()
        process.wait()
        systemd.close()
