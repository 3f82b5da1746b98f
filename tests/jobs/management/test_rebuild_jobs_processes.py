"""rebuild_jobs as a real process: stopped, beside starts, on a terminal."""

import json
import signal
import subprocess
import time

import psutil
import pytest

from archive.format.layout import JobKey, job_folder
from archive.storage.store import ArchiveStore
from tests.support.commands import Machine, Run
from tests.support.factories import START
from tests.support.foreign_archive import FOREIGN
from tests.support.waiting import patience


def fill(machine: Machine, number: int) -> None:
    """Put foreign jobs into a machine's archive."""
    root = machine.folder / "archive"
    ArchiveStore(root).prepare()
    for job_id in range(1, number + 1):
        folder = job_folder(root, JobKey("fritz", job_id, START))
        folder.mkdir(parents=True)
        (folder / "meta.json").write_text(json.dumps(FOREIGN | {"jobId": job_id}))


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGINT], ids=["kill -9", "Ctrl-C"])
def test_a_rebuild_that_was_stopped_goes_on(machine: Machine, number: signal.Signals) -> None:
    jobs = 3000
    fill(machine, jobs)
    process = subprocess.Popen(
        machine.arguments("rebuild_jobs"), env=machine.environment, stderr=subprocess.PIPE, text=True
    )
    workers: list[psutil.Process] = []
    while process.poll() is None and not workers:
        if machine.execute("SELECT count(*) FROM jobs_job")[0][0]:
            workers = psutil.Process(process.pid).children(recursive=True)
            process.send_signal(number)
        time.sleep(0.01)
    _, err = process.communicate(timeout=patience(30))
    assert workers, "it was stopped in the middle"
    _, alive = psutil.wait_procs(workers, timeout=patience(10))
    assert not alive
    kept = machine.execute("SELECT count(*) FROM jobs_job")[0][0]
    assert 0 < kept < jobs
    assert machine.execute("SELECT count(*) FROM jobs_jobtag")[0][0] == kept
    if number == signal.SIGINT:
        assert process.returncode == 130
        assert "Traceback" not in err
        assert f"Interrupted. {kept:,} jobs restored" in err
    outcome = machine.run("rebuild_jobs")
    assert outcome.out == f"{jobs - kept:,} jobs restored, {kept:,} there already, 0 refused.\n{jobs:,} jobs indexed.\n"


def test_starts_go_on_meanwhile(machine: Machine) -> None:
    fill(machine, 2000)
    process = subprocess.Popen(machine.arguments("rebuild_jobs", "-v", "0"), env=machine.environment)
    waits = []
    job_id = 10_000
    while process.poll() is None:
        job_id += 1
        begin = time.perf_counter()
        machine.add_job(job_id)
        waits.append(time.perf_counter() - begin)
        time.sleep(0.005)
    assert process.returncode == 0
    assert machine.execute("SELECT count(*) FROM jobs_job") == [(2000 + len(waits),)]
    assert max(waits) < 2


def test_a_bar_with_rate_and_time_left_on_a_terminal(machine: Machine) -> None:
    fill(machine, 600)
    outcome, shown = machine.run_on_terminal("rebuild_jobs")
    assert outcome.out == "600 jobs restored, 0 there already, 0 refused.\n600 jobs indexed.\n"
    assert "600/600" in shown
    assert "jobs/s" in shown


def test_exit_statuses(typed: Run, machine: Machine) -> None:
    fill(machine, 2)
    assert typed("rebuild_jobs", "--cluster", "nowhere").status == 2
    quiet = machine.run("rebuild_jobs", "-v", "0")
    assert (quiet.status, quiet.out, quiet.err) == (0, "", "")
    (machine.folder / "archive/fritz/0/001" / str(START + 1)).mkdir()
    (machine.folder / "archive/fritz/0/001" / str(START + 1) / "meta.json").write_text("{")
    outcome = machine.run("rebuild_jobs")
    assert outcome.status == 1
    assert "Traceback" not in outcome.err
    assert outcome.out == "0 jobs restored, 2 there already, 1 refused.\n0 jobs indexed.\n"
