"""Processes beside the command that starts them."""

import os
import signal
import subprocess
import sys
import threading
import time
from concurrent.futures import wait
from pathlib import Path
from typing import Any

import pytest

from archive import processes
from archive.processes import Workers, prepared, uninterrupted
from tests.support.paths import PROJECT
from tests.support.waiting import wait_for

SCRIPT = """
import signal, sys
import tests.archive.test_processes
from archive.processes import Workers
signal.signal(signal.SIGINT, lambda *given: None)
print("ready", flush=True)
with Workers("archive.check.walk", 1) as workers:
    print(list(workers.map(tests.archive.test_processes.halved, [7])), flush=True)
sys.stdin.readline()  # at its end Python gives the signal back its default
"""


def test_a_ctrl_c_while_the_processes_start_is_left_to_the_command() -> None:
    """It reaches the whole group: the server of the processes ended with a traceback while it still imported."""
    process = subprocess.Popen(
        [sys.executable, "-c", SCRIPT],
        cwd=PROJECT,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )
    assert process.stdout is not None
    assert process.stdout.readline() == "ready\n"
    ended = threading.Event()

    def interrupt() -> None:
        while not ended.wait(0.005):
            os.killpg(process.pid, signal.SIGINT)

    interrupting = threading.Thread(target=interrupt)
    interrupting.start()
    try:
        out = process.stdout.readline()
    finally:
        ended.set()
        interrupting.join()
    _, err = process.communicate("\n", timeout=60)
    assert (out, err, process.returncode) == ("[3]\n", "", 0)


KILLED = """
import os, signal, sys
from archive.processes import prepared
pool = prepared(1, "archive.limits")
pool.submit(os.getpid).result()
print("ready", flush=True)
sys.stdin.readline()
pool.shutdown()
"""


def test_the_temporary_folder_of_a_killed_process_goes_at_the_next_start(tmp_path: Path) -> None:
    """Two processes; one is killed, then a third starts: two folders are left, and one after both have ended."""
    (tmp_path / "pymp-of-others").mkdir()

    def start() -> "subprocess.Popen[str]":
        process = subprocess.Popen(
            [sys.executable, "-c", KILLED],
            cwd=PROJECT,
            env=os.environ | {"TMPDIR": str(tmp_path)},
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        assert process.stdout is not None
        assert process.stdout.readline() == "ready\n"
        return process

    def folders() -> set[Path]:
        return set(tmp_path.iterdir()) - {tmp_path / "pymp-of-others"}

    killed = start()
    of_killed = folders()
    living = start()
    of_living = folders() - of_killed
    killed.kill()
    killed.communicate()
    assert folders() == of_killed | of_living
    third = start()
    assert (len(of_killed), len(of_living), len(folders())) == (1, 1, 2)
    assert folders() >= of_living
    for process in (living, third):
        process.communicate("\n")
        assert process.returncode == 0
    assert list(tmp_path.iterdir()) == [tmp_path / "pymp-of-others"]


def halved(number: int) -> tuple[int, None]:
    """Return what Workers.map expects of a function: its result, and nothing left."""
    return number // 2, None


def test_a_ctrl_c_waits_for_the_end_of_a_block_that_is_uninterrupted() -> None:
    steps = []

    def work() -> None:
        with uninterrupted():
            signal.raise_signal(signal.SIGINT)
            steps.append("counted")

    with pytest.raises(KeyboardInterrupt):
        work()
    assert steps == ["counted"]
    assert signal.getsignal(signal.SIGINT) is signal.default_int_handler


def test_a_handler_of_somebody_else_is_called_at_once() -> None:
    called = []
    before = signal.signal(signal.SIGINT, lambda *_: called.append("now"))
    try:
        with uninterrupted():
            signal.raise_signal(signal.SIGINT)
            assert called == ["now"]
    finally:
        signal.signal(signal.SIGINT, before)


def test_another_thread_is_never_interrupted() -> None:
    entered = []

    def work() -> None:
        with uninterrupted():
            entered.append(signal.getsignal(signal.SIGINT))

    thread = threading.Thread(target=work)
    thread.start()
    thread.join()
    assert entered == [signal.default_int_handler]


def test_a_ctrl_c_waits_until_the_pool_knows_of_a_process(monkeypatch: pytest.MonkeyPatch) -> None:
    known = []
    with Workers("archive.check.walk", 1) as workers:
        submit = workers._pool.submit

        def interrupted(*given: Any) -> Any:
            signal.raise_signal(signal.SIGINT)
            call = submit(*given)
            known.append(call)
            return call

        monkeypatch.setattr(workers._pool, "submit", interrupted)
        with pytest.raises(KeyboardInterrupt):
            list(workers.map(halved, [7]))
    assert len(known) == 1


def test_a_ctrl_c_waits_until_processes_without_work_have_started_and_ended(monkeypatch: pytest.MonkeyPatch) -> None:
    ended = []
    workers = Workers("archive.check.walk", 1)
    assert list(workers.map(halved, [7])) == [3]
    shutdown = workers._pool.shutdown

    def interrupted(**given: Any) -> None:
        signal.raise_signal(signal.SIGINT)
        shutdown(**given)
        ended.append(given)

    monkeypatch.setattr(workers._pool, "shutdown", interrupted)
    with pytest.raises(KeyboardInterrupt):
        workers.__exit__(None, None, None)
    assert len(ended) == 1


def test_a_ctrl_c_is_heard_between_two_waits_for_a_result(monkeypatch: pytest.MonkeyPatch) -> None:
    waits = []

    def interrupted(*given: Any) -> Any:
        signal.raise_signal(signal.SIGINT)
        waits.append(given)
        return wait(*given)

    monkeypatch.setattr(processes, "wait", interrupted)
    with pytest.raises(KeyboardInterrupt), Workers("archive.check.walk", 1) as workers:
        list(workers.map(slowly_halved, [7]))
    assert len(waits) == 1


def slowly_halved(number: int) -> tuple[int, None]:
    """Return what `halved` returns, a moment later."""
    time.sleep(0.3)
    return halved(number)


def test_a_pool_that_lost_a_process_ends_at_once(tmp_path: Path) -> None:
    """Otherwise a worker of the archive whose process was killed ends only with the calls of the others."""
    process = subprocess.run([sys.executable, "-c", BROKEN], cwd=PROJECT, capture_output=True, text=True, timeout=60)
    assert (process.stdout, process.returncode) == ("broken\n", 0), process.stderr


def test_a_process_that_starts_as_its_pool_breaks_ends_too(monkeypatch: pytest.MonkeyPatch) -> None:
    """It waited for a lock that the killed one had, and Python's end waited for it."""
    pool: Any = prepared(2, "archive.limits")
    pool.submit(os.getpid).result()
    (first,) = pool._processes.values()
    started: list[Any] = []

    def start() -> None:
        pool._spawn_process()
        _, late = pool._processes.popitem()  # as if it had not started yet
        started.append(late)
        first.kill()
        wait_for(lambda: pool._call_queue._reader.closed)  # all that the pool knows of were told to end
        pool._processes[late.pid] = late

    monkeypatch.setattr(pool, "_adjust_process_count", start)
    pool.submit(os.getpid)
    started[0].join(20)
    assert started[0].exitcode is not None


BROKEN = """
import os, signal, time
from concurrent.futures.process import BrokenProcessPool
from archive.processes import prepared
pool = prepared(2, "archive.limits")
hanging, other = pool.submit(time.sleep, 600), pool.submit(os.getpid)
os.kill(other.result(), signal.SIGKILL)
try:
    hanging.result()
except BrokenProcessPool:
    print("broken", flush=True)
"""
