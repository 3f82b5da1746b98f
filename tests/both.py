"""Run the tests on SQLite and on PostgreSQL side by side: `python -m tests.both [PYTEST ARGUMENT ...]`.

Much of a test's time is waiting. Tests that use no database run once, beside SQLite. Each line is printed when it is
complete, behind the name of its database; the last lines of both are repeated at the end. Exit status 1 if one of the
two failed.
"""

import signal
import subprocess
import sys
import threading

_PYTEST = [sys.executable, "-u", "-m", "pytest"]
_WITHOUT_DATABASE = ("archive", "test_architecture.py", "test_makefile.py", "test_requirements.py")
_ONCE = [f"--ignore=tests/{name}" for name in _WITHOUT_DATABASE]
RUNS = {
    "SQLite": [*_PYTEST, "-o", "cache_dir=.pytest_cache/sqlite"],
    "PostgreSQL": [
        *(sys.executable, "-m", "tests.with_postgres"),
        *(*_PYTEST, "-o", "cache_dir=.pytest_cache/postgres", *_ONCE),
    ],
}


def main(arguments: list[str]) -> int:
    """Start both, pass on what they print, and return the exit status."""
    last: dict[str, str] = {}

    def follow(name: str, process: "subprocess.Popen[str]") -> None:
        assert process.stdout is not None
        for line in process.stdout:
            last[name] = line
            sys.stdout.write(f"{name:<10} | {line}")
            sys.stdout.flush()

    def stop(*_: object) -> None:
        for process in processes.values():
            process.terminate()

    signal.signal(signal.SIGINT, lambda *_: None)  # the runs get it too, and end by themselves
    processes = {
        name: subprocess.Popen(
            [*command, *arguments], stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, errors="replace"
        )
        for name, command in RUNS.items()
    }
    signal.signal(signal.SIGTERM, stop)
    threads = [threading.Thread(target=follow, args=run) for run in processes.items()]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    statuses = [process.wait() for process in processes.values()]
    for name, line in last.items():
        sys.stdout.write(f"\n{name}: {line.strip().strip('= ')}")
    sys.stdout.write("\n")
    return int(any(statuses))


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
