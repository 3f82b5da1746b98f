"""Processes beside the command that starts them."""

import os
import signal
import subprocess
import sys
import threading

from tests.support.paths import PROJECT

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


def halved(number: int) -> tuple[int, None]:
    """Return what Workers.map expects of a function: its result, and nothing left."""
    return number // 2, None
