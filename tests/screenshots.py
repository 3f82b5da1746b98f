"""Pictures of every page of the admin site with demo data: `python -m tests.screenshots [FOLDER]`, `make screenshots`.

A server as `make run` starts it, on a database and an archive of its own; each page at 1280 pixels in light and at 1920
in dark. Those that the documentation shows (`DOCUMENTED`) are written to docs/images as well.
"""

import contextlib
import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import urllib.error
import urllib.request
from pathlib import Path

from playwright.sync_api import Page, sync_playwright

from tests.support.paths import PROJECT

DOCUMENTED = {"overview": "admin-overview", "jobs": "admin-jobs", "job": "admin-job"}
VIEWS = {"light": (1280, 900), "dark": (1920, 1080)}
_SOURCES = {"demo": {"kind": "synthetic"}, "*": {"kind": "none"}}
_PATIENCE = 90  # seconds until the server has its demo data and answers


def pages(tab: Page, address: str) -> dict[str, str]:
    """Return the paths of all pages by name; those of single objects are taken from their lists."""

    def first(path: str) -> str:
        tab.goto(f"{address}{path}")
        return tab.locator("#result_list tbody th a").first.get_attribute("href") or path

    jobs = "/admin/jobs/job/"
    job = first(f"{jobs}?archiving=archived&nodes_from=4")
    running, user = first(f"{jobs}?state=running"), first("/admin/accounts/user/")
    tag, token = first("/admin/jobs/tag/"), first("/admin/accounts/apitoken/")
    tab.goto(f"{address}/admin/jobs/refusedcall/")
    alike = tab.locator("tbody th a").last.get_attribute("href") or ""
    alike = f"/admin/jobs/refusedcall/{alike}"
    tab.goto(f"{address}{alike}")
    refused = tab.locator("tbody th a").first.get_attribute("href") or ""
    return {
        "landing": "/",
        "login": "/admin/login/",
        "overview": "/admin/",
        "jobs": jobs,
        "jobs-search": f"{jobs}?q=host:n05+state:failed",
        "jobs-statistics": f"{jobs}statistics/",
        "job": job.split("?")[0],
        "job-running": running.split("?")[0],
        "job-history": job.split("?")[0].replace("change/", "history/"),
        "job-correct": job.split("?")[0].replace("change/", "correct/"),
        "job-stop": running.split("?")[0].replace("change/", "stop/"),
        "delete-before": f"{jobs}delete-before/",
        "bulk-changes": f"{jobs}bulk/",
        "ghosts": f"{jobs}ghosts/",
        "my-jobs": "/admin/my-jobs/",
        "usage": "/admin/usage/",
        "node": "/admin/clusters/demo/n05/",
        "clusters": "/admin/clusters/",
        "cluster": "/admin/clusters/demo/",
        "health": "/admin/health/",
        "refused-calls": "/admin/jobs/refusedcall/",
        "refused-calls-alike": alike,
        "refused-call": refused,
        "tags": "/admin/jobs/tag/",
        "tag": tag.split("?")[0],
        "rules": "/admin/jobs/tagrule/",
        "rule-add": "/admin/jobs/tagrule/add/",
        "users": "/admin/accounts/user/",
        "users-import": "/admin/accounts/user/import/",
        "user": user.split("?")[0],
        "tokens": "/admin/accounts/apitoken/",
        "token": token.split("?")[0],
        "own-tokens": "/admin/accounts/apitoken/own/",
        "password": "/admin/password_change/",
        "api": "/api/docs/",
        "not-found": "/no/such/page",
    }


def refuse_some(address: str, token: str) -> None:
    """Send calls that are refused, as hooks of a host that cluster.json does not have, and reports of idle nodes."""
    start = {"jobId": 1, "user": "ada", "cluster": "demo", "startTime": 1_700_000_000, "project": "fluids"}
    calls: list[tuple[str, dict[str, object]]] = [
        ("start_job", start | {"jobId": 500_000 + number, "resources": [{"hostname": f"n{number}"}]})
        for number in range(40, 52)
    ]
    calls += [("stop_job", {"jobId": number, "cluster": "demo", "stopTime": 1_700_000_060}) for number in range(1, 5)]
    calls += [("start_job", start | {"cluster": "demo2", "resources": [{"hostname": "n01"}]})]
    idle = [{"hostname": f"n{number:02}", "states": "idle", "jobsRunning": 0} for number in range(1, 7)]
    calls += [("nodestate", {"cluster": "demo", "nodes": idle})]
    for operation, body in calls:
        path = operation if operation == "nodestate" else f"jobs/{operation}"
        request = urllib.request.Request(f"{address}/api/{path}/", json.dumps(body).encode(), method="POST")  # noqa: S310  ours
        request.add_header("X-Auth-Token", token)
        with contextlib.suppress(urllib.error.HTTPError):
            urllib.request.urlopen(request).close()  # noqa: S310


def take(address: str, login: dict[str, str], folder: Path) -> None:
    """Write a picture of each page."""
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=shutil.which("chromium"), args=["--no-sandbox"])
        for scheme, (width, height) in VIEWS.items():
            tab = browser.new_page(viewport={"width": width, "height": height}, color_scheme=scheme)  # type: ignore[arg-type]
            tab.goto(f"{address}/admin/login/")
            tab.screenshot(path=folder / f"login-{scheme}.png")
            tab.get_by_label("Username").fill(login["username"])
            tab.get_by_label("Password").fill(login["password"])
            tab.get_by_role("button", name="Log in").click()
            for name, path in pages(tab, address).items():
                if name == "login":
                    continue
                tab.goto(f"{address}{path}")
                tab.wait_for_load_state("networkidle")
                tab.wait_for_timeout(500)  # milliseconds in which plots settle
                tab.screenshot(path=folder / f"{name}-{scheme}.png")
                if scheme == "light" and name in DOCUMENTED:
                    tab.set_viewport_size({"width": width, "height": 1300 if name == "job" else height})
                    tab.wait_for_timeout(500)
                    tab.screenshot(path=PROJECT / "docs" / "images" / f"{DOCUMENTED[name]}.png")
        browser.close()


def main() -> None:
    """Start a server, take the pictures, stop it."""
    folder = Path(sys.argv[1] if len(sys.argv) > 1 else PROJECT / "var" / "screenshots")
    folder.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix="screenshots-") as own, socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
        probe.close()
        environment = os.environ | {
            "ENV_FILE": os.devnull,
            "SECRET_KEY": "screenshots",
            "DATABASE_URL": f"sqlite:///{own}/db.sqlite3",
            "ARCHIVE_ROOT": f"{own}/archive",
            "METRIC_SOURCES": json.dumps(_SOURCES),
        }
        login = f"{own}/login.json"
        command = [sys.executable, "manage.py", "run_demo", "--port", str(port), "--login-file", login]
        server = subprocess.Popen(command, cwd=PROJECT, env=environment, stdout=subprocess.PIPE, text=True)
        try:
            assert server.stdout is not None
            while "Ctrl-C" not in server.stdout.readline():
                if server.poll() is not None:
                    sys.exit("the server did not start")
            with urllib.request.urlopen(f"http://127.0.0.1:{port}/", timeout=_PATIENCE):
                demo = json.loads(Path(login).read_text())
                refuse_some(f"http://127.0.0.1:{port}", demo["token"])
                take(f"http://127.0.0.1:{port}", demo, folder)
        finally:
            server.send_signal(signal.SIGTERM)
            server.wait()
    print(f"pictures of each page: {folder}")


if __name__ == "__main__":
    main()
