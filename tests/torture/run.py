"""One run on one database: load, breakages, and the sums at the end."""

import contextlib
import gzip
import json
import shutil
import tempfile
import time
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from random import Random

from tests.support.fake_metric_store import CLUSTER_JSON, FakeStore
from tests.support.server import Server
from tests.torture.breakages import BREAKAGES, IN_ANOTHER, Scene, why_not
from tests.torture.disk import Disk
from tests.torture.hooks import RAN, Hooks, start_time
from tests.torture.postgres import KillablePostgres
from tests.torture.report import Report

_BETWEEN = 0.5  # seconds between two breakages, in which everything works
# Seconds in which the worker has archived everything: it tries jobs again after pauses of minutes, or these are ended.
_SETTLE, _SETTLE_SOON = 600.0, 240.0
_SHORT = 60.0  # seconds; a shorter run ends these pauses
_PAUSING = "SELECT COUNT(*) FROM jobs_archivetask WHERE worker = '' AND attempts > 0"
_METRIC_TIMEOUT = 3  # seconds, so that a store that hangs costs a short run little
_WAITING = """SELECT (SELECT COUNT(*) FROM jobs_job WHERE monitoring_status = 1 AND job_state <> 'running')
    + (SELECT COUNT(*) FROM jobs_archivetask)"""
_ROWS = "SELECT id, job_id, start_time, duration, job_state, monitoring_status FROM jobs_job"


def torture(*, postgres: bool, seconds: float, seed: int, say: Callable[[str], object] = lambda _: None) -> Report:
    """Break everything at least once and go on for this long, under load; then count what arrived where."""
    with contextlib.ExitStack() as stack:
        folder = Path(tempfile.mkdtemp(prefix="ccbackend-torture-"))
        stack.callback(shutil.rmtree, folder, ignore_errors=True)
        scene = _scene(stack, folder, postgres=postgres, seed=seed, longest=1.0 if seconds < _SHORT else 6.0)
        hooks = Hooks(scene.server)
        report = Report("PostgreSQL" if postgres else "SQLite")
        hooks.begin()
        try:
            _break_everything(scene, hooks, report, time.monotonic() + seconds, say)
        finally:
            hooks.end()
        say("counting")
        _wait_for_the_archive(scene, report, patient=seconds >= _SHORT)
        _count(scene, hooks, report)
        if report.wrong:
            say(scene.server.logs())
        return report


def _scene(stack: contextlib.ExitStack, folder: Path, *, postgres: bool, seed: int, longest: float) -> Scene:
    """Start a metric store, a database, an HTTP server and an archive worker."""
    store = stack.enter_context(FakeStore())
    disk = Disk(folder / "disk")
    stack.callback(disk.remove)
    database = KillablePostgres() if postgres else None
    if database is not None:
        stack.callback(database.remove)
    sqlite = folder / "server" / "server.sqlite3"
    server = Server(
        folder / "server",
        sources={"*": {"kind": "cc-metric-store", "url": store.url, "token": "store-token"}},
        settings={"ARCHIVE_ROOT": str(disk.folder / "job-archive"), "METRIC_TIMEOUT": str(_METRIC_TIMEOUT)},
        database_url="" if database is None else database.url,  # a copy of a migrated file, or a new database
    )
    stack.callback(server.stop)
    cluster = server.archive_root / "demo" / "cluster.json"
    cluster.parent.mkdir(parents=True)
    cluster.write_text(json.dumps(CLUSTER_JSON))
    (server.archive_root / "version.txt").write_text("1\n")
    server.prepare()
    server.start_worker()  # while the HTTP server, which is waited for, starts too
    server.start_web()
    return Scene(server, store, disk, sqlite, database, Random(seed), longest)


def _break_everything(
    scene: Scene, hooks: Hooks, report: Report, deadline: float, say: Callable[[str], object]
) -> None:
    """Break one thing after another in random order: each at least once, and until the deadline.

    Without time, what is broken together with other things is not broken alone, too.
    """
    for name, breakage in BREAKAGES.items():
        if problem := why_not(breakage, scene):
            report.skipped[name] = problem
    short = time.monotonic() >= deadline
    possible = [name for name in BREAKAGES if name not in report.skipped and not (short and name in IN_ANOTHER)]
    while not report.broken or time.monotonic() < deadline:
        for name in scene.random.sample(possible, len(possible)):
            if report.broken[name] and time.monotonic() >= deadline:
                return
            say(name)
            begun = time.monotonic()
            BREAKAGES[name](scene)
            time.sleep(_BETWEEN)
            report.broken[name] += 1
            report.longest[name] = max(report.longest.get(name, 0), hooks.longest(begun, time.monotonic()))


def _wait_for_the_archive(scene: Scene, report: Report, *, patient: bool) -> None:
    """Wait until the worker has archived every job; unless `patient`, end the pauses that it makes before."""

    def is_done() -> bool:
        if not patient:
            scene.execute("UPDATE jobs_archivetask SET not_before = CURRENT_TIMESTAMP WHERE worker = ''")
        return scene.query(_WAITING) == [(0,)]

    begun = time.monotonic()
    report.sums["jobs that paused after a failed attempt when the load ended"] = scene.query(_PAUSING)[0][0]
    with contextlib.suppress(AssertionError):  # then the sums are wrong, and say more
        scene.server.wait_until(is_done, seconds=_SETTLE if patient else _SETTLE_SOON)
    report.sums["seconds until the worker had archived everything"] = round(time.monotonic() - begun)


def _count(scene: Scene, hooks: Hooks, report: Report) -> None:
    """Compare what was sent, answered, stored and archived."""
    server, sums = scene.server, report.sums
    rows = scene.query(_ROWS)
    stored = Counter(row[1] for row in rows)
    right = {row[1] for row in rows if row[2:] == (start_time(row[1]), RAN, "completed", 3)}
    metas = [json.loads(path.read_bytes()) for path in server.archive_root.rglob("meta.json")]
    archived = Counter(meta["jobId"] for meta in metas)
    with_samples = {
        meta["jobId"] for path in server.archive_root.rglob("data.json.gz") for meta in [_meta_beside(path)] if meta
    }
    sums["starts and stops sent"] = hooks.sent.total()
    sums["starts and stops answered"] = len(hooks.started) + len(hooks.stopped)
    sums["attempts without an answer"] = hooks.repeated["no answer"]
    sums["attempts answered 503"] = hooks.repeated["503"]
    sums["lists and samples read"] = hooks.read.total()
    sums["jobs started and stopped"] = len(hooks.stopped)
    sums["jobs stored as completed and archived"] = len(right)
    sums["jobs in the archive with samples"] = len(with_samples)
    sums["jobs lost"] = len((hooks.started | hooks.stopped) - (right & with_samples))
    sums["jobs stored or archived twice"] = sum(count > 1 for count in [*stored.values(), *archived.values()])
    if not sums["starts and stops sent"] == sums["starts and stops answered"] == 2 * len(right) == 2 * len(archived):
        report.wrong.append(f"the sums differ: {sums}")
    if sums["jobs lost"] or sums["jobs stored or archived twice"]:
        report.wrong.append(f"lost or doubled: {sums}")
    if {meta["id"] for meta in metas} != {row[0] for row in rows}:
        report.wrong.append("archive and database have different jobs")
    report.wrong += hooks.faults
    checked = server.manage("check_archive", "--against-database")
    if checked.returncode:
        report.wrong.append(f"check_archive: {checked.stdout}{checked.stderr}")
    if left := [path for path in server.archive_root.rglob("*") if path.name.startswith(".")]:
        report.wrong.append(f"unfinished files: {left}")


def _meta_beside(data: Path) -> dict[str, object] | None:
    """Return the meta.json beside a data file that has samples and statistics."""
    meta: dict[str, object] = json.loads((data.parent / "meta.json").read_bytes())
    return meta if meta["statistics"] and json.loads(gzip.decompress(data.read_bytes())) else None
