"""archive_worker: what it refuses to start with, one pass, and how it leaves."""

import json
import os
import signal
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import psutil
import pytest

from archive.storage.store import ArchiveStore
from jobs.models import ArchiveTask, Job
from tests.support.commands import Machine, Run
from tests.support.factories import JobFactory
from tests.support.fake_metric_store import CLUSTER_JSON, FakeStore
from tests.support.waiting import patience, wait_for


@pytest.fixture(autouse=True)
def niceness(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """Record what a worker in this process asks for, and leave the tests their priority."""
    asked: list[int] = []
    monkeypatch.setattr(os, "nice", asked.append)
    return asked


def test_one_pass_archives_what_is_due(run: Run, archive_root: Path, niceness: list[int]) -> None:
    jobs = JobFactory.create_batch(3, finished=True)
    running = JobFactory.create()
    outcome = run("archive_worker", "--once")
    assert outcome.status == 0
    assert str(archive_root) in outcome.lines[0]
    assert "3 jobs archived, 0 failed attempts" in outcome.lines[-1]
    assert set(ArchiveStore(archive_root).iter_jobs()) == {job.key for job in jobs}
    assert set(Job.objects.archived()) == set(jobs)
    assert running.is_running
    assert niceness == [10]
    assert not ArchiveTask.objects.exists()


def test_quiet_says_nothing(run: Run) -> None:
    outcome = run("archive_worker", "--once", verbosity=0)
    assert (outcome.status, outcome.out, outcome.err) == (0, "", "")


def test_a_failed_attempt_of_one_pass_is_a_failure(run: Run, archive_root: Path) -> None:
    job = JobFactory.create(finished=True)
    (archive_root / job.cluster).write_text("a file in the way")
    outcome = run("archive_worker", "--once")
    assert outcome.status == 1
    assert "1 failed attempt" in outcome.lines[-1]
    assert Job.objects.get(pk=job.pk).monitoring_status == 1


def test_an_archive_that_lost_its_jobs_is_refused(run: Run) -> None:
    JobFactory.create(archived=True)
    waiting = JobFactory.create(finished=True)
    outcome = run("archive_worker", "--once")
    assert outcome.status == 1
    assert "mounted" in outcome.err
    assert not Job.objects.get(pk=waiting.pk).is_archived


def test_an_archive_of_another_version_is_refused(run: Run, archive_root: Path) -> None:
    (archive_root / "version.txt").write_text("7")
    assert run("archive_worker", "--once").status == 1


@contextmanager
def worker(machine: Machine, **environment: str) -> Iterator["subprocess.Popen[str]"]:
    """Run a worker beside the test, past its first line."""
    process = subprocess.Popen(
        machine.arguments("archive_worker"),
        env=machine.environment | environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    try:
        assert process.stdout is not None
        assert process.stdout.readline().startswith("Archive worker")
        yield process
    finally:
        process.kill()
        process.communicate()


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_ends_it_with_its_counts(machine: Machine, number: int) -> None:
    with worker(machine) as process:
        assert os.getpriority(os.PRIO_PROCESS, process.pid) >= 10
        machine.add_job(1)
        wait_for(lambda: machine.execute("SELECT monitoring_status FROM jobs_job") == [(3,)])
        begin = time.monotonic()
        process.send_signal(number)
        out, err = process.communicate(timeout=patience(10))
    assert time.monotonic() - begin < patience(5)
    assert process.returncode == 0
    assert "1 job archived, 0 failed attempts" in out
    assert "Traceback" not in err
    assert machine.execute("SELECT count(*) FROM jobs_archivetask") == [(0,)]


@pytest.fixture
def silent_store(machine: Machine) -> Iterator[FakeStore]:
    """A metric store that takes requests and does not answer; with it a cluster "fritz" that has metrics."""
    folder = machine.folder / "archive" / "fritz"
    folder.mkdir(parents=True)
    (folder / "cluster.json").write_text(json.dumps(CLUSTER_JSON | {"name": "fritz"}))
    with FakeStore() as store:
        store.misbehave = lambda _: store.leaving.wait()
        yield store


def add_job_of_fritz(machine: Machine, job_id: int) -> None:
    """Add a finished job whose metrics are asked for."""
    machine.add_job(job_id, sub_cluster="main", resources='[{"hostname":"n01"}]')


def sources_with(store: FakeStore) -> str:
    """Return METRIC_SOURCES in which a store knows fritz."""
    return json.dumps({"fritz": {"kind": "cc-metric-store", "url": store.url}})


def test_a_source_that_hangs_does_not_hold_up_its_end(machine: Machine, silent_store: FakeStore) -> None:
    with worker(machine, METRIC_SOURCES=sources_with(silent_store)) as process:
        add_job_of_fritz(machine, 1)
        wait_for(lambda: silent_store.calls)
        begin = time.monotonic()
        process.terminate()
        assert process.wait(patience(15)) == 0
    assert time.monotonic() - begin < patience(10)
    assert machine.execute("SELECT worker FROM jobs_archivetask") == [("",)]
    assert machine.execute("SELECT monitoring_status FROM jobs_job") == [(1,)]


def test_it_goes_on_after_the_database_was_away(machine: Machine) -> None:
    with worker(machine) as process:
        machine.execute("ALTER TABLE jobs_job RENAME TO gone")
        time.sleep(1)
        machine.execute("ALTER TABLE gone RENAME TO jobs_job")
        assert process.poll() is None
        machine.add_job(1)
        wait_for(lambda: machine.execute("SELECT monitoring_status FROM jobs_job") == [(3,)])
        process.terminate()
        assert process.wait(patience(10)) == 0


def writers_of(process: "subprocess.Popen[str]") -> list[psutil.Process]:
    """Return the processes that write jobs: children of the one that they are forked from."""
    children = psutil.Process(process.pid).children()
    return [writer for child in children for writer in child.children()]


def test_a_job_whose_writer_is_killed_is_tried_again_at_once(machine: Machine, silent_store: FakeStore) -> None:
    with worker(machine, METRIC_SOURCES=sources_with(silent_store)) as process:
        add_job_of_fritz(machine, 1)
        wait_for(lambda: silent_store.calls)
        for writer in writers_of(process):  # one at the job, one that waits for edits
            writer.kill()
        wait_for(lambda: machine.execute("SELECT attempts FROM jobs_archivetask") == [(1,)])
        ((error,),) = machine.execute("SELECT error FROM jobs_archivetask")
        assert error == "a process that writes jobs was killed (is memory short?)"
        machine.add_job(2, cluster="alex")
        archived = "SELECT job_id FROM jobs_job WHERE monitoring_status = 3"
        wait_for(lambda: machine.execute(archived) == [(2,)])
        machine.execute(
            "INSERT INTO jobs_archivetask (job_id, worker, not_before, edits, attempts, error)"
            " SELECT id, '', '2000-01-01', 1, 0, '' FROM jobs_job WHERE job_id = 2"
        )
        wait_for(lambda: machine.execute("SELECT count(*) FROM jobs_archivetask") == [(1,)])
        wait_for(lambda: len(silent_store.calls) > 1)
        silent_store.misbehave = None
        for writer in writers_of(process):
            writer.kill()
        wait_for(lambda: len(machine.execute(archived)) == 2)
        process.terminate()
        assert process.wait(patience(10)) == 0


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGTERM])
def test_the_processes_that_write_end_with_their_worker(machine: Machine, silent_store: FakeStore, number: int) -> None:
    with worker(machine, METRIC_SOURCES=sources_with(silent_store)) as process:
        for job_id in range(1, 9):
            add_job_of_fritz(machine, job_id)
        wait_for(lambda: silent_store.calls)
        wait_for(lambda: len(writers_of(process)) > 1)
        everyone = psutil.Process(process.pid).children(recursive=True)
        process.send_signal(number)
        process.wait(patience(10))
        psutil.wait_procs(everyone, timeout=patience(5))
        assert [one for one in everyone if one.is_running() and one.status() != psutil.STATUS_ZOMBIE] == []
