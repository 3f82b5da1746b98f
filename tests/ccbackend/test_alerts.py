"""deploy/: the rules for Prometheus and the dashboard for Grafana, tried with Debian's Prometheus and real faults."""

import contextlib
import json
import re
import subprocess
import threading
import time
import urllib.request
from collections.abc import Callable, Iterator
from datetime import timedelta
from pathlib import Path
from typing import Any
from wsgiref.simple_server import WSGIRequestHandler, WSGIServer, make_server

import pytest
from django.db import OperationalError, connection
from django.utils import timezone

from jobs.archiving.heartbeat import Heartbeat
from jobs.health import archive, counting
from jobs.models import CallCount, Job, RefusedCall, WorkerHeartbeat
from jobs.states import MonitoringStatus
from tests.support.clients import AppClient
from tests.support.factories import JobFactory
from tests.support.paths import PROJECT
from tests.support.prometheus_server import configured_prometheus, program
from tests.support.waiting import patience

RULES = PROJECT / "deploy" / "prometheus" / "alerts.yml"
DASHBOARD = PROJECT / "deploy" / "grafana" / "dashboard.json"

CONFIG = """
global: {scrape_interval: 700ms, scrape_timeout: 700ms, evaluation_interval: 200ms}
rule_files: [alerts.yml]
scrape_configs: [{job_name: ccbackend, static_configs: [{targets: ["127.0.0.1:PORT"]}]}]
"""


class Quiet(WSGIRequestHandler):
    """A handler that writes no line for each scrape."""

    def log_message(self, format: str, *args: Any) -> None:
        """Write nothing."""


@contextlib.contextmanager
def served(client: AppClient, port: int = 0) -> Iterator[int]:
    """Serve the application of a client in a thread, and give the port."""

    def application(environ: dict[str, Any], start_response: Any) -> Any:
        try:
            return list(client.application(environ, start_response))
        finally:
            connection.close()

    with make_server("127.0.0.1", port, application, WSGIServer, Quiet) as server:
        thread = threading.Thread(target=server.serve_forever, args=(0.02,))
        thread.start()
        try:
            yield int(server.server_port)
        finally:
            server.shutdown()
            thread.join()


def firing(prometheus: str) -> set[str]:
    """Return the alerts that fire; of those about health with the check."""
    with urllib.request.urlopen(f"{prometheus}/api/v1/alerts", timeout=30) as answer:  # noqa: S310
        alerts = json.load(answer)["data"]["alerts"]
    return {
        f"{alert['labels']['alertname'].removeprefix('Ccbackend')} {alert['labels'].get('check', '')}".strip()
        for alert in alerts
        if alert["state"] == "firing"
    }


def wait_until(condition: Callable[[set[str]], object], prometheus: str, meanwhile: Callable[[], object]) -> None:
    """Do something again and again until the alerts that fire are as they should be."""
    begin = time.monotonic()
    while not condition(now := firing(prometheus)):
        assert time.monotonic() - begin < patience(30), now
        meanwhile()
        time.sleep(0.1)


def test_prometheus_takes_the_rules() -> None:
    subprocess.run([program("promtool"), "check", "rules", str(RULES)], check=True, capture_output=True)


def test_the_rules_are_documented() -> None:
    names = re.findall(r"alert: (\w+)", RULES.read_text())
    documented = (PROJECT / "docs" / "operations.md").read_text()
    assert len(names) > 5
    assert [name for name in names if f"| `{name}` |" not in documented] == []


@pytest.mark.django_db
def test_each_metric_of_rules_and_dashboard_is_one_of_ours(api: AppClient, cluster: Path) -> None:
    Heartbeat("here:1:a").beat(archived=1, failed=0, clusters={})
    JobFactory.create(archived=True)
    api.get("/api/jobs/")
    ours = set(re.findall(r"^(ccbackend_\w+)", api.get("/metrics").body.decode(), re.MULTILINE))
    dashboard = json.loads(DASHBOARD.read_text())
    queries = [target["expr"] for panel in dashboard["panels"] for target in panel["targets"]]
    queries += re.findall(r"expr: (.*?)(?=\n +(?:for|labels):)", RULES.read_text(), re.DOTALL)
    named = {name for query in queries for name in re.findall(r"ccbackend_\w+", query)}
    assert len(named) > 8
    assert named - ours == set()
    assert len({panel["id"] for panel in dashboard["panels"]}) == len(dashboard["panels"])


@pytest.fixture
def impatient(tmp_path: Path) -> Path:
    """Return a folder with the rules that wait for nothing, look back for seconds only, and call 0.1 s slow."""
    rules = re.sub(r"for: \d+[mh]", "for: 0s", RULES.read_text())
    rules = re.sub(r"\[\d+[mh]\]", "[3s]", rules)
    (tmp_path / "alerts.yml").write_text(re.sub(r"(_bucket.*) > 1$", r"\1 > 0.1", rules, flags=re.MULTILINE))
    return tmp_path


class Site:
    """Something that goes well, or breaks for real, as the alerts should see it."""

    def __init__(self, api: AppClient, archive_root: Path) -> None:
        """Have a finished job that waits since a moment ago."""
        self.api, self.archive_root, self.away = api, archive_root, archive_root.with_name("away")
        self.heartbeat = Heartbeat("here:1:a")
        self.job = JobFactory.create(finished=True, start_time=int(time.time()) - 700)
        self.free, self.fills = 10**15, False

    def space(self) -> archive.Space:
        """Return the space of a file system that nobody else writes to."""
        self.free -= 10**12 if self.fills else 0
        return archive.Space(self.free, 2 * 10**15)

    def live(self) -> None:
        """Go on without trouble."""
        self.heartbeat.beat(archived=0, failed=0, clusters={})
        Job.objects.filter(pk=self.job.pk).update(start_time=int(time.time()) - 700)
        self.api.get("/api/jobs/")

    def break_everything(self, patch: pytest.MonkeyPatch) -> None:
        """Take the archive away, let its file system fill up, and let starts fail after a while."""

        def fail(*args: Any, **options: Any) -> None:
            time.sleep(0.2)
            raise OperationalError("no space left")

        self.archive_root.rename(self.away)
        patch.setattr("jobs.intake.services.insert_run", fail)
        self.fills = True

    def suffer(self) -> None:
        """Get on badly: the worker is silent, a job waits, another is given up, starts are refused or fail."""
        Job.objects.filter(pk=self.job.pk).update(start_time=int(time.time()) - 7200)
        WorkerHeartbeat.objects.update(seen_at=timezone.now() - timedelta(minutes=5))
        start = int(time.time()) - 100
        JobFactory.create(finished=True, monitoring_status=MonitoringStatus.FAILED, start_time=start)
        for _ in range(3):
            assert self.api.start(jobId=0).status == 400
        assert self.api.start(jobId=1).status == 503

    def mend(self) -> None:
        """Bring the archive back, and take care of what was left behind."""
        self.fills = False
        self.away.rename(self.archive_root)
        Job.objects.given_up().delete()
        counting.store()
        CallCount.objects.all().delete()
        RefusedCall.objects.all().delete()


BROKEN = {
    *("HealthError archive", "HealthError archive worker", "HealthWarning archiving", "HealthWarning API calls"),
    *("JobsWait", "ArchivingGivenUp", "CallsRefused", "ServerErrors", "Slow", "ArchiveFillsUp", "WorkerSilent"),
}


@pytest.mark.django_db(transaction=True)
def test_alerts_fire_when_things_break_and_cease_when_they_are_mended(
    impatient: Path, api: AppClient, cluster: Path, archive_root: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It takes as long as Prometheus needs to start, and to see counters grow and stay."""
    site = Site(api, archive_root)
    monkeypatch.setattr(archive, "space", site.space)
    site.live()
    with contextlib.ExitStack() as running:
        port = running.enter_context(served(api))
        (impatient / "prometheus.yml").write_text(CONFIG.replace("PORT", str(port)))
        with configured_prometheus(impatient) as prometheus:
            wait_until(lambda now: not now, prometheus, site.live)
            with monkeypatch.context() as patch:
                site.break_everything(patch)
                wait_until(lambda now: now >= BROKEN, prometheus, site.suffer)
            site.mend()
            wait_until(lambda now: not now, prometheus, site.live)
            running.close()
            wait_until(lambda now: now == {"Down"}, prometheus, lambda: None)
            with served(api, port):
                wait_until(lambda now: not now, prometheus, site.live)
