"""Run server and archive worker with demo data: what `make run` calls."""

import json
import secrets
import signal
import socket
import subprocess
import sys
import time
import urllib.request
from pathlib import Path
from typing import Any

from django.conf import settings
from django.core.management import call_command
from django.core.management.base import BaseCommand, CommandError, CommandParser
from django.db import connections

from accounts.models import ApiToken, Role, User
from accounts.services import create_user
from archive import root
from jobs import demo
from jobs.archiving.worker import ArchiveWorker
from jobs.models import Job

_HOST = "127.0.0.1"
_ADMIN = "demo"
_PATIENCE = 60  # seconds until the server must have answered


class Command(BaseCommand):
    help = (
        "Set up the database with demo data and run server and archive worker in the foreground, on 127.0.0.1:8080. "
        "Keeps what is there already. For production see docs/deployment.md."
    )
    requires_system_checks = []  # the archive is made below

    def add_arguments(self, parser: CommandParser) -> None:
        """Take the port."""
        parser.add_argument("--port", type=int, default=8080, help="of the server, on 127.0.0.1; default 8080")
        where = settings.BASE_DIR / "var" / "demo-login.json"
        parser.add_argument("--login-file", default=where, help="where the log-in is kept; default var/demo-login.json")

    def handle(self, *args: Any, **options: Any) -> None:
        """Set up, start both processes, say where things are, and wait for Ctrl-C."""
        with socket.socket() as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            try:
                probe.bind((_HOST, options["port"]))
            except OSError as error:
                raise CommandError(f"{_HOST}:{options['port']} cannot be used: {error.strerror}") from None
        call_command("migrate", verbosity=0)
        login = self._login(Path(options["login_file"]))
        demo.write_cluster(root.store())
        if not Job.objects.exists():
            self.stderr.write("creating demo jobs ...")
            demo.create_jobs()
            ArchiveWorker().drain()
        job = Job.objects.archived().filter(cluster=demo.CLUSTER).values_list("pk", flat=True).first()
        connections.close_all()
        self._run(options["port"], login, job)

    def _login(self, path: Path) -> dict[str, str]:
        """Return username, password and token of the demo account, made at the first start and kept in a file."""
        if path.exists() and User.objects.filter(username=_ADMIN).exists():
            login: dict[str, str] = json.loads(path.read_text())
            return login
        User.objects.filter(username=_ADMIN).delete()
        password = secrets.token_urlsafe(12)
        user = create_user(username=_ADMIN, roles=[Role.ADMIN, Role.API], password=password, name="Demo account")
        _, token = ApiToken.issue(user=user, name="made by make run")
        login = {"username": _ADMIN, "password": password, "token": token}
        path.parent.mkdir(parents=True, exist_ok=True)
        path.touch(mode=0o600)
        path.write_text(json.dumps(login))
        return login

    def _run(self, port: int, login: dict[str, str], job: int | None) -> None:
        """Run both processes until one ends or somebody asks to stop."""
        url = f"http://{_HOST}:{port}"
        manage = Path(settings.BASE_DIR) / "manage.py"
        application = settings.WSGI_APPLICATION.removesuffix(".application")
        commands = [
            [sys.executable, "-m", "gunicorn", application, "--bind", f"{_HOST}:{port}"],
            [sys.executable, str(manage), "archive_worker"],
        ]
        for number in (signal.SIGINT, signal.SIGTERM):
            signal.signal(number, signal.default_int_handler)
        processes = [subprocess.Popen(command, cwd=settings.BASE_DIR) for command in commands]
        try:
            _wait_until_it_answers(url, processes[0])
            self.stdout.write(_welcome(url, login, job))
            self.stdout.flush()
            while all(process.poll() is None for process in processes):
                time.sleep(0.5)
        except KeyboardInterrupt:
            self.stderr.write("stopping ...")
        finally:
            for process in processes:
                process.terminate()
            codes = [process.wait() for process in processes]
        if any(code not in (0, -signal.SIGTERM, -signal.SIGINT) for code in codes):
            raise CommandError("a process ended by itself, see its message above")


def _wait_until_it_answers(url: str, server: "subprocess.Popen[bytes]") -> None:
    deadline = time.monotonic() + _PATIENCE
    while time.monotonic() < deadline and server.poll() is None:
        try:
            urllib.request.urlopen(url, timeout=5).close()  # noqa: S310  a constant address
        except OSError:  # refused, or silent: a busy machine may take its time
            time.sleep(0.1)
        else:
            return
    raise CommandError("the server did not start, see its message above")


def _welcome(url: str, login: dict[str, str], job: int | None) -> str:
    header = f'-H "X-Auth-Token: {login["token"]}"'
    body = (
        r"{\"jobId\": $(date +%s), \"cluster\": \"demo\", \"user\": \"ada\", \"project\": \"fluids\", "
        r"\"numNodes\": 1, \"startTime\": $(date +%s), \"resources\": [{\"hostname\": \"n01\"}]}"
    )
    return f"""
The admin site:  {url}/admin/   log in as {login["username"]} with password {login["password"]}
The API:         {url}/api/docs/   token {login["token"]}

Three calls to paste, in this order: start a job, list what runs, read an archived job with one metric.

curl -sS -X POST {url}/api/jobs/start_job/ {header} -d "{body}"
curl -sS "{url}/api/jobs/?state=running&items-per-page=3" {header}
curl -sS -X POST {url}/api/jobs/{job or 1} {header} -d '["cpu_load"]'

Ctrl-C stops server and worker; the data stays in {settings.BASE_DIR / "var"}.
"""
