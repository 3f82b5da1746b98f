"""Delete old jobs in the admin while others use it: `python -m benchmarks.deletion JOBS`, after `benchmarks.many`.

Starts the server on the database of DATABASE_URL, deletes about that many of the oldest jobs by the page "Delete before
a time" as a browser would, and meanwhile opens the job list, job pages and the first page, starts and stops jobs by
the API. Prints how long the preview and the deletion took, and of the other calls the median and the longest.
"""

import contextlib
import http.cookiejar
import json
import re
import secrets
import socket
import statistics
import subprocess
import sys
import threading
import time
import urllib.parse
import urllib.request
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from typing import Any

import django

from benchmarks import guard

_BEFORE = "/admin/jobs/job/delete-before/"
_PAUSE = 0.05  # seconds between two calls of one of the others


class Browser:
    """A session of the admin site."""

    def __init__(self, address: str, password: str) -> None:
        """Log in as benchmark-admin."""
        self.address = address
        self.opener = urllib.request.build_opener(urllib.request.HTTPCookieProcessor(http.cookiejar.CookieJar()))
        self.post(
            "/admin/login/", self.get("/admin/login/"), username="benchmark-admin", password=password, next="/admin/"
        )

    def get(self, path: str) -> str:
        """Return a page."""
        return self._text(urllib.request.Request(self.address + path))  # noqa: S310  our own server

    def post(self, path: str, page: str, **fields: str) -> str:
        """Send a form of a page and return the next."""
        data = urllib.parse.urlencode({"csrfmiddlewaretoken": hidden(page, "csrfmiddlewaretoken"), **fields})
        headers = {"Referer": self.address + path}
        return self._text(urllib.request.Request(self.address + path, data.encode(), headers))  # noqa: S310

    def _text(self, request: urllib.request.Request) -> str:
        content: bytes = self.opener.open(request, timeout=120).read()
        return content.decode()


def hidden(page: str, name: str) -> str:
    """Return the last hidden field of this name; the log-out form in front has a token too."""
    found: list[str] = re.findall(rf'name="{name}" value="([^"]*)"', page)
    return found[-1]


@contextlib.contextmanager
def server() -> Iterator[str]:
    """Run gunicorn as in production and yield its address."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    command = [sys.executable, "-m", "gunicorn", "ccbackend.wsgi", "-b", f"127.0.0.1:{port}", "--log-level", "warning"]
    process = subprocess.Popen(command)
    try:
        for _ in range(100):
            with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", port), 1):
                break
            time.sleep(0.2)
        yield f"http://127.0.0.1:{port}"
    finally:
        process.terminate()
        process.wait()


def repeat(call: Callable[[int], Any], finished: threading.Event, times: list[float]) -> None:
    """Make a call again and again and note how long each took (seconds)."""
    number = 0
    while not finished.is_set():
        begun = time.monotonic()
        call(number)
        times.append(time.monotonic() - begun)
        number += 1
        time.sleep(_PAUSE)


def api(address: str, token: str, path: str, body: Any) -> None:
    """Call the API."""
    headers = {"X-Auth-Token": token}
    request = urllib.request.Request(address + path, json.dumps(body).encode(), headers)  # noqa: S310
    urllib.request.urlopen(request, timeout=60).read()  # noqa: S310


def start_and_stop(address: str, token: str, base: int) -> Callable[[int], None]:
    """Return a call that starts and stops a job of its own."""
    now = int(time.time())

    def call(number: int) -> None:
        job = {"jobId": base + number, "cluster": "demo", "startTime": now}
        start = job | {"user": "user001", "subCluster": "main", "numNodes": 1, "resources": [{"hostname": "n01"}]}
        api(address, token, "/api/jobs/start_job/", start)
        api(address, token, "/api/jobs/stop_job/", job | {"stopTime": now + 60, "jobState": "completed"})

    return call


def delete_before(browser: Browser, when: int) -> None:
    """Preview, confirm and go on until all is deleted; print how long it took."""
    query = urllib.parse.urlencode({"before": f"{datetime.fromtimestamp(when, UTC):%Y-%m-%dT%H:%M:%S}"})
    begun = time.monotonic()
    page = browser.get(f"{_BEFORE}?{query}")
    total = re.search(r"<h2>([\d,]+) job", page)
    assert total, page
    print(f"preview of {total[1]} jobs: {time.monotonic() - begun:.1f} s")
    begun, steps = time.monotonic(), []
    page = browser.post(_BEFORE, page, plan=hidden(page, "plan"), confirm=total[1].replace(",", ""))
    while 'name="run"' in page:
        step = time.monotonic()
        page = browser.post(_BEFORE, page, run=hidden(page, "run"))
        steps.append(time.monotonic() - step)
    assert "Done." in page
    print(f"deletion: {time.monotonic() - begun:.1f} s in steps of at most {max(steps, default=0):.2f} s")


def main() -> None:
    """Run it all."""
    django.setup()
    guard.require_benchmark()

    from accounts.models import ApiToken, Role, User
    from archive import root
    from jobs.models import Job

    if not root.store().holds_jobs():  # the server would not start, see ccbackend.wsgi
        root.store().write_meta(Job.objects.archived()[0].key, b"{}")

    wanted = int(sys.argv[1])
    admin = User.objects.get(username="benchmark-admin")
    admin.add_roles([Role.API])
    password = secrets.token_urlsafe()
    admin.set_password(password)
    admin.save()
    token = ApiToken.issue(user=admin, name="benchmark")[1]
    when = int(Job.objects.order_by("start_time").values_list("start_time", flat=True)[wanted])
    newest = list(Job.objects.order_by("-start_time").values_list("pk", flat=True)[:100])
    with server() as address:
        others: dict[str, Callable[[int], Any]] = {
            "job list": lambda _: browsers["job list"].get("/admin/jobs/job/"),
            "job page": lambda number: browsers["job page"].get(f"/admin/jobs/job/{newest[number % 100]}/change/"),
            "first page": lambda _: browsers["first page"].get("/admin/"),
            "start and stop": start_and_stop(address, token, 500_000_000 + int(time.time()) % 1_000_000 * 100),
        }
        browsers = {name: Browser(address, password) for name in others}
        finished, times = threading.Event(), {name: list[float]() for name in others}
        threads = [threading.Thread(target=repeat, args=(call, finished, times[name])) for name, call in others.items()]
        for thread in threads:
            thread.start()
        try:
            delete_before(Browser(address, password), when)
        finally:
            finished.set()
            for thread in threads:
                thread.join()
            admin.set_unusable_password()
            admin.save()
            ApiToken.objects.filter(user=admin).delete()
    for name, taken in times.items():
        print(
            f"{name}: {len(taken)} calls, median {statistics.median(taken) * 1000:.0f} ms, longest {max(taken):.2f} s"
        )


if __name__ == "__main__":
    main()
