"""Run server and archive worker with demo data, for `make run`."""

import ipaddress
import json
import os
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
from django.db import connection, connections, transaction

from accounts import tokens
from accounts.formatting import quantity
from accounts.models import ApiToken, Role
from accounts.services import create_user
from archive import root
from jobs import demo
from jobs.archiving.worker import ArchiveWorker
from jobs.models import Job

_ADMIN = "demo"
_PATIENCE = 60  # seconds until the server must have answered


class Command(BaseCommand):
    help = (
        "Set up the database with demo data and run server and archive worker in the foreground, on 127.0.0.1:8080. "
        "Existing demo data is kept; a database or an archive with other data is refused. For production see "
        "docs/deployment.md."
    )
    requires_system_checks = []  # the archive is created below

    def add_arguments(self, parser: CommandParser) -> None:
        """Take the address, and whether to renew the data."""
        parser.add_argument("--bind", default="127.0.0.1", help="IP address to serve on; default 127.0.0.1")
        parser.add_argument("--port", default="8080", help="port to serve on; default 8080")
        parser.add_argument(
            "--renew", action="store_true", help="replace the jobs of the demo cluster with new ones, and do not serve"
        )
        where = settings.BASE_DIR / "var" / "demo-login.json"
        parser.add_argument("--login-file", default=where, help="file for the log-in; default var/demo-login.json")

    def handle(self, *args: Any, **options: Any) -> None:
        """Set up, start both processes, print the addresses and the log-in, and wait for Ctrl-C."""
        host, port = _address(options["bind"], options["port"])
        if not options["renew"]:
            _require_free(host, port)
        login = _prepare(Path(options["login_file"]))
        if options["renew"]:
            self.stderr.write(f"{quantity(demo.clear(), 'job')} of cluster {demo.CLUSTER} deleted")
        demo.write_cluster(root.store())
        if not Job.objects.exists():
            self.stderr.write("creating demo jobs ...")
            demo.create_jobs()
            ArchiveWorker().drain()
        if options["renew"]:
            created = Job.objects.filter(cluster=demo.CLUSTER).count()
            self.stdout.write(f"{quantity(created, 'job')} of the last 7 days created; `make run` serves them")
            return
        job = Job.objects.archived().filter(cluster=demo.CLUSTER).values_list("pk", flat=True).first()
        connections.close_all()
        self._run(host, port, login, job)

    def _run(self, host: str, port: int, login: dict[str, str], job: int | None) -> None:
        """Run both processes until one ends or a signal arrives."""
        # A server on all addresses is reached by the loopback address here, and by any name of this host elsewhere.
        everywhere = ipaddress.ip_address(host).is_unspecified
        url = f"http://{_bracketed('127.0.0.1' if everywhere else host)}:{port}"
        environment = dict(os.environ)
        if not ipaddress.ip_address(host).is_loopback:
            environment.setdefault("ALLOWED_HOSTS", "*" if everywhere else _bracketed(host))
        application = settings.WSGI_APPLICATION.removesuffix(".application")
        commands = [
            [sys.executable, "-m", "gunicorn", application, "--bind", f"{_bracketed(host)}:{port}"],
            [sys.executable, "-m", "ccbackend", "archive_worker"],
        ]
        for number in (signal.SIGINT, signal.SIGTERM):
            signal.signal(number, signal.default_int_handler)
        processes = [subprocess.Popen(command, cwd=settings.BASE_DIR, env=environment) for command in commands]
        try:
            _wait_until_it_answers(url, processes[0])
            self.stdout.write(_welcome(url, login, job))
            if everywhere:
                self.stdout.write(f"From other hosts: http://{socket.gethostname()}:{port}/")
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


def _address(host: str, port: str) -> tuple[str, int]:
    try:
        ipaddress.ip_address(host)
    except ValueError:
        raise CommandError(f"BIND {host!r}: expected an IP address such as 127.0.0.1 or 0.0.0.0") from None
    if not port.isdecimal() or not 1 <= int(port) <= 65535:
        raise CommandError(f"PORT {port!r}: expected a number from 1 to 65535")
    return host, int(port)


def _bracketed(host: str) -> str:
    return f"[{host}]" if ":" in host else host


def _require_free(host: str, port: int) -> None:
    """Raise CommandError unless the server can listen on the address."""
    with socket.socket(socket.AF_INET6 if ":" in host else socket.AF_INET) as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((host, port))
        except OSError as error:
            hint = "try another with make run PORT=8081"
            raise CommandError(f"{host}:{port} cannot be used: {error.strerror}; {hint}") from None


def _prepare(path: Path) -> dict[str, str]:
    """Migrate and return username, password and token of the demo account, which is created at the first start.

    The file at `path` stores them with the path of the demo's archive. It proves that database and archive are the
    demo's own; without that proof both must be empty.
    """
    login: dict[str, str] = json.loads(path.read_text()) if path.exists() else {}
    if not _is_own(login):
        try:
            demo.require_empty()
        except demo.DemoError as error:
            raise CommandError(
                f"{str(error)[0].upper()}{str(error)[1:]}. The demo needs its own: set DATABASE_URL and ARCHIVE_ROOT "
                "to empty ones, or let `make clean-data` delete what var holds."
            ) from None
        login = {}
    call_command("migrate", verbosity=0)
    return login or _create_account(path)


def _is_own(login: dict[str, str]) -> bool:
    """Return whether the demo created the database and the archive of the settings."""
    if login.get("archive") != str(settings.ARCHIVE_ROOT):
        return False
    if ApiToken._meta.db_table not in connection.introspection.table_names():
        return False
    return ApiToken.objects.filter(digest=tokens.digest(login["token"])).exists()


def _create_account(path: Path) -> dict[str, str]:
    """Create the demo account; its log-in is written to disk before the transaction commits."""
    password = secrets.token_urlsafe(12)
    with transaction.atomic():
        user = create_user(username=_ADMIN, roles=[Role.ADMIN, Role.API], password=password, name="Demo account")
        _, token = ApiToken.issue(user=user, name="made by make run")
        archive = str(settings.ARCHIVE_ROOT)
        login = {"username": _ADMIN, "password": password, "token": token, "archive": archive}
        path.parent.mkdir(parents=True, exist_ok=True)
        path.unlink(missing_ok=True)
        path.touch(mode=0o600)
        path.write_text(json.dumps(login))
    return login


def _wait_until_it_answers(url: str, server: "subprocess.Popen[bytes]") -> None:
    deadline = time.monotonic() + _PATIENCE
    while time.monotonic() < deadline and server.poll() is None:
        try:
            urllib.request.urlopen(url, timeout=5).close()  # noqa: S310  a constant address
        except OSError:  # refused, or timed out on a busy machine
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
