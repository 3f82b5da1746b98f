"""Open the page of a large job in Chromium, and ask for what its plots are drawn from. See docs/performance-pages.md.

    python -m benchmarks.plots [--rounds 7] [--nodes 64] [--metrics 20] [--samples 1440]

The server is gunicorn with one process on a fresh database. Prints the time from the click to the first plot and to the
last one, each round in a browser that has nothing in its cache; and of the JSON behind the plots time, size, the
server's CPU (all of which holds the interpreter, but for unpacking) and the process's memory.
"""

import argparse
import http.client
import json
import os
import statistics
import tempfile
import time
from pathlib import Path
from typing import Any

import django
import psutil
from playwright.sync_api import Browser, Page, sync_playwright

from archive.format.data_json import encode_data, job_statistics
from benchmarks import many
from benchmarks.api import Server
from benchmarks.write import samples

_START = 1_795_400_000
_PASSWORD = "a long enough one"


def archive_job(nodes: int, metrics: int, length: int) -> tuple[int, int]:
    """Put a finished job into database and archive, and a user with all rights; return row id and bytes of its JSON."""
    os.environ["DJANGO_SETTINGS_MODULE"] = "ccbackend.settings"
    django.setup()

    from accounts.models import Role
    from accounts.services import create_user
    from archive import root
    from jobs.models import Job

    data = samples(nodes, metrics, length)
    document, numbers = encode_data(data), json.dumps(job_statistics(data, None))
    job = Job.objects.create(
        job_id=9_000_000,
        cluster="demo",
        sub_cluster="main",
        user="ada",
        project="fluids",
        num_nodes=nodes,
        job_state="completed",
        start_time=_START,
        duration=length * 60,
        monitoring_status=3,
        resources=json.dumps([{"hostname": f"n{number:03}"} for number in range(nodes)]),
        statistics=numbers,
        meta_data='{"jobName":"a large job"}',
    )
    root.store().write_job(job.key, json.dumps({"statistics": numbers}).encode(), document)
    create_user(username="staff", roles=[Role.ADMIN], password=_PASSWORD)
    return job.pk, len(document)


def log_in(browser: Browser, url: str) -> Page:
    """Return a tab of a browser that has loaded nothing but the log-in."""
    page = browser.new_context(viewport={"width": 1280, "height": 800}).new_page()
    page.goto(f"{url}/admin/login/?next=/admin/password_change/")
    page.get_by_label("Username").fill("staff")
    page.get_by_label("Password").fill(_PASSWORD)
    page.get_by_role("button", name="Log in").click()
    return page


def open_job(page: Page, url: str, row_id: int, metrics: int) -> tuple[float, float]:
    """Return the seconds until the first plot is drawn, and until all are."""
    begin = time.perf_counter()
    page.goto(f"{url}/admin/jobs/job/{row_id}/change/", wait_until="commit")
    page.wait_for_selector(".plot-canvas canvas")
    first = time.perf_counter() - begin
    page.wait_for_selector(f"#plots[data-drawn='{metrics}']")
    return first, time.perf_counter() - begin


def ask(page: Page, server: Server, row_id: int) -> tuple[float, int]:
    """Return the seconds and the bytes of one answer."""
    cookies = "; ".join(f"{cookie.get('name')}={cookie.get('value')}" for cookie in page.context.cookies())
    connection = http.client.HTTPConnection("127.0.0.1", server.port)
    begin = time.perf_counter()
    connection.request("GET", f"/admin/jobs/job/{row_id}/plots/", headers={"Cookie": cookies})
    response = connection.getresponse()
    body = response.read()
    assert response.status == 200, body
    return time.perf_counter() - begin, len(body)


def memory(server: Server) -> tuple[float, float]:
    """Return the memory of the serving process, now and at most (MB)."""
    (worker,) = psutil.Process(server.processes[0].pid).children()
    lines = Path(f"/proc/{worker.pid}/status").read_text().splitlines()
    (peak,) = (int(line.split()[1]) for line in lines if line.startswith("VmHWM"))
    return worker.memory_info().rss / 1e6, peak * 1024 / 1e6


def spread(values: list[float], unit: str, factor: float = 1) -> str:
    """Return median and range."""
    low, middle, high = (value * factor for value in (min(values), statistics.median(values), max(values)))
    return f"{middle:.3g} {unit} ({low:.3g} to {high:.3g})"


def measure(server: Server, row_id: int, options: Any) -> None:
    """Measure and print."""
    url = f"http://127.0.0.1:{server.port}"
    arguments = ["--no-sandbox", "--disable-gpu", "--disable-background-networking"]
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=options.chromium, args=arguments)
        page = log_in(browser, url)
        before, _ = memory(server)
        cpu = server.cpu()
        answers = [ask(page, server, row_id) for _ in range(options.rounds * 3)]
        cpu = (server.cpu() - cpu) / len(answers)
        after, peak = memory(server)
        opened = [open_job(log_in(browser, url), url, row_id, options.metrics) for _ in range(options.rounds)]
        browser.close()
    print(f"first plot  {spread([first for first, _ in opened], 's')}")
    print(f"all plots   {spread([last for _, last in opened], 's')}")
    print(f"answer      {spread([seconds for seconds, _ in answers], 'ms', 1000)}, {answers[0][1] / 1e3:.0f} kB")
    print(f"CPU of it   {cpu * 1000:.0f} ms")
    print(f"memory      {before:.0f} MB before, {after:.0f} MB after, {peak:.0f} MB at most")


def main() -> None:
    """Start a server with the job, and measure."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--nodes", type=int, default=64)
    parser.add_argument("--metrics", type=int, default=20)
    parser.add_argument("--samples", type=int, default=1440)
    many.add_option(parser)
    parser.add_argument("--chromium", default="/usr/bin/chromium")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="benchmark-") as folder:
        server = Server(Path(folder), workers=1, jobs=options.table)
        try:
            os.environ.update(server.environment)
            row_id, size = archive_job(options.nodes, options.metrics, options.samples)
            print(
                f"{options.nodes} nodes, {options.metrics} metrics, {options.samples} samples: {size / 1e6:.1f} MB JSON"
            )
            measure(server, row_id, options)
        finally:
            server.stop()


if __name__ == "__main__":
    main()
